#!/bin/bash
# `make test-android`: everything about the Android demo that a desktop can check. Exit status 77: it cannot run here; one line says why.
# Each step is a script or a Maven call that can be run alone; README.md of android_demo says what each one proves.
#   check.sh             all steps
#   check.sh STEP...     only these, in this order: models fetch native resources java compare aarch64 compile scripts apk
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(models fetch native resources java compare aarch64 compile scripts apk)

java_version() { javac -version 2>&1 | sed -nE 's/^javac ([0-9]+).*/\1/p'; }
command -v mvn >/dev/null || unavailable "Maven is needed (Debian: maven). Received: no mvn on the PATH"
command -v javac >/dev/null || unavailable "a JDK is needed, version 17 or newer (Debian: openjdk-17-jdk-headless). Received: no javac on the PATH"
[ "$(java_version)" -ge 17 ] || unavailable "a JDK is needed, version 17 or newer. Received: $(javac -version 2>&1)"

maven() { mvn -q -B -f "$host/$1" "${@:2}"; }

step_models() { "$python" -m dgms_keras.recipes.android_models --output "$out/assets/models" && ln -sfn assets/models "$out/models"; }
step_fetch() {
  [ -e "$out/fetched/.done" ] && ! [ "$host/fetch.xml" -nt "$out/fetched/.done" ] && return
  maven fetch.xml initialize >"$out/fetch.log" 2>&1 || { tail -5 "$out/fetch.log" >&2; unavailable "Maven could not fetch what fetch.xml lists (see $out/fetch.log)"; }
  touch "$out/fetched/.done"
}
step_native() { "$host/native.sh"; }
step_resources() { "$host/resources.sh"; }
# Compiles, looks up every call in the signature of API 24, runs all JUnit and Robolectric tests; screenshots: $out/screenshots.
step_java() {
  rm -rf "$out/screenshots" "$out/maven/surefire-reports"
  # TFLite's own lines of each interpreter go to the log.
  maven pom.xml verify >"$out/java.log" 2>&1 || { grep -vE "tflite:|^VERBOSE|^INFO" "$out/java.log" | tail -60 >&2; echo "all of it: $out/java.log" >&2; return 1; }
  "$python" "$host/test_summary.py" "$out/maven/surefire-reports"
}
# The app's own runner on the Android TFLite: delegate, XNNPACK and builtin side by side; every JSON against the one schema.
step_compare() {
  rm -rf "$out/results" "$out/dump"
  mkdir -p "$out/results"
  "$host/run.sh" --models "$out/models" --json "$out/results" --dump "$out/dump"
  "$python" -m dgms_keras bench --show "$out"/results/*.json
}
step_aarch64() { "$host/aarch64/run.sh"; }
step_compile() { "$host/ndk_compile.sh" && { "$host/arm32.sh" || [ $? = 77 ]; }; }
step_scripts() { "$host/test_scripts.sh"; }
step_apk() { "$host/apk.sh"; }

for step in "${steps[@]}"; do
  declare -F "step_$step" >/dev/null || { echo "check.sh: a step must be one of models, fetch, native, resources, java, compare, aarch64, compile, scripts, apk. Received: $step" >&2; exit 2; }
done
# What the other steps build on; without one of them the rest cannot run either.
needed=" models fetch native resources java "
start=$SECONDS passed=() skipped=()
for step in "${steps[@]}"; do
  echo "== Android: $step"
  # Not `step || ...`: there bash would go on after a command that fails in the middle of a step.
  set +e
  (set -e; "step_$step")
  status=$?
  set -e
  case $status in
    0) passed+=("$step") ;;
    77) # this machine lacks something; the step has said what
      [[ $needed == *" $step "* ]] && exit 77
      skipped+=("$step") ;;
    *) echo "== Android: $step failed" >&2; exit "$status" ;;
  esac
done
echo "== Android: passed in $((SECONDS - start)) s: ${passed[*]}${skipped[*]:+; skipped, see above: ${skipped[*]}}"
