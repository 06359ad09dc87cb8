"""Figures of detections beside the objects that there are, and the hook that adds them to a run's records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.evaluation.draw import to_array
from openmix.registry import HOOKS

_WIDTH = 4.0  # of an image, in inches
_COLOURS = matplotlib.colormaps['tab10'].colors  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image.

    Attributes:
        boxes: (K, 4) left, top, right, bottom in pixels of the image file.
        labels: (K,) int64.
        texts: one for each box.
        dashed: (K,) bool, drawn with a dashed line.
    """

    boxes: Tensor
    labels: Tensor
    texts: Sequence[str]
    dashed: Tensor


@dataclass(frozen=True)
class DetectedImage:
    """An image with its detections.

    Attributes:
        pixels: (3, h, w) uint8, the image as the detector was given it.
        size: (H, W) of the image file.
        found: its detections.
        truth: its objects; None if they are not known.
    """

    pixels: Tensor
    size: tuple[int, int]
    found: Boxes
    truth: Boxes | None


def detected_images(batch: Mapping[str, Any], answer: Mapping[str, Any], threshold: float) -> Iterator[DetectedImage]:
    """Yield the images of a batch with their detections of a score of at least `threshold`.

    Args:
        batch: `inputs`, a list of N uint8 (3, h, w); `original_sizes` (N, 2) if they were resized.
        answer: a detector's: lists of N tensors, `boxes`, `scores` and `box_labels`, and `true_boxes`,
            `true_box_labels` and `difficult` if the objects are known.
        threshold: the lowest score.
    """
    sizes = batch.get('original_sizes')
    for n, pixels in enumerate(batch['inputs']):
        boxes, scores, labels = (answer[key][n].detach().cpu() for key in ('boxes', 'scores', 'box_labels'))
        sure = scores >= threshold
        texts = [f'{score:.2f}' for score in scores[sure].tolist()]
        found = Boxes(boxes[sure], labels[sure], texts, sure.new_zeros(len(texts)))
        truth = None
        if answer.get('true_boxes') is not None:
            boxes, labels, hard = (answer[key][n].cpu() for key in ('true_boxes', 'true_box_labels', 'difficult'))
            truth = Boxes(boxes, labels, [''] * len(boxes), hard)
        height, width = pixels.shape[1:] if sizes is None else sizes[n].tolist()
        yield DetectedImage(pixels.cpu(), (height, width), found, truth)


def draw_detections(images: Sequence[DetectedImage], classes: Sequence[str]) -> Figure:
    """Draw a row for each image: its detections with their scores and, where known, its objects.

    Args:
        images: at least one.
        classes: names by label; each has a colour. Difficult objects have dashed lines.

    Raises:
        InputError: a label has no name.
    """
    columns = 1 + any(image.truth is not None for image in images)
    heights = [_WIDTH * image.size[0] / image.size[1] for image in images]
    figure = Figure(figsize=(_WIDTH * columns, sum(heights) + 0.25 * len(images) + 0.4), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(images), columns, squeeze=False, height_ratios=heights)
    for row, image in zip(axes, images, strict=True):
        for ax, boxes, title in zip(row, (image.found, image.truth), ('detections', 'objects')):
            ax.set_axis_off()
            if boxes is not None:
                height, width = image.size
                ax.imshow(image.pixels.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
                ax.set_title(f'{len(boxes.boxes)} {title}', fontsize=8, pad=3)
                _draw(ax, boxes, classes)
    handles = [Patch(color=_colour(label), label=name) for label, name in enumerate(classes)]
    figure.legend(handles=handles, loc='outside upper center', ncols=min(len(classes), 3 * columns), fontsize=7)
    return figure


def _colour(label: int) -> tuple[float, float, float]:
    return _COLOURS[label % len(_COLOURS)]


def _draw(ax: Axes, boxes: Boxes, classes: Sequence[str]) -> None:
    for corners, label, text, dashed in zip(
        boxes.boxes.tolist(), boxes.labels.tolist(), boxes.texts, boxes.dashed.tolist(), strict=True
    ):
        if label >= len(classes):
            raise InputError(f'a box has the label {label}, and {len(classes)} classes are named')
        left, top, right, bottom = corners
        style: Any = dict(edgecolor=_colour(label), linestyle='--' if dashed else '-', linewidth=1.2, fill=False)
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, **style))
        if text:
            under = dict(facecolor=_colour(label), edgecolor='none', pad=0.6, alpha=0.85)
            ax.text(left, top, text, fontsize=5, color='white', va='top', clip_on=True, bbox=under)


@HOOKS.register_module()
class DrawDetectionsHook(Hook):
    """Add a figure of the first validation images with their detections to the run's records, as 'detections'.

    TensorBoard shows it, and the local backend writes it to `vis_data/vis_image` of the run.

    Args:
        count: number of images.
        threshold: the lowest score of a detection that is drawn.

    Raises:
        InputError: a number is out of range; in a validation, the answers or the batch hold no boxes or images.
    """

    def __init__(self, count: int = 4, threshold: float = 0.5) -> None:
        check_number('DrawDetectionsHook: count', count, 1)
        check_number('DrawDetectionsHook: threshold', threshold, 0.0, 1.0)
        self.count, self.threshold = count, threshold
        self._images: list[DetectedImage] = []

    def before_val_epoch(self, runner: Any) -> None:
        self._images.clear()

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if len(self._images) >= self.count or not is_main_process():
            return
        for answer in outputs:
            if any(answer.get(key) is None for key in ('boxes', 'scores', 'box_labels')):
                raise InputError(
                    'DrawDetectionsHook draws boxes, scores and box_labels, and the algorithm answers none'
                )
            self._images += detected_images(data_batch, answer, self.threshold)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if not self._images:
            return
        classes = (runner.val_evaluator.dataset_meta or {}).get('classes')
        if not classes:
            raise InputError('DrawDetectionsHook: the validation data do not name their classes')
        figure = draw_detections(self._images[: self.count], classes)
        image = to_array(figure).permute(1, 2, 0).contiguous().numpy()
        runner.visualizer.add_image('detections', image, step=runner.iter)
        self._images.clear()
