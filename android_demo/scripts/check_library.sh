#!/bin/bash
# Fails unless a shared library is fit for an APK: check_library.sh LIBRARY ABI
#   it is for that ABI; its segments are aligned for 16 KB pages; it needs no library but the system's; it can be found by its own name.
# $READELF: the program to use (default: readelf; llvm-readelf will do).
set -euo pipefail
[ $# = 2 ] || { echo "usage: check_library.sh LIBRARY ABI" >&2; exit 2; }
library=$1 abi=$2
readelf=${READELF:-readelf}
fail() { echo "$library: $*" >&2; exit 1; }

header=$("$readelf" -h -W "$library") || fail "must be an ELF file"
case $abi in
  arm64-v8a) machine=AArch64 ;;
  armeabi-v7a) machine=ARM ;;
  x86_64) machine='Advanced Micro Devices X86-64' ;;
  x86) machine='Intel 80386' ;;
  *) fail "an ABI must be arm64-v8a, armeabi-v7a, x86_64 or x86. Received: $abi" ;;
esac
received=$(sed -nE 's/^ *Machine: *(.*)/\1/p' <<<"$header")
[ "$received" = "$machine" ] || fail "must be for $abi ($machine). Received: $received"

alignments=$("$readelf" -l -W "$library" | awk '$1 == "LOAD" { print $NF }')
[ -n "$alignments" ] || fail "must have segments to load. Received: none"
while read -r alignment; do
  [ $((alignment)) -ge $((0x4000)) ] || fail "every segment must be aligned to 16 KB (0x4000) at least. Received: $alignment"
done <<<"$alignments"

dynamic=$("$readelf" -d -W "$library")
needed=$(sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' <<<"$dynamic")
while read -r name; do
  case $name in
    '' | libc.so | libm.so | libdl.so | liblog.so) ;;
    *) fail "must need no library but libc.so, libm.so, libdl.so and liblog.so. Received: $name" ;;
  esac
done <<<"$needed"
name=$(sed -nE 's/.*\(SONAME\).*\[(.*)\]/\1/p' <<<"$dynamic")
file=$(basename "$library" .new)
[ "$name" = "$file" ] || fail "must have its file's name ($file) as SONAME. Received: ${name:-none}"
