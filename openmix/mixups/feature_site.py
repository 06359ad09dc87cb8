"""Feature maps from an intermediate module of a backbone, without running the later modules."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from openmix.errors import InputError, nearest
from openmix.uncompiled import uncompiled


class _ReachedError(Exception):
    """Carry a site's output out of the backbone, stopping its forward pass."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


@uncompiled
def output_at(backbone: nn.Module, site: str, x: Tensor) -> Tensor:
    """Compute the output of the module `site` for the batch `x`; later modules do not run.

    Raises:
        InputError: the forward pass does not reach the site.
    """

    def stop(module: nn.Module, args: tuple, output: Tensor) -> None:
        raise _ReachedError(output)

    handle = backbone.get_submodule(site).register_forward_hook(stop)
    try:
        backbone(x)
    except _ReachedError as reached:
        return reached.output
    finally:
        handle.remove()
    raise InputError(f"site '{site}' was not reached in the forward pass; choose a module that runs")


class FeatureSite:
    """Read the output of a module of a backbone as (N, C, h, w) feature maps.

    The output may be (N, C, h, w), (N, h, w, C) or tokens (N, L, C), whose leading class tokens are
    dropped. The layout and C are determined by a forward pass on the meta device.

    Args:
        backbone: the backbone.
        name: the name of the module.

    Attributes:
        channels: C.

    Raises:
        InputError: the backbone has no such module, or its output has none of these layouts.
    """

    def __init__(self, backbone: nn.Module, name: str) -> None:
        owner = type(backbone).__name__
        modules = [module for module, _ in backbone.named_modules() if module]
        if name not in modules:
            level = [module for module in modules if module.count('.') == name.count('.')]
            raise InputError(f"{owner} has no site '{name}' to read features at; {nearest(name, level or modules)}")
        self.name = name
        twin = copy.deepcopy(backbone).to('meta').eval()
        with torch.no_grad():
            seen = output_at(
                twin, name, torch.empty(2, 3, *image_size(backbone), device='meta', dtype=precision(backbone))
            )
        shape = tuple(seen.shape) if isinstance(seen, Tensor) else ()
        if len(shape) == 4 and shape[2] == shape[3]:
            self.layout, self.channels = 'channels first', shape[1]
        elif len(shape) == 4 and shape[1] == shape[2]:
            self.layout, self.channels = 'channels last', shape[3]
        elif len(shape) == 3:
            self.layout, self.channels = 'tokens', shape[2]
            self.leading = getattr(backbone, 'num_prefix_tokens', shape[1] - math.isqrt(shape[1]) ** 2)
        else:
            raise InputError(f"{owner}: site '{name}' puts out {shape or type(seen).__name__}, not feature maps")

    def __call__(self, backbone: nn.Module, x: Tensor) -> Tensor:
        """Compute the (N, C, h, w) features of the images `x` (N, 3, H, W)."""
        return self.maps(output_at(backbone, self.name, x), x)

    @uncompiled
    def beside(self, backbone: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features (N, C, h, w) and the output of the whole backbone, of `x` (N, 3, H, W), in one pass."""
        seen: list[Tensor] = []
        handle = backbone.get_submodule(self.name).register_forward_hook(lambda module, args, out: seen.append(out))
        try:
            output = backbone(x)
        finally:
            handle.remove()
        return self.maps(seen[0], x), output

    def maps(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the output `z` of the site for the images `x` (N, 3, H, W) as (N, C, h, w) features."""
        if self.layout == 'channels first':
            return z
        if self.layout == 'channels last':
            return z.permute(0, 3, 1, 2)
        z = z[:, self.leading :]
        height = round(math.sqrt(z.shape[1] * x.shape[2] / x.shape[3]))
        return z.transpose(1, 2).unflatten(2, (height, -1))


def precision(backbone: nn.Module) -> torch.dtype:
    """Return the type of the backbone's weights; float32 where it has none."""
    return next((parameter.dtype for parameter in backbone.parameters()), torch.float32)


def image_size(backbone: nn.Module) -> tuple[int, int]:
    """Return the (H, W) image size that a backbone states; (224, 224) if it states none."""
    size: Any = getattr(getattr(backbone, 'patch_embed', None), 'img_size', None)
    size = size or getattr(backbone, 'image_size', 224)
    return (size, size) if isinstance(size, int) else tuple(size)
