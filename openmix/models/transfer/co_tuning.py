"""Co-Tuning (You et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from mmengine.dist import broadcast
from torch import Tensor

from openmix.algorithm import HasClasses
from openmix.errors import InputError, brief, check_choice, check_number
from openmix.losses.labels import at_least_float32
from openmix.mix import Mix
from openmix.models.classifier import MixClassifier, width_of
from openmix.models.every_class import refuse_absent
from openmix.models.mixing import Mixed
from openmix.models.transfer.relationship import by_regression, direct, split
from openmix.models.transfer.source_head import SourceHead
from openmix.registry import MODELS, Built

SourceConfig = Annotated[dict, Built(MODELS, frozenset({'in_features'}), SourceHead.__name__)]

# Factors of source logits that calibrate published weights: that of torchvision's ResNet-50 is the released code's.
CALIBRATIONS = {'resnet50_imagenet1k_v1': 0.88405}
# The names of these weights in the libraries: of a source head, its `name` and `weights`.
_OF = {'resnet50_imagenet1k_v1': (('torchvision/resnet50', 'IMAGENET1K_V1'), ('timm/resnet50.tv_in1k', None))}
_IMAGES = 64  # images of a batch whose source predictions are computed


@runtime_checkable
class LabelledImages(Protocol):
    """Training images that can be read once without random transforms."""

    known: Any
    labels: Tensor

    def images_a_class(self) -> Tensor: ...

    def unaugmented(self) -> Any: ...

    def __len__(self) -> int: ...


def source_cross_entropy(logits: Tensor, relationship: Tensor, y: Tensor, mix: Mix) -> Tensor:
    """Compute the cross-entropy of source logits towards p(source | target), mixed as the images are.

    Args:
        logits: (N, S).
        relationship: (C, S) p(source | target).
        y: (M,) int64 target labels of the clean batch.
        mix: how the images were mixed.
    """
    targets = (mix.weight[..., None] * relationship[y[mix.source]]).sum(1)
    if mix.earlier is not None:
        targets = targets + mix.earlier @ relationship
    return -(targets * at_least_float32(logits).log_softmax(1)).sum(1).mean()


def check_calibrated(calibration: str, source: Mapping[str, Any]) -> None:
    """Check that a published calibration is that of a source head taken by name.

    Raises:
        InputError: the head is of other weights.
    """
    name, weights = source.get('name'), source.get('weights')
    if name is not None and (name, weights) not in _OF[calibration]:
        raise InputError(
            f"CoTuning: calibration='{calibration}' is of the weights {brief(_OF[calibration][0])}, and source is of "
            f'{brief((name, weights))}; give a number, 1.0 for none'
        )


@MODELS.register_module()
class CoTuning(MixClassifier):
    """Fine-tune a network together with its source head, towards the source classes that are likely for each label.

    Before the first step the labelled images, without random transforms, pass the pretrained network once. From its
    source probabilities and the labels p(source | target) is learned, see `by_regression` and `direct`, which is saved
    with the run. The loss is that of `MixClassifier` on the target head plus
    weight * CE(p(source | label), source head); with a policy that mixes, the source targets are mixed with the same
    shares as the labels. Predictions are the target head's.

    *Differs from the paper*, whose regression is calibrated on validation images that no published list has: a share of
    the labelled images is held out for it, and trained on afterwards.

    Args:
        source: registry dict of the source head, by default a `SourceHead`.
        weight: lambda; 2.3 in the paper.
        relationship: 'regression' or 'direct'.
        calibration: factor of the source logits before the softmax, or the name of a published one in `CALIBRATIONS`.
        held_out: share of each class that calibrates the regression.
        absent: any class without a labelled image is refused ('refused'), or has p(source | target) that follows from
            the other images ('kept').
        kwargs: see `MixClassifier`.

    Raises:
        InputError: there is no source head, an option is out of range, a class has no labelled image, or the images
            cannot be read without their augmentation; or a published calibration is of other weights.
    """

    small = {'relationship': 'direct', 'absent': 'kept'}
    of_training = frozenset({'source', 'relationship'})
    relationship: Tensor

    def __init__(
        self,
        source: SourceConfig,
        weight: float = 2.3,
        relationship: str = 'regression',
        calibration: float | str = 1.0,
        held_out: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_number('CoTuning: weight', weight, 0.0)
        check_choice('CoTuning: relationship', relationship, ('regression', 'direct'))
        check_number('CoTuning: held_out', held_out, 0.0, 1.0, above=True, below=True)
        if isinstance(calibration, str):
            check_choice('CoTuning: calibration', calibration, tuple(CALIBRATIONS))
            check_calibrated(calibration, source)
            calibration = CALIBRATIONS[calibration]
        check_number('CoTuning: calibration', calibration, 0.0, above=True)
        if not isinstance(self.head, HasClasses):
            raise InputError(f'CoTuning: {type(self.head).__name__} has no num_classes, which source classes are for')
        self.source = MODELS.build(
            {'type': SourceHead.__name__, 'in_features': width_of(self.backbone), **source},
        )
        self.weight, self.kind, self.calibration, self.held_out = weight, relationship, calibration, held_out
        uniform = torch.full((self.head.num_classes, self.source.num_classes), 1 / self.source.num_classes)
        self.register_buffer('relationship', uniform)

    def further_losses(self, mixed: Mixed, y: Tensor) -> dict[str, Tensor]:
        logits = self.source(mixed.features)
        return {'source_loss': self.weight * source_cross_entropy(logits, self.relationship, y, mixed.mix)}

    def check_data(self, dataset: Any) -> None:
        super().check_data(dataset)
        if not isinstance(dataset, LabelledImages):
            raise InputError(
                f'CoTuning: {type(dataset).__name__} has no unaugmented(), the images without random transforms, from '
                'which the relationship of classes is learned; derive it from ImageDataset'
            )
        if self.absent == 'refused':
            refuse_absent('CoTuning', dataset.known.classes, dataset.images_a_class())

    @classmethod
    def for_prediction(cls, model: dict[str, Any]) -> None:
        super().for_prediction(model)
        model['source'] = {'pretrained': False}

    def take_head(self, head: Mapping[str, Tensor], path: Path) -> bool:
        if not self.source.awaited:
            return False
        self.source.take(head, path)
        return True

    def read_data(self, dataset: Any) -> None:
        super().read_data(dataset)
        if self.source.awaited:
            raise InputError(
                'CoTuning: the source head is that of the weights that the run starts from, and it starts from none; '
                "give --weights FILE, or a source with name='torchvision/NAME' or checkpoint='FILE'"
            )
        p, y = self.source_probabilities(dataset.unaugmented())
        classes = self.relationship.shape[0]
        if self.kind == 'direct':
            found = direct(p, y, classes)
        else:
            kept, held = split(y, self.held_out)
            found = by_regression(p[kept], y[kept], (p[held], y[held]), classes)
        self.relationship.copy_(found)
        broadcast(self.relationship)

    @torch.no_grad()
    def source_probabilities(self, images: Any) -> tuple[Tensor, Tensor]:
        """Compute the calibrated source probabilities (N, S) and labels (N,) of all images, in evaluation mode."""
        mode, found, labels = self.training, [], []
        self.eval()
        for first in range(0, len(images), _IMAGES):
            read = images.__getitems__(range(first, min(first + _IMAGES, len(images))))
            batch = self.data_preprocessor(read, training=False)
            logits = at_least_float32(self.source(self.backbone(batch['inputs'])))
            found.append((self.calibration * logits).softmax(1).cpu())
            labels.append(batch['labels'].cpu())
        self.train(mode)
        return torch.cat(found), torch.cat(labels)
