#!/bin/bash
# Executed instructions of one inference (one thread) on emulated aarch64: count_model.sh [-cpu NAME] [-option NAME=VALUE]... MODEL [DENSE_MODEL]
# MODEL runs with our delegate and its options; DENSE_MODEL, the same network with dense weights, runs as stock LiteRT runs it (XNNPACK). Either
# may be "-": left out. Exact and repeatable, unlike time under emulation.
source "$(dirname "$0")/env.sh"
cpu=cortex-a76
options=(num_threads=1)
while [[ ${1:-} == -?* ]]; do
  case $1 in
    -cpu) cpu=$2; shift 2 ;;
    -option) options+=("$2"); shift 2 ;;
    *) echo "count_model.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
[ $# -ge 1 ] || { sed -n 2,5p "$0" >&2; exit 2; }
require_setup
one_inference() {  # MODEL [LIBRARY [option=value ...]]
  local counts
  counts=$({ "$here/run.sh" -cpu "$cpu" -count "$here/invoke.py" "$@" >/dev/null; } 2>&1 | awk '/^instructions/ { print $2 }')
  [ "$(wc -w <<<"$counts")" = 3 ] || { echo "count_model.sh: $1 did not run" >&2; exit 1; }
  awk 'NR == 1 { first = $1 } NR == 2 { print $1 - first }' <<<"$counts"
}
if [ "$1" != - ]; then
  cross_build dgms_delegate
  ours=$(one_inference "$1" "$arm_build/libdgms_delegate.so" "${options[@]}")
  printf 'delegate  %12d instructions per inference (%s)\n' "$ours" "$(basename "$1")"
fi
if [ "${2:--}" != - ]; then
  stock=$(one_inference "$2")
  printf 'XNNPACK   %12d instructions per inference (%s)\n' "$stock" "$(basename "$2")"
  [ "$1" = - ] || awk -v a="$ours" -v b="$stock" 'BEGIN { printf "ratio     %12.3f\n", a / b }'
fi
