# Sourced by the scripts of this folder: where things are, and how they say that they cannot run here.
#   DGMS_ANDROID_OUT   everything the checks make (default: build/android)
#   DGMS_PYTHON        a Python with dgms_keras in it (default: .venv/bin/python, else python3)
# shellcheck shell=bash disable=SC2034
set -euo pipefail
host=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$host/../.." && pwd)
demo=$repo/android_demo
out=${DGMS_ANDROID_OUT:-$repo/build/android}
if [ -n "${DGMS_PYTHON:-}" ]; then python=$DGMS_PYTHON
elif [ -x "$repo/.venv/bin/python" ]; then python=$repo/.venv/bin/python
else python=python3; fi
export PATH=$PATH:$repo/.venv/bin  # cmake and ninja may have come with pip
mkdir -p "$out"

say() { echo "[android] $*" >&2; }

# Exit status 77 (which test runners take for "skipped"): this machine lacks something that nobody here may or can install.
unavailable() {
  echo "Android checks cannot run here: $*" >&2
  exit 77
}

# need COMMAND PACKAGE...: Debian packages are installed where root runs this, else named.
need() {
  local missing=() names=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null || { missing+=("$1"); names+=("$2"); }
    shift 2
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || unavailable "these commands are missing: ${missing[*]}"
  [ "$(id -u)" = 0 ] || unavailable "not root, and these commands are missing: ${missing[*]} (apt-get install ${names[*]})"
  say "installing ${names[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${names[@]}"; } \
    >"$out/apt.log" 2>&1 || unavailable "apt-get could not install ${names[*]} (see $out/apt.log)"
}

# up_to_date TARGET SOURCE...: true if TARGET is there and no source (file, or file in a folder) is newer.
up_to_date() {
  local target=$1
  shift
  [ -e "$target" ] && [ -z "$(find "$@" -newer "$target" -print -quit)" ]
}
