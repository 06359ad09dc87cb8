"""Optimisers that mmengine and torch lack, from timm."""

from timm.optim import Lamb, Lars

from openmix.registry import OPTIMIZERS

OPTIMIZERS.register_module(name='Lamb', module=Lamb)
OPTIMIZERS.register_module(name='Lars', module=Lars)
