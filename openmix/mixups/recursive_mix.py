"""RecursiveMix (Yang et al., NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError, brief, check_choice, check_number
from openmix.losses.labels import at_least_float32
from openmix.memory import BatchMemory
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import HasClasses, Network
from openmix.ops.boxes import box_edges, box_mask, draw_centres, resize_bilinear, resize_nearest, scaled_sizes
from openmix.ops.masks import as_shares
from openmix.ops.precision import full_precision
from openmix.registry import MIXUPS

_RESIZES = {'nearest': resize_nearest, 'bilinear': resize_bilinear}


def box_of(mask: Tensor) -> Tensor:
    """Return (N, 4) the first column, first row, last column and last row, each but the first ones plus one, of boxes.

    Args:
        mask: (N, 1, H, W), 0 in the box and 1 outside. A box without pixels has no extent, anywhere.
    """
    inside = mask[:, 0] < 0.5
    columns, rows = inside.any(1).long(), inside.any(2).long()
    first = torch.stack([(along.cumsum(1) == 0).sum(1) for along in (columns, rows)], 1)
    return torch.cat([first, first + torch.stack([columns.sum(1), rows.sum(1)], 1)], 1)


def pooled(features: Tensor, mask: Tensor) -> Tensor:
    """Average (N, C, h, w) features over the box of every image, by RoIAlign: (N, C) in at least float32.

    Args:
        features: (N, C, h, w).
        mask: (N, 1, H, W), 0 in the box and 1 outside. A box without pixels gives 0.
    """
    # Takes longer to import than all policies.
    from torchvision.ops import roi_align

    features = at_least_float32(features)
    sizes = [features.shape[3] / mask.shape[3], features.shape[2] / mask.shape[2]]
    edges = torch.stack([edge * sizes[i % 2] for i, edge in enumerate(box_of(mask).unbind(1))], 1).to(features.dtype)
    image = torch.arange(len(edges), device=edges.device, dtype=edges.dtype)
    return roi_align(features, torch.cat([image[:, None], edges], 1), 1, aligned=True)[:, :, 0, 0]


@MIXUPS.register_module()
class RecursiveMix(MixPolicy):
    """Shrink the mixed images of the batch before, and paste them into the images of this one (section 3).

    The box covers r of the image, r ~ U(0, alpha), before it is clipped, and lies anywhere. The label is
    lam y + (1 - lam) y', with the share of pixels kept lam and the mixed label y' of the pasted image. As y' has
    classes of many batches, it stands in `Mix.earlier`, and losses that read pairs of classes refuse it. The first
    batch of a training is not mixed.

    The loss `omega (1 - lam) KL(p' || q)`, averaged over the batch, asks that the features in the box predict what the
    network predicted for the pasted image: p' is that prediction, and q that of a linear layer of its own on the
    features in the box (RoIAlign). The layer is trained along, and is no part of the network.

    A training by openmix remembers the batches, and its checkpoints hold the last one, so that a resumed run is exact;
    on a GPU with deterministic algorithms, as RoIAlign adds its gradients there in any order. In a loop of one's own,
    call `attach(Network(backbone, head))` once, and after each pass `mixed_losses`, or `remember` without that loss. In
    evaluation mode `mixed_losses` remembers nothing. What another policy of a `OneOf` has mixed is not remembered; with
    several processes a `OneOf` refuses it.

    *Differs from the paper*: every image has its own box; the published runs draw one per batch (`share='batch'`). The
    released code takes the cross-entropy in place of KL, which has the same gradient. It forgets at the end of every
    epoch; here the first batch of an epoch is mixed with the last one of the epoch before. Bilinear resizing aligns
    pixel centres, there corners.

    Args:
        alpha: most of the image that a box covers; in (0, 1].
        omega: weight of the loss, 0.1 or 0.5 in the released runs; >= 0.
        site: module of the backbone that puts out the last feature maps before pooling.
        share: 'sample' draws a box for every image; 'batch' draws one for the whole batch.
        interpolation: 'nearest' or 'bilinear', of the resized images.

    Raises:
        InputError: an option is out of range; in attach, the backbone has no such site, or the head does not tell the
            number of classes; in forward, no network was attached, pairs are given, or images have another size than
            those before.
    """

    published = {'share': 'batch'}
    remembers = True
    adds_losses = True
    of_training = frozenset({'memory', 'region_head'})

    def __init__(
        self,
        alpha: float = 0.5,
        omega: float = 0.5,
        site: str = 'layer4',
        share: str = 'sample',
        interpolation: str = 'nearest',
    ) -> None:
        super().__init__()
        check_number('RecursiveMix: alpha', alpha, 0.0, 1.0, above=True)
        check_number('RecursiveMix: omega', omega, 0.0)
        check_choice('RecursiveMix: share', share, ('sample', 'batch'))
        check_choice('RecursiveMix: interpolation', interpolation, _RESIZES)
        if not isinstance(site, str):
            raise InputError(f'RecursiveMix: site must be the name of a module of the backbone, got {brief(site)}')
        self.alpha, self.omega, self.share, self.interpolation = alpha, omega, share, interpolation
        self.site_name = site
        self.region_site: FeatureSite | None = None
        self.num_classes = 0
        self.memory = BatchMemory('images', 'shares', 'logits')

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        if not isinstance(online.head, HasClasses):
            raise InputError(
                f'RecursiveMix: {type(online.head).__name__} has no num_classes, which labels are kept for'
            )
        self.num_classes = online.head.num_classes
        self.region_site = FeatureSite(online.backbone, self.site_name)
        self.region_head = nn.Linear(self.region_site.channels, self.num_classes)

    def output_sites(self) -> set[str]:
        return {self.site_name}

    @property
    def own_pairs(self) -> bool:
        """True."""
        return True

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        """Yield the way of the base class twice, because the first step has nothing to mix with."""
        yield from super().ways()
        yield from super().ways()

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        if pairs is not None:
            raise InputError('RecursiveMix mixes with the batch before, and not in pairs; leave pairs out')
        height, width = self.height_and_width(z)
        self._attached()
        n = len(z)
        own = torch.arange(n, device=z.device)
        past = self.memory.read(n)
        if past is None:
            kept, mixed, earlier = z.new_ones(n, 1, height, width), z, z.new_zeros(n, self.num_classes)
        else:
            if past['images'].shape[1:] != z.shape[1:]:
                sizes = tuple(past['images'].shape[1:]), tuple(z.shape[1:])
                raise InputError(f'RecursiveMix: images of the batch before are {sizes[0]}, these are {sizes[1]}')
            low, high = self.draw_boxes(n, height, width, z.device)
            kept = as_shares(~box_mask(low, high, height, width))
            resized = _RESIZES[self.interpolation](past['images'].to(z.dtype), own, low, high)
            mixed, earlier = torch.lerp(resized, z, kept.to(z.dtype)), past['shares']
        kept = kept.float()
        lam = kept.mean((1, 2, 3))[:, None]
        return mixed, Mix(own[:, None], lam, kept, (1 - lam) * earlier.float())

    def draw_boxes(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw boxes: first and one-past-last row and column, two (n, 2) int64 tensors."""
        k = 1 if self.share == 'batch' else n
        sizes = scaled_sizes((self.alpha * torch.rand(k, device=device)).sqrt(), height, width)
        low, high = box_edges(draw_centres(k, height, width, device), sizes, height, width)
        return low.expand(n, 2), high.expand(n, 2)

    def mixed_losses(self, mix: Mix, context: MixContext, seen: MixContext) -> dict[str, Tensor]:
        """Compute 'region_loss', see the class, and in training mode remember the batch for the next one.

        Raises:
            InputError: no network was attached, the context has no labels, or `seen` no output of the site.
        """
        site = self._attached()
        if context.y is None or mix.mask is None or site.name not in seen.outputs:
            raise InputError(
                f"RecursiveMix: mixed_losses reads labels, and what '{site.name}' puts out for the mixed images; "
                'pass MixContext(x, y), and keep_outputs'
            )
        past = self.memory.read(len(seen.x))
        with full_precision(seen.x):
            features = pooled(site.maps(seen.outputs[site.name], seen.x), mix.mask)
            log_q = self.region_head(features).log_softmax(1)
            log_p = torch.zeros_like(log_q) if past is None else past['logits'].to(log_q.dtype)
            divergence = F.kl_div(log_q, log_p.log_softmax(1), reduction='none', log_target=True).sum(1)
            loss = self.omega * ((1 - mix.lam) * divergence).mean()
        if self.training:
            classes = None if context.y.is_floating_point() else self.num_classes
            self.remember(seen.x, mix.soft_labels(context.y, classes), seen.logits())
        return {'region_loss': loss}

    def remember(self, images: Tensor, shares: Tensor, logits: Tensor) -> None:
        """Keep a batch for the next one to be mixed with; every process of a training calls it.

        Args:
            images: (N, C, H, W) as they were mixed.
            shares: (N, C) of their classes, `mix.soft_labels(y, C)`.
            logits: (N, C), what the network has predicted for them.
        """
        self.memory.write(images=images, shares=shares.float(), logits=at_least_float32(logits))

    def _attached(self) -> FeatureSite:
        if self.region_site is None:
            raise InputError(
                'RecursiveMix needs a network; give it as policy to a classifier, or call attach(Network(...))'
            )
        return self.region_site

    def extra_repr(self) -> str:
        return f'alpha={self.alpha}, omega={self.omega}, share={self.share!r}, site={self.site_name!r}'
