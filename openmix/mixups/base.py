"""The contract of a mixing policy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openmix.algorithm import Network
from openmix.errors import InputError, check_choice, check_number, check_range
from openmix.mix import Mix
from openmix.mixups.context import MixContext
from openmix.ops.batches import check_floating, check_places, what
from openmix.ops.beta import draw_lam


class MixPolicy(nn.Module):
    """Given the tensor at one site of the backbone, return it mixed and say how.

    A policy mixes whenever it is called, in evaluation mode too: `policy.eval()` changes nothing. Who
    evaluates leaves the policy out, as the classifier does.

    Args:
        sites: where to mix, one drawn a batch: '' is the input image, any other name a module of
            the backbone whose output is mixed (`('', 'layer1', 'layer2')` is manifold mixup).

    Attributes:
        published: options of the published runs that differ from the defaults, see a table's `variant`.
        clean_weight: of the loss of the un-mixed images, which is added to that of the mixed ones; 0 for none.
    """

    published: ClassVar[dict[str, Any]] = {}
    clean_weight: float = 0.0

    def __init__(self, sites: Sequence[str] = ('',)) -> None:
        super().__init__()
        if isinstance(sites, str) or not sites or not all(isinstance(site, str) for site in sites):
            raise InputError(
                f"{type(self).__name__}: sites must be a list of names such as ('', 'layer1'), got {sites!r}"
            )
        self.sites = tuple(sites)

    def pick(self) -> tuple[MixPolicy, str]:
        """The policy and the site of this batch, drawn on the CPU generator."""
        if len(self.sites) == 1:
            return self, self.sites[0]
        return self, self.sites[int(torch.randint(len(self.sites), ()))]

    def all_sites(self) -> set[str]:
        """Every site that `pick` may return."""
        return set(self.sites)

    @property
    def leaves_parameters_unused(self) -> bool:
        """True if some steps give some trainable parameters no gradient, which DDP has to know."""
        return False

    def __call__(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Check the arguments, then mix; see `forward`.

        Raises:
            InputError: `z` is no floating batch, `context` no `MixContext`, or `pairs` no places in the batch.
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
        """Mix one batch. The only duty of a policy; `z` is left untouched.

        Args:
            z: (M, ...) floating tensor at the site, batch first.
            context: the un-mixed batch and its network; only some policies ask it.
            pairs: (N,) int64 with N <= M, the partner of row n as an index into `z`; None: every
                row gets a partner by a random permutation.

        Returns:
            (N, ...) mixed tensor in the dtype of `z`, and the `Mix` that says how.
        """
        raise NotImplementedError

    def attach(self, online: Network) -> None:
        """Learned policies: build what depends on the network that is trained. Called at its construction."""

    def start(self, online: Network) -> None:
        """Learned policies: copy the weights of the network that is trained. Called before the first step."""

    def before_step(self, step: int, steps: int) -> None:
        """Learned policies: set what changes over training. Called before iteration `step` of `steps`."""

    def own_losses(self, context: MixContext) -> dict[str, Tensor]:
        """Learned policies: the losses that train the mixer alone."""
        return {}

    def clean_head(self, head: nn.Module) -> nn.Module:
        """The head of the un-mixed images, where they are trained on: that of the mixed ones by default."""
        return head

    def after_step(self, online: Network) -> None:
        """Learned policies: move the momentum encoder. Called after every optimiser step."""

    def networks(self, online: Network) -> dict[str, Network]:
        """The networks that a run reports, by name; '' is the one that it is judged by.

        Learned policies are judged by their momentum encoder, and report the network that is trained as 'online'.
        """
        return {'': online}

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Learned policies: what led to the masks of `mix`, by name, (N, 1, h, w) each, for pictures."""
        return {}

    def draw_pairs(self, z: Tensor, pairs: Tensor | None) -> Tensor:
        """(N,) int64 partners: those given, or a random permutation of the batch."""
        return torch.randperm(len(z), device=z.device) if pairs is None else pairs

    def asked(self, context: MixContext | None, z: Tensor) -> MixContext:
        """The context, for policies that look at the un-mixed images.

        Args:
            z: (M, C, H, W) what is mixed: the context's own images.

        Raises:
            InputError: there is none, or it is of another batch.
        """
        name = type(self).__name__
        if context is None:
            raise InputError(
                f'{name} needs a context of the batch; pass MixContext(x, y, mean=..., std=..., network=...)'
            )
        if context.x.shape != z.shape:
            raise InputError(f'{name}: the context holds {tuple(context.x.shape)}, not the mixed {tuple(z.shape)}')
        return context

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


class PairPolicy(MixPolicy):
    """A policy that mixes each sample with one partner and a Beta-distributed share.

    Args:
        alpha: lam is drawn from Beta(alpha, alpha); > 0.
        share: 'sample' draws lam for every sample; 'batch' draws one for the whole batch, as the
            published runs did.
        lam_range: bounds that the drawn lam is conditioned to.
        fold: replace the drawn lam by max(lam, 1 - lam), so that the sample itself dominates.
        sites: see `MixPolicy`.

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
    ) -> None:
        super().__init__(sites)
        name = type(self).__name__
        check_number(f'{name}: alpha', alpha, 0.0, above=True)
        check_choice(f'{name}: share', share, ('sample', 'batch'))
        check_range(f'{name}: lam_range', lam_range, 0.0, 1.0)
        low, high = lam_range
        self.alpha, self.share, self.lam_range, self.fold = alpha, share, (low, high), fold
        self.held_lam: float | None = None

    def holding(self, lam: float) -> PairPolicy:
        """This policy, which shares all modules, with every lam equal to a number in [0, 1]: for series of pictures.

        Raises:
            InputError: lam is out of range, or the policy draws none.
        """
        check_number(f'{type(self).__name__}: lam', lam, 0.0, 1.0)
        held = copy.copy(self)
        held.held_lam = lam
        return held

    def draw_lam(self, n: int, device: torch.device) -> Tensor:
        """(n,) float32 shares of the samples themselves."""
        if self.held_lam is not None:
            return torch.full((n,), self.held_lam, device=device)
        return self.sample_lam(n, device)

    def sample_lam(self, n: int, device: torch.device) -> Tensor:
        """(n,) float32 shares from the policy's distribution."""
        drawn = draw_lam(1 if self.share == 'batch' else n, self.alpha, device, self.lam_range, self.fold)
        return drawn.expand(n)

    def extra_repr(self) -> str:
        return f'alpha={self.alpha}, share={self.share!r}, sites={self.sites}'
