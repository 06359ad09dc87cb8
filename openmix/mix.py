"""`Mix` describes how a batch was mixed: policies return it; losses, metrics and figures read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.ops.batches import check_labels, what


@dataclass(frozen=True, repr=False)
class Mix:
    """Sources and label shares of a mixed batch: output n is made of the samples source[n, :] with shares weight[n, :].

    Pair policies have K = 2, and column 0 of `source` is n itself; a clean batch has K = 1. `source` indexes
    the batch that was given to the policy, which may be longer than the output: two pools are mixed by
    concatenating them.

    Attributes:
        source: (N, K) int64, rows of the batch that was given to the policy.
        weight: (N, K) float32 in [0, 1], label shares; rows sum to 1, unless the policy says that it weighs each source
            on its own.
        mask: pixel shares in [0, 1]: (N, 1, H, W) for the sample itself, or (N, K, H, W) summing to 1 over K
            if K > 2; None if `weight` is also the share in every pixel.
        earlier: (N, C) float32 in [0, 1], the label shares of what is in the mix and no row of the batch: images of
            earlier batches. They add to those of the sources, so that both together sum to 1. None: nothing is.
    """

    source: Tensor
    weight: Tensor
    mask: Tensor | None = None
    earlier: Tensor | None = None

    @classmethod
    def none(cls, n: int, device: torch.device | str | None = None) -> Mix:
        """Make the `Mix` of `n` clean samples (K = 1)."""
        return cls(torch.arange(n, device=device)[:, None], torch.ones(n, 1, device=device))

    @classmethod
    def pairs(cls, partner: Tensor, lam: Tensor, mask: Tensor | None = None) -> Mix:
        """Make the `Mix` of pairs: sample n with share lam[n] and sample partner[n] with 1 - lam[n].

        Args:
            partner: (N,) int64.
            lam: (N,) float in [0, 1].
            mask: (N, 1, H, W) in [0, 1], the pixel share of sample n.
        """
        lam = lam.float()
        own = torch.arange(len(partner), device=partner.device)
        return cls(torch.stack([own, partner], 1), torch.stack([lam, 1 - lam], 1), mask)

    @property
    def lam(self) -> Tensor:
        """The (N,) label share of the sample itself."""
        return self.weight[:, 0]

    @property
    def partner(self) -> Tensor:
        """The (N,) row of the other sample of each pair; the sample itself in a clean batch."""
        return self.source[:, min(1, self.source.shape[1] - 1)]

    def __repr__(self) -> str:
        """Describe sizes only, because printing values would cost a GPU sync."""
        n, k = self.source.shape
        mask = '' if self.mask is None else f', mask {tuple(self.mask.shape)}'
        return f'Mix({n} samples of {k} source{"s" if k > 1 else ""}{mask}, {self.weight.device})'

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Mix:
        """Return this `Mix` on another device."""
        return self._mapped(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Mix:
        """Return this `Mix` in pinned memory, as a loader with `pin_memory=True` asks for."""
        return self._mapped(lambda x: x.pin_memory())

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Mix:
        mask = None if self.mask is None else change(self.mask)
        earlier = None if self.earlier is None else change(self.earlier)
        return Mix(change(self.source), change(self.weight), mask, earlier)

    def interpolate(
        self, criterion: Callable[[Tensor, Tensor], Tensor], logits: Tensor, y: Tensor, reduction: str = 'mean'
    ) -> Tensor:
        """Interpolate a loss: sum_k weight_k criterion(logits, y[source_k]), for any loss of single samples.

        The criterion is called K times. For cross-entropy the result is MCE, also with class weights, a focal or an
        asymmetric loss it is the share-weighted sum of their values for the K labels.

        Args:
            criterion: function of the outputs (N, ...) and the targets of one source, (N, ...), with
                `reduction='none'`: it returns (N,) or (N, ...) losses.
            logits: (N, ...) of the mixed batch.
            y: (M, ...) targets of the clean batch, of any dtype.
            reduction: 'mean' over all values, or 'none'.

        Returns:
            scalar, or the shape that the criterion returns.

        Raises:
            InputError: the criterion returns no value for each sample, the targets are not those of the batch that was
                mixed, an unknown reduction, or images of earlier batches are in the mix.
        """
        if self.earlier is not None:
            raise InputError(
                'interpolate: images of earlier batches are in the mix, and have shares of classes but no targets of '
                'their own; take soft_labels and a loss of these'
            )
        if reduction not in ('mean', 'none'):
            raise InputError(f"interpolate: reduction must be 'mean' or 'none', got {reduction!r}")
        n, k = self.source.shape
        if len(logits) != n:
            raise InputError(f'interpolate: the mix is of {n} samples, the logits are of {len(logits)}')
        found: Tensor | None = None
        for i in range(k):
            loss = criterion(logits, y[self.source[:, i]])
            if not isinstance(loss, Tensor) or loss.shape[:1] != (n,):
                raise InputError(
                    f"interpolate: the criterion must return a value for each of {n} samples (reduction='none'), got "
                    f'{what(loss)}'
                )
            share = self.weight[:, i].to(loss.dtype).view(-1, *[1] * (loss.dim() - 1))
            found = share * loss if found is None else found + share * loss
        assert found is not None
        return found.mean() if reduction == 'mean' else found

    def soft_labels(self, y: Tensor, num_classes: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Mix the targets, sum_k weight_k y[source_k].

        Args:
            y: (M,) int64 labels of the clean batch; or floating targets (M, ...), such as class probabilities,
                several labels of one image (M, C) in {0, 1}, or numbers (M,) of a regression.
            num_classes: C, needed for int64 labels and taken by no others.
            dtype: of the result for int64 labels; floating targets keep theirs.

        Returns:
            (N, C) shares of the classes, which sum to what `weight` and `earlier` do, or (N, ...) mixed targets.

        Raises:
            InputError: `num_classes` is missing, or given for floating targets, or a label is no class; or images of
                earlier batches are in the mix, whose shares are of other classes.
        """
        mixed = self._of_sources(y, num_classes, dtype)
        if self.earlier is None:
            return mixed
        if mixed.shape != self.earlier.shape:
            raise InputError(
                f'soft_labels: images of earlier batches have shares of {self.earlier.shape[1]} classes, and the '
                f'targets are {what(mixed)}'
            )
        return mixed + self.earlier.to(mixed.dtype)

    def _of_sources(self, y: Tensor, num_classes: int | None, dtype: torch.dtype) -> Tensor:
        """Mix the targets of the sources alone, see `soft_labels`."""
        if y.is_floating_point():
            if num_classes is not None and (y.dim() != 2 or y.shape[1] != num_classes):
                raise InputError(f'soft_labels: {what(y)} has no {num_classes} classes; leave num_classes out')
            weight = self.weight.to(y.dtype)
            if y.dim() == 2:
                return torch.einsum('nk,nkc->nc', weight, y[self.source])
            return (weight.view(*weight.shape, *[1] * (y.dim() - 1)) * y[self.source]).sum(1)
        if num_classes is None:
            raise InputError('soft_labels: int64 labels need num_classes')
        check_labels('soft_labels', y, num_classes)
        shares = torch.zeros(len(self.source), num_classes, dtype=dtype, device=self.weight.device)
        return shares.scatter_add_(1, y[self.source], self.weight.to(dtype))

    def blend(self, z: Tensor, parts: Tensor | None = None) -> Tensor:
        """Mix a batch-first floating-point tensor.

        Args:
            z: (M, ...) with M at least the largest source index + 1; (M, C, H, W) if there is a mask.
            parts: used instead of z[source], for images that a policy has resized or moved: (N, ...) for pairs
                (the partner's images), (N, K, ...) otherwise.

        Returns:
            (N, ...) in the dtype of `z`; it shares memory with `z` only if K = 1.
        """
        n, k = self.source.shape
        if k == 1:
            return z[:n]
        if k == 2:
            share = self._share(0, z)
            if parts is not None:
                return torch.lerp(parts, z[:n], share)
            other = _take(z, self.source[:, 1])
            # In place saves the memory of a second batch, but a share with a gradient needs the partner's values.
            return torch.lerp(other, z[:n], share) if share.requires_grad else other.lerp_(z[:n], share)
        out = torch.zeros_like(z[:n])
        for i in range(k):
            out += self._share(i, z) * (z[self.source[:, i]] if parts is None else parts[:, i])
        return out

    def _share(self, i: int, z: Tensor) -> Tensor:
        """Return the share of source i, broadcastable against `z`."""
        if self.mask is None:
            return self.weight[:, i].to(z.dtype).view(-1, *[1] * (z.dim() - 1))
        return self.mask[:, i : i + 1].to(z.dtype)


def _take(z: Tensor, rows: Tensor) -> Tensor:
    """Copy z[rows], in the memory format of `z`."""
    # index_select is faster, but loses channels_last, and its backward pass on a GPU is not deterministic.
    return z.index_select(0, rows) if z.is_contiguous() and not z.requires_grad else z[rows]
