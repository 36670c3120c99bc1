#!/bin/bash
# The C++ tests, cross-built and run on emulated processors: cortex-a53 (ARMv8.0), cortex-a76 (dot products), max (everything qemu knows).
# Usage: run_cpp.sh [--cpu NAME]... [--filter GTEST_FILTER]      Exit status 77: cannot run here.
# Default: all three, all tests but
#   *Slow*                emulation costs 10 to 20 times;
#   *AfterFork            qemu-user aborts where a process with several threads forks ("assertion failed: (cpu == current_cpu)");
#   Conv2D.BitIdentical*  on cortex-a76 alone: the longest, and float kernels are the same instructions on all three.
source "$(dirname "$0")/env.sh"
cpus=()
filter=
while [ $# -gt 0 ]; do
  case $1 in
    --cpu) cpus+=("$2"); shift 2 ;;
    --filter) filter=$2; shift 2 ;;
    *) echo "run_cpp.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
[ ${#cpus[@]} -gt 0 ] || cpus=(cortex-a53 cortex-a76 max)
# Float kernels use no dot products, so all get the same; int8 matrix kernels go by the instruction set.
declare -A expected=(
  [cortex-a53]="neon f32_5x16_neon f32_depthwise_neon s8_4x8_neon s8_depthwise_neon s8_output_neon"
  [cortex-a76]="neon_dotprod f32_5x16_neon f32_depthwise_neon s8_5x16_neon_dotprod s8_depthwise_neon_dotprod s8_output_neon"
  [max]="neon_i8mm f32_5x16_neon f32_depthwise_neon s8_8x8_neon_i8mm s8_depthwise_neon_dotprod s8_output_neon"
)
require_setup
say "building the tests for aarch64"
cross_build dgms_tests
passed=0 failed=0 skipped=0
for cpu in "${cpus[@]}"; do
  report=$arm_build/tests-$cpu.xml
  rm -f "$report"
  chosen=$filter
  [ -n "$chosen" ] || { chosen='-*Slow*:*AfterFork'; [ "$cpu" = cortex-a76 ] || chosen+=':Conv2D.BitIdentical*'; }
  say "C++ tests on $cpu, filter $chosen"
  if [ -n "${expected[$cpu]:-}" ]; then export DGMS_EXPECTED_KERNELS=${expected[$cpu]}; else unset DGMS_EXPECTED_KERNELS; fi
  status=0
  qemu-aarch64 -cpu "$cpu" -L /usr/aarch64-linux-gnu "$arm_build/dgms_tests" --gtest_brief=1 --gtest_filter="$chosen" \
    --gtest_output="xml:$report" || status=$?
  if [ -f "$report" ]; then
    read -r total bad < <(sed -nE 's/^<testsuites tests="([0-9]+)" failures="([0-9]+)".*/\1 \2/p' "$report")
    left_out=$(grep -c '<skipped' "$report" || true)
    passed=$((passed + total - bad - left_out)) failed=$((failed + bad)) skipped=$((skipped + left_out))
    [ "$status" = 0 ] || [ "$bad" != 0 ] || failed=$((failed + 1))
  else
    echo "the tests stopped on $cpu with status $status" >&2
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
