#!/usr/bin/env bash
# Times a model on a connected phone: pushes it, runs the app's benchmark over adb, collects the JSON and shows it.
#
#   adb_bench.sh --model FILE.tflite|NAME [--dense FILE.tflite] [--threads 1,2] [--runs 100] [--output DIR] ...   (--help: all)
#
# Exit status: 0 done, 1 something failed (one line says what), 2 wrong arguments.
#
# UNTESTED ON A PHONE: tests/python/test_adb_bench.py runs this script against a stand-in for adb. What it sends to the app and
# waits for (extras, the DGMS_BENCH line) is what the app's own tests hold.
set -euo pipefail

readonly PACKAGE=org.dgms.demo
# What getExternalFilesDir returns to the app: it looks a model up by this very path.
readonly FILES=/storage/emulated/0/Android/data/$PACKAGE/files
readonly TAG=DGMS_BENCH
readonly LOOK_EVERY=10 # seconds

usage() {
  cat <<'END'
usage: adb_bench.sh --model FILE.tflite|NAME [options]

  --model M         a .tflite file of this machine, or the name of a model that the app has (shapes_w4, digits_w4, ...)
  --dense FILE      the same network without shared weights, timed under XNNPACK too; with a --model that is a file
  --threads LIST    numbers of threads, one run of the app for each, e.g. 1,2,4 (default 1)
  --runs N          timed rounds (default 50)
  --min-seconds S   the timed rounds go on for at least so long (default 0)
  --warmup N        rounds before them (default 5)
  --paths LIST      some of delegate,xnnpack,builtin,dense:xnnpack (default: the app's, all that can run)
  --affinity A      cores: all (default), big or little
  --activations A   what float layers compute with in the delegate: float32 (default) or dynamic_int8
  --profile         also read the delegate's node counters, in runs apart
  --sustained       sustained performance mode, where the phone has it
  --cool-down S     seconds of rest before the first round (default 0)
  --apk FILE        install this app first
  --serial S        which phone, as `adb devices` names it (default: $ANDROID_SERIAL, or the only one)
  --output DIR      where the JSON goes (default: results)
  --timeout S       seconds that one run of the app may take (default 600)

Keep the phone unlocked, its screen on, and nothing else running.
example: adb_bench.sh --model shapes_w4 --threads 1,2 --runs 200 --cool-down 30
END
}

fail() { echo "adb_bench.sh: $1" >&2; exit 1; }
wrong() { echo "adb_bench.sh: $1" >&2; exit 2; }

model='' dense='' threads=1 runs=50 min_seconds=0 warmup=5 paths='' affinity=all activations=float32
profile=false sustained=false cool_down=0 apk='' serial=${ANDROID_SERIAL:-} output=results timeout=600

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) usage; exit 0 ;;
      --profile) profile=true; shift; continue ;;
      --sustained) sustained=true; shift; continue ;;
      --model | --dense | --threads | --runs | --min-seconds | --warmup | --paths | --affinity | --activations | --cool-down | \
        --apk | --serial | --output | --timeout) ;;
      *) wrong "unknown argument: $1 (--help lists them)" ;;
    esac
    [ -n "${2:-}" ] || wrong "$1 needs a value"
    local name=${1#--}
    printf -v "${name//-/_}" '%s' "$2"
    shift 2
  done
}

# check NAME VALUE PATTERN RULE: everything that is sent to the phone's shell passes here, so that nothing needs quoting there.
check() { [[ $2 =~ ^($3)$ ]] || wrong "--$1 must be $4. Received: $2"; }

check_arguments() {
  [ -n "$model" ] || wrong "--model must name a .tflite file or a model of the app"
  local path='(delegate|xnnpack|builtin|dense:xnnpack)'
  check threads "$threads" '[1-9][0-9]*(,[1-9][0-9]*)*' 'numbers >= 1 with commas between them'
  check runs "$runs" '[1-9][0-9]*' 'a number >= 1'
  check min-seconds "$min_seconds" '[0-9]+(\.[0-9]+)?' 'a number >= 0'
  check warmup "$warmup" '[0-9]+' 'a number >= 0'
  [ -z "$paths" ] || check paths "$paths" "$path(,$path)*" 'some of delegate,xnnpack,builtin,dense:xnnpack'
  check affinity "$affinity" 'all|big|little' 'all, big or little'
  check activations "$activations" 'float32|dynamic_int8' 'float32 or dynamic_int8'
  check cool-down "$cool_down" '[0-9]+' 'a number of seconds >= 0'
  check timeout "$timeout" '[1-9][0-9]*' 'a number of seconds >= 1'
  if [ ! -f "$model" ]; then
    [[ $model =~ ^[A-Za-z0-9._-]+$ && $model != *.tflite ]] || wrong "--model must be a file that exists, or a name. Received: $model"
    [ -z "$dense" ] || wrong "--dense goes with a --model that is a file; the app's own models bring theirs along"
  fi
  [ -z "$dense" ] || [ -f "$dense" ] || wrong "--dense must be a file. Received: $dense"
  [ -z "$apk" ] || [ -f "$apk" ] || wrong "--apk must be a file. Received: $apk"
}

# Sets `serial` to the one phone that is meant, or says what is in the way.
find_phone() {
  command -v adb >/dev/null || fail "adb is needed (Android SDK platform tools; Debian: adb). Received: no adb on the PATH"
  local list
  list=$(adb devices) || fail "adb devices failed"
  local -A states=()
  local name state rest
  while read -r name state rest; do
    [ -z "$state" ] || states[$name]=$state
  done < <(sed -n '2,$p' <<<"$list" | grep -v '^\*' || true)
  if [ -z "$serial" ]; then
    [ ${#states[@]} -gt 0 ] || fail "no phone: connect one with USB debugging switched on, then \`adb devices\` lists it"
    [ ${#states[@]} -eq 1 ] || fail "several phones: choose one by --serial. Received: $(sorted "${!states[@]}")"
    serial=${!states[*]}
  fi
  case ${states[$serial]:-} in
    device) ;;
    '') fail "no phone has the serial number $serial. Connected: $(sorted "${!states[@]}")" ;;
    unauthorized) fail "the phone $serial does not trust this computer yet: unlock it and allow USB debugging" ;;
    *) fail "the phone $serial is not ready. Received: ${states[$serial]}" ;;
  esac
}

sorted() { printf '%s\n' "${@:-none}" | sort | paste -sd' '; }

phone() { adb -s "$serial" "$@"; }

# Standard input of `adb shell` is the script's own unless it is taken away.
on_phone() { phone shell "$*" </dev/null; }

install_app() {
  if [ -n "$apk" ]; then
    echo "installing $apk"
    phone install -r "$apk" >/dev/null || fail "the app could not be installed: $apk"
  fi
  on_phone pm path "$PACKAGE" 2>/dev/null | grep -q '^package:' || fail "the app is not on the phone: give --apk FILE"
}

# The app makes its folder for models itself when it runs first: one that the shell made may be closed to the app.
let_app_make_folder() {
  local tries
  has_folder && return
  on_phone am start -W -n "$PACKAGE/.MainActivity" >/dev/null 2>&1 || true
  for ((tries = 0; tries < 20; ++tries)); do
    has_folder && return
    sleep 0.5
  done
  fail "the app must be able to make its folder for models: open it once by hand. Not found: $FILES/models"
}

has_folder() { [ -n "$(on_phone ls -d "$FILES/models" 2>/dev/null || true)" ]; }

# Puts the model, and its dense twin, where the app looks. Sets `on_phone_model` and `name`.
push_model() {
  if [ ! -f "$model" ]; then
    name=$model on_phone_model=$model
    return
  fi
  name=$(basename -- "$model" .tflite)
  name=${name//[^A-Za-z0-9._-]/_}
  on_phone_model=$FILES/models/$name.tflite
  let_app_make_folder
  # A twin that an earlier model of this name left would be timed as this one's.
  on_phone rm -f "$FILES/models/$name.dense.tflite"
  echo "pushing $model"
  phone push "$model" "$on_phone_model" >/dev/null || fail "the model could not be pushed: $model"
  [ -z "$dense" ] || phone push "$dense" "$FILES/models/$name.dense.tflite" >/dev/null ||
    fail "the dense twin could not be pushed: $dense"
}

# run_app THREADS: one benchmark; its JSON's name is added to `collected`.
run_app() {
  local file since log_pid line extras
  file=${name}_t$1_$(date -u +%Y%m%dT%H%M%SZ).json
  extras="--es model $on_phone_model --ei threads $1 --ei runs $runs --ei warmup $warmup --ef min_seconds $min_seconds"
  extras+=" --es affinity $affinity --es activations $activations --ez profile $profile --ez sustained $sustained"
  extras+=" --ei cool_down $cool_down --es output $file --ez finish true"
  [ -z "$paths" ] || extras+=" --es paths $paths"
  since=$(on_phone date "'+%m-%d %H:%M:%S.000'" | tr -d '\r') || fail "the phone does not answer"
  # The log is read as it comes: asking for it again and again would take time from what is measured.
  exec {log}< <(exec adb -s "$serial" logcat -v tag -T "$since" "$TAG:V" AndroidRuntime:E libc:F '*:S' </dev/null 2>/dev/null)
  log_pid=$!
  # shellcheck disable=SC2064 # this run's process
  trap "kill $log_pid 2>/dev/null || true" EXIT
  echo "running $name, $1 thread(s)"
  line=$(on_phone am start -n "$PACKAGE/.RunActivity" "$extras" 2>&1) || fail "the app could not be started: $line"
  case $line in *Error* | *Exception*) fail "the app could not be started: $(tr '\r\n' '  ' <<<"$line")" ;; esac
  wait_for_end "$file"
  kill "$log_pid" 2>/dev/null || true
  exec {log}<&-
  collect "$remote" "$file"
}

# wait_for_end FILE: until the app says that it has written FILE (its path then is `remote`); anything else ends the script.
wait_for_end() {
  local deadline=$((SECONDS + timeout)) looked=$SECONDS line='' part text fatal=0
  while [ $SECONDS -lt $deadline ]; do
    if IFS= read -r -t 1 -u "$log" part; then
      line+=${part%$'\r'}
      text=${line#?/*: }
      case $line in
        ?/"$TAG"*': DONE file='*"/$1 model="*)
          echo "  model=${text#* model=}"
          [[ $text != *=failed* ]] || failed=1
          remote=${text#DONE file=}
          remote=${remote%% model=*}
          return ;;
        ?/"$TAG"*': FAILED reason='*) fail "the app says: ${text#FAILED reason=}" ;;
        ?/"$TAG"*': DONE file='*) ;; # of an earlier run, in the same second
        ?/"$TAG"*) echo "  $text" ;;
        ?/AndroidRuntime*'FATAL EXCEPTION'*) fatal=1 ;;
        ?/AndroidRuntime*"Process: $PACKAGE,"*) [ $fatal = 0 ] || fatal=2 ;;
        ?/AndroidRuntime*) [ $fatal != 2 ] || fail "the app crashed: $text" ;;
        ?/libc*'Fatal signal'*"$PACKAGE"*) fail "the app crashed: $text" ;;
      esac
      line=''
    else
      # Above 128: no line yet, though maybe a part of one. Otherwise the log has ended, which means that the phone has gone.
      [ $? -gt 128 ] || fail "the connection to the phone has ended"
      line+=$part
      # Now and then, since looking takes time on the phone: Android may have killed the app without a word in this log.
      if [ $((SECONDS - looked)) -ge $LOOK_EVERY ]; then
        [ -n "$(on_phone pidof "$PACKAGE" || true)" ] || fail "the app is gone without a result (killed by Android, maybe for memory)"
        looked=$SECONDS
      fi
    fi
  done
  on_phone am force-stop "$PACKAGE" || true
  fail "the app did not finish within $timeout seconds (--timeout) and was stopped"
}

# collect REMOTE FILE: under a name of its own first, so that a broken transfer leaves no file that looks whole.
collect() {
  phone pull "$1" "$output/.$2.part" >/dev/null || { rm -f "$output/.$2.part"; fail "the result could not be pulled: $1"; }
  mv "$output/.$2.part" "$output/$2"
  echo "  wrote $output/$2"
  collected+=("$output/$2")
}

[ "${BASH_VERSINFO[0]}" -ge 5 ] || fail "bash 5 or newer is needed. Received: $BASH_VERSION"
parse "$@"
check_arguments
find_phone
mkdir -p "$output" || fail "--output must be a folder that can be made. Received: $output"
install_app
push_model
on_phone input keyevent KEYCODE_WAKEUP || true
collected=() failed=0 log='' remote=''
for number in ${threads//,/ }; do
  run_app "$number"
done
if command -v dgms >/dev/null; then
  dgms bench --show "${collected[@]}"
else
  echo "to see them side by side: dgms bench --show ${collected[*]@Q}"
fi
[ $failed = 0 ] || fail "a path failed: see above"
