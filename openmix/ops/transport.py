"""Transport of image blocks within an image: the assignment of blocks to places, and the move."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.ops.precision import full_precision

MOST_BLOCKS = 576
# Integers below 2^24 are exact in float32, so a matrix product can collect up to 24 bits into one word.
_WORD = 24


@torch.no_grad()
def assign_blocks(saliency: Tensor, wanted: Tensor, penalty: float, rounds: int) -> Tensor:
    """Assign to each place of a grid, (N, H W) int64, the index of the block that moves there.

    Blocks bid for wanted places in rounds. In every round each block bids for the nearest wanted place
    that has not refused it (the first of equally near ones), if its gain is positive; the gain is the
    block's saliency minus the penalty for the distance. A place accepts the bid with the highest gain (the
    first of equal ones) and refuses the others. Blocks accepted in the last round move; a place without an
    accepted bid keeps its own block.

    Args:
        saliency: (N, H, W) >= 0, the gain of a block at a wanted place before the penalty.
        wanted: (N, H, W) bool, true at the places to fill.
        penalty: cost of moving along one whole side of the grid; grows with the square of the distance.
        rounds: number of rounds.

    Raises:
        InputError: the grid has more than 576 blocks.
    """
    n, height, width = saliency.shape
    blocks = height * width
    if blocks > MOST_BLOCKS:
        raise InputError(f'a grid of {height} x {width} blocks is too fine to move; take at most {MOST_BLOCKS} blocks')
    order, way, bits = _nearest(height, width, saliency.device)
    own = torch.arange(blocks, device=saliency.device)
    saved = saliency.float().flatten(1)
    # `words`: one bit per place still open to a block, nearest first. `filled`: one bit per word that is not zero.
    with full_precision(saliency):
        words = (wanted.flatten(1).float() @ bits).int().view(n, blocks, -1)
    filled = ((words != 0).int() << torch.arange(words.shape[2], device=words.device, dtype=torch.int32)).sum(2).int()
    word = _word(words, filled)
    bids = torch.zeros(n, blocks, dtype=torch.int64, device=saliency.device)
    for _ in range(rounds):
        at = own * blocks + (_lowest_bit(filled) * _WORD + _lowest_bit(word)).clamp_min(0)
        place, gain = order.take(at), saved - penalty * way.take(at)
        asks = (word != 0) & (gain > 0)
        # Positive floats order like their bit patterns; the block index breaks ties and identifies the winner.
        bid = torch.where(asks, (gain.view(torch.int32).long() << 16) | (blocks - 1 - own), 0)
        bids = torch.zeros_like(bids).scatter_reduce_(1, place, bid, 'amax')
        refused = asks & (bids.gather(1, place) != bid)
        word = torch.where(refused, word & (word - 1), word)
        empty = word == 0
        filled = torch.where(empty, filled & (filled - 1), filled)
        word = torch.where(empty, _word(words, filled), word)
    return torch.where(bids > 0, blocks - 1 - (bids & 0xFFFF), own)


def _word(words: Tensor, filled: Tensor) -> Tensor:
    """Select the first word that is not zero, (N, H W); 0 if all are zero."""
    return words.gather(2, _lowest_bit(filled).clamp_min(0).long()[..., None])[..., 0]


def _lowest_bit(x: Tensor) -> Tensor:
    """Find the index of the lowest set bit of int32 values in [0, 2^24); negative for 0."""
    # A power of two has its index as the float's exponent.
    return ((x & -x).float().view(torch.int32) >> 23) - 127


def move_blocks(z: Tensor, source: Tensor, grid: tuple[int, int]) -> Tensor:
    """Rearrange the blocks of each image.

    Args:
        z: (N, C, H, W).
        source: (N, h w) int64, for each place the index of the block that moves there.
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
    """Compute, for every block, the places ordered by distance, their squared distances, and a bit for each place.

    The first two are (H W, H W); the length of one side counts as 1. The third is (H W, H W * words): the
    entry [place, block * words + word] is the bit that stands for the place in that word of the block.
    """
    blocks = height * width
    tall, wide = max(1, height - 1) ** 2, max(1, width - 1) ** 2
    # Built on the device: copying a table from the host would cause a GPU sync.
    y = torch.arange(height, device=device).repeat_interleave(width)
    x = torch.arange(width, device=device).repeat(height)
    # In integers, so that equal distances compare equal.
    way = (y[:, None] - y).square() * wide + (x[:, None] - x).square() * tall
    way, order = way.sort(dim=1, stable=True)
    rank = order.argsort(1).T[..., None]
    word = torch.arange(-(-blocks // _WORD), device=device)
    bits = torch.where(rank // _WORD == word, 2.0 ** (rank % _WORD), 0.0).flatten(1)
    # Below 2^24 all are exact in float32. Divide by a tensor: some devices multiply by a number's reciprocal instead.
    return order, way.float() / torch.full((), tall * wide, dtype=torch.float32, device=device), bits
