"""A training step and a prediction of Faster R-CNN C4 beside torchvision's FasterRCNN of the same network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.batch import Batch
from openmix.models.detection.faster_rcnn import FasterRCNN

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES, OBJECTS = 20, 3
SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)


class Size(NamedTuple):
    """What is detected on: the ResNet, images, their height and width, proposals before and after NMS, and regions."""

    network: str
    images: int
    height: int
    width: int
    pre_nms: tuple[int, int]
    post_nms: tuple[int, int]
    rois: int


PUBLISHED = Size('resnet50', 2, 608, 800, (12000, 6000), (2000, 1000), 512)
ON_CPU = Size('resnet18', 2, 320, 416, (2000, 1000), (500, 300), 64)
QUICK = Size('resnet18', 1, 64, 96, (50, 20), (20, 10), 4)


class LastStage(nn.Module):
    """The head of a region: the last stage, a norm, and the mean over positions."""

    def __init__(self, model: FasterRCNN) -> None:
        super().__init__()
        self.stage, self.norm = model.backbone.last_stage(), model.roi_heads.norm

    def forward(self, regions: Tensor) -> Tensor:
        return self.norm(self.stage(regions)).mean((2, 3))


def ours(size: Size) -> FasterRCNN:
    return FasterRCNN(
        dict(type='TorchvisionBackbone', name=size.network),
        CLASSES,
        SIZES,
        RATIOS,
        size.pre_nms,
        size.post_nms,
        size.rois,
        data_preprocessor=dict(type='DetectionPreprocessor', mean=MEAN, std=STD),
    )


def torchvisions(model: FasterRCNN, size: Size) -> TorchvisionFasterRCNN:
    """Build torchvision's detector with copies of our stages, and the settings that it has of ours."""
    model = copy.deepcopy(model)
    backbone = model.backbone
    backbone.out_channels = backbone.channels  # type: ignore[assignment]
    return TorchvisionFasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator((SIZES,), (RATIOS,)),
        rpn_pre_nms_top_n_train=size.pre_nms[0],
        rpn_pre_nms_top_n_test=size.pre_nms[1],
        rpn_post_nms_top_n_train=size.post_nms[0],
        rpn_post_nms_top_n_test=size.post_nms[1],
        box_roi_pool=MultiScaleRoIAlign(['0'], 14, -1),
        box_head=LastStage(model),
        box_predictor=model.roi_heads.box_predictor,
        box_batch_size_per_image=size.rois,
        image_mean=MEAN,
        image_std=STD,
        size_divisible=1,
        _skip_resize=True,
    )


def drawn(size: Size, device: str) -> Batch:
    """Draw images of two sizes with objects."""
    inputs, boxes, labels = [], [], []
    for n in range(size.images):
        height, width = size.height - 16 * (n % 2), size.width
        corner = torch.rand(OBJECTS, 2) * torch.tensor([width, height]) / 2
        extent = torch.rand(OBJECTS, 2) * torch.tensor([width, height]) / 2
        inputs.append(torch.randint(256, (3, height, width), dtype=torch.uint8).to(device))
        boxes.append(torch.cat([corner, corner + extent.clamp(min=8)], 1).to(device))
        labels.append(torch.randint(CLASSES, (OBJECTS,)).to(device))
    return {'inputs': inputs, 'boxes': boxes, 'box_labels': labels, 'ids': torch.arange(size.images)}


def candidates(size: Size, device: str) -> tuple[dict[str, Candidate], dict[str, Candidate]]:
    """Make a training step without its optimiser, and a prediction, of torchvision's detector and of ours."""
    trained = ours(size).to(device).train()
    theirs = torchvisions(trained, size).train()
    judged, their_judged = copy.deepcopy(trained).eval(), copy.deepcopy(theirs).eval()
    batch = drawn(size, device)
    targets = [{'boxes': one, 'labels': y + 1} for one, y in zip(batch['boxes'], batch['box_labels'])]

    def their_images() -> list[Tensor]:
        return [image.float() / 255 for image in batch['inputs']]

    def their_step() -> None:
        theirs.zero_grad()
        sum(theirs(their_images(), targets).values()).backward()

    def step() -> None:
        trained.zero_grad()
        trained.parse_losses(trained.loss(trained.data_preprocessor(batch, training=True)))[0].backward()

    def predict() -> None:
        with torch.no_grad():
            judged.predict(judged.data_preprocessor(batch))

    def their_prediction() -> None:
        with torch.no_grad():
            their_judged(their_images())

    return {"torchvision's": their_step, 'ours': step}, {"torchvision's": their_prediction, 'ours': predict}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    size = QUICK if setting.quick else PUBLISHED if setting.device == 'cuda' else ON_CPU
    steps, predictions = candidates(size, setting.device)
    of = f'of {size.network}-C4, {size.images} images of {size.height}x{size.width}'
    yield Comparison(f'detection: forward and backward pass {of}, {size.rois} regions each', alternating(steps))
    yield Comparison(f'detection: prediction {of}', alternating(predictions))
