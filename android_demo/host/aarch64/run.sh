#!/bin/bash
# The arm64 library that phones get, unmodified, with our aarch64 delegate, on emulated processors: every model of build/android/models by
# TFLite's own kernels, by XNNPACK and by the delegate; the same inputs as on x86-64, whose outputs (check.sh compare) it must reproduce.
#   run.sh [--cpu NAME]...    default: cortex-a53 (ARMv8.0), cortex-a76 (dot products), max (everything qemu knows)
# Exit status 77: cannot run here. Time under emulation means nothing, so none is shown.
# shellcheck source=../env.sh
source "$(dirname "$0")/../env.sh"
cpus=()
while [ $# -gt 0 ]; do
  case $1 in
    --cpu) cpus+=("${2:?--cpu needs a name}"); shift 2 ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
[ ${#cpus[@]} -gt 0 ] || cpus=(cortex-a53 cortex-a76 max)
# Each must get its own int8 kernels, or the choice at run time is broken.
declare -A int8_kernels=([cortex-a53]=s8_4x8_neon [cortex-a76]=s8_5x16_neon_dotprod [max]=s8_8x8_neon_i8mm)
need cmake cmake ninja ninja-build qemu-aarch64 qemu-user aarch64-linux-gnu-g++ g++-aarch64-linux-gnu javac openjdk-17-jdk-headless
here=$host/aarch64
tflite=$out/aar/tensorflow-lite
library=$tflite/jni/arm64-v8a/libtensorflowlite_jni.so
dump=$out/dump
[ -f "$library" ] || { echo "aarch64/run.sh: Android's TFLite must be at $library (check.sh fetch). Received: no such file" >&2; exit 1; }
[ -n "$(find "$dump" -name '*.input0.bin' -print -quit 2>/dev/null)" ] ||
  { echo "aarch64/run.sh: inputs and the x86 outputs must be in $dump (check.sh compare). Received: none" >&2; exit 1; }

shim=$out/shim/aarch64
if ! up_to_date "$shim/liblog_shim.so" "$host/bionic_shim" "$library"; then
  "$host/bionic_shim/build.sh" "$library" "$shim" aarch64-linux-gnu-gcc
fi

say "libdgms_delegate.so for aarch64"
work=$out/native/.build-aarch64
mkdir -p "$work" "$out/native/aarch64"
{ cmake -S "$repo/delegate" -B "$work/dgms_delegate" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDGMS_BUILD_JNI=ON \
    -DCMAKE_TOOLCHAIN_FILE="$repo/delegate/cmake/aarch64-linux-gnu.cmake" && cmake --build "$work/dgms_delegate" --target dgms_delegate; } \
  >"$work/dgms_delegate.log" 2>&1 || { tail -50 "$work/dgms_delegate.log" >&2; exit 1; }
cp "$work/dgms_delegate/libdgms_delegate.so" "$out/native/aarch64/.new"
mv "$out/native/aarch64/.new" "$out/native/aarch64/libdgms_delegate.so"
"$host/check_symbols.sh" "$out/native/aarch64/libdgms_delegate.so" with-java

# The AAR has TFLite's C headers but for two that c_api.h includes; nothing else of those is used here.
mkdir -p "$work/include/tensorflow/lite/core/async/c" "$work/include/tensorflow/lite/core/c"
echo '/* nothing needed */' >"$work/include/tensorflow/lite/core/async/c/types.h"
echo 'typedef struct TfLiteRegistrationExternal TfLiteRegistrationExternal;' >"$work/include/tensorflow/lite/core/c/registration_external.h"
aarch64-linux-gnu-gcc -std=gnu11 -O1 -Wall -Wextra -Werror -I "$tflite/headers" -I "$work/include" "$here/run_model.c" -o "$work/run_model" -ldl

results=$out/aarch64
rm -rf "$results"
models=()
for model in "$out"/models/*.tflite; do
  name=$(basename "$model" .tflite)
  [ -f "$dump/$name.input0.bin" ] && models+=("$name")  # dense twins have none
done
for cpu in "${cpus[@]}"; do
  mkdir -p "$results/$cpu"
  seen=
  for name in "${models[@]}"; do
    log=$results/$cpu/$name.log
    qemu-aarch64 -cpu "$cpu" -L /usr/aarch64-linux-gnu "$work/run_model" "$shim" "$library" "$out/native/aarch64/libdgms_delegate.so" \
      "$out/models/$name.tflite" "$dump/$name" "$results/$cpu/$name" builtin xnnpack delegate >"$results/$cpu/$name.txt" 2>"$log" ||
      { tail -20 "$log" >&2; echo "aarch64/run.sh: $name must run on $cpu" >&2; exit 1; }
    claim=$(sed -nE 's/^dgms: claimed ([1-9][0-9]* of [0-9]+) .*/\1/p' "$log")
    [ -n "$claim" ] || { echo "aarch64/run.sh: the delegate must claim something of $name on $cpu. Received: nothing (see $log)" >&2; exit 1; }
    kernels=$(sed -nE 's/^ +[0-9]+ .* ((f32|s8)_[a-z0-9_]+) .*/\1/p' "$log" | sort -u | tr '\n' ' ')
    say "$cpu: $name: claimed $claim, kernels $kernels"
    seen+=" $kernels"
  done
  wanted=${int8_kernels[$cpu]:-}
  if [ -n "$wanted" ] && [[ "$seen " != *" $wanted "* ]]; then
    echo "aarch64/run.sh: int8 layers must run by $wanted on $cpu. Received:$seen" >&2
    exit 1
  fi
done
"$python" "$here/compare.py" "$dump" "$results" "${cpus[@]}"
