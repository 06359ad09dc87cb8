"""The contract of a mixing policy, and what a policy may ask of the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.ops.beta import draw_lam


class Probe:
    """What a policy may ask about the batch it mixes; answers are computed when first asked for.

    Args:
        x: (N, C, H, W) the un-mixed batch as the backbone sees it (normalised where `mean` is given).
        y: (N,) int64 labels.
        mean, std: (C,) or (C, 1, 1), what `x` was normalised by, in units of pixels in [0, 1].
            None: `x` holds pixels in [0, 1] already.
        model: the classifier, for policies that run it.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> None:
        self.x, self.y, self.mean, self.std, self.model = x, y, mean, std, model

    @cached_property
    def pixels(self) -> Tensor:
        """(N, C, H, W) float, the un-mixed images with pixels in [0, 1]."""
        if self.mean is None or self.std is None:
            return self.x
        return (self.x * self.std.view(-1, 1, 1) + self.mean.view(-1, 1, 1)).clamp(0, 1)


class MixPolicy(nn.Module):
    """Given the tensor at one site of the backbone, return it mixed and say how.

    Args:
        sites: where to mix, one drawn a batch: '' is the input image, any other name a module of
            the backbone whose output is mixed (`('', 'layer1', 'layer2')` is manifold mixup).
    """

    def __init__(self, sites: Sequence[str] = ('',)) -> None:
        super().__init__()
        self.sites = tuple(sites)

    def pick(self) -> tuple[MixPolicy, str]:
        """The policy and the site of this batch, drawn on the CPU generator."""
        if len(self.sites) == 1:
            return self, self.sites[0]
        return self, self.sites[int(torch.randint(len(self.sites), ()))]

    def all_sites(self) -> set[str]:
        """Every site that `pick` may return."""
        return set(self.sites)

    def forward(self, z: Tensor, probe: Probe | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Mix one batch. The only duty of a policy; `z` is left untouched.

        Args:
            z: (M, ...) floating tensor at the site, batch first.
            probe: the un-mixed batch and its model; only some policies ask it.
            pairs: (N,) int64 with N <= M, the partner of row n as an index into `z`; None: every
                row gets a partner by a random permutation.

        Returns:
            (N, ...) mixed tensor in the dtype of `z`, and the `Mix` that says how.
        """
        raise NotImplementedError

    def attach(self, model: nn.Module) -> None:
        """Learned policies: take a copy of the model. Called at construction and before the first step."""

    def own_losses(self, probe: Probe) -> dict[str, Tensor]:
        """Learned policies: the losses that train the mixer."""
        return {}

    def after_step(self, model: nn.Module) -> None:
        """Learned policies: move the momentum encoder. Called after every optimiser step."""


class PairPolicy(MixPolicy):
    """A policy that mixes each sample with one partner and a Beta-distributed share.

    Args:
        alpha: lam is drawn from Beta(alpha, alpha); > 0.
        share: 'sample' draws lam for every sample; 'batch' draws one for the whole batch, as the
            published runs did.
        lam_range: bounds that the drawn lam is conditioned to.
        fold: replace the drawn lam by max(lam, 1 - lam), so that the sample itself dominates.
        sites: see `MixPolicy`.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('',),
    ) -> None:
        super().__init__(sites)
        if alpha <= 0:
            raise InputError(f'{type(self).__name__}: alpha must be > 0, got {alpha}; use NoMix for no mixing')
        if share not in ('sample', 'batch'):
            raise InputError(f"{type(self).__name__}: share must be 'sample' or 'batch', got {share!r}")
        low, high = lam_range
        self.alpha, self.share, self.lam_range, self.fold = alpha, share, (low, high), fold

    def draw_pairs(self, z: Tensor, pairs: Tensor | None) -> Tensor:
        """(N,) int64 partners: those given, or a random permutation of the batch."""
        return torch.randperm(len(z), device=z.device) if pairs is None else pairs

    def grid(self, z: Tensor) -> tuple[int, int]:
        """Height and width of `z`, for policies that cut images or feature maps.

        Raises:
            InputError: `z` is not (M, C, H, W).
        """
        if z.dim() != 4:
            raise InputError(
                f'{type(self).__name__} needs an (N, C, H, W) tensor, got {tuple(z.shape)}; '
                f'choose sites that put out feature maps, not {self.sites}'
            )
        return z.shape[2], z.shape[3]

    def draw_lam(self, n: int, device: torch.device) -> Tensor:
        """(n,) float32 shares of the samples themselves."""
        drawn = draw_lam(1 if self.share == 'batch' else n, self.alpha, device, self.lam_range, self.fold)
        return drawn.expand(n)

    def extra_repr(self) -> str:
        return f'alpha={self.alpha}, share={self.share!r}, sites={self.sites}'
