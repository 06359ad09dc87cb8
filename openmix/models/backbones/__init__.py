"""Backbones map images (N, 3, H, W) to pooled features (N, num_features); the names of their modules are the sites."""

from openmix.models.backbones.cifar_resnet import CIFARResNet, CIFARResNeXt, ThinResNet
from openmix.models.backbones.timm_backbone import timm_backbone
from openmix.models.backbones.torchvision_backbone import torchvision_backbone
from openmix.models.backbones.wide_resnet import WideResNet

__all__ = ['CIFARResNeXt', 'CIFARResNet', 'ThinResNet', 'WideResNet', 'timm_backbone', 'torchvision_backbone']
