"""AttentiveMix, the Attentive CutMix of Walawalkar et al. (ICASSP 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.feature_site import FeatureSite
from openmix.mixups.frozen import Frozen
from openmix.ops.grids import spread_cells
from openmix.registry import MIXUPS, MODELS


def largest_cells(activation: Tensor, count: int) -> Tensor:
    """Make an (N, 1, h, w) float32 map that is 1 in the `count` cells of largest activation (N, h, w), else 0."""
    flat = activation.flatten(1)
    chosen = torch.zeros_like(flat, dtype=torch.float32).scatter_(1, flat.topk(count, 1).indices, 1.0)
    return chosen.view_as(activation)[:, None]


@MIXUPS.register_module()
class AttentiveMix(MixPolicy):
    """Paste the cells of the partner where a trained, frozen teacher is most active into the sample (section 3.1).

    The teacher sees the partner, resized; its last feature maps are averaged over the channels, which gives a grid,
    7 x 7 at 224 px. The `top_k` cells of largest activation are pasted at the same place. The label share is the exact
    share of pixels kept. The policy mixes images only.

    The teacher runs in evaluation mode and is never trained. It is given the same normalised images as the model. It is
    not saved in checkpoints, so a resumed run reads its file again.

    *Differs from the paper*: where cells do not divide the image, they differ by a pixel, and the label has their exact
    area. The paper's teacher is a ResNet-50; here it is named.

    Args:
        teacher: arguments of `Teacher`, such as dict(name='torchvision/resnet50'); or any module of images.
        site: module of the teacher whose output are the feature maps, 'layer4' of torchvision's ResNets.
        top_k: cells that are pasted.
        size: side to which images are resized for the teacher; None: as they are.

    Raises:
        InputError: bad option, no teacher, or it has no such site; in forward, the grid has fewer cells than `top_k`.
    """

    @staticmethod
    def small(given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for a smoke run: initial weights if the teacher has a download."""
        teacher = given.get('teacher')
        return {'teacher.pretrained': False} if isinstance(teacher, Mapping) and 'name' in teacher else {}

    def __init__(
        self,
        teacher: dict | nn.Module | None = None,
        site: str = 'layer4',
        top_k: int = 6,
        size: int | None = 224,
    ) -> None:
        super().__init__()
        check_number('AttentiveMix: top_k', top_k, 1, 4096)
        if size is not None:
            check_number('AttentiveMix: size', size, 1, 4096)
        if not isinstance(teacher, (dict, nn.Module)):
            raise InputError(
                "AttentiveMix needs a teacher, as teacher=dict(name='torchvision/resnet50') or "
                "teacher=dict(backbone=..., head=..., checkpoint='FILE')"
            )
        network = MODELS.build({'type': 'Teacher', **teacher}).model if isinstance(teacher, dict) else teacher
        self.site, self.top_k, self.size = FeatureSite(network, site), top_k, size
        self.teacher = Frozen(network, own=isinstance(teacher, dict))

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        activation = self.activation(z[partner])
        cells = activation[0].numel()
        if self.top_k > cells:
            raise InputError(
                f"AttentiveMix: the teacher's site '{self.site.name}' has {tuple(activation.shape[1:])} cells, "
                f'fewer than top_k={self.top_k}; lower it, or raise size'
            )
        mask = 1 - spread_cells(largest_cells(activation, self.top_k), height, width)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix

    @torch.no_grad()
    def activation(self, x: Tensor) -> Tensor:
        """Compute the (N, h, w) float32 grids of the teacher's features of images (N, 3, H, W), as channel means."""
        seen = x.detach().float()
        if self.size is not None and seen.shape[2:] != (self.size, self.size):
            seen = F.interpolate(seen, (self.size, self.size), mode='bilinear', align_corners=False)
        parameter = next(self.teacher.parameters(), seen)
        return self.site(self.teacher.module, seen.to(parameter.dtype)).float().mean(1)

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "partner's activation" (N, 1, h, w), whose largest cells are pasted."""
        return {"partner's activation": self.activation(context.x[mix.partner])[:, None]}

    def extra_repr(self) -> str:
        return f'site={self.site.name!r}, top_k={self.top_k}, size={self.size}'
