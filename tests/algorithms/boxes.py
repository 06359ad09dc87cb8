"""A toy detector in one file: a data set of images of any size with boxes, collation, preprocessor and metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.ops import box_iou

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.registry import DATASETS, FUNCTIONS, METRICS, MODELS, PreprocessorConfig

CELL = 8  # side, in pixels, of the cell of one prediction
SIDES = (24, 32, 40)


@DATASETS.register_module()
class ToyBoxes(Dataset):
    """Synthetic images (3, H, W) uint8 with 0 to 3 bright boxes; training draws a new brightness in each epoch."""

    small = {'count': 4}

    def __init__(self, count: int = 13, training: bool = False) -> None:
        self.count, self.training, self.draws = count, training, (0, 0)

    @classmethod
    def example(cls, n: int, **kwargs: Any) -> Batch:
        """Make a batch of n samples on the meta device, with all sizes and numbers of boxes."""
        sides = [(SIDES[i % 3], SIDES[i // 3 % 3]) for i in range(n)]
        images = [torch.empty(3, *side, dtype=torch.uint8, device='meta') for side in sides]
        boxes = [torch.empty(i % 4, 4, device='meta') for i in range(n)]
        return {'inputs': images, 'boxes': boxes, 'ids': torch.empty(n, dtype=torch.int64, device='meta')}

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write nothing: the images are synthetic."""

    def set_epoch(self, epoch: int, seed: int = 0) -> None:
        self.draws = (seed, epoch)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(index)
        height, width = (SIDES[int(torch.randint(len(SIDES), (), generator=draw))] for _ in range(2))
        image = torch.randint(0, 60, (3, height, width), dtype=torch.uint8, generator=draw)
        corners = torch.rand(index % 4, 2, 2, generator=draw) * torch.tensor([width, height])
        boxes = torch.cat([corners.amin(1), corners.amax(1) + 2], 1).floor()
        for left, top, right, bottom in boxes.int().tolist():
            image[:, top:bottom, left:right] = 200
        if self.training:
            draw = torch.Generator().manual_seed(hash((*self.draws, index)) % 2**32)
            image = (image * (0.5 + 0.5 * torch.rand((), generator=draw))).to(torch.uint8)
        return {'inputs': image, 'boxes': boxes, 'ids': index}


@FUNCTIONS.register_module()
def toy_lists(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Collate samples to lists of images and boxes, and a tensor of ids."""
    ids = torch.tensor([sample['ids'] for sample in samples])
    return {'inputs': [s['inputs'] for s in samples], 'boxes': [s['boxes'] for s in samples], 'ids': ids}


@MODELS.register_module()
class ToyListPreprocessor(BaseDataPreprocessor):
    """Scale every image of a list to [-1, 1]."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        data = self.cast_data(data)
        return {**data, 'inputs': [image.float().div(127.5).sub(1) for image in data['inputs']]}


@MODELS.register_module()
class ToyDetector(Algorithm):
    """A detector: every cell of an image predicts whether it contains the centre of a box, and the box."""

    answers = frozenset({'boxes'})

    def __init__(self, width: int = 8, keep: int = 3, data_preprocessor: PreprocessorConfig | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, width, CELL, stride=CELL),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.head = nn.Conv2d(width, 5, 1)
        self.keep = keep

    def cells(self, images: list[Tensor]) -> Tensor:
        """Predict (N, 5, h, w): log-odds of a box, and its left, top, right and bottom in pixels.

        Images are padded to the largest one.
        """
        height, width = (max(image.shape[side] for image in images) for side in (1, 2))
        padded = [F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]
        found = self.head(self.backbone(torch.stack(padded))).float()
        return torch.cat([found[:, :1], found[:, 1:] * 40], 1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        cells = self.cells(batch['inputs'])
        boxes = torch.cat(batch['boxes'])
        image = torch.cat([torch.full_like(own[:, 0], i).long() for i, own in enumerate(batch['boxes'])])
        column, row = (((boxes[:, i] + boxes[:, i + 2]) / 2 / CELL).long() for i in (0, 1))
        row, column = row.clamp(0, cells.shape[2] - 1), column.clamp(0, cells.shape[3] - 1)
        wanted = torch.zeros_like(cells[:, 0])
        wanted[image, row, column] = 1
        off = F.smooth_l1_loss(cells[image, 1:, row, column], boxes, reduction='sum') / 40
        found = F.binary_cross_entropy_with_logits(cells[:, 0], wanted)
        return {'loss_object': found, 'loss_box': off / max(len(boxes), 1), 'boxes_seen': boxes.new_tensor(len(boxes))}

    def predict(self, batch: Batch) -> dict[str, Any]:
        flat = self.cells(batch['inputs']).flatten(2).transpose(1, 2)
        best = flat[..., 0].topk(min(self.keep, flat.shape[1]), 1).indices
        kept = flat.gather(1, best[..., None].expand(-1, -1, 5))
        return {'boxes': list(kept), 'truth': batch['boxes'], 'ids': batch['ids']}


@METRICS.register_module()
class ToyOverlap(BaseMetric):
    """`overlap/mean`: mean over the true boxes of the largest overlap with a predicted box, in percent."""

    default_prefix = 'overlap'
    reads = frozenset({'boxes'})

    def process(self, data_batch: object, data_samples: list[dict[str, Any]]) -> None:
        for answer in data_samples:
            for index, found, truth in zip(answer['ids'].tolist(), answer['boxes'], answer['truth'], strict=True):
                self.results.append({'id': index, 'found': found[:, 1:].cpu(), 'truth': truth.cpu()})

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        once = {result['id']: result for result in results}
        best = [
            box_iou(once[key]['truth'], once[key]['found']).amax(1) for key in sorted(once) if len(once[key]['truth'])
        ]
        return {'mean': torch.cat(best).mean().item() * 100, 'count': float(len(once))}

    def evaluate(self, size: int) -> dict[str, float]:
        gathered = [result for results in all_gather_object(self.results) for result in results]
        self.results.clear()
        return {f'{self.prefix}/{name}': value for name, value in self.compute_metrics(gathered).items()}
