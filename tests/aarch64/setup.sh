#!/bin/bash
# Makes what the emulated tests need, once (about half a minute): a folder with the arm64 files of Python and its libraries, the aarch64 wheel
# of LiteRT, and the instruction counter; as root it also installs the emulator and the cross compiler. Nothing outside the folder is changed else.
# Usage: setup.sh [--force]      Exit status 77: it cannot be done on this machine; one line says why.
source "$(dirname "$0")/env.sh"
# 2.x for aarch64 stops in its own start-up under qemu 7.2 (Debian 12), before any code of ours runs.
litert="ai-edge-litert==1.4.0"

missing_packages() {  # Debian's packages for tools of the host that are not there
  command -v qemu-aarch64 >/dev/null || echo qemu-user
  command -v aarch64-linux-gnu-g++ >/dev/null || echo g++-aarch64-linux-gnu
  command -v gcc >/dev/null || echo gcc libc6-dev
  command -v cmake >/dev/null || echo cmake
  command -v ninja >/dev/null || echo ninja-build
  [ -f /usr/src/googletest/CMakeLists.txt ] || echo googletest
  "$host_python" -m pip --version >/dev/null 2>&1 || echo python3-pip
}

is_ready() { [ -f "$arm_root/.ready" ] && cmp -s "$arm_root/.ready" <(setup_version); }

missing=($(missing_packages))
[ "${1:-}" = --force ] && rm -f "$arm_root/.ready"
if is_ready && [ ${#missing[@]} = 0 ]; then exit 0; fi
mkdir -p "$arm_root"
exec 9>"$arm_root/.lock"
flock 9

# 1. The host's tools.
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || unavailable "Debian's apt-get and dpkg-deb are needed. Received: none on the PATH"
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || unavailable "not root, and these packages are missing: ${missing[*]} (apt-get install ${missing[*]})"
  say "installing ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >"$arm_root/apt.log" 2>&1 || unavailable "apt-get could not install ${missing[*]} (see $arm_root/apt.log)"
fi
if is_ready; then exit 0; fi  # or another run was faster
rm -f "$arm_root/.ready"

# 2. arm64 packages from the archive this machine already uses, resolved by apt itself against an empty system and only unpacked: no chroot, no root.
apt=$arm_root/.apt
mkdir -p "$apt"/{lists,cache/archives,preferences.d}/partial
: >"$apt/status"
debian_archive() {
  apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" && $2 !~ /-/ { print $3, $2; exit }'
}
archive=$(debian_archive)
if [ -z "$archive" ] && [ "$(id -u)" = 0 ]; then  # a fresh machine has no lists yet
  apt-get update -qq >"$arm_root/apt.log" 2>&1 || true
  archive=$(debian_archive)
fi
[ -n "$archive" ] || unavailable "apt's sources must name a Debian archive, with its lists fetched (apt-get update). Received: none"
read -r uri codename <<<"$archive"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
signed=""; [ -f "$keyring" ] && signed=" signed-by=$keyring"
echo "deb [arch=arm64$signed] $uri $codename main" >"$apt/sources.list"
arm_apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= -o Acquire::Languages=none \
    -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null \
    -o Dir::Etc::preferencesparts="$apt/preferences.d" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
    -o Dir::Cache="$apt/cache" -o Debug::NoLocking=1 "$@"
}
say "fetching the arm64 files of Debian $codename"
{ arm_apt update && arm_apt install -y --download-only --no-install-recommends python3 libstdc++6 zlib1g libffi8 libexpat1; } \
  >"$arm_root/apt.log" 2>&1 || unavailable "apt could not fetch the arm64 packages (see $arm_root/apt.log)"
for deb in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$arm_root"; done
python=$(basename "$(ls "$arm_root"/usr/bin/python3.[0-9]* | head -1)")

# 3. The aarch64 LiteRT, for that Python.
say "fetching $litert for aarch64 $python"
rm -rf "$arm_root/site"
for glibc in 17 27 28 31; do platforms+=(--platform "manylinux_2_${glibc}_aarch64"); done
"$host_python" -m pip install -q --no-deps --target "$arm_root/site" --only-binary=:all: --python-version "${python#python}" \
  --implementation cp "${platforms[@]}" "$litert" "numpy<2.5" flatbuffers protobuf typing_extensions backports.strenum tqdm \
  >"$arm_root/pip.log" 2>&1 || unavailable "pip could not fetch $litert for aarch64 (see $arm_root/pip.log)"

# 4. The instruction counter. qemu exports the functions it calls when it loads the plugin.
gcc -shared -fPIC -O2 "$here/insn_count.c" -o "$arm_root/insn_count.so" -Wl,--allow-shlib-undefined

rm -rf "$apt/cache" "$apt/lists"
qemu-aarch64 -L "$arm_root" "$arm_root/usr/bin/python3" -c "import sys; assert sys.maxsize > 2**32" ||
  unavailable "the emulated Python does not start under $(qemu-aarch64 --version | head -1)"
setup_version >"$arm_root/.ready"
say "ready: $arm_root"
