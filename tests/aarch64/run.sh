#!/bin/bash
# Runs a Python script on emulated aarch64 with the real LiteRT: run.sh [-cpu NAME] [-count] [-blocks COUNT] SCRIPT [ARG...]
# -cpu: cortex-a53 (ARMv8.0: no dotprod), cortex-a76 (dotprod; the default), max (i8mm, SVE).  -count: prints the executed instructions at marks
# and at exit.  -blocks: the same, and the COUNT pieces of code that most of them were executed in (see insn_count.c).
source "$(dirname "$0")/env.sh"
cpu=cortex-a76
plugin=()
while [[ ${1:-} == -* ]]; do
  case $1 in
    -cpu) cpu=$2; shift 2 ;;
    -count) plugin=(-plugin "$arm_root/insn_count.so"); shift ;;
    -blocks) plugin=(-plugin "$arm_root/insn_count.so,blocks=$2"); shift 2 ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
require_setup
PYTHONPATH="$arm_root/site${PYTHONPATH:+:$PYTHONPATH}" exec qemu-aarch64 -cpu "$cpu" "${plugin[@]}" -L "$arm_root" "$arm_root/usr/bin/python3" "$@"
