"""SuperMix (Dabouei et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.algorithm import HasClasses, Network
from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.frozen import Frozen
from openmix.ops.precision import full_precision
from openmix.registry import MIXUPS, MODELS

# Published masks are coarser, and their gradients less smoothed, for small images (CIFAR) than for larger ones.
_LARGE = 64
_MASK_SIZE_SMALL, _MASK_SIZE_LARGE = 8, 16
_SIGMA_SMALL, _SIGMA_LARGE = 1.0, 2.0
_LEAST_STEP, _LARGEST_STEP = 1e-4, 2000.0


def settle(masks: Tensor, height: int, width: int) -> Tensor:
    """(N, K, height, width) shares that sum to 1 over K, of free masks (N, K, w, w)."""
    shown = F.interpolate(masks, (height, width), mode='bilinear', align_corners=False).sigmoid()
    return shown / shown.sum(1, keepdim=True)


def smooth(field: Tensor, sigma: float) -> Tensor:
    """(N, K, w, w) convolved with a Gaussian of deviation `sigma`, zero outside, cut at 2.5 sigma."""
    if sigma == 0:
        return field
    reach = int(2.5 * sigma)
    at = torch.arange(-reach, reach + 1, device=field.device)
    kernel = torch.exp(-0.5 * (at / sigma).square())
    kernel = kernel / kernel.sum()
    flat = field.flatten(0, 1)[:, None]
    with full_precision(field):
        flat = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(reach, 0))
        return F.conv2d(flat, kernel.view(1, 1, 1, -1), padding=(0, reach))[:, 0].view_as(field)


def agrees(logits: Tensor, classes: Tensor) -> Tensor:
    """(N,) bool, True where the top classes of (N, C) logits are those in `classes` (N, K), as a set."""
    k = classes.shape[1]
    rank = (logits[:, None] > logits.gather(1, classes)[:, :, None]).sum(2)
    again = (classes[:, :, None] == classes[:, None]).tril(-1).any(2)
    return (rank < k - again.sum(1, keepdim=True)).all(1)


def objective(logits: Tensor, target: Tensor, shown: Tensor, sparsity: float) -> Tensor:
    """(N,) divergence of the prediction from the target, and how far the masks are from 0 and 1.

    Args:
        logits: (N, C).
        target: (N, C) probabilities.
        shown: (N, K, H, W) settled masks.
        sparsity: weight of the mean of |m (m - 1)|.
    """
    divergence = (torch.special.xlogy(target, target) - target * F.log_softmax(logits, 1)).sum(1)
    return divergence + sparsity * (shown * (1 - shown)).mean((1, 2, 3))


def optimise(
    teacher: Callable[[Tensor], Tensor],
    images: Tensor,
    classes: Tensor,
    weight: Tensor,
    mask_size: int,
    sigma: float,
    sparsity: float,
    iterations: int,
) -> Tensor:
    """(N, K, H, W) float32 shares for which the teacher sees the wanted mix of classes.

    From equal shares on, every step goes along the smoothed gradient g* to where the linear model
    of the objective vanishes, |objective| / (g . g*). A sample whose top classes are the wanted
    ones moves no more; all samples take all iterations, so that nothing waits for the device.

    Args:
        teacher: (N, C, H, W) images to (N, classes) logits.
        images: (N, K, C, H, W) sources.
        classes: (N, K) int64, what the teacher sees in each.
        weight: (N, K) wanted shares.
        mask_size: w, the masks' own resolution.
        sigma: deviation of the Gaussian that smooths gradients, in pixels of the masks.
        sparsity: see `objective`.
        iterations: how many steps.
    """
    n, k, _, height, width = images.shape
    masks = torch.zeros(n, k, mask_size, mask_size, device=images.device)
    moving = torch.ones(n, dtype=torch.bool, device=images.device)
    for step in range(iterations):
        with torch.enable_grad():
            masks.requires_grad_()
            shown = settle(masks, height, width)
            logits = teacher((shown[:, :, None].to(images.dtype) * images).sum(1)).float()
            target = torch.zeros_like(logits).scatter_add_(1, classes, weight)
            loss = objective(logits, target, shown, sparsity)
            (gradient,) = torch.autograd.grad(loss.sum(), masks)
        with torch.no_grad():
            # The first step is always taken: equal shares need not be the wanted ones.
            moving = moving & ~agrees(logits, classes) if step else moving
            # In half precision the teacher may overflow: such a sample stays where it is.
            moving = moving & loss.isfinite() & gradient.isfinite().flatten(1).all(1)
            way = smooth(gradient.nan_to_num(0, 0, 0), sigma)
            length = loss.abs() / ((gradient * way).sum((1, 2, 3)) + 1e-10)
            length = torch.where(moving, length.clamp(_LEAST_STEP, _LARGEST_STEP), 0.0)
            masks = masks.detach() - length[:, None, None, None] * way
    return settle(masks.detach(), height, width)


@MIXUPS.register_module()
class SuperMix(MixPolicy):
    """Masks that make a frozen teacher see the wanted mix of classes.

    Every sample is mixed with partners in drawn shares. Coarse masks, enlarged and normalised over
    the sources, are moved along the smoothed gradient until the teacher's top classes are those
    that it sees in the sources, with the drawn shares as target. The label shares are the drawn
    ones. It mixes images only.

    The teacher is asked in evaluation mode and never trained; it is no part of checkpoints, so a
    resumed run reads its file again. A step costs `iterations` passes of the teacher, forward and back.

    *Differs from the paper*: batches are mixed as they train, not once beforehand. A sample that
    has not succeeded after the last iteration is kept, where the published run drops it and stops
    a batch when 70 % are left; the labels are the data's, not the teacher's. Partners are random.

    Args:
        teacher: arguments of `Teacher`: dict(backbone=..., head=..., checkpoint='FILE') or
            dict(name='torchvision/resnet34'); or any module of images to logits.
        alpha: the shares are drawn from Dirichlet(alpha).
        sources: images an output (K).
        mask_size: side of the free masks. None: 8 below 64 px, else 16.
        sigma: deviation of the Gaussian that smooths gradients. None: 1 below 64 px, else 2.
        sparsity: weight of the masks' distance from 0 and 1.
        iterations: steps.

    Raises:
        InputError: bad option, no teacher or one of other classes than the model's; in forward,
            given pairs where K is not 2.
    """

    def __init__(
        self,
        teacher: dict | nn.Module | None = None,
        alpha: float = 3.0,
        sources: int = 2,
        mask_size: int | None = None,
        sigma: float | None = None,
        sparsity: float = 25.0,
        iterations: int = 50,
    ) -> None:
        super().__init__()
        check_number('SuperMix: alpha', alpha, 0.0, above=True)
        check_number('SuperMix: sources', sources, 2, 16)
        if mask_size is not None:
            check_number('SuperMix: mask_size', mask_size, 1, 512)
        if sigma is not None:
            check_number('SuperMix: sigma', sigma, 0.0, 16.0)
        check_number('SuperMix: sparsity', sparsity, 0.0)
        check_number('SuperMix: iterations', iterations, 1, 1000)
        if not isinstance(teacher, (dict, nn.Module)):
            raise InputError(
                "SuperMix needs a teacher, as teacher=dict(backbone=..., head=..., checkpoint='FILE') or "
                "teacher=dict(name='torchvision/resnet34')"
            )
        built = MODELS.build({'type': 'Teacher', **teacher}) if isinstance(teacher, dict) else teacher
        self.teacher = Frozen(built, own=isinstance(teacher, dict))
        self.alpha, self.sources, self.mask_size, self.sigma = alpha, sources, mask_size, sigma
        self.sparsity, self.iterations = sparsity, iterations

    def attach(self, online: Network) -> None:
        """Compare the teacher's classes with those of the network that is trained.

        Raises:
            InputError: they are not as many.
        """
        head, teacher = online.head, self.teacher.module
        if isinstance(head, HasClasses) and isinstance(teacher, HasClasses) and head.num_classes != teacher.num_classes:
            raise InputError(
                f'SuperMix: the teacher knows {teacher.num_classes} classes, the model {head.num_classes}; '
                'take a teacher of this data'
            )

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.grid(z)
        if pairs is not None and self.sources != 2:
            raise InputError(f'SuperMix: pairs are given, but sources={self.sources}; set sources=2')
        partners = [self.draw_pairs(z, pairs) for _ in range(self.sources - 1)]
        n = len(partners[0])
        source = torch.stack([torch.arange(n, device=z.device), *partners], 1)
        concentration = torch.full((n, self.sources), float(self.alpha), device=z.device)
        weight = torch.distributions.Dirichlet(concentration, validate_args=False).sample()
        parameter = next(self.teacher.parameters(), z)
        seen = z.detach().to(parameter.dtype)
        with torch.no_grad():
            classes = self.teacher(seen).argmax(1)[source]
        small = min(height, width) < _LARGE
        size = self.mask_size or (_MASK_SIZE_SMALL if small else _MASK_SIZE_LARGE)
        sigma = (_SIGMA_SMALL if small else _SIGMA_LARGE) if self.sigma is None else self.sigma
        mask = optimise(self.teacher, seen[source], classes, weight, size, sigma, self.sparsity, self.iterations)
        mix = Mix(source, weight, mask[:, :1] if self.sources == 2 else mask)
        return mix.blend(z), mix
