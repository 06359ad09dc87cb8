#!/usr/bin/env bash
# What dist_train.sh and dist_test.sh share: dist_run.sh SCRIPT GPUS [script arguments], through torchrun.
set -euo pipefail
script=$(dirname "$0")/$1
gpus=$2
shift 2
nodes=${NNODES:-1}
if [ "$nodes" = 1 ]; then
    # --standalone takes a free port, so that several runs share a machine.
    rendezvous=(--standalone)
else
    rendezvous=(--nnodes "$nodes" --node-rank "${NODE_RANK:?set NODE_RANK to this machine, 0 to $((nodes - 1))}"
        --master-addr "${MASTER_ADDR:?set MASTER_ADDR to the first machine}" --master-port "${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${rendezvous[@]}" --nproc-per-node "$gpus" \
    "$script" "$@" --launcher pytorch
