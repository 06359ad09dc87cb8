"""The precision that a training step is faster in on this machine, measured on the run's own network."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from openmix.algorithm import algorithm_of
from openmix.engine.amp import AutocastOptimWrapper
from openmix.engine.foretold import served

_SECONDS = 1.0  # of the measurement, without the first step of each precision
_ONE_STEP = 0.2  # seconds of a step that are aimed at on a CPU, by fewer images
_LEAST = 8  # images
_ROUNDS = 2


class Speed(NamedTuple):
    """Seconds of a training step in each precision; the smallest over some rounds."""

    float32: float
    bfloat16: float
    images: int

    @property
    def faster(self) -> str:
        """The name of the faster precision; float32 where they are equal."""
        return 'bfloat16' if self.bfloat16 < self.float32 else 'float32'


def settle_precision(runner: Any) -> None:
    """Choose the precision of a run with `dtype='auto'` unless its checkpoint has it; ranks take rank 0's choice."""
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, AutocastOptimWrapper) or wrapper.precision != 'auto':
        return
    found: list[Any] = [_speed_of(runner) if is_main_process() else None]
    broadcast_object_list(found)
    speed: Speed | None = found[0]
    wrapper.settle('bfloat16' if speed is None else speed.faster)
    if speed is None:
        runner.logger.info('Precision: bfloat16; it cannot be measured which is faster for this model and data')
    else:
        runner.logger.info(
            f'Precision: {speed.faster}; a step of the network with {speed.images} images takes '
            f'{speed.bfloat16:.4f} s in bfloat16 and {speed.float32:.4f} s in float32'
        )


def precision_of(optim_wrapper: Any) -> str:
    """Return the name of the precision in which a run's forward passes are computed."""
    return optim_wrapper.precision if isinstance(optim_wrapper, AutocastOptimWrapper) else 'float32'


def _speed_of(runner: Any) -> Speed | None:
    shape = served(runner.cfg, 'train')
    networks = algorithm_of(runner.model).networks()
    if shape is None or not networks:
        return None
    network = copy.deepcopy(next(iter(networks.values()))).requires_grad_(True).train()
    if runner.world_size > 1:
        # This rank measures alone, and synchronised batch norm would wait for the others.
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    size = runner.train_dataloader.batch_size or _LEAST
    return measure(network, (size, 3, *shape[-2:]))


def measure(network: nn.Module, shape: tuple[int, ...], clock: Callable[[], float] = time.perf_counter) -> Speed:
    """Time forward and backward passes of a network in float32 and under bfloat16 autocast, in turn.

    The weights get gradients. The default generators are left as they were.

    Args:
        network: maps images to logits; its device is that of its weights.
        shape: (N, 3, H, W) of the batch; on a CPU as many of its images as take a fifth of a second are used.
        clock: seconds.
    """
    device = next(network.parameters()).device
    images = shape[0]
    gpus = [device] if device.type == 'cuda' else []
    with torch.random.fork_rng(devices=gpus):

        def step(dtype: torch.dtype, n: int) -> float:
            x = torch.linspace(-2, 2, n * shape[1] * shape[2] * shape[3], device=device).view(n, *shape[1:])
            x = x.contiguous(memory_format=torch.channels_last) if _is_channels_last(network) else x
            network.zero_grad(set_to_none=True)
            _wait(device)
            started = clock()
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16, cache_enabled=False):
                logits = network(x)
            logits.float().logsumexp(-1).mean().backward()
            _wait(device)
            return clock() - started

        both = (torch.float32, torch.bfloat16)
        if device.type == 'cpu':
            few = min(images, _LEAST)
            for dtype in both:
                step(dtype, few)  # the first one of all allocates
            first = max(step(dtype, few) for dtype in both)
            images = max(few, min(images, int(few * _ONE_STEP / max(first, 1e-9))))
        for dtype in both:
            step(dtype, images)  # chooses kernels and allocates
        taken: dict[torch.dtype, list[float]] = {dtype: [] for dtype in both}
        while len(taken[torch.float32]) < _ROUNDS or sum(map(sum, taken.values())) < _SECONDS:
            for dtype in both:
                taken[dtype].append(step(dtype, images))
    network.zero_grad(set_to_none=True)
    return Speed(min(taken[torch.float32]), min(taken[torch.bfloat16]), images)


def _is_channels_last(network: nn.Module) -> bool:
    weights = (p for p in network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1)
    first: Tensor | None = next(weights, None)
    return first is not None and first.is_contiguous(memory_format=torch.channels_last)


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
