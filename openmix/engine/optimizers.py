"""Optimisers that mmengine and torch lack, from timm."""

from timm.optim import Lamb

from openmix.registry import OPTIMIZERS

OPTIMIZERS.register_module(name='Lamb', module=Lamb)
