#!/usr/bin/env bash
# All measurements on a GPU, most important first, each result in a file of its own: bash benchmarks/gpu.sh WORK RESULTS
# What is over the time of the machine is left out: every step ends what it began, and the others do not need it.
set -u
work=$1 results=$2 python=${PYTHON:-python}
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
step() { printf '\n=== %s s: %s\n' "$SECONDS" "$*"; "$@"; printf '=== %s s: rc %s\n' "$SECONDS" "$?"; }
gpu() { step "$python" -m benchmarks.decode_gpu --work "$work" "$@"; }
mkdir -p "$work" "$results"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
df -h "$work" | tail -1
gpu --prepare --recipe selected-q3 >"$results/prepare.log" 2>&1 &
step timeout 150 "$python" -m pytest -q -p no:cacheprovider -o filterwarnings=default -m gpu \
    tests/test_token_graphs.py tests/test_int8_kernel.py tests/test_int8_mode.py tests/test_generation.py \
    tests/test_model.py
wait; tail -3 "$results/prepare.log"
gpu --ways plain,load,int8,paper,cache --items 32 --loop-items 8 --json "$results/batch1.json"
gpu --ways plain,load,int8 --cold --items 1 --loop-items 1 --json "$results/cold.json"
gpu --ways plain,stream --items 1 --loop-items 1 --json "$results/stream.json"
step "$python" -m benchmarks.int8_kernel --rows 1,4,16,64,256 --shapes "gate and up,down" --json "$results/int8_kernel.json"
