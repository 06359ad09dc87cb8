#!/usr/bin/env bash
# What dist_train.sh and dist_test.sh share: dist_run.sh SCRIPT GPUS [script arguments], through torchrun.
set -euo pipefail
script=$(dirname "$0")/$1
gpus=$2
shift 2
nodes=${NNODES:-1}
restarts=${MAX_RESTARTS:-0}
if [ "$nodes" = 1 ]; then
    # --standalone takes a free port, so that several runs share a machine.
    rendezvous=(--standalone)
elif [ "$restarts" != 0 ]; then
    # Machines meet anew after a failure; the name tells this launch's checkpoints from an earlier one's.
    rendezvous=(--nnodes "$nodes" --rdzv-backend c10d --rdzv-id "${RUN_ID:?set RUN_ID to a new name, alike on all machines}"
        --rdzv-endpoint "${MASTER_ADDR:?set MASTER_ADDR to the first machine}:${PORT:-29500}")
else
    rendezvous=(--nnodes "$nodes" --node-rank "${NODE_RANK:?set NODE_RANK to this machine, 0 to $((nodes - 1))}"
        --master-addr "${MASTER_ADDR:?set MASTER_ADDR to the first machine}" --master-port "${PORT:-29500}")
fi
# What the processes of one start left in a store that torchrun shares with them would mislead those of the next.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec "${PYTHON:-python}" -m torch.distributed.run "${rendezvous[@]}" --nproc-per-node "$gpus" --max-restarts "$restarts" \
    "$script" "$@" --launcher pytorch
