#!/usr/bin/env bash
# Train a recipe on several GPUs, or without a GPU on as many CPU processes (gloo).
#   tools/dist_train.sh CONFIG GPUS [train.py options]
# More machines: set NNODES, NODE_RANK and MASTER_ADDR (and PORT, the same on all) on each.
set -euo pipefail
config=${1:?usage: dist_train.sh CONFIG GPUS [options]}
gpus=${2:?usage: dist_train.sh CONFIG GPUS [options]}
shift 2
exec "$(dirname "$0")/dist_run.sh" train.py "$gpus" "$config" "$@"
