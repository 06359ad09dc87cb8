"""Synchronised batch norm on any device; torch's own works only on GPUs."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

from openmix.errors import InputError, check_choice


def normalise(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise to zero mean and unit variance per channel over the batches of all processes.

    In two passes, because a difference of squares would lose the precision of a small variance.

    Args:
        x: (N, C, ...) in at least float32; N may differ between processes.
        eps: added to the variance.

    Returns:
        (N, C, ...) normalised values; mean (C,), biased variance (C,) and number of values per channel (1,).
    """
    dims, shape = [0, *range(2, x.dim())], (-1, *[1] * (x.dim() - 2))
    total = all_reduce(torch.cat([x.sum(dims), x.new_full((1,), x.numel() // x.shape[1])]))
    count = total[-1:].detach()
    mean = total[:-1] / count
    centred = x - mean.view(shape)
    var = all_reduce(centred.square().sum(dims)) / count
    return centred * (var + eps).rsqrt().view(shape), mean, var, count


def normalise_equally(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the mean over the processes of their means, and of their mean squares around it.

    Args:
        x: (N, C, ...) in at least float32; a process with a smaller batch counts like the others.
        eps: added to the variance.

    Returns:
        (N, C, ...) normalised values; mean (C,) and biased variance (C,).
    """
    dims, shape, world = [0, *range(2, x.dim())], (-1, *[1] * (x.dim() - 2)), get_world_size()
    mean = all_reduce(x.mean(dims)) / world
    centred = x - mean.view(shape)
    var = all_reduce(centred.square().mean(dims)) / world
    return centred * (var + eps).rsqrt().view(shape), mean, var


class NaiveSyncBatchNorm(_BatchNorm):
    """Batch norm with the statistics of all processes' batches in training, on any device.

    It equals batch norm of the concatenated batches, also if their sizes differ; with one
    process it is plain batch norm. Statistics are computed in at least float32.

    All processes must call it equally often, or they wait for each other forever.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f'expected (N, C, ...), got {tuple(input.shape)}')

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...) per channel; shape and dtype stay."""
        if not self.training or get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        x, mean, var = self._normalised(x)
        if self.track_running_stats:
            self._track(mean.detach(), var.detach())
        shape = (-1, *[1] * (x.dim() - 2))
        if self.weight is not None:
            x = x * self.weight.view(shape)
        if self.bias is not None:
            x = x + self.bias.view(shape)
        return x.to(input.dtype)

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the normalised values, and the mean and variance that the running ones move to."""
        x, mean, var, count = normalise(x, self.eps)
        return x, mean, var.detach() * count / (count - 1)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            assert running is not None
            # With momentum None the running value is the mean over all batches.
            share = 1 / self.num_batches_tracked.to(running.dtype) if self.momentum is None else self.momentum
            running.lerp_(new.to(running.dtype), share)


class EqualSyncBatchNorm(NaiveSyncBatchNorm):
    """A `NaiveSyncBatchNorm` in which processes weigh equally, whatever their batches, with a biased running variance.

    detectron2's is so, and the published numbers of detection transfer are measured with it. With one process it is
    plain batch norm.
    """

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return normalise_equally(x, self.eps)


class _Activated(_BatchNorm):
    """Dropout and activation behind a batch norm, to replace timm's `BatchNormAct2d`."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


class NaiveSyncBatchNormAct(_Activated, NaiveSyncBatchNorm):
    """A `NaiveSyncBatchNorm` with dropout and activation."""


class EqualSyncBatchNormAct(_Activated, EqualSyncBatchNorm):
    """An `EqualSyncBatchNorm` with dropout and activation."""


def convert_sync_batch_norm(model: nn.Module, kind: str = 'naive') -> None:
    """Convert every batch norm of a model to a synchronised one, in place.

    The modules stay the same objects, so hooks, parameters and state_dict keys do not change.

    Args:
        model: its `nn.BatchNorm1d`, `2d`, `3d` and timm's `BatchNormAct2d` are converted.
        kind: 'torch' uses torch's own, on GPUs only; 'naive' works on any device; 'equal' too, and weighs processes
            equally.

    Raises:
        InputError: an unknown kind, torch's without a GPU, or a batch norm with its own forward pass.
    """
    check_choice('sync_bn', kind, ('torch', 'naive', 'equal'))
    if kind == 'torch' and not torch.cuda.is_available():
        raise InputError("sync_bn='torch' needs a GPU; use sync_bn='naive'")
    # Imported here, because timm takes a second to import.
    from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct

    plain, activated = {
        'torch': (nn.SyncBatchNorm, SyncBatchNormAct),
        'naive': (NaiveSyncBatchNorm, NaiveSyncBatchNormAct),
        'equal': (EqualSyncBatchNorm, EqualSyncBatchNormAct),
    }[kind]
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, (nn.SyncBatchNorm, NaiveSyncBatchNorm)):
            continue
        if type(module).forward is BatchNormAct2d.forward:
            module.__class__ = activated
        elif type(module).forward is _BatchNorm.forward and not isinstance(module, _LazyNormBase):
            module.__class__ = plain
        else:
            raise InputError(f"sync_bn: '{name}' is a {type(module).__name__}, which has a forward pass of its own")
        if kind == 'torch':
            module.process_group = None  # type: ignore[assignment]
