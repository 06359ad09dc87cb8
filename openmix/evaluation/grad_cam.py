"""Grad-CAM: which places of an image raise the logit of a class, by captum.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (ICCV 2017).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from openmix.algorithm import algorithm_of
from openmix.errors import InputError, install_hint, nearest
from openmix.evaluation.accuracy import labels_and_ids
from openmix.figure_style import STYLE, save
from openmix.models.preprocessor import to_pixels
from openmix.registry import HOOKS


class Explained(NamedTuple):
    """One image and its map.

    Attributes:
        id, label, predicted: of the image; the map is of the class `predicted`.
        probability: softmax of that class.
        pixels: (3, H, W) in [0, 1].
        map: (h, w) at the resolution of the layer, >= 0.
    """

    id: int
    label: int
    predicted: int
    probability: float
    pixels: Tensor
    map: Tensor


def check_captum(what: str) -> None:
    """Raise an `InputError` that begins with `what` if captum is not installed."""
    if importlib.util.find_spec('captum') is None:
        raise InputError(f'{what} needs captum: {install_hint("explain")}')


def layer_of(backbone: nn.Module, x: Tensor, name: str | None = None) -> tuple[str, nn.Module]:
    """Find a module that puts out feature maps (N, K, h, w) with more than one place.

    Args:
        backbone: (N, 3, H, W) -> (N, D).
        x: (N, 3, H, W) images to try it on.
        name: the module; None: the last one in the order of the forward pass.

    Raises:
        InputError: there is no such module.
    """
    found: dict[str, nn.Module] = {}

    def note(place: str, module: nn.Module, out: Any) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and out.shape[2] * out.shape[3] > 1:
            found.pop(place, None)
            found[place] = module

    modules = {place: module for place, module in backbone.named_modules() if place}
    hooks = [
        module.register_forward_hook(lambda own, _, out, place=place: note(place, own, out))
        for place, module in modules.items()
    ]
    try:
        with torch.no_grad():
            backbone(x)
    finally:
        for hook in hooks:
            hook.remove()
    if name is not None and name not in found:
        why = 'puts out no feature maps (N, K, h, w)' if name in modules else 'is no module of the backbone'
        raise InputError(f"layer '{name}' {why}; {nearest(name, found)}" if found else f"layer '{name}' {why}")
    if not found:
        raise InputError(f'{type(backbone).__name__} puts out no feature maps (N, K, h, w), which Grad-CAM needs')
    place = next(reversed(found)) if name is None else name
    return place, found[place]


def grad_cam(network: nn.Module, layer: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """Compute the maps (N, h, w) >= 0 of a class for each image: ReLU(sum_k a_k A^k), Eqs. 1 and 2.

    A^k is the k-th feature map of the layer, and a_k the mean of the logit's gradient over its places.

    Args:
        network: (N, 3, H, W) -> (N, C) logits, in evaluation mode.
        layer: a module of it, see `layer_of`.
        x: (N, 3, H, W) images.
        classes: (N,) int64.
    """
    from captum.attr import LayerGradCam

    with torch.enable_grad():
        found = LayerGradCam(network, layer).attribute(
            x.detach().clone().requires_grad_(), target=classes, relu_attributions=True
        )
    return found[:, 0].detach()


@HOOKS.register_module()
class GradCAMHook(Hook):
    """Compute the `Explained` of every image of a test, for its predicted class, see `grad_cam`.

    Args:
        layer: name of a module of the backbone; None: see `layer_of`.

    Raises:
        InputError: captum is not installed; in a test, there is no such layer.
    """

    def __init__(self, layer: str | None = None) -> None:
        check_captum('GradCAMHook')
        self.layer = layer
        self.found: list[Explained] = []

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        model = algorithm_of(runner.model)
        network = model.network('Grad-CAM')
        batch = model.data_preprocessor(data_batch, training=False)
        x, (y, ids) = batch['inputs'], labels_and_ids(batch)
        place, module = layer_of(network.backbone, x[:1], self.layer)
        runner.logger.info(f'Grad-CAM of {place}')
        with torch.no_grad():
            largest, likeliest = network(x).float().softmax(1).max(1)
        maps = grad_cam(network, module, x, likeliest).cpu()
        pixels = to_pixels(model.data_preprocessor.cast_data(data_batch)['inputs']).float().cpu()
        facts = zip(ids.tolist(), y.tolist(), likeliest.tolist(), largest.tolist(), strict=True)
        self.found += [Explained(*fact, image, one) for fact, image, one in zip(facts, pixels, maps, strict=True)]


def draw_explained(found: Sequence[Explained], classes: Sequence[str], paths: Sequence[Path]) -> None:
    """Draw each image above itself under its map, which is scaled to its own largest value.

    Args:
        found: the images.
        classes: names of the classes.
        paths: files to write.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(1.3 * len(found), 3.1), layout='constrained')
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, len(found), squeeze=False)
        for (upper, lower), one in zip(axes.T, found, strict=True):
            height, width = one.pixels.shape[-2:]
            image = one.pixels.permute(1, 2, 0).numpy()
            upper.imshow(image)
            upper.set_title(classes[one.label], fontsize=7)
            lower.imshow(image.mean(2), cmap='gray', vmin=0, vmax=1)
            scaled = one.map / one.map.max().clamp(min=1e-12)
            lower.imshow(
                scaled.numpy(), cmap='inferno', alpha=0.55, vmin=0, vmax=1, interpolation='bilinear',
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            )  # fmt: skip
            lower.set_title(f'{classes[one.predicted]} {100 * one.probability:.0f} %', fontsize=7)
            for ax in (upper, lower):
                ax.set_axis_off()
        save(figure, paths)
