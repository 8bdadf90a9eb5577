# Sourced by scripts/test and .ci/run: numbered steps with their times, and a summary at the end.

STEP_NAMES=()
STEP_TIMES=()
STEP_RESULTS=()
FAILED=0

# step NAME COMMAND…: runs it, keeps going when it fails, remembers.
step() {
  local name=$1 begun=$SECONDS result=ok
  shift
  printf '\n=== %s: %s\n' "$name" "$*"
  "$@" </dev/null || result="FAILED ($?)"
  [ "$result" = ok ] || FAILED=1
  STEP_NAMES+=("$name")
  STEP_TIMES+=($((SECONDS - begun)))
  STEP_RESULTS+=("$result")
}

# summary TITLE: prints all steps; the exit code of the script should be $FAILED.
summary() {
  printf '\n=== %s\n' "$1"
  local i
  for i in "${!STEP_NAMES[@]}"; do
    printf '%-10s %5d s  %s\n' "${STEP_RESULTS[$i]}" "${STEP_TIMES[$i]}" "${STEP_NAMES[$i]}"
  done
  printf '%-10s %5d s  all\n' "$([ "$FAILED" = 0 ] && echo ok || echo FAILED)" "$SECONDS"
}
