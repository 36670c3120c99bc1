#!/bin/bash
# End to end on emulated aarch64 with the real LiteRT: files exported here (make_models.py) run there without and with our delegate, and random
# graphs are compared with stock kernels and float64 there.
# Usage: run_python.sh [--cpu NAME]... [--graphs NUMBER]      Default: three processors, 100 random graphs on each (`make test` runs more on
# the host). Exit status 77: cannot run here.
source "$(dirname "$0")/env.sh"
cpus=()
graphs=100
while [ $# -gt 0 ]; do
  case $1 in
    --cpu) cpus+=("$2"); shift 2 ;;
    --graphs) graphs=$2; shift 2 ;;
    *) echo "run_python.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
[ ${#cpus[@]} -gt 0 ] || cpus=(cortex-a53 cortex-a76 max)
PYTHONPATH=$repo "$host_python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("dgms_keras", "tensorflow"))))' ||
  unavailable "$host_python lacks TensorFlow (\`make test\` makes .venv; or set DGMS_PYTHON)"
require_setup
say "building the delegate for aarch64"
cross_build dgms_delegate
say "exporting models on the host"
models=$arm_build/models
rm -rf "$models"
mkdir -p "$models"
PYTHONPATH=$repo TF_CPP_MIN_LOG_LEVEL=3 "$host_python" "$here/make_models.py" "$models" >"$arm_build/make_models.log" 2>&1 ||
  { tail -30 "$arm_build/make_models.log" >&2; exit 1; }
passed=0 failed=0 seed=0
count() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }
for cpu in "${cpus[@]}"; do
  case $cpu in
    cortex-a53) isa=neon ;;
    max) isa=neon_i8mm ;;
    *) isa=neon_dotprod ;;
  esac
  say "exported models on $cpu"
  status=0
  PYTHONPATH=$repo/tests/support "$here/run.sh" -cpu "$cpu" "$here/check_models.py" "$models" "$arm_build/libdgms_delegate.so" "$isa" || status=$?
  count $status
  say "$graphs random graphs on $cpu"
  status=0
  "$here/run.sh" -cpu "$cpu" "$repo/tests/support/random_graphs.py" "$arm_build/libdgms_delegate.so" --count "$graphs" --seed "$seed" \
    || status=$?
  count $status
  say "$graphs random int8 graphs on $cpu"
  status=0
  "$here/run.sh" -cpu "$cpu" "$repo/tests/support/int8_graphs.py" "$arm_build/libdgms_delegate.so" --count "$graphs" --seed "$seed" \
    --isa portable neon auto || status=$?
  count $status
  seed=$((seed + graphs))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
