"""SuperMix (Dabouei et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.frozen import Frozen
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import HasClasses, Network
from openmix.ops.beta import draw_shares
from openmix.ops.precision import full_precision
from openmix.registry import MIXUPS, MODELS

# Below this side, published runs (CIFAR) use coarser masks and smooth their gradients less.
_LARGE = 64
_MASK_SIZE_SMALL, _MASK_SIZE_LARGE = 8, 16
_SIGMA_SMALL, _SIGMA_LARGE = 1.0, 2.0
_LEAST_STEP, _LARGEST_STEP = 1e-4, 2000.0


def settle(masks: Tensor, height: int, width: int) -> Tensor:
    """Upsample unconstrained masks (N, K, w, w) to (N, K, height, width) shares, which sum to 1 over K."""
    shown = F.interpolate(masks, (height, width), mode='bilinear', align_corners=False).sigmoid()
    return shown / shown.sum(1, keepdim=True)


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Convolve (N, K, w, w) with a Gaussian of standard deviation `sigma`, cut at 2.5 sigma, with zero padding."""
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
    """Return (N,) bool, true where the top classes of (N, C) logits equal `classes` (N, K) as a set."""
    k = classes.shape[1]
    rank = (logits[:, None] > logits.gather(1, classes)[:, :, None]).sum(2)
    again = (classes[:, :, None] == classes[:, None]).tril(-1).any(2)
    return (rank < k - again.sum(1, keepdim=True)).all(1)


def objective(logits: Tensor, target: Tensor, shown: Tensor, sparsity: float) -> Tensor:
    """Compute the (N,) KL divergence of prediction and target plus a penalty on mask values between 0 and 1.

    Args:
        logits: (N, C).
        target: (N, C) probabilities.
        shown: (N, K, H, W) masks from `settle`.
        sparsity: weight of the penalty, the mean of |m (m - 1)|.
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
    """Optimise (N, K, H, W) float32 shares until the teacher predicts the target mix of classes.

    The masks start from equal shares. Every step follows the negative smoothed gradient g* with the step size
    |objective| / (g . g*), at which the linearised objective is zero. A sample stops once the teacher's top
    classes are its target classes. All iterations run for the whole batch, so there is no GPU sync.

    Args:
        teacher: maps (N, C, H, W) images to (N, classes) logits.
        images: (N, K, C, H, W) sources.
        classes: (N, K) int64, the teacher's prediction for each source.
        weight: (N, K) target shares.
        mask_size: w, the resolution of the masks.
        sigma: standard deviation, in mask pixels, of the Gaussian that smooths gradients.
        sparsity: see `objective`.
        iterations: number of steps.
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
            # The first step is always taken: the target shares are in general not equal.
            moving = moving & ~agrees(logits, classes) if step else moving
            # In half precision the teacher may overflow; such a sample keeps its mask.
            moving = moving & loss.isfinite() & gradient.isfinite().flatten(1).all(1)
            way = smooth(gradient.nan_to_num(0, 0, 0), sigma)
            length = loss.abs() / ((gradient * way).sum((1, 2, 3)) + 1e-10)
            length = torch.where(moving, length.clamp(_LEAST_STEP, _LARGEST_STEP), 0.0)
            masks = masks.detach() - length[:, None, None, None] * way
    return settle(masks.detach(), height, width)


@MIXUPS.register_module()
class SuperMix(MixPolicy):
    """Optimise masks so that a frozen teacher recognises the classes of all sources in the mixed image.

    The label shares of the sources are drawn. Low-resolution masks, upsampled and normalised over the
    sources, are optimised by gradient descent with smoothed gradients; the target is the drawn shares of the
    classes that the teacher predicts for the sources. It stops when the teacher's top classes are these classes.
    The policy mixes images only.

    The teacher runs in evaluation mode and is never trained. It is not saved in checkpoints, so a resumed run
    reads its file again. A step costs `iterations` forward and backward passes of the teacher.

    *Differs from the paper*: batches are mixed during training, not once beforehand. A sample whose
    optimisation has not succeeded after the last iteration is kept; the published code drops it, and stops
    a batch when 70 % are left. The labels are those of the data, not the teacher's. Partners are random.

    Args:
        teacher: arguments of `Teacher`: dict(backbone=..., head=..., checkpoint='FILE') or
            dict(name='torchvision/resnet34'); or any module that maps images to logits.
        alpha: the shares are drawn from Dirichlet(alpha).
        sources: number of images per output (K).
        mask_size: side of the optimised masks. None: 8 below 64 px, else 16.
        sigma: standard deviation of the Gaussian that smooths gradients. None: 1 below 64 px, else 2.
        sparsity: weight of the penalty on mask values between 0 and 1.
        iterations: number of optimisation steps.

    Raises:
        InputError: bad option, no teacher; in attach, a teacher with another number of classes than the model;
            in forward, pairs given although K is not 2.
    """

    @staticmethod
    def small(given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for a smoke run: few iterations, and initial weights if the teacher has a download."""
        teacher = given.get('teacher')
        downloaded = isinstance(teacher, Mapping) and 'name' in teacher
        return {'iterations': 2, **({'teacher.pretrained': False} if downloaded else {})}

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

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        """Compare the teacher's number of classes with that of the trained network.

        Raises:
            InputError: the numbers differ.
        """
        head, teacher = online.head, self.teacher.module
        if isinstance(head, HasClasses) and isinstance(teacher, HasClasses) and head.num_classes != teacher.num_classes:
            raise InputError(
                f'SuperMix: the teacher knows {teacher.num_classes} classes, the model {head.num_classes}; '
                'take a teacher of this data'
            )

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        if pairs is not None and self.sources != 2:
            raise InputError(f'SuperMix: pairs are given, but sources={self.sources}; set sources=2')
        partners = [self.draw_pairs(z, pairs) for _ in range(self.sources - 1)]
        n = len(partners[0])
        source = torch.stack([torch.arange(n, device=z.device), *partners], 1)
        weight = draw_shares((n, self.sources), self.alpha, z.device)
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
