#!/bin/bash
# Fails unless a libdgms_delegate.so shows exactly what it should: check_symbols.sh LIBRARY [with-java]
#   the plugin's two entry points; with-java: and the native functions that DgmsDelegate.java declares, no more and no less.
# Reads ELF files of any processor. $READELF: the program to use (default: readelf).
set -euo pipefail
library=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
java=$here/../delegate/src/main/java/org/dgms/tflite/DgmsDelegate.java
shown=$("${READELF:-readelf}" --dyn-syms -W "$library" |
  awk '$5 ~ /GLOBAL|WEAK/ && $7 ~ /^[0-9]+$/ { sub(/@.*/, "", $8); print $8 }' | sort)
wanted=$(
  {
    printf 'tflite_plugin_%s_delegate\n' create destroy
    if [ "${2:-}" = with-java ]; then sed -nE 's/.* native .* (native[A-Za-z]+)\(.*/Java_org_dgms_tflite_DgmsDelegate_\1/p' "$java"; fi
  } | sort
)
if [ "$shown" != "$wanted" ]; then
  echo "$library must show exactly its entry points. Wanted (<), received (>):" >&2
  diff <(echo "$wanted") <(echo "$shown") >&2 || true
  exit 1
fi
