"""Residual networks for small images (He et al., CVPR 2016; ResNeXt: Xie et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from openmix.errors import InputError, check_number
from openmix.registry import MODELS

_STAGES: dict[int, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}
_BOTTLENECKS = tuple(depth for depth, (block, _) in _STAGES.items() if block is Bottleneck)


def he_init(module: nn.Module) -> None:
    """Initialise every convolution of `module` from N(0, 2 / fan_out) (He et al., ICCV 2015)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode='fan_out', nonlinearity='relu')


@MODELS.register_module()
class CIFARResNet(ResNet):
    """A ResNet with the widths of the ImageNet networks and a stem for images of 32 to 64 pixels.

    The stem is a 3x3 convolution of stride 1, batch norm and ReLU, without max-pooling, so that a side
    of 32 pixels becomes 32, 16, 8 and 4 at the sites layer1 to layer4.

    (N, 3, H, W) float -> (N, num_features), 512 features (depth 18, 34) or 2048.

    Args:
        depth: 18, 34, 50, 101 or 152.
        groups, width_per_group: of the middle convolution of a bottleneck; 32 and 4 is ResNeXt 32x4d.
        zero_init_residual: the last batch norm of every residual block starts with weight 0, so that a block
            starts as its shortcut alone, as in the published runs.

    Raises:
        InputError: there is no such depth, or groups are given for a depth without bottlenecks.

    *Differs from the paper*: He et al. train only thin networks on CIFAR (`ThinResNet`); this is the
    variant that the mixup papers train, with the four stages of the ImageNet networks.
    """

    published = {'zero_init_residual': True}

    @staticmethod
    def small(given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for a smoke run: narrow bottlenecks, where the depth has any."""
        return {'width_per_group': 4} if given.get('depth') in _BOTTLENECKS else {}

    def __init__(
        self, depth: int = 18, groups: int = 1, width_per_group: int = 64, zero_init_residual: bool = False
    ) -> None:
        name = type(self).__name__
        if not isinstance(depth, int) or depth not in _STAGES:
            raise InputError(f'{name}: no depth {depth!r}; valid: {", ".join(map(str, _STAGES))}')
        check_number(f'{name}: groups', groups, 1, 2048)
        check_number(f'{name}: width_per_group', width_per_group, 1, 4096)
        block, blocks = _STAGES[depth]
        if block is BasicBlock and (groups, width_per_group) != (1, 64):
            raise InputError(f'{name}: depth {depth} has no bottlenecks to group; set depth to 50 or more')
        super().__init__(
            block,
            blocks,
            groups=groups,
            width_per_group=width_per_group,
            zero_init_residual=zero_init_residual,
        )
        self.num_features: int = 512 * block.expansion
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.maxpool: nn.Module = nn.Identity()
        self.fc: nn.Module = nn.Identity()
        he_init(self.conv1)


@MODELS.register_module()
class CIFARResNeXt(CIFARResNet):
    """A ResNeXt with the stem of `CIFARResNet`; by default ResNeXt-50 (32x4d)."""

    small: ClassVar[Any] = {'width_per_group': 1}

    def __init__(
        self, depth: int = 50, groups: int = 32, width_per_group: int = 4, zero_init_residual: bool = False
    ) -> None:
        super().__init__(depth, groups, width_per_group, zero_init_residual)


class PadShortcut(nn.Module):
    """A shortcut without parameters: it takes every stride-th pixel and pads new channels with zeros (option A).

    (N, C, H, W) -> (N, C + new_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


@MODELS.register_module()
class ThinResNet(nn.Module):
    """The CIFAR networks of He et al. (CVPR 2016, section 4.2): ResNet-20, -32, -44, -56, -110.

    Three stages (sites layer1 to layer3) of (depth - 2) / 6 basic blocks, with `width`, 2 `width`
    and 4 `width` channels at full, half and quarter size, and option-A shortcuts.

    (N, 3, H, W) float -> (N, 4 width).

    Args:
        depth: 6n + 2.
        width: channels of the first stage; 16 in the paper.
        zero_init_residual: see `CIFARResNet`.

    Raises:
        InputError: depth is not 6n + 2, or width is not positive.
    """

    def __init__(self, depth: int = 20, width: int = 16, zero_init_residual: bool = False) -> None:
        super().__init__()
        check_number('ThinResNet: depth', depth, 8, 2000)
        if depth % 6 != 2:
            raise InputError(f'ThinResNet: depth must be 6n + 2 (20, 32, 44, 56, 110), got {depth}')
        check_number('ThinResNet: width', width, 1, 4096)
        blocks = (depth - 2) // 6
        self.num_features: int = 4 * width
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, blocks, 1)
        self.layer2 = _stage(width, 2 * width, blocks, 2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        he_init(self)
        if zero_init_residual:
            for block in self.modules():
                if isinstance(block, BasicBlock):
                    nn.init.zeros_(block.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.avgpool(x).flatten(1)


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = PadShortcut(channels - in_channels, stride) if stride > 1 else None
    first = BasicBlock(in_channels, channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))
