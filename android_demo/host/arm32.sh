#!/bin/bash
# 32-bit ARM (Android's armeabi-v7a): builds libdgms_delegate.so and the C++ tests for ARMv7 Linux and runs the tests on two emulated
# processors: cortex-a7 (NEON with fused multiply-add: our NEON kernels) and cortex-a9 (without it: the portable ones, so only what is
# built on kernels).   arm32.sh [--cpu NAME]... [--filter GTEST_FILTER]      Exit status 77: cannot run here.
# Left out unless the filter names them: *Slow* and the longest, which emulation makes 10 to 20 times longer; *AfterFork, which qemu-user cannot
# do. TFLite itself is not tried: Android's 32-bit library passes floats in another way than Debian's C library.
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
cpus=() filter=
while [ $# -gt 0 ]; do
  case $1 in
    --cpu) cpus+=("${2:?--cpu needs a name}"); shift 2 ;;
    --filter) filter=${2:?--filter needs a GoogleTest filter}; shift 2 ;;
    *) echo "arm32.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
[ ${#cpus[@]} -gt 0 ] || cpus=(cortex-a7 cortex-a9)
need cmake cmake ninja ninja-build qemu-arm qemu-user arm-linux-gnueabihf-g++ g++-arm-linux-gnueabihf javac openjdk-17-jdk-headless
if [ ! -f /usr/src/googletest/CMakeLists.txt ]; then unavailable "GoogleTest's sources are needed (Debian: googletest). Received: no /usr/src/googletest"; fi
declare -A expected=(
  [cortex-a7]="neon f32_4x8_neon f32_depthwise_neon s8_2x8_neon s8_depthwise_neon s8_output_neon"
  [cortex-a9]="portable f32_4x8_portable f32_depthwise_portable s8_4x8_portable s8_depthwise_portable s8_output_portable"
)

say "libdgms_delegate.so and its tests for 32-bit ARM"
work=$out/native/.build-arm
mkdir -p "$work" "$out/native/arm"
{ cmake -S "$repo/delegate" -B "$work" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDGMS_BUILD_TESTS=ON -DDGMS_BUILD_JNI=ON \
    -DCMAKE_TOOLCHAIN_FILE="$repo/delegate/cmake/arm-linux-gnueabihf.cmake" && cmake --build "$work" --target dgms_delegate dgms_tests; } \
  >"$work.log" 2>&1 || { tail -50 "$work.log" >&2; exit 1; }
"$host/check_symbols.sh" "$work/libdgms_delegate.so" with-java
cp "$work/libdgms_delegate.so" "$out/native/arm/"

for cpu in "${cpus[@]}"; do
  left_out='-*Slow*:*AfterFork:Conv2D.BitIdentical*'
  chosen=${filter:-$left_out}
  if [ -z "$filter" ] && [ "$cpu" = cortex-a9 ]; then chosen="EmulatedCpu*:SelectKernel*:Delegate*:Int8*:FullyConnected*$left_out"; fi
  say "C++ tests on $cpu, filter $chosen"
  if [ -n "${expected[$cpu]:-}" ]; then export DGMS_EXPECTED_KERNELS=${expected[$cpu]}; else unset DGMS_EXPECTED_KERNELS; fi
  qemu-arm -cpu "$cpu" -L /usr/arm-linux-gnueabihf "$work/dgms_tests" --gtest_brief=1 --gtest_filter="$chosen"
done
