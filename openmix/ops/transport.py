"""Move blocks of images to other blocks of the same image: who goes where, and the move."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.ops.precision import full_precision

_MOST_BLOCKS = 576
# Whole numbers below 2^24 are exact in float32, so that a matrix product can gather bits.
_WORD = 24


@torch.no_grad()
def assign_blocks(saliency: Tensor, wanted: Tensor, penalty: float, rounds: int) -> Tensor:
    """(N, H W) int64, the block that comes to stand at each place of a grid.

    In every round each block asks for a wanted place: the nearest that has not refused it, the
    first of equally near ones, as long as it gains, its saliency less the penalty of the way. A
    place takes the block that gains most, the first of equal ones, and refuses the others. The
    blocks taken in the last round move; where none was taken, what stands there stays.

    Args:
        saliency: (N, H, W) >= 0, what a block gains at a wanted place.
        wanted: (N, H, W) bool.
        penalty: of the way along one side of the grid; grows with the square of the way.
        rounds: how many.

    Raises:
        InputError: the grid has more than 576 blocks.
    """
    n, height, width = saliency.shape
    blocks = height * width
    if blocks > _MOST_BLOCKS:
        raise InputError(f'a grid of {height} x {width} blocks is too fine to move; take at most {_MOST_BLOCKS} blocks')
    order, way, bits = _nearest(height, width, saliency.device)
    own = torch.arange(blocks, device=saliency.device)
    saved = saliency.float().flatten(1)
    # The places still open to each block, nearest first, one bit each; of the words, those that are not empty.
    with full_precision(saliency):
        words = (wanted.flatten(1).float() @ bits).int().view(n, blocks, -1)
    filled = ((words != 0).int() << torch.arange(words.shape[2], device=words.device, dtype=torch.int32)).sum(2).int()
    word = _word(words, filled)
    bids = torch.zeros(n, blocks, dtype=torch.int64, device=saliency.device)
    for _ in range(rounds):
        at = own * blocks + (_lowest_bit(filled) * _WORD + _lowest_bit(word)).clamp_min(0)
        place, gain = order.take(at), saved - penalty * way.take(at)
        asks = (word != 0) & (gain > 0)
        # Positive floats are ordered as their bits are; the block's number breaks ties and says who was taken.
        bid = torch.where(asks, (gain.view(torch.int32).long() << 16) | (blocks - 1 - own), 0)
        bids = torch.zeros_like(bids).scatter_reduce_(1, place, bid, 'amax')
        refused = asks & (bids.gather(1, place) != bid)
        word = torch.where(refused, word & (word - 1), word)
        empty = word == 0
        filled = torch.where(empty, filled & (filled - 1), filled)
        word = torch.where(empty, _word(words, filled), word)
    return torch.where(bids > 0, blocks - 1 - (bids & 0xFFFF), own)


def _word(words: Tensor, filled: Tensor) -> Tensor:
    """(N, H W) the first word that is not empty; 0 where all are."""
    return words.gather(2, _lowest_bit(filled).clamp_min(0).long()[..., None])[..., 0]


def _lowest_bit(x: Tensor) -> Tensor:
    """Place of the lowest bit of int32 in [0, 2^24); negative for 0."""
    # The exponent of a float that is a power of two.
    return ((x & -x).float().view(torch.int32) >> 23) - 127


def move_blocks(z: Tensor, source: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images put together from their own blocks.

    Args:
        z: (N, C, H, W).
        source: (N, h w) int64, the block of the image that comes to stand at each block.
        grid: h, w; they divide H and W.

    Returns:
        (N, C, H, W), new memory.
    """
    n, channels, height, width = z.shape
    tall, wide = height // grid[0], width // grid[1]
    corner = (source // grid[1]) * (tall * width) + (source % grid[1]) * wide
    inside = torch.arange(tall, device=z.device)[:, None] * width + torch.arange(wide, device=z.device)
    pixel = corner.view(n, grid[0], 1, grid[1], 1) + inside[:, None]
    return z.flatten(2).gather(2, pixel.view(n, 1, -1).expand(-1, channels, -1)).view(n, channels, height, width)


@lru_cache(maxsize=16)
def _nearest(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The places in order of distance from every block, the squared distances, and each place as a bit.

    The first two are (H W, H W); a way along one side counts 1. The third is (H W, H W * words):
    at [place, block * words + word] the bit that stands for the place in that word of the block.
    """
    blocks = height * width
    tall, wide = max(1, height - 1) ** 2, max(1, width - 1) ** 2
    # On the device itself: a table that is copied to it would make the host wait.
    y = torch.arange(height, device=device).repeat_interleave(width)
    x = torch.arange(width, device=device).repeat(height)
    # Whole numbers, so that equal ways are exactly equal.
    way = (y[:, None] - y).square() * wide + (x[:, None] - x).square() * tall
    way, order = way.sort(dim=1, stable=True)
    rank = order.argsort(1).T[..., None]
    word = torch.arange(-(-blocks // _WORD), device=device)
    bits = torch.where(rank // _WORD == word, 2.0 ** (rank % _WORD), 0.0).flatten(1)
    # Below 2^24 all are exact in float32. By a tensor: some devices multiply by a number's reciprocal instead.
    return order, way.float() / torch.full((), tall * wide, dtype=torch.float32, device=device), bits
