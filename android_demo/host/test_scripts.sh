#!/bin/bash
# Every script of the demo through shellcheck, and what can be tried of build_native.sh without an NDK. (adb_bench.sh has its tests in tests/python.)
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
need shellcheck shellcheck
mapfile -t scripts < <(find "$demo" -name '*.sh')
shellcheck -x -P SCRIPTDIR "${scripts[@]}"

status=0
message=$(env -u ANDROID_NDK_HOME -u ANDROID_NDK_ROOT -u ANDROID_HOME -u ANDROID_SDK_ROOT HOME=/nonexistent "$demo/scripts/build_native.sh" 2>&1) || status=$?
if [ "$status" != 77 ] || [[ $message != *NDK* ]]; then
  echo "build_native.sh without an NDK must say so and end with 77. Received: $status, $message" >&2
  exit 1
fi
status=0
"$demo/scripts/build_native.sh" --no-such-option >/dev/null 2>&1 || status=$?
[ "$status" = 2 ] || { echo "build_native.sh must refuse an unknown option with 2. Received: $status" >&2; exit 1; }
say "${#scripts[@]} scripts"
