"""GuidedMixup (Kang and Kim, AAAI 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from openmix.errors import InputError, check_choice, check_number
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.ops.pairs import greedy_cycle
from openmix.ops.precision import full_precision
from openmix.ops.spectral_residual import gaussian_blur, spectral_residual
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class GuidedMixup(MixPolicy):
    """Pair images whose salient regions do not overlap; mix every pixel by the saliency of both images there.

    Saliency maps are blurred (spectral ones, which come blurred, again) and scaled to a sum of 1. Partners are chosen
    greedily, by the distance between maps: a single cycle through the batch, see `greedy_cycle` (algorithm 1). The
    share of the sample in a pixel is its saliency divided by that of both (eq. 4), and the label share is the mean of
    that. There is no lam to draw: with greedy pairs the same batch is always mixed alike. The policy mixes images only,
    and needs their pixels from the context; with gradients the network and the labels too.

    *Differs from the paper*: spectral saliency is that of the pixels, while the released code takes the normalised
    images; gradients are those of the network in evaluation mode, there in training mode. The loss is the recipe's;
    the released CIFAR code uses the binary cross-entropy of the softmax. Published runs mix a part of the batches, for
    which `OneOf` with `NoMix` stands.

    Args:
        saliency: 'spectral' residual, the paper's SR; or 'gradient' of the loss at each pixel, its AP.
        pairing: 'greedy', or 'random'.
        kernel: side of the Gaussian that blurs maps, in pixels; odd.
        sigma: width of that Gaussian, in pixels.
        clean_weight: weight of the clean images' loss, which is added; above 0 the pass for gradients is an ordinary
            training pass.

    Raises:
        InputError: an argument is out of range; in forward, no context or one of another batch, an image with a side
            of half a kernel, or, for gradients, a context without network or labels.
    """

    def __init__(
        self,
        saliency: str = 'spectral',
        pairing: str = 'greedy',
        kernel: int = 7,
        sigma: float = 3.0,
        clean_weight: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice('GuidedMixup: saliency', saliency, ('spectral', 'gradient'))
        check_choice('GuidedMixup: pairing', pairing, ('greedy', 'random'))
        check_number('GuidedMixup: kernel', kernel, 1)
        check_number('GuidedMixup: sigma', sigma, 0.0, above=True)
        check_number('GuidedMixup: clean_weight', clean_weight, 0.0)
        if kernel % 2 == 0:
            raise InputError(f'GuidedMixup: kernel must be odd, got {kernel}')
        self.saliency, self.pairing, self.kernel, self.sigma = saliency, pairing, kernel, sigma
        self.clean_weight = clean_weight

    @property
    def own_pairs(self) -> bool:
        """True if pairs are greedy."""
        return self.pairing == 'greedy'

    def forward(self, z: Tensor, context: MixContext | None = None, pairs: Tensor | None = None) -> tuple[Tensor, Mix]:
        self.height_and_width(z)
        shares = self.shares(self.asked(context, z), keep_loss=self.clean_weight > 0)
        if pairs is None and self.pairing == 'greedy':
            flat = shares.flatten(1)
            # Matrix products would lose the small differences between maps.
            pairs = greedy_cycle(torch.cdist(flat, flat, compute_mode='donot_use_mm_for_euclid_dist'))
        partner = self.draw_pairs(z, pairs)
        own, other = shares[: len(partner)], shares[partner]
        total = own + other
        mask = torch.where(total > 0, own / total, 0.5)
        mix = Mix.pairs(partner, mask.mean((1, 2)), mask[:, None])
        return mix.blend(z), mix

    def shares(self, context: MixContext, keep_loss: bool = False) -> Tensor:
        """Compute (N, H, W) float32 saliency maps of the context's images, each with a sum of 1.

        A map that is not finite, or zero everywhere, is equal everywhere.

        Args:
            context: the clean batch.
            keep_loss: see `MixContext.saliency`.
        """
        gradient = context.saliency(keep_loss=keep_loss).detach() if self.saliency == 'gradient' else None
        with torch.no_grad(), full_precision(context.x):
            found = spectral_residual(context.pixels, self.kernel, self.sigma) if gradient is None else gradient
            blurred = gaussian_blur(found, self.kernel, self.sigma).nan_to_num(0, 0, 0)
            blurred = blurred + torch.finfo(torch.float32).tiny
            return blurred / blurred.sum((1, 2), keepdim=True)

    def maps(self, context: MixContext, mix: Mix) -> dict[str, Tensor]:
        """Return 'saliency' (N, 1, H, W) of the samples."""
        return {'saliency': self.shares(context)[: len(mix.lam), None]}
