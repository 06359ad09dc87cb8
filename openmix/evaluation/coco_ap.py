"""Average precision by the rules of COCO, computed by torchmetrics and pycocotools."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch

from openmix.errors import InputError, install_hint
from openmix.evaluation.voc_ap import Found, PerImage
from openmix.registry import METRICS

_EXTRA = ('torchmetrics', 'pycocotools')


@METRICS.register_module()
class COCOAveragePrecision(PerImage):
    """`coco/AP`, `coco/AP50` and `coco/AP75`, in percent: 101-point AP, averaged over the classes that have objects.

    AP is averaged over the IoU thresholds 0.5, 0.55, ..., 0.95 too. Difficult objects are COCO's crowds: a detection on
    one does not count. Values differ from those of `VOCAveragePrecision` and are not compared with published ones of
    Pascal VOC.

    Raises:
        InputError: a package is not installed; when evaluated: no object counts.
    """

    default_prefix = 'coco'
    names = ('coco/AP', 'coco/AP50', 'coco/AP75')

    def __init__(self) -> None:
        super().__init__()
        if lacking := [name for name in _EXTRA if importlib.util.find_spec(name) is None]:
            raise InputError(f'COCOAveragePrecision needs {" and ".join(lacking)}: {install_hint("detection")}')

    def measure(self, images: Sequence[Found]) -> dict[str, float]:
        # Imported here, because it takes seconds.
        from torchmetrics.detection import MeanAveragePrecision

        # The results are gathered already.
        metric = MeanAveragePrecision(box_format='xyxy', iou_type='bbox', sync_on_compute=False)
        metric.update(
            [
                dict(boxes=torch.tensor(one.boxes), scores=torch.tensor(one.scores), labels=torch.tensor(one.labels))
                for one in images
            ],
            [
                dict(
                    boxes=torch.tensor(one.true_boxes),
                    labels=torch.tensor(one.true_labels),
                    iscrowd=torch.tensor(one.difficult).long(),
                )
                for one in images
            ],
        )
        found = metric.compute()
        return {name: 100 * found[key].item() for name, key in (('AP', 'map'), ('AP50', 'map_50'), ('AP75', 'map_75'))}
