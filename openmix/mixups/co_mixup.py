"""Co-Mixup (Kim et al., ICLR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.puzzle_mix import block_shares, enlarge
from openmix.ops.joint_cut import cut_jointly
from openmix.ops.precision import full_precision
from openmix.registry import MIXUPS

_WINDOW = 8
# What a block that two sources share gets back, in shares of the saliency of an image.
_BONUS = 5e-4


def compatibility(saliency: Tensor, part: int, omega: float) -> Tensor:
    """(P, m, m) how much the use of one source counts as one of another, in parts of m = `part` images.

    The identity, and with weight `omega` the distances of the images' most salient places, in
    pixels down plus across, divided by their mean row sum: sources whose places lie apart exclude
    each other.

    Args:
        saliency: (P m, H, W).
        part: m.
        omega: in [0, 1].
    """
    height, width = saliency.shape[1:]
    smooth = F.avg_pool2d(saliency[:, None].float(), (min(_WINDOW, height), min(_WINDOW, width)), stride=1)[:, 0]
    at = smooth.flatten(1).argmax(1)
    place = torch.stack([at // smooth.shape[2], at % smooth.shape[2]], 1).unflatten(0, (-1, part)).float()
    apart = (place[:, :, None] - place[:, None]).abs().sum(3)
    apart = apart * part / apart.sum((1, 2), keepdim=True).clamp_min(1)
    return (1 - omega) * torch.eye(part, device=saliency.device) + omega * apart


def take_blocks(z: Tensor, source: Tensor) -> Tensor:
    """(N, C, H, W) put together of the blocks of `z` (M, C, H, W), each from image `source` (N, h, w) at its place."""
    h, w = source.shape[1:]
    blocks = z.unflatten(3, (w, -1)).unflatten(2, (h, -1)).permute(0, 2, 4, 1, 3, 5)
    rows, columns = torch.arange(h, device=z.device)[:, None], torch.arange(w, device=z.device)
    taken = blocks[source, rows, columns]
    return taken.permute(0, 3, 1, 4, 2, 5).reshape(len(source), *z.shape[1:])


@MIXUPS.register_module()
class CoMixup(MixPolicy):
    """Every output is put together of blocks of any number of images, all outputs of a part at once.

    Saliency is the gradient of the loss with respect to the un-mixed images. The batch is divided
    into parts in its order; an output may take every block from every image of its part, at the
    same place. The blocks are chosen so that much saliency is kept, neighbours go together, a
    Dirichlet prior favours some images, and no image is used more than `tau` of an output beyond
    its own. From the second sweep on a block may be half of one and half of another image. The
    label shares are the shares of blocks. It mixes images only, and asks the context for the network
    and the labels.

    K is the size of a part: every source of a part has a column, the sample's own first, most of
    them with a share of 0; so labels are exact and nothing waits for the device. Images are not
    paired, so `pairs` cannot be given, and losses of pairs do not apply.

    *Differs from the paper*: a block's cut is found by local search on the device, its energy within
    0.2 % of the optimum on average. Half-half blocks cost a bond the square of the shares'
    distance, between any two labels. The loss is the recipe's; the official code takes the binary
    cross-entropy of the softmax.

    Args:
        alpha: of the Dirichlet prior over the images of a part.
        part: images a part (m).
        block_num: blocks along a side; divides the image's sides.
        beta: weight of a bond between neighbouring blocks, over the number of blocks.
        gamma: weight of the penalty on what many outputs use, likewise.
        eta: weight of the prior, likewise.
        tau: use of an image by other outputs that is free, as a share of an output's blocks.
        omega: weight of the distances in `compatibility`.
        sweeps: how often every output is cut.
        clean_weight: weight of the un-mixed images' cross-entropy in the loss; the saliency pass is one of
            training, as published for alpha = 2. 0: it is one of evaluation, and not trained on.

    Raises:
        InputError: bad option; in forward, a context without model or labels or of another batch, an
            image that does not divide into the blocks, or given pairs.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        part: int = 20,
        block_num: int = 4,
        beta: float = 0.32,
        gamma: float = 1.0,
        eta: float = 0.05,
        tau: float = 0.83,
        omega: float = 0.001,
        sweeps: int = 4,
        clean_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_number('CoMixup: alpha', alpha, 0.0, above=True)
        check_number('CoMixup: part', part, 1, 256)
        check_number('CoMixup: block_num', block_num, 1, 32)
        check_number('CoMixup: sweeps', sweeps, 1, 64)
        check_number('CoMixup: omega', omega, 0.0, 1.0)
        for name, value in dict(beta=beta, gamma=gamma, eta=eta, tau=tau, clean_weight=clean_weight).items():
            check_number(f'CoMixup: {name}', value, 0.0)
        self.alpha, self.part, self.block_num, self.sweeps = alpha, part, block_num, sweeps
        self.beta, self.gamma, self.eta, self.tau, self.omega = beta, gamma, eta, tau, omega
        self.clean_weight = clean_weight

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.grid(z)
        if pairs is not None:
            raise InputError('CoMixup chooses the sources of every block itself; give it no pairs')
        if height % self.block_num or width % self.block_num:
            raise InputError(
                f'CoMixup: an image of {height} x {width} does not divide into {self.block_num} x {self.block_num} '
                'blocks; set block_num to a number that divides both sides'
            )
        context = self.asked(context, z)
        saliency = context.saliency(keep_loss=self.clean_weight > 0)
        source, blocks = self.choose(saliency)
        weight = blocks.mean((2, 3))
        # A block has one source, or two with half each.
        share, column = blocks.topk(min(2, blocks.shape[1]), dim=1)
        rows = source[:, :, None, None].expand_as(blocks).gather(1, column)
        mixed = take_blocks(z, rows[:, 0])
        if rows.shape[1] > 1:
            other = take_blocks(z, torch.where(share[:, 1] > 0, rows[:, 1], rows[:, 0]))
            mixed = torch.lerp(mixed, other, 0.5)
        return mixed, Mix(source, weight, self.mask(blocks, height, width))

    @staticmethod
    def mask(blocks: Tensor, height: int, width: int) -> Tensor | None:
        """The mask of a `Mix`, of (N, K, h, w) shares of blocks."""
        k = blocks.shape[1]
        if k == 1:
            return None
        shown = blocks[:, :1] if k == 2 else blocks
        return enlarge(shown.flatten(0, 1), height, width).unflatten(0, (len(blocks), -1))

    @torch.no_grad()
    def choose(self, saliency: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the sources of every output and their shares of every block.

        Args:
            saliency: (N, H, W).

        Returns:
            (N, K) int64 sources, the sample itself first, and (N, K, h, w) their shares of every block.
        """
        n, k = len(saliency), min(len(saliency), self.part)
        whole = n - n % k
        source, shares = self.choose_parts(saliency[:whole], k)
        if whole < n:
            rest, their = self.choose_parts(saliency[whole:], n - whole)
            own = torch.arange(whole, n, device=saliency.device)[:, None].expand(-1, k - rest.shape[1])
            source = torch.cat([source, torch.cat([rest + whole, own], 1)])
            shares = torch.cat([shares, F.pad(their, (0, 0, 0, 0, 0, k - rest.shape[1]))])
        return source, shares

    def choose_parts(self, saliency: Tensor, part: int) -> tuple[Tensor, Tensor]:
        """`choose` for (P m, H, W) of parts that are full, m = `part`."""
        n, height, width = saliency.shape
        size = self.block_num, self.block_num
        sites = self.block_num**2
        # All costs times the number of blocks, which the cut does not feel: a mean block's saliency is 1.
        salient = block_shares(saliency, (height // size[0], width // size[1])).view(-1, part, sites) * sites
        concentration = torch.full((n // part, part), float(self.alpha), device=saliency.device)
        prior = torch.distributions.Dirichlet(concentration, validate_args=False).sample()
        cost = -salient.mT - self.eta * (prior + 1e-8).log()[:, None]
        with full_precision(saliency):
            alike = compatibility(saliency, part, self.omega)
            cut = cut_jointly(cost, size, alike, self.beta, self.gamma, self.tau * sites, _BONUS * sites, self.sweeps)
        # Column 0 is the sample itself.
        place = torch.arange(part, device=saliency.device)
        column = (place[:, None] + place) % part
        shares = cut.gather(3, column[:, None].expand(len(cut), -1, sites, -1))
        first = torch.arange(0, n, part, device=saliency.device)
        source = (first[:, None, None] + column).flatten(0, 1)
        return source, shares.flatten(0, 1).mT.unflatten(2, size)
