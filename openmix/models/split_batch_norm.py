"""Batch norm over parts of a batch, which on one device stands for the batches of several."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from openmix.errors import InputError, check_number


class SplitBatchNorm(nn.BatchNorm2d):
    """Batch norm of (N, C, H, W) or (N, C) whose statistics in training are those of `splits` parts of the batch.

    The rows n with the same n mod `splits` are one part, as in MoCo's notebook for one GPU (He et al., CVPR 2020). The
    running statistics move by the means over the parts, of which the variances are unbiased.

    Args:
        splits: number of parts, at least 1.
        args, kwargs: those of `torch.nn.BatchNorm2d`.

    Raises:
        InputError: the number is below 1; when called in training: a part would have another size, or one image.
    """

    def __init__(self, *args: int, splits: int = 1, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        check_number('SplitBatchNorm: splits', splits, 1)
        if self.momentum is None:
            raise InputError('SplitBatchNorm needs a momentum; a cumulative average of parts is not computed')
        self.splits = splits

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f'expected 2D or 4D input (got {input.dim()}D input)')

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.splits == 1:
            return super().forward(x)
        self._check_input_dim(x)
        check_parts(len(x), self.splits)
        n, c, s = len(x), x.shape[1], self.splits
        parts = x.reshape(n // s, s * c, *x.shape[2:])
        mean = var = None
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            mean, var = self.running_mean.repeat(s), self.running_var.repeat(s)
        weight, bias = (None if one is None else one.repeat(s) for one in (self.weight, self.bias))
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        out = F.batch_norm(parts, mean, var, weight, bias, True, self.momentum or 0.0, self.eps)
        if mean is not None and var is not None:
            self.running_mean.copy_(mean.view(s, c).mean(0))  # type: ignore[union-attr]
            self.running_var.copy_(var.view(s, c).mean(0))  # type: ignore[union-attr]
        return out.reshape(x.shape)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, splits={self.splits}'


def check_parts(n: int, splits: int) -> None:
    """Check that a batch of n images has `splits` equal parts of at least two images.

    Raises:
        InputError: it has not.
    """
    if n < 2:
        raise InputError(
            'batch norm over 1 image of a process gives it statistics of its own; set a larger '
            'train_dataloader.batch_size, and drop_last=True'
        )
    if n % splits or n // splits < 2:
        raise InputError(
            f'a batch of {n} images of a process has no {splits} equal parts of at least 2 for batch norm; set '
            'model.bn_splits or train_dataloader.batch_size, and drop_last=True'
        )


def split_batch_norm(module: nn.Module, splits: int) -> nn.Module:
    """Replace the batch norms inside a module by `SplitBatchNorm` with their parameters and buffers; return the module.

    Raises:
        InputError: a batch norm is of another kind than PyTorch's for features or images, so it cannot be replaced.
    """
    if isinstance(module, _BatchNorm):
        if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d):
            raise InputError(f'bn_splits: {type(module).__name__} cannot be split; set bn_splits=1')
        given = dict(eps=module.eps, momentum=module.momentum, affine=module.affine)
        found = SplitBatchNorm(
            module.num_features, splits=splits, track_running_stats=module.track_running_stats, **given
        )
        for one in (module.weight, module.running_mean):
            if one is not None:
                found = found.to(one.device, one.dtype)
        found.load_state_dict(module.state_dict())
        return found.train(module.training)
    for name, child in module.named_children():
        replaced = split_batch_norm(child, splits)
        if replaced is not child:
            setattr(module, name, replaced)
    return module
