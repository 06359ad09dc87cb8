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
from openmix.ops.beta import draw_shares
from openmix.ops.joint_cut import cut_jointly
from openmix.ops.precision import full_precision
from openmix.registry import MIXUPS

_WINDOW = 8
# The reward of a block that two sources share, as a fraction of an image's total saliency.
_BONUS = 5e-4


def compatibility(saliency: Tensor, part: int, omega: float) -> Tensor:
    """Compute (P, m, m) compatibility: the weight with which use of one source counts as use of another.

    It is (1 - omega) times the identity plus omega times the distance between the most salient positions of
    two images, in pixels down plus across, divided by the mean row sum of these distances. Sources whose
    salient positions are far apart therefore penalise each other more.

    Args:
        saliency: (P m, H, W) of P parts of m images.
        part: m.
        omega: weight of the distances, in [0, 1].
    """
    height, width = saliency.shape[1:]
    smooth = F.avg_pool2d(saliency[:, None].float(), (min(_WINDOW, height), min(_WINDOW, width)), stride=1)[:, 0]
    at = smooth.flatten(1).argmax(1)
    place = torch.stack([at // smooth.shape[2], at % smooth.shape[2]], 1).unflatten(0, (-1, part)).float()
    apart = (place[:, :, None] - place[:, None]).abs().sum(3)
    apart = apart * part / apart.sum((1, 2), keepdim=True).clamp_min(1)
    return (1 - omega) * torch.eye(part, device=saliency.device) + omega * apart


def take_blocks(z: Tensor, source: Tensor) -> Tensor:
    """Assemble (N, C, H, W) images: block (i, j) of output n is block (i, j) of `z[source[n, i, j]]`.

    Args:
        z: (M, C, H, W).
        source: (N, h, w) int64 row indices into `z`; h and w divide H and W.
    """
    h, w = source.shape[1:]
    blocks = z.unflatten(3, (w, -1)).unflatten(2, (h, -1)).permute(0, 2, 4, 1, 3, 5)
    rows, columns = torch.arange(h, device=z.device)[:, None], torch.arange(w, device=z.device)
    taken = blocks[source, rows, columns]
    return taken.permute(0, 3, 1, 4, 2, 5).reshape(len(source), *z.shape[1:])


@MIXUPS.register_module()
class CoMixup(MixPolicy):
    """Assemble every output from blocks of any number of images, optimising all outputs of a part jointly.

    Saliency is the gradient of the loss with respect to the clean images. The batch is divided, in order,
    into parts. Each block of an output is taken from the same position of any image of its part. The
    blocks are chosen to keep much saliency, to give neighbouring blocks the same source, to follow a
    Dirichlet prior over the images, and to avoid images that the other outputs of the part already use
    for more than a fraction `tau` of an output. From the second sweep on, a block may be the average of two
    images. The label shares are the shares of blocks. The policy mixes images only, and needs the network and
    the labels from the context.

    K is the size of a part: every image of the part has a column, the sample itself first, and most
    columns have a share of 0. So labels are exact and there is no GPU sync. Images are not
    paired: `pairs` cannot be given, and losses that are defined for pairs do not apply.

    *Differs from the paper*: the blocks are chosen by local search on the device, with an energy within
    0.2 % of the optimum on average. An edge costs the squared distance of the shares at its two ends, also
    where a block has two sources. The loss is the recipe's; the official code uses the binary cross-entropy
    of the softmax.

    Args:
        alpha: concentration of the Dirichlet prior over the images of a part.
        part: number of images per part (m).
        block_num: number of blocks along a side; must divide the image's sides.
        beta: weight of an edge between neighbouring blocks, divided by the number of blocks.
        gamma: weight of the penalty on images that many outputs use, divided likewise.
        eta: weight of the prior, divided likewise.
        tau: use of an image by other outputs that is free, as a fraction of an output's blocks.
        omega: weight of the distances in `compatibility`.
        sweeps: number of times that every output is optimised.
        clean_weight: weight of the clean images' cross-entropy in the loss; above 0 the saliency pass runs in
            training mode, as published for alpha = 2. 0: it runs in evaluation mode and is not trained on.

    Raises:
        InputError: bad option; in forward, a context without network or labels or of another batch, an
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
        height, width = self.height_and_width(z)
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
        # A block has one source, or two with a half each.
        share, column = blocks.topk(min(2, blocks.shape[1]), dim=1)
        rows = source[:, :, None, None].expand_as(blocks).gather(1, column)
        mixed = take_blocks(z, rows[:, 0])
        if rows.shape[1] > 1:
            other = take_blocks(z, torch.where(share[:, 1] > 0, rows[:, 1], rows[:, 0]))
            mixed = torch.lerp(mixed, other, 0.5)
        return mixed, Mix(source, weight, self.mask(blocks, height, width))

    @staticmethod
    def mask(blocks: Tensor, height: int, width: int) -> Tensor | None:
        """Enlarge (N, K, h, w) shares of blocks to the mask of a `Mix`: None for K = 1, one channel for K = 2."""
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
            (N, K) int64 sources, the sample itself first, and their (N, K, h, w) shares of every block.
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
        """Apply `choose` to P full parts of m = `part` images, given their saliency (P m, H, W)."""
        n, height, width = saliency.shape
        size = self.block_num, self.block_num
        sites = self.block_num**2
        # All costs are scaled by the number of blocks, which does not change the optimum: the mean saliency is then 1.
        salient = block_shares(saliency, (height // size[0], width // size[1])).view(-1, part, sites) * sites
        prior = draw_shares((n // part, part), self.alpha, saliency.device)
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
