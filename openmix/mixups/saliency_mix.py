"""SaliencyMix (Uddin et al., ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.errors import check_choice
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.mixups.context import MixContext
from openmix.ops.boxes import box_edges, box_mask, cut_sizes
from openmix.ops.masks import as_shares
from openmix.ops.saliency import byte_misread_saliency, fine_grained_saliency
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class SaliencyMix(PairPolicy):
    """Paste a box around the partner's most salient pixel into the sample at the same position (eq. 1 to 3).

    The saliency is that of OpenCV's fine-grained detector. The policy mixes images only, and needs their pixels
    from the context. The label share is the share of pixels kept.

    *Differs from the paper*: every sample has its own lam and a box at the peak of its own partner,
    found in the RGB image in bytes. The published runs use one lam and one box per batch, at the
    peak of the first sample's partner (`share='batch'`), and pass normalised float images, red
    and blue swapped, to a detector that reads bytes (`detector_input='float'`).

    Args:
        alpha, share, lam_range, fold, self_pairs: see `PairPolicy`.
        detector_input: 'uint8' runs the detector on the image in bytes; 'float' on the normalised batch, whose
            memory it misreads as in the published runs (`openmix.ops.saliency.byte_misread_saliency`).
        correct_lam: use the exact share of pixels kept as lam of the label, as published; False keeps the drawn lam.

    Raises:
        InputError: unknown option; in forward, no context or one of another batch.
    """

    published = {'share': 'batch', 'detector_input': 'float'}

    def __init__(
        self,
        alpha: float = 1.0,
        share: str = 'sample',
        lam_range: tuple[float, float] = (0.0, 1.0),
        fold: bool = False,
        detector_input: str = 'uint8',
        correct_lam: bool = True,
        self_pairs: bool = True,
    ) -> None:
        super().__init__(alpha, share, lam_range, fold, self_pairs=self_pairs)
        check_choice('SaliencyMix: detector_input', detector_input, ('uint8', 'float'))
        self.detector_input, self.correct_lam = detector_input, correct_lam

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        height, width = self.height_and_width(z)
        context = self.asked(context, z)
        partner = self.draw_pairs(z, pairs)
        n = len(partner)
        lam = self.draw_lam(n, z.device)
        boxes = slice(0, 1) if self.share == 'batch' else slice(n)
        centres = self.peaks(context, partner[boxes])
        low, high = box_edges(centres, cut_sizes(lam[boxes], height, width), height, width)
        mask = as_shares(~box_mask(low, high, height, width)).expand(n, -1, -1, -1)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)) if self.correct_lam else lam, mask)
        return mix.blend(z), mix

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return "partner's saliency" (N, 1, H, W), whose maximum is the centre of the box."""
        return {"partner's saliency": self.saliency(context, mix.partner)[:, None].float()}

    def peaks(self, context: MixContext, rows: Tensor) -> Tensor:
        """Find the (N, 2) int64 row and column of the most salient pixel in the context's images `rows` (N,)."""
        saliency = self.saliency(context, rows)
        width = saliency.shape[2]
        flat = saliency.flatten(1)
        # On the CPU NumPy's argmax of bytes is vectorised, torch's is not.
        first = torch.from_numpy(flat.numpy().argmax(1)) if flat.is_cpu else flat.argmax(1)
        return torch.stack([first // width, first % width], 1)

    @torch.no_grad()
    def saliency(self, context: MixContext, rows: Tensor) -> Tensor:
        """Compute the (N, H, W) saliency of the context's images `rows` (N,)."""
        if self.detector_input == 'float':
            return byte_misread_saliency(context.x[rows])
        pixels = context.pixels.index_select(0, rows).float().mul_(255)
        return fine_grained_saliency(pixels.round_().clamp_(0, 255).to(torch.uint8))
