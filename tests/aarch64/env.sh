# Sourced by the scripts of this folder: where things are, and how they say that they cannot run here.
#   DGMS_AARCH64_ROOT   the arm64 folder that setup.sh makes       (default: the user's cache folder)
#   DGMS_AARCH64_BUILD  the folder of the cross build              (default: build/aarch64)
#   DGMS_PYTHON         the host's Python with dgms_keras in it    (default: .venv/bin/python, else python3)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
arm_root=${DGMS_AARCH64_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/dgms_keras/aarch64}
arm_build=${DGMS_AARCH64_BUILD:-$repo/build/aarch64}
if [ -n "${DGMS_PYTHON:-}" ]; then host_python=$DGMS_PYTHON
elif [ -x "$repo/.venv/bin/python" ]; then host_python=$repo/.venv/bin/python
else host_python=python3; fi
# cmake and ninja may have come with pip.
PATH=$PATH:$(dirname "$host_python")

# Exit status 77 (the one that test runners take for "skipped"): this machine lacks something that setup.sh may not or cannot install.
unavailable() {
  echo "aarch64 tests cannot run here: $*" >&2
  exit 77
}

say() { echo "[aarch64] $*" >&2; }

require_setup() { "$here/setup.sh"; }  # at once if all is there

# Changes when anything that setup.sh makes its folder from changes.
setup_version() { cat "$here/setup.sh" "$here/insn_count.c" | cksum; }

# cross_build TARGET... : configures once, then builds the targets for aarch64. One at a time: scripts may run side by side.
cross_build() {
  mkdir -p "$arm_build"
  ( flock 8; build_targets "$@" ) 8>"$arm_build/.lock"
}
build_targets() {
  local tests=OFF bench=OFF
  case " $* " in *" dgms_tests "*) tests=ON ;; esac
  case " $* " in *_bench" "*) bench=ON ;; esac
  [ "$tests" = ON ] && arm_flags+=(-DDGMS_BUILD_TESTS=ON)
  [ "$bench" = ON ] && arm_flags+=(-DDGMS_BUILD_BENCH=ON)
  cmake -S "$repo/delegate" -B "$arm_build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_TOOLCHAIN_FILE="$repo/delegate/cmake/aarch64-linux-gnu.cmake" "${arm_flags[@]}" >"$arm_build.log" 2>&1 ||
    { cat "$arm_build.log" >&2; return 1; }
  cmake --build "$arm_build" --target "$@" >"$arm_build.log" 2>&1 || { tail -50 "$arm_build.log" >&2; return 1; }
}
arm_flags=()
