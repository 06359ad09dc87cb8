"""Distributed data parallel (DDP) training: wrap the model, its options, and synchronised batch norm."""

from __future__ import annotations

import os

import torch
from mmengine.config import Config
from mmengine.dist import broadcast
from mmengine.model import is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openmix.algorithm import algorithm_of
from openmix.engine.sync_batch_norm import convert_sync_batch_norm
from openmix.memory import equal_buffers


def data_parallel(model: nn.Module, cfg: Config) -> nn.Module:
    """Wrap a model, which is already on its device, in DDP; rank 0's buffers are broadcast, see `equal_buffers`.

    Args:
        model: an algorithm; its `leaves_parameters_unused` is the default of `find_unused_parameters`.
        cfg: recipe; `sync_bn` ('torch', 'naive' or 'equal'), `find_unused_parameters` and `model_wrapper_cfg` are read,
            and the options in the last one take precedence.

    Raises:
        InputError: `sync_bn` does not fit, see `convert_sync_batch_norm`.
    """
    if is_model_wrapper(model):
        return model
    if cfg.get('sync_bn') is not None:
        convert_sync_batch_norm(model, cfg.sync_bn)
    equal = equal_buffers(model)
    for buffer in equal.values():
        # They may begin with random numbers of this process.
        broadcast(buffer)
    # Otherwise every forward would broadcast them: of a memory of all training images hundreds of megabytes.
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, list(equal))
    unused = algorithm_of(model).leaves_parameters_unused
    options = dict(
        type='MMDistributedDataParallel',
        device_ids=[int(os.environ['LOCAL_RANK'])] if torch.cuda.is_available() else None,
        # Buffers such as batch-norm statistics differ, and only rank 0's are saved: without the broadcast a resumed
        # run would differ.
        broadcast_buffers=True,
        find_unused_parameters=cfg.get('find_unused_parameters', unused),
    )
    return MODEL_WRAPPERS.build({**options, **(cfg.get('model_wrapper_cfg') or {}), 'module': model})
