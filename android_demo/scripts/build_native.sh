#!/bin/bash
# Builds libdgms_delegate.so (and the app's libdgms_bench.so) for Android with an NDK's toolchain file, without Gradle:
#   build_native.sh [--ndk FOLDER] [--abi ABI]... [--output FOLDER]
#     --ndk      default: $ANDROID_NDK_HOME, else $ANDROID_NDK_ROOT, else the newest in ndk/ of $ANDROID_HOME or $ANDROID_SDK_ROOT
#     --abi      arm64-v8a, armeabi-v7a, x86_64 or x86; default: arm64-v8a and armeabi-v7a
#     --output   receives ABI/lib*.so, stripped, as an APK's lib/ has them; default: build/android/ndk
# Every library must be aligned for 16 KB pages, need nothing but the system's libraries, and show its entry points alone (check_library.sh).
# Needs CMake 3.20 or newer and Ninja. Exit status 77: no NDK here.
#
# UNTESTED with a real NDK: none was at hand. What was tried: finding it, the arguments, the failures, the checks of the libraries, and the
# compilation of all sources by clang for Android's targets (host/ndk_compile.sh).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
platform=android-24  # minSdk
known_abis="arm64-v8a, armeabi-v7a, x86_64 or x86"
toolchain=build/cmake/android.toolchain.cmake  # in every NDK since r13

usage() { echo "usage: build_native.sh [--ndk FOLDER] [--abi ABI]... [--output FOLDER]" >&2; exit 2; }

ndk='' source='' output=$repo/build/android/ndk abis=()
while [ $# -gt 0 ]; do
  case $1 in
    --ndk | --abi | --output) [ $# -ge 2 ] || { echo "build_native.sh: $1 needs a value. Received: none" >&2; usage; } ;;
    *) echo "build_native.sh: unknown argument '$1'" >&2; usage ;;
  esac
  case $1 in
    --ndk) ndk=$2 source=--ndk ;;
    --output) output=$2 ;;
    --abi)
      case $2 in
        arm64-v8a | armeabi-v7a | x86_64 | x86) abis+=("$2") ;;
        *) echo "build_native.sh: an ABI must be $known_abis. Received: '$2'" >&2; exit 2 ;;
      esac ;;
  esac
  shift 2
done
[ ${#abis[@]} -gt 0 ] || abis=(arm64-v8a armeabi-v7a)

# The newest of SDK/ndk/VERSION, by version number.
newest_in() { { find "$1/ndk" -mindepth 1 -maxdepth 1 -type d 2>/dev/null || true; } | sort -V | tail -1; }

if [ -z "$source" ]; then
  for variable in ANDROID_NDK_HOME ANDROID_NDK_ROOT; do
    if [ -z "$ndk" ] && [ -n "${!variable:-}" ]; then ndk=${!variable} source="\$$variable"; fi
  done
  for variable in ANDROID_HOME ANDROID_SDK_ROOT; do
    if [ -z "$ndk" ] && [ -n "${!variable:-}" ]; then ndk=$(newest_in "${!variable}") source="\$$variable"; fi
  done
fi
if [ -z "$ndk" ]; then
  echo "build_native.sh cannot run here: an NDK is needed (r28 or newer; --ndk, \$ANDROID_NDK_HOME, \$ANDROID_NDK_ROOT or ndk/ in \$ANDROID_HOME)." \
    "Received: none" >&2
  exit 77
fi
if [ ! -f "$ndk/$toolchain" ]; then
  echo "build_native.sh: an NDK's folder must have $toolchain in it. Received: $ndk (from $source)" >&2
  exit 1
fi
for tool in cmake ninja; do
  command -v "$tool" >/dev/null || { echo "build_native.sh cannot run here: $tool is needed. Received: none on the PATH" >&2; exit 77; }
done
revision=$(sed -nE 's/^Pkg.Revision *= *(.*)/\1/p' "$ndk/source.properties" 2>/dev/null || true)
echo "NDK ${revision:-of unknown revision}: $ndk"

llvm_tool() {
  local found
  found=$(find "$ndk"/toolchains/llvm/prebuilt/*/bin -maxdepth 1 -name "$1" -print -quit 2>/dev/null)
  [ -n "$found" ] || { echo "build_native.sh: the NDK must have $1 in toolchains/llvm/prebuilt/*/bin. Received: $ndk" >&2; return 1; }
  echo "$found"
}

# build ABI SOURCE TARGET: configures, builds, strips, checks.
build() {
  local abi=$1 target=$3 work=$output/.build/$3-$1 library=$output/$1/lib$3.so
  mkdir -p "$work" "$output/$abi"
  { cmake -S "$2" -B "$work" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$ndk/$toolchain" -DANDROID_ABI="$abi" \
      -DANDROID_PLATFORM=$platform -DANDROID_STL=c++_static -DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON &&
    cmake --build "$work" --target "$target"; } >"$work.log" 2>&1 ||
    { tail -50 "$work.log" >&2; echo "build_native.sh: $target must build for $abi (see $work.log)" >&2; return 1; }
  "$strip" --strip-unneeded -o "$library.new" "$work/lib$target.so"
  READELF=$readelf "$here/check_library.sh" "$library.new" "$abi"
  mv "$library.new" "$library"
  printf '%-14s %-22s %9d bytes\n' "$abi" "lib$target.so" "$(stat -c %s "$library")"
}

strip=$(llvm_tool llvm-strip)
readelf=$(llvm_tool llvm-readelf)
for abi in "${abis[@]}"; do
  echo "building for $abi ($platform)"
  build "$abi" "$repo/delegate" dgms_delegate
  READELF=$readelf "$here/../host/check_symbols.sh" "$output/$abi/libdgms_delegate.so" with-java
  build "$abi" "$repo/android_demo/app/src/main/cpp" dgms_bench
done
echo "done: $output"
