"""`TimmMixup`: openmix's policies with the arguments and the result of timm's `Mixup`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_number, check_range
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.cutmix import CutMix
from openmix.mixups.mixup import Mixup
from openmix.mixups.no_mix import NoMix
from openmix.mixups.one_of import OneOf
from openmix.ops.boxes import box_mask
from openmix.ops.masks import as_shares


class TimmMixup:
    """Mix a batch as `timm.data.Mixup` does, by `x, target = mixup(x, target)`, for batches of any size.

    The partner of sample n is sample N - 1 - n. Draws are torch's, on the device of the batch, and not NumPy's, so a
    seed gives others than in timm. The batch that is given is not changed.

    *Differs from timm*: a box of an odd side is one pixel smaller, as in CutMix's algorithm.

    Args:
        mixup_alpha, cutmix_alpha: of Beta(alpha, alpha); 0: this policy is not used.
        cutmix_minmax: lowest and highest side of the box, as shares of the image's; boxes are then uniform and inside.
        prob: probability of mixing a batch, a pair or an element.
        switch_prob: probability of CutMix, where both are used.
        mode: what draws its own policy, lam and box: 'batch', 'pair' (n and its partner share them) or 'elem'.
        correct_lam: lam is the share of pixels kept; False: as drawn.
        label_smoothing: of the target.
        num_classes: C.
        multi_label: targets are (N, C) floating, each of which is smoothed towards 0.5.

    Attributes:
        mixup_enabled: False returns every image as it is, with its smoothed target.
        mix: the `Mix` of the last batch, for a loss of (logits, labels, mix); None before.

    Raises:
        InputError: an argument is out of range, or both policies are off.
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: Sequence[float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = 'batch',
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
        multi_label: bool = False,
    ) -> None:
        check_choice('TimmMixup: mode', mode, ('batch', 'pair', 'elem'))
        for name, value, high in (
            ('mixup_alpha', mixup_alpha, float('inf')),
            ('cutmix_alpha', cutmix_alpha, float('inf')),
            ('prob', prob, 1.0),
            ('switch_prob', switch_prob, 1.0),
        ):
            check_number(f'TimmMixup: {name}', value, 0.0, high)
        check_number('TimmMixup: label_smoothing', label_smoothing, 0.0, 1.0, below=True)
        check_number('TimmMixup: num_classes', num_classes, 1)
        share = 'batch' if mode == 'batch' else 'sample'
        cut: MixPolicy | None = None
        if cutmix_minmax is not None:
            check_range('TimmMixup: cutmix_minmax', cutmix_minmax, 0.0, 1.0)
            cut = _UniformBox(cutmix_minmax[0], cutmix_minmax[1], share)
        elif cutmix_alpha:
            cut = CutMix(cutmix_alpha, share=share, correct_lam=correct_lam)
        if cut is None and not mixup_alpha:
            raise InputError('TimmMixup: set mixup_alpha or cutmix_alpha above 0, or cutmix_minmax')
        cutting = 0.0 if cut is None else switch_prob if mixup_alpha else 1.0
        children: list[tuple[float, MixPolicy]] = [(1 - prob, NoMix())]
        children += [(prob * (1 - cutting), Mixup(mixup_alpha, share=share))] if mixup_alpha else []
        children += [] if cut is None else [(prob * cutting, cut)]
        self.policy = OneOf([child for _, child in children], [chance for chance, _ in children], share)
        self.mode, self.label_smoothing = mode, label_smoothing
        self.num_classes, self.multi_label = num_classes, multi_label
        self.mixup_enabled = True
        self.mix: Mix | None = None

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            x: (N, 3, H, W) floating.
            target: (N,) int64; (N, C) with `multi_label`.

        Returns:
            the mixed images, and (N, C) float32 targets.

        Raises:
            InputError: the targets have another shape.
        """
        if self.multi_label and (target.dim() != 2 or target.shape[1] != self.num_classes):
            raise InputError(f'TimmMixup: multi_label needs targets (N, {self.num_classes}), got {tuple(target.shape)}')
        mixed, self.mix = self._mixed(x) if self.mixup_enabled else (x, Mix.none(len(x), x.device))
        smoothing = self.label_smoothing
        if self.multi_label:
            return mixed, self.mix.soft_labels(target.float() * (1 - smoothing) + 0.5 * smoothing)
        shares = self.mix.soft_labels(target.long(), self.num_classes)
        return mixed, shares * (1 - smoothing) + smoothing / self.num_classes

    def _mixed(self, x: Tensor) -> tuple[Tensor, Mix]:
        n = len(x)
        partner = torch.arange(n - 1, -1, -1, device=x.device)
        half = n // 2
        if self.mode != 'pair':
            return self.policy(x, None, partner)
        if not half:
            return x, Mix.none(n, x.device)
        _, first = self.policy(x, None, partner[:half])
        middle = x.new_ones(n % 2, dtype=torch.float32)
        lam = torch.cat([first.lam, middle, first.lam.flip(0)])
        mask = first.mask
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones(n % 2, *mask.shape[1:]), mask.flip(0)])
        mix = Mix.pairs(partner, lam, mask)
        return mix.blend(x), mix


class _UniformBox(PairPolicy):
    """Cut boxes of uniform sides and places, which lie inside the image, as Darknet."""

    def __init__(self, low: float, high: float, share: str) -> None:
        super().__init__(share=share)
        self.low, self.high = low, high

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        partner = self.draw_pairs(z, pairs)
        n, sides = len(partner), self.height_and_width(z)
        drawn = torch.rand(1 if self.share == 'batch' else n, 4, device=z.device)
        low, high = [], []
        for axis, side in enumerate(sides):
            least, most = int(side * self.low), max(int(side * self.high), int(side * self.low) + 1)
            cut = least + (drawn[:, axis] * (most - least)).long()
            first = (drawn[:, 2 + axis] * (side - cut + 1)).long()
            low.append(first)
            high.append(first + cut)
        mask = as_shares(~box_mask(torch.stack(low, 1), torch.stack(high, 1), *sides)).expand(n, -1, -1, -1)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix
