"""What a transformer takes from every patch of an image, for policies whose masks or labels follow its attention."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.mixups.attention import last_attention
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext
from openmix.mixups.momentum_encoder import MomentumEncoder
from openmix.network import Network


@runtime_checkable
class HasPrefixTokens(Protocol):
    """A transformer of timm that says how many tokens come before the patches, and what its classifier reads.

    Attributes:
        num_prefix_tokens: class, distillation and register tokens, of which a class token is the first.
        global_pool: 'token' if the classifier reads the class token.
    """

    num_prefix_tokens: int
    global_pool: str


def patch_grid(patches: int, height: int, width: int) -> tuple[int, int] | None:
    """Return (h, w) of patches that cover an image (height, width), with h / w nearest to its; None: they do not."""
    rows = max(1, round((patches * height / width) ** 0.5))
    return (rows, patches // rows) if patches % rows == 0 else None


def patches_taken(attention: Tensor, backbone: nn.Module, height: int, width: int, by: str = 'class token') -> Tensor:
    """Average an attention map over the heads, and return what is taken from every patch; it sums to 1.

    Args:
        attention: (N, heads, L, L), rows sum to 1.
        by: 'class token': the row of the class token, or, of a network that has none or does not read it, the mean over
            the rows of all patches; 'patches': that mean in any case. Other tokens before the patches are left out.
        backbone: the network that computed it. Unless it says (`HasPrefixTokens`), the patches are the most of the last
            tokens that make a grid of square patches, and a class token is the first of the others.
        height, width: size of the images.

    Returns:
        (N, h, w) float32.

    Raises:
        InputError: the tokens are not all those of an image.
    """
    attention = attention.float().mean(1)
    tokens = attention.shape[-1]
    if isinstance(backbone, HasPrefixTokens):
        leading, reads = backbone.num_prefix_tokens, backbone.global_pool == 'token'
        grid = patch_grid(tokens - leading, height, width)
    else:
        counts = range(tokens, 0, -1)
        patches = next((n for n in counts if _square(patch_grid(n, height, width), height, width)), tokens)
        leading, reads, grid = tokens - patches, True, patch_grid(patches, height, width)
    if grid is None or not _square(grid, height, width, slack=0.2):
        raise InputError(
            f'{type(backbone).__name__}: attention between {tokens} tokens, {leading} of them before the patches, is '
            f'not that of a whole image of {height} x {width}; name the attention module of another block as site'
        )
    one_row = by == 'class token' and leading > 0 and reads
    taken = attention[:, 0, leading:] if one_row else attention[:, leading:, leading:].mean(1)
    return unit_sum(taken).unflatten(1, grid)


def _square(grid: tuple[int, int] | None, height: int, width: int, slack: float = 0.0) -> bool:
    """Return whether there is a grid and its patches are square, up to a relative difference of their sides."""
    return grid is not None and abs(grid[0] * width - grid[1] * height) <= slack * grid[1] * height


def owner_of(network: nn.Module, site: str) -> nn.Module:
    """Return the outermost module around `site` that says what its tokens are (`HasPrefixTokens`), or `network`."""
    names = site.split('.')
    around = [network, *(network.get_submodule('.'.join(names[:depth])) for depth in range(1, len(names)))]
    return next((module for module in around if isinstance(module, HasPrefixTokens)), network)


def unit_sum(values: Tensor) -> Tensor:
    """Divide (N, P) values >= 0 by their sums; where that is 0 or not finite, return equal values."""
    total = values.sum(1, keepdim=True)
    usable = total.isfinite() & (total > 0)
    return (values / total).where(usable, 1 / values.shape[1])


def on_grid(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reduce pixel shares (N, 1, H, W) to (N, h, w), the value at the first pixel of each patch (nearest neighbour)."""
    return F.interpolate(mask.float(), grid, mode='nearest')[:, 0]


def on_pixels(name: str, shares: Tensor, height: int, width: int) -> Tensor:
    """Enlarge shares (N, h, w) of patches to the mask (N, 1, height, width) of their pixels.

    Raises:
        InputError: the patches do not divide the image; the line begins with `name`.
    """
    rows, columns = shares.shape[1:]
    if height % rows or width % columns:
        raise InputError(f'{name}: {rows} x {columns} patches do not divide images of {height} x {width}')
    return shares[:, None].repeat_interleave(height // rows, 2).repeat_interleave(width // columns, 3)


class AttendedPolicy(MixPolicy):
    """A policy that reads the attention of a transformer; the base of policies that mix images by it.

    Attributes:
        site: name of the attention module; None: that of the last attention map.
        found: the name that `attach` has settled, which is `site` if that is given.
    """

    site: str | None = None
    found: str | None = None

    def set_site(self, site: str | None) -> None:
        """Check and keep the name of the attention module.

        Raises:
            InputError: it is no name.
        """
        if not isinstance(site, str | None):
            raise InputError(f"{type(self).__name__}: site must be a name such as 'blocks.11.attn', got {site!r}")
        self.site = site

    def attach(self, online: Network, encoder: MomentumEncoder | None = None) -> None:
        """Find the last attention module of the trained network, unless one is named.

        Raises:
            InputError: the network has no attention.
        """
        super().attach(online, encoder)
        self.found = last_attention(online.backbone) if self.site is None else self.site

    def attending(self, context: MixContext) -> tuple[Network, str]:
        """Return the context's network and the name of its attention module.

        Raises:
            InputError: the context has no network, or one without attention.
        """
        if not isinstance(context.network, Network):
            raise InputError(
                f'{type(self).__name__} reads the attention of a network; '
                'pass MixContext(x, y, network=Network(backbone, head))'
            )
        if self.found is None:
            self.attach(context.network)
        assert self.found is not None
        return context.network, self.found

    def patches(self, context: MixContext, by: str = 'class token') -> Tensor:
        """Compute (N, h, w) float32, what is taken from every patch of the context's images, see `patches_taken`.

        Raises:
            InputError: the context has no network, or one without such an attention.
        """
        network, site = self.attending(context)
        attention = context.attention(site)
        if len(attention) != len(context.x):
            raise InputError(
                f"{type(self).__name__}: '{site}' attends inside {len(attention)} windows of "
                f'{len(context.x)} images; '
                'name a module whose tokens are those of whole images, as in the last stage of Swin'
            )
        height, width = context.x.shape[2:]
        return patches_taken(attention, owner_of(network.backbone, site), height, width, by)
