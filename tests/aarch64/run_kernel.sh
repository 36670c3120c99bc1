#!/bin/bash
# Calls one kernel on emulated aarch64: run_kernel.sh [-cpu NAME] [-blocks COUNT] CALLS KIND NUMBER... (see delegate/bench/kernel_calls_bench.cc)
# The counted instructions go to the standard error: see insn_count.c.
source "$(dirname "$0")/env.sh"
cpu=cortex-a76
plugin=$arm_root/insn_count.so
while [[ ${1:-} == -* ]]; do
  case $1 in
    -cpu) cpu=$2; shift 2 ;;
    -blocks) plugin+=",blocks=$2"; shift 2 ;;
    *) echo "run_kernel.sh: unknown option $1" >&2; exit 2 ;;
  esac
done
require_setup
cross_build kernel_calls_bench
exec qemu-aarch64 -cpu "$cpu" -plugin "$plugin" -L /usr/aarch64-linux-gnu "$arm_build/kernel_calls_bench" auto "$@"
