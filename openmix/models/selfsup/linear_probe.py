"""Linear evaluation: a linear classifier is trained on the features of a frozen backbone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from openmix.batch import Batch
from openmix.errors import InputError
from openmix.mix import Mix
from openmix.models.classifier import Classifier
from openmix.registry import MODELS, HeadConfig, ModelConfig, PreprocessorConfig


@MODELS.register_module()
class LinearProbe(Classifier):
    """A classifier of clean images whose head alone is trained; the backbone stays as it is, in evaluation mode.

    Start it from the weights of a trained backbone, with `--weights` or as the last stage of a table. A
    `FrozenBackboneHook` checks after the training that no tensor of the backbone changed, as MoCo's released code does.

    Args:
        backbone, head, data_preprocessor: see `Classifier`.
        ten_crop: see `Classifier`.

    Raises:
        InputError: see `Classifier`; in `loss`, the batch has no labels.
    """

    def __init__(
        self,
        backbone: ModelConfig,
        head: HeadConfig,
        data_preprocessor: PreprocessorConfig | None = None,
        ten_crop: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__(backbone, head, data_preprocessor, ten_crop)
        self.backbone.requires_grad_(False)
        self.finish()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the loss of the head on (N, 3, H, W) images with labels (N,) int64.

        Raises:
            InputError: the batch has no labels.
        """
        x, y = batch['inputs'], batch.get('labels')
        if y is None:
            raise InputError('LinearProbe learns from labels, and the batch has none')
        return {'loss': self.head.loss(self.head(self.backbone(x)), y, Mix.none(len(x), x.device))}

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        # Batch norm of a frozen backbone would still move its running statistics.
        self.backbone.eval()
        return self
