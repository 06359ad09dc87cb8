"""Faster R-CNN on a C4 backbone, the detector of transfer benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.errors import InputError, brief, check_number
from openmix.facts import Facts
from openmix.models.detection.anchors import ExactAnchors
from openmix.models.detection.roi_heads import Res5Heads
from openmix.models.detection.rpn import ProposalNetwork
from openmix.models.detection.stages import Stages
from openmix.registry import MODELS, ModelConfig, PreprocessorConfig


@MODELS.register_module()
class FasterRCNN(Algorithm):
    """Faster R-CNN R-C4 with an extra batch norm (Ren et al., NeurIPS 2015; He et al., MoCo, CVPR 2020, section 4.2).

    Proposals come from 'layer3' of a ResNet, and 'layer4' is run on every region; every layer is trained. Built of
    torchvision's region proposal network, region heads, matching and coding of boxes.

    Args:
        backbone: registry dict of a ResNet with stages 'layer1' to 'layer4', with or without pretrained weights.
        num_classes: C, without the background; None: that of the data.
        anchor_sizes: square roots of the areas of anchors, in pixels.
        anchor_ratios: heights of anchors divided by their widths.
        pre_nms: proposals of an image before NMS, in training and in evaluation.
        post_nms: proposals after NMS.
        rois: proposals of an image that the region heads are trained on.
        beta: where the box losses turn from a square to an absolute value; 0: L1.
        data_preprocessor: registry dict of the preprocessor.

    Raises:
        InputError: the backbone has no such stages, the classes are not known, or a number is out of range.

    *Differs from the protocol*: detectron2 also puts wide and tall images into batches of their own.
    """

    answers = frozenset({'boxes', 'scores', 'box_labels'})
    small: ClassVar[dict[str, Any]] = {'pre_nms': (60, 30), 'post_nms': (20, 10), 'rois': 8}

    def __init__(
        self,
        backbone: ModelConfig,
        num_classes: int | None = None,
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        pre_nms: Sequence[int] = (12000, 6000),
        post_nms: Sequence[int] = (2000, 1000),
        rois: int = 512,
        beta: float = 0.0,
        data_preprocessor: PreprocessorConfig | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        if num_classes is None:
            raise InputError('FasterRCNN: num_classes is not given, and the data set does not say it; set it')
        check_number('FasterRCNN: num_classes', num_classes, 1)
        check_number('FasterRCNN: rois', rois, 1)
        check_number('FasterRCNN: beta', beta, 0.0)
        for key, values, low in (
            ('anchor_sizes', anchor_sizes, 0.0),
            ('anchor_ratios', anchor_ratios, 0.0),
            ('pre_nms', pre_nms, 0),
            ('post_nms', post_nms, 0),
        ):
            if not isinstance(values, Sequence) or not values or (key.endswith('nms') and len(values) != 2):
                wanted = 'two numbers, for training and evaluation' if key.endswith('nms') else 'a list of numbers'
                raise InputError(f'FasterRCNN: {key} must be {wanted}, got {brief(values)}')
            for value in values:
                check_number(f'FasterRCNN: {key}', value, low, above=True)
        self.num_classes = num_classes
        self.backbone: Stages = Stages(MODELS.build(backbone))
        anchors = ExactAnchors(anchor_sizes, anchor_ratios, self.backbone.stride)
        self.rpn = ProposalNetwork(self.backbone.channels, anchors, pre_nms, post_nms, beta)
        self.roi_heads = Res5Heads(self.backbone.num_features, num_classes, self.backbone.stride, rois, beta)

    @classmethod
    def complete(cls, model: dict[str, Any], facts: Facts) -> None:
        super().complete(model, facts)  # mean and std of the preprocessor
        if 'num_classes' not in model:
            model['num_classes'] = facts.num_classes

    @classmethod
    def check_facts(cls, model: Mapping[str, Any], facts: Facts) -> None:
        """Check that the detector has the classes of the data: a detection of any other has no name.

        Raises:
            InputError: it has fewer or more.
        """
        given = model.get('num_classes')
        if isinstance(given, int) and given != len(facts.classes):
            raise InputError(
                f'model: num_classes is {given}, but the data of {facts.name} have {len(facts.classes)} classes; '
                'leave it out and the data set it'
            )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the four losses of Faster R-CNN.

        Args:
            batch: `inputs` (N, 3, H, W) normalised and padded images, `sizes`, N pairs (H_i, W_i) without padding, and
                lists of N tensors: `boxes` (M, 4) in pixels, of an area above 0, and `box_labels` (M,) int64 from 0.

        Raises:
            InputError: the batch has no boxes.
        """
        if batch.get('boxes') is None or batch.get('box_labels') is None:
            raise InputError('FasterRCNN learns from boxes and box_labels, and the batch has none')
        targets = [{'boxes': boxes, 'labels': labels + 1} for boxes, labels in zip(batch['boxes'], batch['box_labels'])]
        features, images = self._features(batch)
        proposals, of_proposals = self.rpn(images, {'0': features}, targets)
        of_regions = self.roi_heads.losses(self.backbone.last_stage(), features, proposals, targets)
        return {**of_proposals, **of_regions}

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Detect objects; boxes are in the pixels of the original images.

        Args:
            batch: `inputs` and `sizes` as for `loss`, and `ids` (N,); `original_sizes` (N, 2) if images were resized.

        Returns:
            lists of N tensors: `boxes` (K, 4), `scores` (K,) and `box_labels` (K,) from 0, at most 100 an image; `ids`;
            and what the batch has of `true_boxes`, `true_box_labels` and `difficult`.
        """
        features, images = self._features(batch)
        proposals, _ = self.rpn(images, {'0': features})
        sizes = batch['sizes']
        found = self.roi_heads.detections(self.backbone.last_stage(), features, proposals, sizes)
        originals = batch.get('original_sizes')
        boxes = [one for one, _, _ in found]
        if originals is not None:
            boxes = [_rescaled(one, size, original) for one, size, original in zip(boxes, sizes, originals)]
        return {
            'boxes': boxes,
            'scores': [scores for _, scores, _ in found],
            'box_labels': [labels for _, _, labels in found],
            **{key: batch.get(key) for key in ('ids', 'true_boxes', 'true_box_labels', 'difficult')},
        }

    def _features(self, batch: Batch) -> tuple[Tensor, ImageList]:
        # Pooling of regions needs them in float32.
        return self.backbone(batch['inputs']).float(), ImageList(batch['inputs'], batch['sizes'])


def _rescaled(boxes: Tensor, size: tuple[int, int], original: Tensor) -> Tensor:
    """Map boxes (K, 4) in an image of (H, W) to its `original` size (2,), H and W."""
    width_height = original.flip(0).to(boxes.dtype)
    ratio = width_height / torch.tensor([size[1], size[0]], dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes * ratio.repeat(2), width_height.repeat(2)).clamp(min=0)
