#!/bin/bash
# Makes four small libraries with which an Android library runs on a glibc Linux: build.sh LIBRARY FOLDER [CC]
#   LIBRARY  an Android shared library that needs libc, libm, libdl and liblog only, e.g. the AAR's jni/x86_64/libtensorflowlite_jni.so
#   FOLDER   receives lib{c,m,dl,log}_shim.so
#   CC       a C compiler for LIBRARY's processor, x86-64 or aarch64 (default: cc)
# Android's libraries are named libc.so, libm.so, libdl.so and liblog.so, and so are these (SONAME): a program loads them first, in this order,
# then the dynamic linker takes them for what LIBRARY asks for. libc.so defines every function that LIBRARY imports, in bionic's symbol
# version LIBC: as a jump to glibc's function of the same name, or, where that would be wrong, by special.c, which says why.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: build.sh LIBRARY FOLDER [CC]" >&2; exit 2; }
library=$1 folder=$2 cc=${3:-cc}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case $("$cc" -dumpmachine) in
  x86_64*) jump() { echo "  jmp *$1@GOTPCREL(%rip)"; } ;;
  # x16 is the register that calls between libraries may change.
  aarch64*) jump() { printf '  adrp x16, :got:%s\n  ldr x16, [x16, :got_lo12:%s]\n  br x16\n' "$1" "$1"; } ;;
  *) echo "build.sh: the compiler must be for x86-64 or aarch64. Received: $cc, for $("$cc" -dumpmachine)" >&2; exit 2 ;;
esac

nm -D --undefined-only "$library" | sed -nE 's/.* U ([A-Za-z0-9_]+)@LIBC$/\1/p' | sort -u >"$work/needed"
[ -s "$work/needed" ] || { echo "build.sh: the library must import functions of Android's libc. Received: $library, which imports none" >&2; exit 2; }
sed -nE 's/^BIONIC\(([a-z_A-Z0-9]+)\).*/\1/p' "$here/special.c" | sort -u >"$work/special"
{
  echo '.text'
  comm -23 "$work/needed" "$work/special" | while read -r name; do
    printf '.globl bionic_%s\n.type bionic_%s, %%function\nbionic_%s:\n' "$name" "$name" "$name"
    jump "$name"
    printf '.symver bionic_%s, %s@LIBC\n' "$name" "$name"
  done
  echo '.section .note.GNU-stack, "", %progbits'
} >"$work/forward.S"
case $("$cc" -dumpmachine) in x86_64*) sed -i 's/, %function/, @function/; s/, %progbits/, @progbits/' "$work/forward.S" ;; esac
echo 'LIBC { global: *; };' >"$work/libc.map"

build() {  # build NAME SOURCE... [-- OPTION...]
  local name=$1
  shift
  "$cc" -O1 -Wall -Wextra -Werror -shared -fPIC -Wl,-z,defs -Wl,-soname,"lib$name.so" "$@" -o "$work/lib${name}_shim.so"
}
# Nothing imports from libm.so and libdl.so in particular: names are found in any library, here in libc.so.
echo 'extern int bionic_shim; int bionic_shim;' >"$work/empty.c"
build c "$here/special.c" "$work/forward.S" -Wl,--version-script="$work/libc.map" -ldl -lpthread -lm
build m "$work/empty.c"
build dl "$work/empty.c"
build log "$here/log.c"
mkdir -p "$folder"
for name in c m dl log; do
  cp "$work/lib${name}_shim.so" "$folder/.lib${name}_shim.so.new"
  mv "$folder/.lib${name}_shim.so.new" "$folder/lib${name}_shim.so"  # in one step: a running program may have it mapped
done
echo "bionic shims: $(wc -l <"$work/needed") functions, $(comm -12 "$work/needed" "$work/special" | wc -l) of them special, in $folder"
