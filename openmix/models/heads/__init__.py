"""Heads map pooled features to logits and compute the loss."""

from openmix.models.heads.linear_head import DMHead, LinearHead

__all__ = ['DMHead', 'LinearHead']
