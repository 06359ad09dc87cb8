"""The contract of a mixing policy, and what a policy may ask of the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openmix.errors import InputError, check_choice, check_number, check_range
from openmix.mix import Mix
from openmix.mixups.input_gradient import input_gradient, trained_input_gradient
from openmix.ops.batches import check_floating, check_labels, check_places, what
from openmix.ops.beta import draw_lam


class Probe:
    """The un-mixed batch, its labels, pixels and model, for a policy; values are computed when first asked for.

    Args:
        x: (N, C, H, W) the un-mixed batch as the backbone sees it (normalised where `mean` is given).
        y: (N,) int64 labels.
        mean, std: (C,) or (C, 1, 1), what `x` was normalised by, in units of pixels in [0, 1].
            None: `x` holds pixels in [0, 1] already.
        model: the classifier, for policies that run it.

    Raises:
        InputError: an argument is no such tensor, or there is not one label an image.
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
        check_floating('Probe: x', x)
        if y is not None:
            check_labels('Probe', y)
            if len(y) != len(x):
                raise InputError(f'Probe: {len(y)} labels do not belong to {len(x)} images; give one an image')
        for name, value in (('mean', mean), ('std', std)):
            if not isinstance(value, Tensor | None):
                raise InputError(f'Probe: {name} must be a tensor of one number a channel, got {what(value)}')
        self.x, self.y, self.mean, self.std, self.model = x, y, mean, std, model
        # What a policy computed of this batch while it mixed and needs again in `own_losses`.
        self.kept: dict[Any, Tensor] = {}

    @cached_property
    def pixels(self) -> Tensor:
        """(N, C, H, W) float, the un-mixed images with pixels in [0, 1]."""
        if self.mean is None or self.std is None:
            return self.x
        return (self.x * self.std.view(-1, 1, 1) + self.mean.view(-1, 1, 1)).clamp(0, 1)

    def saliency(self, training: bool = False, keep_loss: bool = False) -> Tensor:
        """(N, H, W) float, how much the loss depends on each pixel: the gradient's root mean square over the channels.

        The loss is the cross-entropy, summed over the batch.

        Args:
            training: run the model as in training, without recording statistics; else in evaluation mode.
            keep_loss: run it as it is, as an ordinary step would, and leave the mean cross-entropy in
                `kept['loss']`, to be trained on.

        Raises:
            InputError: the probe has no model or no labels.
        """
        if self.model is None or self.y is None:
            raise InputError('saliency needs the model and the labels; pass Probe(x, y, model=...)')
        if keep_loss:
            gradient, self.kept['loss'] = trained_input_gradient(self.model, self.x, self.y)
        else:
            gradient = input_gradient(self.model, self.x, self.y, training)
        return gradient.float().square().mean(1).sqrt()


class MixPolicy(nn.Module):
    """Given the tensor at one site of the backbone, return it mixed and say how.

    A policy mixes whenever it is called, in evaluation mode too: `policy.eval()` changes nothing. Who
    evaluates leaves the policy out, as the classifier does.

    Args:
        sites: where to mix, one drawn a batch: '' is the input image, any other name a module of
            the backbone whose output is mixed (`('', 'layer1', 'layer2')` is manifold mixup).

    Attributes:
        published: options of the published runs that differ from the defaults, see a table's `variant`.
    """

    published: ClassVar[dict[str, Any]] = {}

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

    def __call__(self, z: Tensor, probe: Probe | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        """Check the arguments, then mix; see `forward`.

        Raises:
            InputError: `z` is no floating batch, `probe` no `Probe`, or `pairs` no places in the batch.
        """
        name = type(self).__name__
        check_floating(f'{name}: the batch', z)
        if not isinstance(probe, Probe | None):
            raise InputError(
                f'{name}: the second argument is a Probe, got {what(probe)}; call mixed, mix = policy(images), '
                'then loss(logits, labels, mix); a policy that asks for labels takes Probe(images, labels)'
            )
        if pairs is not None:
            check_places(f'{name}: pairs', pairs, z)
        return super().__call__(z, probe, pairs)

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
        """Learned policies: take a copy of the model's `backbone` and `head`.

        Called at construction and before the first step: weights may be loaded in between.
        """

    def before_step(self, step: int, steps: int) -> None:
        """Learned policies: set what changes over training. Called before iteration `step` of `steps`."""

    def own_losses(self, probe: Probe) -> dict[str, Tensor]:
        """Learned policies: the losses that train the mixer, and what else they train on."""
        return {}

    def after_step(self, model: nn.Module) -> None:
        """Learned policies: move the momentum encoder. Called after every optimiser step."""

    def network(self, model: Any) -> tuple[nn.Module, nn.Module]:
        """The backbone and the head that the run reports."""
        return model.backbone, model.head

    def logits(self, model: Any, x: Tensor) -> Tensor:
        """(N, C) logits that a run is judged by, of un-mixed (N, 3, H, W); learned policies: the momentum encoder's."""
        backbone, head = self.network(model)
        return head(backbone(x))

    def other_logits(self, model: Any, x: Tensor) -> dict[str, Tensor]:
        """Learned policies: (N, C) logits of the other networks, by name, to be reported beside those."""
        return {}

    def maps(self, probe: Probe, mix: Mix) -> dict[str, Tensor]:
        """Learned policies: what led to the masks of `mix`, by name, (N, 1, h, w) each, for pictures."""
        return {}

    def draw_pairs(self, z: Tensor, pairs: Tensor | None) -> Tensor:
        """(N,) int64 partners: those given, or a random permutation of the batch."""
        return torch.randperm(len(z), device=z.device) if pairs is None else pairs

    def asked(self, probe: Probe | None, z: Tensor) -> Probe:
        """The probe, for policies that look at the un-mixed images.

        Args:
            z: (M, C, H, W) what is mixed: the probe's own images.

        Raises:
            InputError: there is none, or it is of another batch.
        """
        name = type(self).__name__
        if probe is None:
            raise InputError(f'{name} needs a probe of the batch; pass Probe(x, y, mean=..., std=..., model=...)')
        if probe.x.shape != z.shape:
            raise InputError(f'{name}: the probe holds {tuple(probe.x.shape)}, not the mixed {tuple(z.shape)}')
        return probe

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

    def draw_lam(self, n: int, device: torch.device) -> Tensor:
        """(n,) float32 shares of the samples themselves."""
        drawn = draw_lam(1 if self.share == 'batch' else n, self.alpha, device, self.lam_range, self.fold)
        return drawn.expand(n)

    def extra_repr(self) -> str:
        return f'alpha={self.alpha}, share={self.share!r}, sites={self.sites}'
