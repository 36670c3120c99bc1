#!/bin/bash
# Executed instructions of the NEON kernels per multiply-add (per weight for decoding), beside the floor: a 128-bit multiply-add does four.
# Exact and repeatable, unlike time under emulation. Usage: count_kernels.sh [-cpu NAME]
source "$(dirname "$0")/env.sh"
cpu=cortex-a76
[ "${1:-}" = -cpu ] && cpu=$2
require_setup
calls=20
row() {  # KIND NUMBER...
  local counts kernel work floor=0.25
  counts=$({ "$here/run_kernel.sh" -cpu "$cpu" "$calls" "$@" >"$arm_build/count.out"; } 2>&1 | awk '/^instructions/ { print $2 }')
  [ "$(wc -w <<<"$counts")" = 3 ] || { echo "count_kernels.sh: $* did not run" >&2; exit 1; }
  read -r kernel work _ <"$arm_build/count.out"
  case $1 in
    decode | *_s8 | requantize) floor=- ;;
  esac
  awk -v calls="$calls" -v work="$work" -v floor="$floor" -v what="$*" -v kernel="$kernel" 'NR == 1 { first = $1 }
    NR == 2 { n = ($1 - first) / calls; printf "%-32s %-20s %10d %10.0f %10.4f %8s\n", what, kernel, work, n, n / work, floor }' <<<"$counts"
}
printf '%-32s %-20s %10s %10s %10s %8s\n' "call (see kernel_calls_bench.cc)" kernel work insns insns/work floor
for k in 64 512; do row decode 16 $k; done
row gemm 16 504 5 3; row gemm 16 64 5 1; row gemm 16 504 4 3; row gemm 16 147 5 7
row gemm 8 576 5 3; row gemm 4 576 5 3; row gemm 16 504 1 3
row gemv 16 512; row gemv 4 512
row depthwise 96 54 3 1; row depthwise 96 27 3 2; row depthwise 96 28 5 1; row depthwise 97 12 3 1
echo "int8 (a dot product does sixteen, a matrix instruction thirty-two)"
row decode_s8 16 576; row gemm_s8 16 576 40 3; row gemm_s8 16 64 40 1; row gemm_s8 16 147 40 7; row gemm_s8 16 576 4 3; row gemm_s8 16 576 1 1
row gemm_s8 16 16 40 1; row gemm_s8 8 24 40 1
row packed_s8 16 576 42 3; row packed_s8 16 64 42 1; row packed_s8 16 147 42 7; row packed_s8 8 24 42 1
row pack_s8 16 576 42 3; row pack_s8 16 147 42 7
row depthwise_s8 96 54 3 1; row depthwise_s8 96 27 3 2; row requantize 16 40; row requantize 8 8
