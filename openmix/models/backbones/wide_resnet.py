"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016), and the form of semi-supervised learning."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from openmix.errors import InputError, check_choice, check_number
from openmix.models.backbones.cifar_resnet import he_init
from openmix.registry import MODELS


class PreActBlock(nn.Module):
    """A pre-activation residual block: BN-ReLU-conv twice, plus the input (B(3, 3) of Wide ResNet).

    Where the width or the size changes, the shortcut is a 1x1 convolution.

    (N, in_channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels, channels, stride: of the block.
        dropout, bias, negative_slope, norm_eps, norm_momentum: see `WideResNet`.
        transition: what a block with a 1x1 convolution reads, see `WideResNet`; no effect on other blocks.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        dropout: float,
        bias: bool = False,
        negative_slope: float = 0.0,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        transition: str = 'shared',
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels, norm_eps, norm_momentum)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels, norm_eps, norm_momentum)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=bias)
        self.relu = activation(negative_slope)
        self.shortcut, self.transition = None, 'shared'
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=bias)
            self.transition = transition
        if self.transition == 'raw':
            # It is not run: with a gradient it would be a parameter that no step uses.
            self.bn1.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        active = x if self.transition == 'raw' else self.relu(self.bn1(x))
        out = self.relu(self.bn2(self.conv1(active)))
        out = self.conv2(self.dropout(out))
        if self.shortcut is None:
            return out + x
        return out + self.shortcut(active if self.transition == 'shared' else x)


@MODELS.register_module()
class WideResNet(nn.Module):
    """The wide residual network WRN-depth-widen_factor for small images.

    Three stages (sites layer1 to layer3) of (depth - 4) / 6 pre-activation blocks, with 16, 32 and
    64 times `widen_factor` channels at full, half and quarter size; the features are pooled after
    a last BN-ReLU. Convolutions are drawn from N(0, 2 / fan_out), biases start at 0.

    Two forms are in use. The defaults are that of the paper and its authors' code. Semi-supervised learning uses
    that of Oliver et al. (NeurIPS 2018), as do Berthelot et al. (2019) and Sohn et al. (2020), and it is the form of
    the published supervised runs of Decoupled Mixup: `bias=True, negative_slope=0.1, norm_eps=1e-3,
    norm_momentum=1e-3, transition='raw_shortcut'`. TorchSSL has this form with `transition='raw'`, and
    draws its biases.

    (N, 3, H, W) float -> (N, 64 widen_factor).

    Args:
        depth: 6n + 4.
        widen_factor: papers use 2, 8 and 10.
        dropout: dropout rate between the two convolutions of a block.
        bias: convolutions have biases.
        negative_slope: slope of the activations below 0: 0 is ReLU, above it LeakyReLU.
        norm_eps: epsilon of the batch norms.
        norm_momentum: weight of the new value in the running statistics of the batch norms, PyTorch's `momentum`;
            TensorFlow's 0.999 is 0.001 here.
        transition: what the first block of the second and third stage reads. 'shared': its convolutions and its
            shortcut read the input after BN-ReLU; 'raw_shortcut': its shortcut reads the input itself; 'raw': both
            read the input itself, and the first batch norm of the block has no effect and is not trained. The first
            block of the first stage is 'shared' in every form.

    Raises:
        InputError: depth is not 6n + 4, `transition` is unknown, or a number is out of range.
    """

    small: ClassVar[dict[str, Any]] = {'widen_factor': 1}
    published: ClassVar[dict[str, Any]] = {
        'bias': True,
        'negative_slope': 0.1,
        'norm_eps': 1e-3,
        'norm_momentum': 1e-3,
        'transition': 'raw_shortcut',
    }

    def __init__(
        self,
        depth: int = 28,
        widen_factor: int = 10,
        dropout: float = 0.0,
        bias: bool = False,
        negative_slope: float = 0.0,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        transition: str = 'shared',
    ) -> None:
        super().__init__()
        check_number('WideResNet: depth', depth, 10, 2000)
        if depth % 6 != 4:
            raise InputError(f'WideResNet: depth must be 6n + 4 (16, 22, 28, 40), got {depth}')
        check_number('WideResNet: widen_factor', widen_factor, 1, 256)
        check_number('WideResNet: dropout', dropout, 0.0, 1.0, below=True)
        check_number('WideResNet: negative_slope', negative_slope, 0.0, 1.0, below=True)
        check_number('WideResNet: norm_eps', norm_eps, 0.0, above=True)
        check_number('WideResNet: norm_momentum', norm_momentum, 0.0, 1.0)
        check_choice('WideResNet: transition', transition, ('shared', 'raw_shortcut', 'raw'))
        block = partial(
            PreActBlock,
            dropout=dropout,
            bias=bias,
            negative_slope=negative_slope,
            norm_eps=norm_eps,
            norm_momentum=norm_momentum,
        )
        blocks, width = (depth - 4) // 6, 16 * widen_factor
        self.num_features: int = 4 * width
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=bias)
        self.layer1 = _stage(block, 16, width, blocks, 1, 'shared')
        self.layer2 = _stage(block, width, 2 * width, blocks, 2, transition)
        self.layer3 = _stage(block, 2 * width, 4 * width, blocks, 2, transition)
        self.bn = nn.BatchNorm2d(4 * width, norm_eps, norm_momentum)
        self.relu = activation(negative_slope)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        he_init(self)
        for part in self.modules():
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.avgpool(self.relu(self.bn(x))).flatten(1)


def activation(negative_slope: float) -> nn.Module:
    """Return ReLU for a slope of 0, else LeakyReLU."""
    return nn.LeakyReLU(negative_slope, inplace=True) if negative_slope else nn.ReLU(inplace=True)


def _stage(
    block: partial[PreActBlock], in_channels: int, channels: int, blocks: int, stride: int, transition: str
) -> nn.Sequential:
    first = block(in_channels, channels, stride, transition=transition)
    return nn.Sequential(first, *(block(channels, channels, 1) for _ in range(blocks - 1)))
