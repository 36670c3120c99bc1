#!/bin/bash
# Compiles the delegate with clang for Android's processors and API level 24, without an NDK: warnings are errors.
#   1. All sources of libdgms_delegate.so and libdgms_bench.so, by their CMakeLists.txt, so with their own flags. The NDK's headers (bionic,
#      libc++) are not at hand: the headers are those of Debian's cross compilers (glibc, libstdc++) and one of ours for Android's log.
#   2. The files of one instruction set each once more, freestanding: no headers but the compiler's, and a string.h of four functions. Nothing of
#      any C library can have helped there.
#   3. What the objects of 1 import of a C library must be in Android's since API level 24.
# So the code, the intrinsics and the flags are checked for Android; linking against bionic is not (scripts/build_native.sh, with an NDK).
#   ndk_compile.sh [ABI]...    default: arm64-v8a armeabi-v7a
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
need clang clang cmake cmake ninja ninja-build javac openjdk-17-jdk-headless aarch64-linux-gnu-g++ g++-aarch64-linux-gnu arm-linux-gnueabihf-g++ g++-arm-linux-gnueabihf
abis=("$@")
[ ${#abis[@]} -gt 0 ] || abis=(arm64-v8a armeabi-v7a)
work=$out/ndk_compile
mkdir -p "$work/include/android" "$work/include/gnu" "$work/freestanding"
# 32-bit Android passes floats in integer registers; of that, glibc's headers for the other convention lack this (empty) list alone.
: >"$work/include/gnu/stubs-soft.h"
cat >"$work/include/android/log.h" <<'END'
#pragma once
enum { ANDROID_LOG_INFO = 4 };
extern "C" int __android_log_write(int priority, const char* tag, const char* text);
END
cat >"$work/freestanding/string.h" <<'END'
#pragma once
#include <stddef.h>
extern "C" {
void* memcpy(void*, const void*, size_t);
void* memmove(void*, const void*, size_t);
void* memset(void*, int, size_t);
int memcmp(const void*, const void*, size_t);
}
END

# All in bionic since API level 21 or before, by its own lists (libc.map.txt, libm.map.txt, libdl.map.txt): who adds a name here looks it up there.
in_bionic=" __android_log_write __sched_cpucount ceil close dlerror dlopen dlsym exp expf floor free frexp getauxval getpid ioctl ldexp llround madvise malloc
  memchr memcmp memcpy memmove memset nearbyint nearbyintf open posix_memalign pthread_create pthread_join pthread_mutex_lock pthread_mutex_trylock
  pthread_mutex_unlock pthread_setname_np pthread_sigmask read round roundf sched_getaffinity sched_setaffinity sched_yield sigfillset strcmp
  strerror strlen strnlen strtol strtoull sysconf vsnprintf"
# Of the compiler and the C++ runtime, which the NDK links in; and two that glibc's and libstdc++'s headers bring, where the NDK's have their own.
of_the_toolchain='^(_Z|__cxa_|__gxx_|__aeabi_|_Unwind_|__dso_handle$|__errno_location$|__libc_single_threaded$)'

# check_imports ABI FOLDER...
check_imports() {
  local abi=$1 name missing=()
  shift
  while read -r name; do
    [[ " ${in_bionic//$'\n'/ } " == *" $name "* ]] || missing+=("$name")
  done < <(find "$@" -name '*.o' -exec nm -u {} + 2>/dev/null | sed -nE 's/^ *[Uw] (.*)/\1/p' | sort -u | grep -vE "$of_the_toolchain")
  [ ${#missing[@]} = 0 ] || { echo "ndk_compile.sh: $abi: all imports must be in bionic of API level 24. Received also: ${missing[*]}" >&2; return 1; }
}

# toolchain_file TARGET PROCESSOR DEBIAN_TARGET
toolchain_file() {
  local version
  version=$("$3-g++" -dumpversion)
  cat <<END
set(CMAKE_SYSTEM_NAME Linux)  # with "Android", CMake asks for an NDK
set(CMAKE_SYSTEM_PROCESSOR $2)
set(CMAKE_CXX_COMPILER clang++)
set(CMAKE_CXX_COMPILER_TARGET $1)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_CXX_FLAGS_INIT "-Werror -nostdinc++ -isystem /usr/$3/include/c++/$version -isystem /usr/$3/include/c++/$version/$3 -isystem /usr/$3/include -isystem $work/include")
END
}

# The command that CMake compiles a file with, one word a line, without what names the output.
command_for() {  # command_for FOLDER FILE
  "$python" - "$1/compile_commands.json" "$2" <<'END'
import json, shlex, sys

entry = next(entry for entry in json.load(open(sys.argv[1])) if entry["file"].endswith(sys.argv[2]))
words = shlex.split(entry["command"])
cut = words.index("-o")
print("\n".join(words[:cut]))
END
}

check() {  # check ABI TARGET PROCESSOR DEBIAN_TARGET NAME_PATTERN
  local abi=$1 folder=$work/$1 file words kept i count=0
  mkdir -p "$folder"
  toolchain_file "$2" "$3" "$4" >"$folder.cmake"
  { cmake -S "$repo/delegate" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDGMS_BUILD_JNI=ON -DCMAKE_TOOLCHAIN_FILE="$folder.cmake" &&
    cmake --build "$folder" --target dgms_plugin CMakeFiles/dgms_delegate.dir/tflite/exports.cc.o CMakeFiles/dgms_delegate.dir/java/dgms_delegate_jni.cc.o; } \
    >"$folder.log" 2>&1 || { grep -E -A8 'error|Error' "$folder.log" | head -60 >&2; return 1; }
  { cmake -S "$demo/app/src/main/cpp" -B "$folder-bench" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$folder.cmake" &&
    cmake --build "$folder-bench" --target CMakeFiles/dgms_bench.dir/bench_jni.cc.o; } \
    >"$folder-bench.log" 2>&1 || { grep -E -A8 'error|Error' "$folder-bench.log" | head -60 >&2; return 1; }
  check_imports "$abi" "$folder" "$folder-bench"
  for file in "$repo"/delegate/kernels/*_neon*.cc "$repo"/delegate/kernels/*_portable.cc; do
    [[ $(basename "$file") =~ $5 ]] || continue
    mapfile -t words < <(command_for "$folder" "kernels/$(basename "$file")")
    kept=()
    for ((i = 0; i < ${#words[@]}; ++i)); do
      case ${words[i]} in
        -isystem) i=$((i + 1)) ;;
        *) kept+=("${words[i]}") ;;
      esac
    done
    "${kept[@]}" -ffreestanding -nostdlibinc -fno-exceptions -fno-rtti -isystem "$work/freestanding" -c "$file" -o "$folder/freestanding.o" ||
      { echo "ndk_compile.sh: $(basename "$file") must compile freestanding for $2" >&2; return 1; }
    count=$((count + 1))
  done
  [ "$count" -gt 6 ] || { echo "ndk_compile.sh: there must be kernels to compile for $abi. Received: $count files" >&2; return 1; }
  say "$abi ($2): $(grep -c '"file"' "$folder/compile_commands.json") files, and $count freestanding"
}

for abi in "${abis[@]}"; do
  case $abi in
    arm64-v8a) check arm64-v8a aarch64-linux-android24 aarch64 aarch64-linux-gnu '_(neon|neon_dotprod|neon_i8mm|portable)\.cc$' ;;
    armeabi-v7a) check armeabi-v7a armv7a-linux-androideabi24 armv7-a arm-linux-gnueabihf '_(neon|portable)\.cc$' ;;
    *) echo "ndk_compile.sh: an ABI must be arm64-v8a or armeabi-v7a. Received: $abi" >&2; exit 2 ;;
  esac
done
