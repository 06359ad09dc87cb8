"""Distributed data parallel (DDP) training: wrap the model, its options, and synchronised batch norm."""

from __future__ import annotations

import os

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from openmix.algorithm import algorithm_of
from openmix.engine.sync_batch_norm import convert_sync_batch_norm


def data_parallel(model: nn.Module, cfg: Config) -> nn.Module:
    """Wrap a model, which is already on its device, in DDP.

    Args:
        model: an algorithm; its `leaves_parameters_unused` is the default of `find_unused_parameters`.
        cfg: recipe; `sync_bn` ('torch' or 'naive'), `find_unused_parameters` and `model_wrapper_cfg` are read, and
            the options in the last one take precedence.

    Raises:
        InputError: `sync_bn` does not fit, see `convert_sync_batch_norm`.
    """
    if is_model_wrapper(model):
        return model
    if cfg.get('sync_bn') is not None:
        convert_sync_batch_norm(model, cfg.sync_bn)
    unused = algorithm_of(model).leaves_parameters_unused
    options = dict(
        type='MMDistributedDataParallel',
        device_ids=[int(os.environ['LOCAL_RANK'])] if torch.cuda.is_available() else None,
        # Only rank 0's buffers are saved, so without the broadcast a resumed run would differ.
        broadcast_buffers=True,
        find_unused_parameters=cfg.get('find_unused_parameters', unused),
    )
    return MODEL_WRAPPERS.build({**options, **(cfg.get('model_wrapper_cfg') or {}), 'module': model})
