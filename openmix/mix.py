"""`Mix` describes how a batch was mixed: policies return it; losses, metrics and figures read it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """Sources and label shares of a mixed batch: output n is made of the samples source[n, :] with shares weight[n, :].

    Pair policies have K = 2, and column 0 of `source` is n itself; a clean batch has K = 1. `source` indexes
    the batch that was given to the policy, which may be longer than the output: two pools are mixed by
    concatenating them.

    Attributes:
        source: (N, K) int64, rows of the batch that was given to the policy.
        weight: (N, K) float32 in [0, 1], label shares; rows sum to 1.
        mask: pixel shares in [0, 1]: (N, 1, H, W) for the sample itself, or (N, K, H, W) summing to 1 over K
            if K > 2; None if `weight` is also the share in every pixel.
    """

    source: Tensor
    weight: Tensor
    mask: Tensor | None = None

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
