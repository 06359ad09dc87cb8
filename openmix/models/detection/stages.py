"""A ResNet as the backbone of a detector: its first stages make the features, its last one describes regions."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from openmix.errors import InputError

_STAGES = ('layer1', 'layer2', 'layer3', 'layer4')
_SIDE = 256


class Stages(nn.Module):
    """A ResNet cut before its last stage, which `last_stage` returns.

    (N, 3, H, W) -> (N, channels, H / stride, W / stride), the output of 'layer3'.

    Modules keep their names, so that the weights of a classifier's backbone fit, and those trained here fit there.

    Args:
        network: a backbone with stages 'layer1' to 'layer4', as the ResNets of torchvision, timm and openmix are.

    Attributes:
        channels: of the features.
        stride: pixels of the image for one position of the features.
        num_features: channels of the last stage.

    Raises:
        InputError: the backbone has no such stages, or weights elsewhere.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        children = dict(network.named_children())
        name = type(network).__name__
        order = [child for child in children if child in _STAGES]
        if order != list(_STAGES):
            raise InputError(
                f'backbone: {name} has no stages {", ".join(_STAGES)} in this order; take a ResNet, as '
                "dict(type='TorchvisionBackbone', name='resnet50')"
            )
        names = list(children)
        after = names[names.index('layer4') + 1 :]
        used = {f'{child}.' for child in names if child not in after}
        for key in network.state_dict():
            if not key.startswith(tuple(used)):
                raise InputError(
                    f"backbone: {name} has the weights '{key}' outside of its stages and stem; take a ResNet"
                )
        for child, module in children.items():
            self.add_module(child, module)
        self._first = names[: names.index('layer4')]
        with torch.no_grad():
            blank = torch.empty(1, 3, _SIDE, _SIDE, device='meta')
            copied = copy.deepcopy(self).to('meta').eval()
            features = copied(blank)
            self.channels, self.stride = features.shape[1], _SIDE // features.shape[2]
            self.num_features: int = copied.last_stage()(features).shape[1]

    def forward(self, x: Tensor) -> Tensor:
        for name in self._first:
            x = self._modules[name](x)  # type: ignore[misc]
        return x

    def last_stage(self) -> nn.Module:
        """Return 'layer4': (R, channels, h, w) -> (R, num_features, h / 2, w / 2)."""
        return self.get_submodule('layer4')
