#!/usr/bin/env bash
# Evaluate a checkpoint on several GPUs, or without a GPU on as many CPU processes (gloo).
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [test.py options]
set -euo pipefail
usage='usage: dist_test.sh CONFIG CHECKPOINT GPUS [options]'
config=${1:?$usage}
checkpoint=${2:?$usage}
gpus=${3:?$usage}
shift 3
exec "$(dirname "$0")/dist_run.sh" test.py "$gpus" "$config" "$checkpoint" "$@"
