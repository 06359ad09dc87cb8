"""The region heads of Faster R-CNN on a C4 backbone: the last stage of a ResNet is run on every region."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import clip_boxes_to_image, roi_align

from openmix.models.detection.selection import BalancedSampler, BoxMatcher, suppressed, where_true

_SIDE = 14
_OBJECT, _POSITIVE = 0.5, 0.25
_SCORE, _NMS, _DETECTIONS = 0.05, 0.5, 100
_SMALLEST = 1e-2


class Res5Heads(RoIHeads):
    """torchvision's region heads around the last stage of the backbone, as MoCo's detector has them.

    A region is pooled to 14 x 14 (aligned, with as many samples as it has positions), run through the stage, normalised
    by a batch norm of its own, averaged, and classified. In training an image samples `rois` proposals, at most a
    quarter of them with an object of an IoU of 0.5.

    Args:
        channels: of the stage's output.
        num_classes: C, without the background.
        stride: pixels of the image for one position of the features.
        rois: see above.
        beta: of the box loss `smooth_l1`; 0 is L1.
    """

    def __init__(self, channels: int, num_classes: int, stride: int, rois: int = 512, beta: float = 0.0) -> None:
        predictor = FastRCNNPredictor(channels, num_classes + 1)
        super().__init__(None, None, predictor, _OBJECT, _OBJECT, rois, _POSITIVE, None, _SCORE, _NMS, _DETECTIONS)
        self.norm = nn.BatchNorm2d(channels)
        self.proposal_matcher = BoxMatcher(_OBJECT, _OBJECT)
        self.fg_bg_sampler = BalancedSampler(rois, _POSITIVE)
        self.rois, self.stride, self.beta = rois, stride, beta
        for layer, std in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        """Draw proposals of each image; return their places (R,), R <= rois, ascending."""
        positive, negative = self.fg_bg_sampler(labels)
        return [where_true(one | other, self.rois) for one, other in zip(positive, negative)]

    def classified(
        self, stage: Callable[[Tensor], Tensor], features: Tensor, proposals: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Run the head on all R regions of all images.

        Args:
            stage: the last stage of the backbone.
            features: (N, channels, h, w) float32.
            proposals: for each image (R_i, 4) in pixels.

        Returns:
            logits (R, C + 1), the background first, and offsets of boxes (R, 4 (C + 1)), both float32.
        """
        regions = roi_align(features, proposals, _SIDE, 1 / self.stride, aligned=True)
        described = self.norm(stage(regions)).mean((2, 3))
        logits, offsets = self.box_predictor(described)
        return logits.float(), offsets.float()

    def losses(
        self,
        stage: Callable[[Tensor], Tensor],
        features: Tensor,
        proposals: list[Tensor],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Compute the losses of classes and of boxes, both divided by the number of sampled proposals.

        Args:
            stage, features, proposals: see `classified`.
            targets: for each image `boxes` (M, 4) and `labels` (M,) from 1, 0 being the background.
        """
        proposals, _, labels, wanted = self.select_training_samples(proposals, targets)
        logits, offsets = self.classified(stage, features, proposals)
        y = torch.cat(labels)
        own = offsets.view(len(y), -1, 4).gather(1, y.view(-1, 1, 1).expand(-1, 1, 4))[:, 0]
        off = F.smooth_l1_loss(own, torch.cat(wanted), beta=self.beta, reduction='none').sum(1)
        # Not a product: the target in an image without objects is infinite.
        return {
            'loss_classifier': F.cross_entropy(logits, y),
            'loss_box_reg': torch.where(y > 0, off, 0.0).sum() / len(y),
        }

    def detections(
        self,
        stage: Callable[[Tensor], Tensor],
        features: Tensor,
        proposals: list[Tensor],
        sizes: Sequence[tuple[int, int]],
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Detect objects: for each image boxes (K, 4), scores (K,) and labels (K,) from 0, the highest score first.

        Args:
            stage, features, proposals: see `classified`.
            sizes: (H, W) of the images without padding.
        """
        logits, offsets = self.classified(stage, features, proposals)
        counts = [len(of_image) for of_image in proposals]
        boxes = self.box_coder.decode(offsets, proposals).split(counts)
        scores = logits.softmax(1).split(counts)
        return [self._of_image(*one) for one in zip(boxes, scores, sizes)]

    def _of_image(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        classes = scores.shape[1] - 1
        boxes = clip_boxes_to_image(boxes[:, 1:].reshape(-1, 4), size)
        labels = torch.arange(classes, device=scores.device).repeat(len(scores))
        score = scores[:, 1:].flatten()
        likely = where_true((score > self.score_thresh) & (boxes[:, 2:] - boxes[:, :2] >= _SMALLEST).all(1))
        boxes, score, labels = boxes[likely], score[likely], labels[likely]
        keep = suppressed(boxes, score, labels, self.nms_thresh, self.detections_per_img)
        return boxes[keep], score[keep], labels[keep]
