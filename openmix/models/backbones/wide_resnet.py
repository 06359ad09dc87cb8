"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.models.backbones.cifar_resnet import he_init
from openmix.registry import MODELS


class PreActBlock(nn.Module):
    """A pre-activation residual block: BN-ReLU-conv twice, plus the input (B(3, 3) of Wide ResNet).

    Where the width or the size changes, the shortcut is a 1x1 convolution of the input after the
    first BN-ReLU, which both branches share, as in the authors' code.

    (N, in_channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = None
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        out = self.relu(self.bn2(self.conv1(active)))
        out = self.conv2(self.dropout(out))
        return out + (x if self.shortcut is None else self.shortcut(active))


@MODELS.register_module()
class WideResNet(nn.Module):
    """The wide residual network WRN-depth-widen_factor for small images, as in supervised training.

    Three stages (sites layer1 to layer3) of (depth - 4) / 6 pre-activation blocks, with 16, 32 and
    64 times `widen_factor` channels at full, half and quarter size; the features are pooled after
    a last BN-ReLU. Convolutions have no bias.

    (N, 3, H, W) float -> (N, 64 widen_factor).

    Args:
        depth: 6n + 4.
        widen_factor: papers use 2, 8 and 10.
        dropout: dropout rate between the two convolutions of a block.

    Raises:
        InputError: depth is not 6n + 4, widen_factor is not positive, or dropout is not in [0, 1).
    """

    small: ClassVar[dict[str, Any]] = {'widen_factor': 1}

    def __init__(self, depth: int = 28, widen_factor: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        check_number('WideResNet: depth', depth, 10, 2000)
        if depth % 6 != 4:
            raise InputError(f'WideResNet: depth must be 6n + 4 (16, 22, 28, 40), got {depth}')
        check_number('WideResNet: widen_factor', widen_factor, 1, 256)
        check_number('WideResNet: dropout', dropout, 0.0, 1.0, below=True)
        blocks, width = (depth - 4) // 6, 16 * widen_factor
        self.num_features: int = 4 * width
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(16, width, blocks, 1, dropout)
        self.layer2 = _stage(width, 2 * width, blocks, 2, dropout)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2, dropout)
        self.bn = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.avgpool(self.relu(self.bn(x))).flatten(1)


def _stage(in_channels: int, channels: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = PreActBlock(in_channels, channels, stride, dropout)
    return nn.Sequential(first, *(PreActBlock(channels, channels, 1, dropout) for _ in range(blocks - 1)))
