# Sourced by scripts/test and bench/lib.sh: programs that must be there, and how they get there.

# What the tests call, as "probe package": a program, or a file with a slash.
NEEDED='
  /usr/share/java/zookeeper.jar libzookeeper-java
  /usr/share/java/slf4j-simple.jar libslf4j-java
  java default-jre-headless
  haproxy haproxy
  nginx nginx-light
  promtool prometheus
  ss iproute2
  nft nftables
  faketime faketime
  curl curl
  h2load nghttp2-client
  redis-server redis-server
  /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
'

# What the benches call.
BENCH_NEEDED='
  h2load nghttp2-client
  /usr/share/java/zookeeper.jar libzookeeper-java
  /usr/share/java/slf4j-simple.jar libslf4j-java
  java default-jre-headless
  haproxy haproxy
  nginx nginx-light
  ip iproute2
  sysctl procps
  unshare util-linux
  setpriv util-linux
'

# What bench/instructions calls.
INSTRUCTIONS_NEEDED='
  valgrind valgrind
  ip iproute2
  sysctl procps
  unshare util-linux
  setpriv util-linux
'

present() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
  esac
}

missing_packages() {
  local probe package
  while read -r probe package; do
    [ -z "$probe" ] || present "$probe" || echo "$package"
  done <<<"$NEEDED"
}

install_prerequisites() {
  local packages root=()
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" -gt 0 ] || { echo "all there"; return 0; }
  local line="apt-get install -y --no-install-recommends ${packages[*]}"
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      echo "missing: ${packages[*]}; as root: apt-get update && $line" >&2
      return 1
    fi
    root=(sudo -n)
  fi
  # No daemon of these packages is to start: the tests start what they need themselves.
  local policy=/usr/sbin/policy-rc.d made=no
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
    "${root[@]}" chmod +x $policy
    made=yes
  fi
  local result=0
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || result=$?
  [ "$result" != 0 ] || "${root[@]}" env DEBIAN_FRONTEND=noninteractive $line -qq || result=$?
  [ "$made" = no ] || "${root[@]}" rm -f $policy
  mapfile -t packages < <(missing_packages)
  if [ "${#packages[@]}" -gt 0 ]; then
    echo "still missing: ${packages[*]}; as root: apt-get update && $line" >&2
    return 1
  fi
  return "$result"
}

