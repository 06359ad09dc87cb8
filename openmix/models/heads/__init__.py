"""Heads: pooled features to logits, and the loss that trains them."""

from openmix.models.heads.linear_head import DMHead, LinearHead

__all__ = ['DMHead', 'LinearHead']
