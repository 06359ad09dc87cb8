"""The region proposal network of Faster R-CNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import clip_boxes_to_image

from openmix.models.detection.anchors import ExactAnchors
from openmix.models.detection.selection import BalancedSampler, BoxMatcher, suppressed, where_true

# Settings of Ren et al. (NeurIPS 2015) that all detectors with it share.
_SAMPLED, _POSITIVE = 256, 0.5
_OBJECT, _BACKGROUND = 0.7, 0.3
_NMS = 0.7


class FloatHead(RPNHead):
    """torchvision's head with outputs in float32, as the coordinates of boxes need, also in mixed precision."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map one (N, C, h, w) to [(N, A, h, w)] log-odds of an object and [(N, 4 A, h, w)] offsets of boxes."""
        logits, offsets = super().forward(x)
        return [one.float() for one in logits], [one.float() for one in offsets]


class ProposalNetwork(RegionProposalNetwork):
    """torchvision's region proposal network, with the losses of detectron2.

    Both losses are sums divided by 256 N, whatever was sampled; the box loss is `smooth_l1` with `beta`, L1 for 0. The
    training of an image samples 256 anchors, at most half of them with an object.

    Args:
        channels: of the features.
        anchors: the anchors.
        pre_nms, post_nms: proposals of an image before and after NMS, in training and in evaluation.
        beta: see above.
    """

    def __init__(
        self,
        channels: int,
        anchors: ExactAnchors,
        pre_nms: Sequence[int],
        post_nms: Sequence[int],
        beta: float = 0.0,
    ) -> None:
        (count,) = anchors.num_anchors_per_location()
        super().__init__(
            anchors,
            FloatHead(channels, count),
            _OBJECT,
            _BACKGROUND,
            _SAMPLED,
            _POSITIVE,
            dict(zip(('training', 'testing'), pre_nms)),
            dict(zip(('training', 'testing'), post_nms)),
            _NMS,
        )
        self.proposal_matcher = BoxMatcher(_OBJECT, _BACKGROUND, allow_low_quality_matches=True)
        self.fg_bg_sampler = BalancedSampler(_SAMPLED, _POSITIVE)
        self.beta = beta

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Choose proposals by their log-odds and by NMS.

        Args:
            proposals: (N, A, 4).
            objectness: (N A, 1) log-odds.
            image_shapes: (H, W) of the images without padding.
            num_anchors_per_level: [A].

        Returns:
            for each image boxes (P, 4) and log-odds (P,), the highest first.
        """
        logits = objectness.detach().view(len(proposals), -1)
        scores, places = logits.topk(min(self.pre_nms_top_n(), logits.shape[1]), 1)
        best = proposals.gather(1, places[..., None].expand(-1, -1, 4))
        kept = []
        for boxes, score, shape in zip(best, scores, image_shapes):
            boxes = clip_boxes_to_image(boxes, shape)
            wide = where_true((boxes[:, 2:] - boxes[:, :2] >= self.min_size).all(1))
            boxes, score = boxes[wide], score[wide]
            keep = suppressed(boxes, score, torch.zeros_like(wide), self.nms_thresh, self.post_nms_top_n())
            kept.append((boxes[keep], score[keep]))
        return [boxes for boxes, _ in kept], [score for _, score in kept]

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Compute the losses of objectness and of boxes from the anchors of all N images.

        Args:
            objectness: (N A, 1) log-odds.
            pred_bbox_deltas: (N A, 4).
            labels: for each image (A,): 1 for an object, 0 for background, -1 for neither.
            regression_targets: for each image (A, 4); only those of objects count.
        """
        positive, negative = (torch.cat(masks) for masks in self.fg_bg_sampler(labels))
        count = _SAMPLED * len(labels)
        wanted = torch.cat(labels).clamp(min=0)
        found = F.binary_cross_entropy_with_logits(objectness.flatten(), wanted, reduction='none')
        off = F.smooth_l1_loss(pred_bbox_deltas, torch.cat(regression_targets), beta=self.beta, reduction='none').sum(1)
        # Not a product: the target of an anchor of an image without objects is infinite.
        return (
            torch.where(positive | negative, found, 0.0).sum() / count,
            torch.where(positive, off, 0.0).sum() / count,
        )
