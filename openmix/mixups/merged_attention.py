"""The attention of a transformer whose similar tokens are merged from block to block, at the length before merging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.mixups.attention import Call, attention_in
from openmix.mixups.feature_site import output_at
from openmix.mixups.input_gradient import mode_of
from openmix.mixups.patch_attention import HasPrefixTokens
from openmix.ops.precision import no_grad
from openmix.ops.token_merging import match_tokens, merge_counts, merge_tokens
from openmix.uncompiled import uncompiled


@runtime_checkable
class HasKeys(Protocol):
    """An attention module of timm, whose keys pass through a module."""

    k_norm: nn.Module


@runtime_checkable
class PlainBlock(Protocol):
    """A block of timm's vision transformer: x + ls1(attn(norm1(x))), then x + ls2(mlp(norm2(x)))."""

    norm1: nn.Module
    attn: nn.Module
    ls1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    ls2: nn.Module


@runtime_checkable
class PlainTransformer(HasPrefixTokens, Protocol):
    """A vision transformer of timm, such as ViT and DeiT: tokens come out of `norm_pre` and pass through `blocks`."""

    norm_pre: nn.Module
    blocks: nn.Sequential


def plain_blocks(backbone: nn.Module, site: str) -> Sequence[PlainBlock]:
    """Return the blocks of a transformer up to the one whose attention module is `site`.

    Raises:
        InputError: it is no plain transformer of timm, or has no such block.
    """
    given = list(backbone.blocks) if isinstance(backbone, PlainTransformer) else []
    blocks = [block for block in given if isinstance(block, PlainBlock) and isinstance(block.attn, HasKeys)]
    if not blocks or len(blocks) < len(given):
        raise InputError(
            f'{type(backbone).__name__}: its tokens cannot be merged; take a ViT or DeiT of timm, '
            'such as deit_small_patch16_224'
        )
    for place in range(len(blocks)):
        if site == f'blocks.{place}.attn':
            return blocks[: place + 1]
    raise InputError(f"{type(backbone).__name__}: site must be 'blocks.0.attn' to '{f'blocks.{len(blocks) - 1}.attn'}'")


@no_grad()
@uncompiled
def merged_attention(backbone: nn.Module, site: str, x: Tensor, merged: float) -> Tensor:
    """Compute a block's attention between merged tokens, and give every token what the one has that it is part of.

    Between attention and MLP of every block before, the tokens that are most similar by their keys, averaged over the
    heads, are merged (Token Merging, Bolya et al., ICLR 2023). The backbone runs in evaluation mode and is left as it
    was. The attention inside is the plain one, not weighted by how many patches a token is made of.

    Args:
        backbone: see `PlainTransformer`.
        site: 'blocks.I.attn', whose attention is read; later blocks do not run.
        x: (N, 3, H, W) normalised images.
        merged: share of the patches that would be merged in all blocks of the backbone, in [0, 1), see `merge_counts`.

    Returns:
        (N, 1, L, L) float32, averaged over the heads; L counts the tokens before merging.

    Raises:
        InputError: the backbone is no such transformer.
    """
    blocks = plain_blocks(backbone, site)
    assert isinstance(backbone, PlainTransformer)
    leading = backbone.num_prefix_tokens
    with mode_of(backbone, False):
        tokens = output_at(backbone, 'norm_pre', x)
        n, length = tokens.shape[:2]
        counts = merge_counts(round(merged * (length - leading)), len(backbone.blocks))
        places = torch.arange(length, device=x.device).repeat(n, 1)
        sizes = torch.ones(n, length, device=x.device)
        for block, count in zip(blocks[:-1], counts):
            attended, keys = _attended(block, block.norm1(tokens))
            tokens = tokens + block.ls1(attended)
            count = min(count, (tokens.shape[1] - leading) // 2)
            going = match_tokens(keys, count, leading)
            tokens, sizes = merge_tokens(tokens, sizes, going, tokens.shape[1] - count)
            places = going.gather(1, places)
            tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
        attention = attention_in(backbone, site, Call((blocks[-1].norm1(tokens),), {})).float().mean(1)
    rows = attention.gather(1, places[:, :, None].expand(-1, -1, attention.shape[2]))
    return rows.gather(2, places[:, None].expand(-1, length, -1))[:, None]


def _attended(block: PlainBlock, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Run a block's attention; return its output (N, L, D) and its keys, averaged over the heads, (N, L, d)."""
    assert isinstance(block.attn, HasKeys)
    seen: list[Tensor] = []
    handle = block.attn.k_norm.register_forward_hook(lambda module, args, out: seen.append(out))
    try:
        attended = block.attn(tokens)
    finally:
        handle.remove()
    return attended, seen[0].mean(1)
