"""The base classes of mixing policies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openmix.errors import InputError, check_choice, check_number, check_range
from openmix.mix import Mix
from openmix.mixups.context import MixContext
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import Network
from openmix.ops.batches import check_floating, check_places, what
from openmix.ops.beta import draw_lam
from openmix.ops.pairs import other_partners


class MixPolicy(nn.Module):
    """Mix the tensor at one site of the backbone and describe the mixing as a `Mix`.

    A policy mixes whenever it is called, in evaluation mode too: `policy.eval()` changes nothing. To
    evaluate a model, do not call the policy.

    Args:
        sites: where to mix, one site drawn per batch: '' is the input image, any other name is a module of
            the backbone whose output is mixed (`('', 'layer1', 'layer2')` is manifold mixup).

    Attributes:
        published: options of the published runs that differ from the defaults, see a table's `variant`.
        clean_weight: weight of the loss on the clean images, which is added to the loss on the mixed ones; 0: none.
        mixes: false if every image stays what it is.
        remembers: true if it mixes with images of earlier batches, which it keeps as it mixed them, see `Mix.earlier`.
        adds_losses: true if `mixed_losses` computes losses, without which it is another method.
        targets: names of the targets that a learned policy trains its mixer with, see `MixContext`; empty: none.
        feature_site: where a learned policy reads features of the clean images, once it is attached; None: nowhere.
    """

    published: ClassVar[dict[str, Any]] = {}
    mixes: ClassVar[bool] = True
    remembers: ClassVar[bool] = False
    adds_losses: ClassVar[bool] = False
    clean_weight: float = 0.0
    targets: frozenset[str] = frozenset()
    feature_site: FeatureSite | None = None

    def __init__(self, sites: Sequence[str] = ('',)) -> None:
        super().__init__()
        if isinstance(sites, str) or not sites or not all(isinstance(site, str) for site in sites):
            raise InputError(
                f"{type(self).__name__}: sites must be a list of names such as ('', 'layer1'), got {sites!r}"
            )
        self.sites = tuple(sites)

    def pick(self) -> tuple[MixPolicy, str]:
        """Draw the policy and the site for this batch from the CPU generator."""
        if len(self.sites) == 1:
            return self, self.sites[0]
        return self, self.sites[int(torch.randint(len(self.sites), ()))]

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        """Yield one context for every site that `pick` may return; inside it, `pick` returns this site."""
        for site in self.sites:
            yield self._at(site)

    @contextmanager
    def _at(self, site: str) -> Iterator[None]:
        sites, self.sites = self.sites, (site,)
        try:
            yield
        finally:
            self.sites = sites

    def all_sites(self) -> set[str]:
        """Return every site that `pick` may return."""
        return set(self.sites)

    def attention_sites(self) -> set[str]:
        """Return the attention modules whose maps of the mixed images `settled` reads; known after `attach`."""
        return set()

    def output_sites(self) -> set[str]:
        """Return the modules whose output for the mixed images `mixed_losses` reads; known after `attach`."""
        return set()

    @property
    def own_pairs(self) -> bool:
        """True if partners are chosen by what the batch holds, so that pairs drawn by others would not do."""
        return False

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if a step may leave trainable parameters without a gradient: DDP then needs `find_unused_parameters`."""
        return False

    def __call__(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Check the arguments, then mix; see `forward`.

        Raises:
            InputError: `z` is not a floating-point batch, `context` is not a `MixContext`, or `pairs` are not
                row indices into the batch.
        """
        name = type(self).__name__
        check_floating(f'{name}: the batch', z)
        if not isinstance(context, MixContext | None):
            raise InputError(
                f'{name}: the second argument is a MixContext, got {what(context)}; call mixed, mix = policy(images), '
                'then loss(logits, labels, mix); a policy that asks for labels takes MixContext(images, labels)'
            )
        if pairs is not None:
            check_places(f'{name}: pairs', pairs, z)
        return super().__call__(z, context, pairs)

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Mix one batch; the only method that every policy must implement. `z` is not modified.

        Args:
            z: (M, ...) floating-point tensor at the site, batch first.
            context: the clean batch, its labels and its network; only some policies need it.
            pairs: (N,) int64 with N <= M, the partner of row n as an index into `z`; None: the partners
                are a random permutation of the batch.

        Returns:
            (N, ...) mixed tensor in the dtype of `z`, and the `Mix` that describes the mixing.
        """
        raise NotImplementedError

    def settled(self, mix: Mix, context: MixContext, seen: MixContext) -> Mix:
        """Return `mix` with label shares that depend on how the network sees the mixed images; by default `mix` itself.

        Training calls it after the forward pass of the mixed images, before the loss. A policy whose shares depend on
        that calls it itself at the end of `forward`, unless `context.settles_later`; that costs a pass of its own.

        Args:
            mix: as `forward` returned it.
            context: the clean batch.
            seen: the mixed images (at another site its features): attention at `attention_sites`, logits; no gradient.
        """
        return mix

    def mixed_losses(self, mix: Mix, context: MixContext, seen: MixContext) -> dict[str, Tensor]:
        """Compute losses of the policy on the pass of the mixed images, beside the classifier's; by default none.

        Training adds them to its loss. They train the classifier too, unlike `own_losses`.

        Args:
            mix: as `settled` returned it.
            context: the clean batch.
            seen: the mixed images, with `outputs` of the backbone and of the `output_sites`.
        """
        return {}

    def within(self, low: float, high: float) -> MixPolicy:
        """Return a copy of this policy in which the sample's share is in [low, high], of its label and in every pixel.

        Raises:
            InputError: the policy cannot keep the share in a range, as by default, or only outside of this one.
        """
        raise InputError(
            f'{type(self).__name__} cannot keep the share of an image in a range, since its masks are cut to whole '
            'pixels, clipped or learned; take a policy that interpolates whole images'
        )

    def with_choices(self, change: Callable[[MixPolicy], MixPolicy]) -> MixPolicy:
        """Return a policy in which each policy that `pick` may return is changed by a function."""
        return change(self)

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        """Build modules that depend on the trained network, for learned policies. Called when it is constructed.

        Args:
            online: the trained network.
            encoder: the algorithm's own momentum encoder, which the policy uses and neither updates nor saves; None:
                a policy that needs one builds its own.
        """

    def read_counts(self, counts: Tensor) -> None:
        """Tell the policy the training images of every class, for policies that rebalance them.

        Called once, before `start`; not in a resumed run. By default does nothing.

        Args:
            counts: (C,) int64, on the CPU.
        """

    def start(self, online: Network) -> None:
        """Copy the weights of the trained network, for learned policies. Called before the first step."""

    def before_epoch(self, epoch: int) -> None:
        """Tell the policy the epoch, from 0, for policies that change with it. Called before its first step."""

    def before_step(self, step: int, steps: int) -> None:
        """Update schedules, for learned policies. Called before iteration `step` of `steps`."""

    def own_losses(self, context: MixContext, pairs: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the losses that train only the mixer, for learned policies; empty by default.

        Args:
            context: the clean batch.
            pairs: (N,) int64 partners, see `forward`; None: the policy draws them.
        """
        return {}

    def clean_head(self, head: nn.Module) -> nn.Module:
        """Return the head for the clean images, if they are trained on; by default the head for mixed images."""
        return head

    def after_step(self, online: Network) -> None:
        """Update the momentum encoder, for learned policies. Called after every optimiser step."""

    def networks(self, online: Network) -> dict[str, Network]:
        """Return the networks that are evaluated, by name; the accuracy of '' is the result of the run.

        For learned policies '' is the momentum encoder and 'online' is the trained network.
        """
        return {'': online}

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return the intermediate maps behind the masks of `mix`, by name, each (N, 1, h, w), for figures."""
        return {}

    def draw_pairs(self, z: Tensor, pairs: Tensor | None) -> Tensor:
        """Return `pairs`, or a random permutation of the batch if None: (N,) int64 partners."""
        return torch.randperm(len(z), device=z.device) if pairs is None else pairs

    def asked(self, context: MixContext | None, z: Tensor) -> MixContext:
        """Check and return the context, for policies that need the clean images.

        Args:
            context: the context that was given to the policy.
            z: (M, C, H, W) the batch to mix; must be the context's images.

        Raises:
            InputError: there is no context, or its images have another shape.
        """
        name = type(self).__name__
        if context is None:
            raise InputError(
                f'{name} needs a context of the batch; pass MixContext(x, y, mean=..., std=..., network=...)'
            )
        if context.x.shape != z.shape:
            raise InputError(f'{name}: the context holds {tuple(context.x.shape)}, not the mixed {tuple(z.shape)}')
        return context

    def height_and_width(self, z: Tensor) -> tuple[int, int]:
        """Return height and width of `z`, for policies that cut images or feature maps.

        Raises:
            InputError: `z` is not (M, C, H, W).
        """
        if z.dim() != 4:
            raise InputError(
                f'{type(self).__name__} needs an (N, C, H, W) tensor, got {tuple(z.shape)}; '
                f'choose sites that put out feature maps, not {self.sites}'
            )
        return z.shape[2], z.shape[3]


class PairPolicy(MixPolicy):
    """Mix each sample with one partner, in a ratio drawn from a Beta distribution.

    Args:
        alpha: lam is drawn from Beta(alpha, alpha); > 0.
        share: 'sample' draws a lam for every sample; 'batch' draws one for the whole batch, as the
            published runs did.
        lam_range: lowest and highest lam; the distribution is restricted to this range.
        fold: replace the drawn lam by max(lam, 1 - lam), so that the sample itself has the larger weight.
        sites: see `MixPolicy`.
        self_pairs: an image may be its own partner, as in a random permutation; False: no image is. The released
            code excludes such pairs from 2023 on in some configs, after the printed runs.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        sites: Sequence[str] = ('',),
        self_pairs: bool = True,
    ) -> None:
        super().__init__(sites)
        name = type(self).__name__
        check_number(f'{name}: alpha', alpha, 0.0, above=True)
        check_choice(f'{name}: share', share, ('sample', 'batch'))
        check_range(f'{name}: lam_range', lam_range, 0.0, 1.0)
        low, high = lam_range
        self.alpha, self.share, self.lam_range, self.fold = alpha, share, (low, high), fold
        self.self_pairs = self_pairs
        self.held_lam: float | None = None

    def draw_pairs(self, z: Tensor, pairs: Tensor | None) -> Tensor:
        if pairs is None and not self.self_pairs:
            return other_partners(len(z), z.device)
        return super().draw_pairs(z, pairs)

    def holding(self, lam: float) -> PairPolicy:
        """Return a copy of this policy with a fixed lam in [0, 1], for figures; all modules are shared.

        Raises:
            InputError: lam is out of range, or the policy does not draw lam.
        """
        check_number(f'{type(self).__name__}: lam', lam, 0.0, 1.0)
        held = copy.copy(self)
        held.held_lam = lam
        return held

    def draw_lam(self, n: int, device: torch.device) -> Tensor:
        """Return (n,) float32 lam: the fixed value of `holding`, or drawn."""
        if self.held_lam is not None:
            return torch.full((n,), self.held_lam, device=device)
        return self.sample_lam(n, device)

    def sample_lam(self, n: int, device: torch.device) -> Tensor:
        """Draw (n,) float32 lam from the policy's distribution."""
        drawn = draw_lam(1 if self.share == 'batch' else n, self.alpha, device, self.lam_range, self.fold)
        return drawn.expand(n)

    def extra_repr(self) -> str:
        return f'alpha={self.alpha}, share={self.share!r}, sites={self.sites}'
