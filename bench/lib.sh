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
  if [ -n "${SMARTSTACK_BIN_DIR:-}" ]; then
    export SMARTSTACK_BENCH_SYNAPSE=$SMARTSTACK_BIN_DIR/synapse
  else
    cargo build --quiet --locked --release --bin synapse --target-dir "$target"
    export SMARTSTACK_BENCH_SYNAPSE=$target/release/synapse
  fi
  cargo build --quiet --locked --release --manifest-path bench/Cargo.toml --target-dir "$target"
  in_own_network "$target/release/smartstack-bench" "$@"
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
