#!/bin/bash
# What the JVM checks load, built for this machine (x86-64): the shims of bionic_shim/ for the AAR's TFLite, and our libraries with their
# functions for Java. Needs fetch.xml's files.   native.sh [--force]
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
need cmake cmake ninja ninja-build c++ g++
[ "$(uname -sm)" = "Linux x86_64" ] || unavailable "the AAR has a library for x86-64, so x86-64 Linux is needed. Received: $(uname -sm)"
[ "${1:-}" = --force ] && rm -rf "$out/shim/x86_64" "$out/native/x86_64"

tflite=$out/aar/tensorflow-lite/jni/x86_64/libtensorflowlite_jni.so
[ -f "$tflite" ] || { echo "native.sh: Android's TFLite must be at $tflite (check.sh fetch). Received: no such file" >&2; exit 1; }
if ! up_to_date "$out/shim/x86_64/liblog_shim.so" "$host/bionic_shim" "$tflite"; then
  "$host/bionic_shim/build.sh" "$tflite" "$out/shim/x86_64"
fi

# build SOURCE TARGET [CMAKE_OPTION...]: CMake decides what is up to date; nothing is said unless it fails.
build() {
  local source=$1 target=$2 work=$out/native/.build-x86_64/$2
  shift 2
  mkdir -p "$work"
  { cmake -S "$source" -B "$work" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" && cmake --build "$work" --target "$target"; } \
    >"$work.log" 2>&1 || { tail -50 "$work.log" >&2; return 1; }
  # By rename: a JVM may have the old one mapped.
  mkdir -p "$out/native/x86_64"
  if ! cmp -s "$work/lib$target.so" "$out/native/x86_64/lib$target.so"; then
    cp "$work/lib$target.so" "$out/native/x86_64/.lib$target.so.new"
    mv "$out/native/x86_64/.lib$target.so.new" "$out/native/x86_64/lib$target.so"
  fi
}
say "libdgms_delegate.so for this JVM"
build "$repo/delegate" dgms_delegate -DDGMS_BUILD_JNI=ON
"$host/check_symbols.sh" "$out/native/x86_64/libdgms_delegate.so" with-java
if [ -f "$demo/app/src/main/cpp/CMakeLists.txt" ]; then
  say "libdgms_bench.so for this JVM"
  build "$demo/app/src/main/cpp" dgms_bench
fi
