"""PuzzleMix (Kim et al., ICML 2020)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.graph_cut import cut_grid
from openmix.ops.transport import MOST_BLOCKS, assign_blocks, move_blocks
from openmix.registry import MIXUPS

# Below this side, published runs (CIFAR) use a finer grid and move smaller blocks.
_LARGE = 64
_BLOCK_NUMS_SMALL, _BLOCK_NUMS_LARGE = (2, 4, 8, 16), (2, 4, 8)
_T_SIZE_SMALL = 4
_LEAST_LAM = 1e-6


def block_shares(saliency: Tensor, block: tuple[int, int]) -> Tensor:
    """Compute the (M, h, w) float32 fraction of an image's saliency that lies in each block; fractions sum to 1.

    An image whose saliency is zero has equal fractions; saliency that is not finite counts as zero.

    Args:
        saliency: (M, H, W).
        block: height and width of a block in pixels.
    """
    summed = F.avg_pool2d(saliency.float().nan_to_num(0, 0, 0)[:, None], block)[:, 0]
    summed = summed + torch.finfo(summed.dtype).tiny
    return summed / summed.sum((1, 2), keepdim=True)


def border_differences(pair: Tensor, below: int, across: int) -> Tensor:
    """Compute the differences between the lower border of each block and the upper border of the block below it.

    Args:
        pair: (2, N, C, H, W) images of the partners, then of the samples.
        below, across: height and width of a block.

    Returns:
        (2, 2, N, h - 1, w) mean absolute difference over border and channels; at [a, b] the upper
        block is from image a and the lower one from image b.
    """
    upper, lower = pair[..., below - 1 : -1 : below, :], pair[..., below::below, :]
    return (upper[:, None] - lower).abs().mean(3).unflatten(-1, (-1, across)).mean(-1)


def add_data_term(keep: Tensor, give: Tensor, differences: Tensor, beta: float, gamma: float) -> Tensor:
    """Distribute the differences between blocks' borders over unary costs and edge weights (eq. 5).

    Args:
        keep, give: (N, h, w) unary cost of showing the sample, and the partner, in every block; changed in place.
        differences: see `border_differences`.
        beta: weight of an edge.
        gamma: weight of the differences, relative to beta.

    Returns:
        (N, h - 1, w) >= 0, the edge weights: the cost of different images in neighbouring blocks.
    """
    half = differences * (beta * gamma / 2)
    for cost, image in ((give, 0), (keep, 1)):
        cost[:, :-1] += half[image].sum(0)
        cost[:, 1:] += half[:, image].sum(0)
    # Pixels outside [0, 1] could make edge weights negative, for which a graph cut is not exact.
    return (beta + half[1, 0] + half[0, 1] - half[0, 0] - half[1, 1]).clamp_min(0)


def binomial_cost(lam: Tensor, levels: int) -> Tensor:
    """Compute (N, L) -log of the binomial probability of l successes in L - 1 trials with probability lam (N,)."""
    top = levels - 1
    level = torch.arange(levels, device=lam.device)
    ways = torch.lgamma(level + 1.0) + torch.lgamma(top - level + 1.0) - math.lgamma(top + 1)
    lam = lam.float().clamp(_LEAST_LAM, 1 - _LEAST_LAM)[:, None]
    return ways - level * lam.log() - (top - level) * (1 - lam).log()


def enlarge(blocks: Tensor, height: int, width: int) -> Tensor:
    """Enlarge (N, h, w) to (N, height, width) by repeating every block's value."""
    tall, wide = height // blocks.shape[1], width // blocks.shape[2]
    return blocks[:, :, None, :, None].expand(-1, -1, tall, -1, wide).reshape(-1, height, width)


def fitting(size: int, side: int) -> int:
    """Return the largest divisor of `side` that is at most `size`."""
    return next(part for part in range(min(size, side), 0, -1) if side % part == 0)


def nearest_divisor(size: int, side: int, least: float) -> int:
    """Return the divisor of `side` that is nearest to `size`, of two equally near ones the larger.

    It is at least `least`, or `side` where no divisor is.
    """
    divisors = [part for part in range(side, 0, -1) if side % part == 0 and (part >= least or part == side)]
    return min(divisors, key=lambda part: abs(part - size))


@MIXUPS.register_module()
class PuzzleMix(PairPolicy):
    """Choose for every block which image to show, by saliency, then move salient blocks to where they are shown.

    Saliency is the gradient of the loss with respect to the clean images. A graph cut assigns every block
    of a b x b grid to the sample or the partner, with mixing levels in between. It minimises the saliency that is
    lost, keeps neighbouring blocks together, and follows a binomial prior with probability lam (eq. 4 to 7).
    Then the blocks of each image are moved into the part of the mask that shows it (eq. 8, algorithm 1). The
    label share is the mask's mean. The policy mixes images only, and needs the network and the labels from the
    context.

    *Differs from the paper*: every sample has its own lam; the published runs draw one per batch
    (`share='batch'`). The cut is within 0.01 % of the optimum on average; the official code runs alpha-beta
    swaps on the host. The loss is the recipe's; the official CIFAR code uses the binary cross-entropy of the
    softmax. Adversarial noise is left out.

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`; lam is the prior probability of showing the sample.
        block_nums: numbers b of blocks along a side, one drawn per batch; each must divide the image's sides.
            None: those of the published 2, 4, 8 and, below 64 px, 16 that divide the image.
        n_labels: number of mask levels from 0 to 1; 3 allows a half in between.
        beta: label smoothness; an edge between two blocks has weight beta / (16 b).
        gamma: data smoothness, relative to beta.
        eta: weight of the prior.
        neigh_size: side, in pixels, of the squares whose means are compared across block borders.
        transport: move the blocks.
        t_size: side, in pixels, of the blocks that move; -1: the blocks of the mask. None: -1, but below 64 px
            the divisor of the block that is nearest to 4 and leaves at most 24 blocks a side.
        t_eps: cost of moving a block along a whole side.
        batch_statistics: run the saliency pass in training mode, without updating batch-norm statistics.
        clean_weight: weight of the clean images' cross-entropy in the loss; above 0 the saliency pass
            is an ordinary training pass.

    `neigh_size` and `t_size` are reduced to the nearest size that divides the block.

    Raises:
        InputError: bad option; in forward, a context without network or labels or of another batch, or an
            image that does not divide into the blocks.
    """

    published = {'share': 'batch'}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        block_nums: Sequence[int] | None = None,
        n_labels: int = 3,
        beta: float = 1.2,
        gamma: float = 0.5,
        eta: float = 0.2,
        neigh_size: int = 4,
        transport: bool = True,
        t_size: int | None = None,
        t_eps: float = 0.8,
        batch_statistics: bool = False,
        clean_weight: float = 0.0,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        if block_nums is not None and (isinstance(block_nums, str) or not isinstance(block_nums, Sequence)):
            raise InputError(f'PuzzleMix: block_nums must be a list of numbers such as (2, 4, 8), got {block_nums!r}')
        if block_nums is not None and not block_nums:
            raise InputError('PuzzleMix: block_nums must name at least one number of blocks')
        for block_num in block_nums or ():
            check_number('PuzzleMix: block_nums', block_num, 2, 32)
        check_number('PuzzleMix: n_labels', n_labels, 2, 16)
        check_number('PuzzleMix: neigh_size', neigh_size, 1)
        if t_size is not None and t_size != -1:
            check_number('PuzzleMix: t_size', t_size, 1)
        for name, value in dict(beta=beta, gamma=gamma, eta=eta, t_eps=t_eps, clean_weight=clean_weight).items():
            check_number(f'PuzzleMix: {name}', value, 0.0)
        self.block_nums = None if block_nums is None else tuple(block_nums)
        self.n_labels, self.beta, self.gamma, self.eta = n_labels, beta, gamma, eta
        self.neigh_size, self.transport, self.t_size, self.t_eps = neigh_size, transport, t_size, t_eps
        self.batch_statistics, self.clean_weight = batch_statistics, clean_weight
        self._drawn: float | None = None

    def pick(self) -> tuple[MixPolicy, str]:
        """Return a copy with the number of blocks drawn, from the CPU generator because it sets tensor shapes."""
        picked = copy.copy(self)
        picked._drawn = float(torch.rand(()))
        return picked, self.sites[0]

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        if self._drawn is None:
            return self.pick()[0](z, context, pairs)
        height, width = self.height_and_width(z)
        block_nums = self.fitting_block_nums(height, width)
        block_num = block_nums[int(self._drawn * len(block_nums))]
        context = self.asked(context, z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        lam = self.draw_lam(n, z.device)
        saliency = context.saliency(training=self.batch_statistics, keep_loss=self.clean_weight > 0)
        mask = self.cut(saliency, context.pixels, partner, lam, block_num)
        own, other = z[:n], z[partner]
        if self.transport:
            shares = block_shares(saliency, self.moved_block(height, width, block_num))
            own, other = self.move(shares, mask, partner, own, other)
        mask = enlarge(mask, height, width)
        mix = Mix.pairs(partner, mask.mean((1, 2)), mask[:, None])
        return mix.blend(own, other), mix

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return 'saliency' (N, 1, H, W) of the samples."""
        return {'saliency': context.saliency(training=self.batch_statistics)[: len(mix.lam), None]}

    def fitting_block_nums(self, height: int, width: int) -> list[int]:
        """Return the numbers of blocks to draw from for images of this size.

        Raises:
            InputError: one of `block_nums`, or each of the published ones, does not divide the image.
        """
        wanted = self.block_nums or (_BLOCK_NUMS_LARGE if min(height, width) >= _LARGE else _BLOCK_NUMS_SMALL)
        fit = [block_num for block_num in wanted if height % block_num == width % block_num == 0]
        if not fit or (self.block_nums and len(fit) < len(wanted)):
            odd = next(block_num for block_num in wanted if block_num not in fit)
            raise InputError(
                f'PuzzleMix: an image of {height} x {width} does not divide into {odd} x {odd} blocks; '
                f'set block_nums to numbers that divide both sides'
            )
        return fit

    @torch.no_grad()
    def cut(self, saliency: Tensor, pixels: Tensor, partner: Tensor, lam: Tensor, block_num: int) -> Tensor:
        """Compute the (N, b, b) float32 share of the sample in every block, by graph cut.

        Args:
            saliency: (M, H, W).
            pixels: (M, C, H, W) in [0, 1].
            partner: (N,) int64.
            lam: (N,).
            block_num: b.
        """
        n = len(partner)
        block = saliency.shape[1] // block_num, saliency.shape[2] // block_num
        square = fitting(self.neigh_size, block[0]), fitting(self.neigh_size, block[1])
        tall, wide = block[0] // square[0], block[1] // square[1]
        # All costs are scaled by b^2, which does not change the optimum: the mean saliency of a block is then 1.
        beta = self.beta * block_num / 16
        shares = block_shares(saliency, block) * block_num**2
        keep, give = shares[partner], shares[:n].clone()
        means = F.avg_pool2d(pixels.float(), square)
        pair = torch.stack([means[partner], means[:n]])
        down = add_data_term(keep, give, border_differences(pair, tall, wide), beta, self.gamma)
        right = add_data_term(keep.mT, give.mT, border_differences(pair.mT, wide, tall), beta, self.gamma).mT
        level = torch.linspace(0, 1, self.n_labels, device=lam.device).view(-1, 1, 1)
        prior = self.eta * binomial_cost(lam, self.n_labels)
        unary = torch.lerp(give[:, None], keep[:, None], level) + prior[:, :, None, None]
        return cut_grid(unary, down, right).float() / (self.n_labels - 1)

    def moved_block(self, height: int, width: int, block_num: int) -> tuple[int, int]:
        """Return the height and width, in pixels, of the blocks that move."""
        tall, wide = height // block_num, width // block_num
        if self.t_size == -1 or (self.t_size is None and min(height, width) >= _LARGE):
            return tall, wide
        if self.t_size is None:  # at most 4 would be 1 in blocks of 7, as of images of 28 px: too many to move
            most = math.sqrt(MOST_BLOCKS)
            return (
                nearest_divisor(_T_SIZE_SMALL, tall, height / most),
                nearest_divisor(_T_SIZE_SMALL, wide, width / most),
            )
        return fitting(self.t_size, tall), fitting(self.t_size, wide)

    def move(self, shares: Tensor, mask: Tensor, partner: Tensor, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Move the salient blocks of samples and partners to where `mask` shows them.

        Args:
            shares: (M, h, w) saliency of the blocks that move, see `block_shares`.
            mask: (N, b, b), with b dividing h and w.
            partner: (N,) int64.
            own, other: (N, C, H, W) images of the samples and of their partners.

        Returns:
            `own` and `other` with moved blocks.
        """
        n, (height, width) = len(partner), shares.shape[1:]
        shown = enlarge(mask, height, width)
        # Both images in one batch: the sample is shown where the mask is above 0, the partner where it is below 1.
        source = assign_blocks(
            torch.cat([shares[:n], shares[partner]]),
            torch.cat([shown > 0, shown < 1]),
            self.t_eps,
            max(height, width),
        )
        return move_blocks(own, source[:n], (height, width)), move_blocks(other, source[n:], (height, width))
