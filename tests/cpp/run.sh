#!/bin/bash
# Builds and runs the C++ tests: run.sh BUILD_FOLDER [gtest option ...].  DGMS_SANITIZE=address,undefined: under sanitizers.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
shift
if [ ! -e /usr/src/googletest/CMakeLists.txt ] && ! ls /usr/include/gtest/gtest.h /usr/local/include/gtest/gtest.h >/dev/null 2>&1; then
  echo "== C++ tests: SKIPPED, GoogleTest is not installed (Debian: apt-get install googletest)"
  exit 0
fi
mkdir -p "$(dirname "$build")"
echo "== C++ tests${DGMS_SANITIZE:+ under $DGMS_SANITIZE}"
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
cmake -S "$root/delegate" -B "$build" "${generator[@]}" -DDGMS_BUILD_TESTS=ON -DCMAKE_BUILD_TYPE=Release \
  -DDGMS_SANITIZE="${DGMS_SANITIZE:-}" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --target dgms_tests dgms_delegate
"$build/dgms_tests" --gtest_brief=1 "$@"
