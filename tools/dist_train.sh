#!/usr/bin/env bash
# Train a recipe on several GPUs, or without a GPU on as many CPU processes (gloo).
#   tools/dist_train.sh CONFIG GPUS [train.py options]
# After a failure: with MAX_RESTARTS=3 it starts again up to three times and goes on from its newest checkpoint.
# More machines: set NNODES, NODE_RANK and MASTER_ADDR (and PORT, the same on all) on each;
# with MAX_RESTARTS also RUN_ID, a new name for every launch, and leave NODE_RANK out.
set -euo pipefail
config=${1:?usage: dist_train.sh CONFIG GPUS [options]}
gpus=${2:?usage: dist_train.sh CONFIG GPUS [options]}
shift 2
exec "$(dirname "$0")/dist_run.sh" train.py "$gpus" "$config" "$@"
