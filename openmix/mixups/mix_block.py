"""The Mix Block, which predicts a mask from the features of two images, and the loss on its masks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError, brief, check_choice, check_number, nearest
from openmix.ops.precision import full_precision
from openmix.registry import MODELS, find

_ACTIVATIONS: dict[str, type[nn.Module]] = {'relu': nn.ReLU, 'elu': nn.ELU}


class Mixer(nn.Module):
    """Base class of networks that predict masks from the features of two images.

    The first constructor argument is `in_channels`, C of the features, which the policy fills in.
    """

    def forward(self, own: Tensor, other: Tensor, lam: Tensor, size: tuple[int, int]) -> Tensor:
        """Predict the (N, 1, *size) mask in [0, 1], the pixel share of the samples themselves.

        Args:
            own: (N, C, h, w) features of the samples.
            other: (N, C, h, w) features of their partners.
            lam: (N,) share of the samples.
            size: height and width of the mask.
        """
        raise NotImplementedError

    def parts(self, own: Tensor, other: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (N, 1, h, w) content and (N, h w, h w) attention that a mask is computed from, for figures."""
        raise NotImplementedError

    def project(self) -> None:
        """Clamp bounded parameters to their range. Called after every optimiser step."""


@MODELS.register_module()
class MixBlock(Mixer):
    """Predict the mask of the first of two images from their features and lam (Automatic Mixup, 3.2).

    The content of the sample, one number per position, is averaged with attention weights, passed through a
    sigmoid and upsampled: s_i = U(sigmoid(P C(z_i))), P = softmax(q k^T / sqrt(D)). The defaults are the Mix
    Block of AutoMix; adaptive lam, non-linear content, self-attention and bilinear upsampling make it the
    Mix Block+ (Eq. 5). The matrix products and everything after them are in float32, under autocast too.

    In cross-attention the queries come from the partner and the keys from the sample, whose content is then
    averaged; in self-attention both come from the concatenated features of the two.

    Args:
        in_channels: C of the features.
        lam_encoding: 'concat' appends lam as a channel (1 - lam for the partner); 'adaptive' scales
            the features by 1 + gamma lam (1 + gamma (1 - lam) for the partner); 'none' does not encode lam.
        gamma: 'learned' (initially 0, kept in [0, 1]), or a fixed number (1 in the released code).
        lam_rescale: k >= 0 of the released code's curve through 0, 1/2 and 1, which is applied to lam
            before it is encoded: (4/3 lam^3 - 2 lam^2 + (k + 1) lam) / (k + 1/3). None: lam is not rescaled.
        content: 'linear', a 1x1 convolution to one channel; or 'nonlinear', two convolutions with batch norm
            and activation between them and dropout after them.
        activation: activation of the non-linear content: 'relu', or 'elu' as in the released code.
        dropout: dropout rate of the non-linear content.
        attention: 'cross', or 'self' over the concatenated features of both.
        projection: 'shared' uses one projection for queries and keys, as in the paper; 'split' uses two.
        upsampling: 'nearest'; 'bilinear'; or 'bilinear_logits', with the sigmoid after upsampling, as in the
            released code.
        normalization: 'sigmoid'; or 'softmax', over what is predicted so for both images at each position: then the
            masks of a pair sum to 1 whichever of the two comes first.

    *Differs from the paper*: the paper multiplies the content of sample i by a softmax over positions of
    j. Here queries come from the partner and keys from the sample, so weights and content refer to the same
    positions; the released code of AutoMix does the same with the roles of the two images exchanged.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        lam_encoding: str = 'concat',
        gamma: str | float = 'learned',
        lam_rescale: float | None = None,
        content: str = 'linear',
        activation: str = 'relu',
        dropout: float = 0.1,
        attention: str = 'cross',
        projection: str = 'shared',
        upsampling: str = 'nearest',
        normalization: str = 'sigmoid',
    ) -> None:
        super().__init__()
        check_choice('MixBlock: lam_encoding', lam_encoding, ['concat', 'adaptive', 'none'])
        check_choice('MixBlock: content', content, ['linear', 'nonlinear'])
        check_choice('MixBlock: activation', activation, _ACTIVATIONS)
        check_choice('MixBlock: attention', attention, ['cross', 'self'])
        check_choice('MixBlock: projection', projection, ['shared', 'split'])
        check_choice('MixBlock: upsampling', upsampling, ['nearest', 'bilinear', 'bilinear_logits'])
        check_choice('MixBlock: normalization', normalization, ['sigmoid', 'softmax'])
        check_number('MixBlock: dropout', dropout, 0.0, 1.0, below=True)
        if lam_rescale is not None:
            check_number('MixBlock: lam_rescale', lam_rescale, 0.0)
        if gamma != 'learned':
            check_number("MixBlock: gamma, unless 'learned',", gamma, 0.0, 1.0)
        self.lam_encoding, self.lam_rescale = lam_encoding, lam_rescale
        self.attention, self.upsampling, self.normalization = attention, upsampling, normalization
        self.gamma: nn.Parameter | float = 0.0
        if lam_encoding == 'adaptive':
            self.gamma = nn.Parameter(torch.zeros(())) if gamma == 'learned' else float(gamma)
        channels = in_channels + (lam_encoding == 'concat')
        inner = max(1, in_channels // 2)
        asked = 2 * channels if attention == 'self' else channels
        self.key = nn.Conv2d(asked, inner, 1)
        self.query = nn.Conv2d(asked, inner, 1) if projection == 'split' else None
        self.content: nn.Module = nn.Conv2d(channels, 1, 1)
        if content == 'nonlinear':
            self.content = nn.Sequential(
                nn.Conv2d(channels, inner, 1, bias=False),
                nn.BatchNorm2d(inner),
                _ACTIVATIONS[activation](),
                nn.Conv2d(inner, 1, 1, bias=False),
                nn.Dropout(dropout),
            )
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.01)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, own: Tensor, other: Tensor, lam: Tensor, size: tuple[int, int]) -> Tensor:
        """Predict the masks in float32, see `Mixer.forward`."""
        logits = self._logits(own, other, lam)
        if self.normalization == 'softmax':
            # The softmax of two numbers is the sigmoid of their difference.
            logits = logits - self._logits(other, own, 1 - lam)
        with full_precision(own):
            if self.upsampling == 'bilinear_logits':
                return F.interpolate(logits, size, mode='bilinear').sigmoid()
            return F.interpolate(logits.sigmoid(), size, mode=self.upsampling)

    def _logits(self, own: Tensor, other: Tensor, lam: Tensor) -> Tensor:
        content, weights = self.parts(own, other, lam)
        with full_precision(own):
            return (weights @ content.flatten(1)[:, :, None]).view_as(content)

    def parts(self, own: Tensor, other: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the content and the attention that a mask is computed from, in float32.

        Returns:
            (N, 1, h, w) content C(z_i), and (N, h w, h w) attention P, whose rows sum to 1.
        """
        own, other = self._encode(own, lam), self._encode(other, 1 - lam)
        content = self.content(own)
        if self.attention == 'self':
            own = other = torch.cat([own, other], 1)
        key = self.key(own).flatten(2)
        query = (self.key if self.query is None else self.query)(other).flatten(2)
        with full_precision(own):
            scores = query.float().transpose(1, 2) @ key.float() / key.shape[1] ** 0.5
            return content.float(), scores.softmax(2)

    def _encode(self, z: Tensor, lam: Tensor) -> Tensor:
        if self.lam_encoding == 'none':
            return z
        lam = lam.to(z.dtype).view(-1, 1, 1, 1)
        if self.lam_rescale is not None:
            k = self.lam_rescale
            lam = (4 / 3 * lam**3 - 2 * lam**2 + (k + 1) * lam) / (k + 1 / 3)
        if self.lam_encoding == 'concat':
            return torch.cat([z, lam.expand(-1, 1, *z.shape[2:])], 1)
        return z * (1 + self.gamma * lam)

    @torch.no_grad()
    def project(self) -> None:
        """Clamp gamma to [0, 1] after a step; a clamp in the forward pass would have zero gradient beyond the bound."""
        if isinstance(self.gamma, Tensor):
            self.gamma.clamp_(0, 1)


def mixer_options(policy: str, block: Mapping[str, Any], mixer: Mapping[str, Any] | None) -> dict[str, Any]:
    """Merge a recipe's options of a mixer into a policy's, and check them against the mixer's signature.

    Args:
        policy: name of the policy, for the message.
        block: options that the policy sets.
        mixer: options of the recipe, which replace them; 'type' is `MixBlock` by default.

    Raises:
        InputError: `mixer` is not a dict, or the mixer has no such option.
    """
    if not isinstance(mixer, Mapping | None):
        raise InputError(f"{policy}: mixer must be a dict of the block's options, got {brief(mixer)}")
    options = {'type': 'MixBlock', **block, **(mixer or {})}
    known = set(inspect.signature(find(MODELS, options['type'])).parameters) - {'in_channels'}
    for key in options.keys() - known - {'type'}:
        raise InputError(f"{policy}: the mixer has no option '{key}'; {nearest(str(key), known)}")
    return options


def mask_loss(
    mask: Tensor, lam: Tensor, margin: float = 0.1, mean: float = 1.0, variance: float = 0.0, form: str = 'absolute'
) -> Tensor:
    """Compute mean * max(|lam - mu| - margin, 0) - variance * Var, averaged over the batch (Automatic Mixup, 3.2).

    Args:
        mask: (N, 1, H, W) in [0, 1]; mu and Var are computed for each mask.
        lam: (N,).
        margin: distance between mu and lam that is not penalised.
        mean, variance: weights.
        form: 'absolute'; 'squared': max((lam - mu)^2 - margin^2, 0) in place of the first term, as in the released
            configurations of self-supervised training.

    *Differs from the paper*: it prints + Var, which as a loss would flatten the masks, although the term is
    meant to sharpen them.
    """
    gap = lam - mask.mean((1, 2, 3))
    distance = ((gap**2 - margin**2) if form == 'squared' else (gap.abs() - margin)).clamp_min(0)
    return (mean * distance - variance * mask.var((1, 2, 3), unbiased=False)).mean()


def adjust_mask(mask: Tensor, lam: Tensor, margin: float = 0.0) -> Tensor:
    """Rescale masks so that their mean is lam, by scaling down the image with too large a share (Automatic Mixup, 3.2).

    Args:
        mask: (N, 1, H, W) in [0, 1].
        lam: (N,) in [0, 1].
        margin: masks whose mean is this close to lam stay as they are.

    *Differs from the paper*: if the mean is below lam, the paper scales the sample's mask up, which can exceed
    1; scaling the partner's mask down gives the same mean and stays in [0, 1].
    """
    lam = lam.view(-1, 1, 1, 1).to(mask.dtype)
    mean = mask.mean((1, 2, 3), keepdim=True)
    tiny = torch.finfo(mask.dtype).tiny
    less = mask * (lam / mean.clamp_min(tiny))
    more = 1 - (1 - mask) * ((1 - lam) / (1 - mean).clamp_min(tiny))
    adjusted = torch.where(mean > lam, less, more).clamp(0, 1)
    return torch.where((mean - lam).abs() > margin, adjusted, mask) if margin else adjusted
