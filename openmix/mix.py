"""`Mix`: how a batch was mixed. What policies return and what losses, metrics and plots read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """Sources and label shares of a mixed batch: output n is made of samples source[n, :] with weight[n, :].

    The pair policies have K = 2 and column 0 of `source` equal to n itself; an unmixed batch has
    K = 1. `source` indexes the batch that was handed in, which may be longer than the output: two
    pools are mixed by concatenating them.

    Attributes:
        source: (N, K) int64, rows of the batch that was mixed.
        weight: (N, K) float32 in [0, 1], label shares; rows sum to 1.
        mask: share of every pixel in [0, 1], (N, 1, H, W) for the sample itself, or (N, K, H, W)
            summing to 1 over K when K > 2; None where `weight` holds everywhere.
    """

    source: Tensor
    weight: Tensor
    mask: Tensor | None = None

    @classmethod
    def none(cls, n: int, device: torch.device | str | None = None) -> Mix:
        """The mix of `n` samples left as they are (K = 1)."""
        return cls(torch.arange(n, device=device)[:, None], torch.ones(n, 1, device=device))

    @classmethod
    def pairs(cls, partner: Tensor, lam: Tensor, mask: Tensor | None = None) -> Mix:
        """Sample n with share lam[n], sample partner[n] with the rest.

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
        """(N,) label share of the sample itself."""
        return self.weight[:, 0]

    @property
    def partner(self) -> Tensor:
        """(N,) the other sample of each pair; the sample itself where nothing was mixed."""
        return self.source[:, min(1, self.source.shape[1] - 1)]

    def blend(self, z: Tensor, parts: Tensor | None = None) -> Tensor:
        """Mix any batch-first floating tensor.

        Args:
            z: (M, ...) with M at least the largest source index + 1; (M, C, H, W) where a mask is set.
            parts: replaces z[source] where a policy resized or moved its images: (N, ...) for pairs
                (the partner's image), (N, K, ...) otherwise.

        Returns:
            (N, ...) in the dtype of `z`, never sharing memory with it unless nothing was mixed.
        """
        n, k = self.source.shape
        if k == 1:
            return z[:n]
        if k == 2:
            share = self._share(0, z)
            if parts is not None:
                return torch.lerp(parts, z[:n], share)
            other = _take(z, self.source[:, 1])
            # In place spares a second batch of memory; a share that learns needs the partner kept.
            return torch.lerp(other, z[:n], share) if share.requires_grad else other.lerp_(z[:n], share)
        out = torch.zeros_like(z[:n])
        for i in range(k):
            out += self._share(i, z) * (z[self.source[:, i]] if parts is None else parts[:, i])
        return out

    def _share(self, i: int, z: Tensor) -> Tensor:
        """Share of source i, broadcastable against `z`."""
        if self.mask is None:
            return self.weight[:, i].to(z.dtype).view(-1, *[1] * (z.dim() - 1))
        return self.mask[:, i : i + 1].to(z.dtype)


def _take(z: Tensor, rows: Tensor) -> Tensor:
    """z[rows] as new memory in the format of `z`."""
    # index_select copies a row at a time, but forgets channels_last, and on a GPU its backward adds in any order.
    return z.index_select(0, rows) if z.is_contiguous() and not z.requires_grad else z[rows]
