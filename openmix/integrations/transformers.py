"""Mixing in Hugging Face's `Trainer`: one object is its collator, its callback and its `compute_loss_func`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

from openmix.errors import InputError
from openmix.integrations.transform import classes_of, policy_of_images
from openmix.losses.cross_entropy import mix_ce
from openmix.mix import Mix
from openmix.mixups.base import MixPolicy
from openmix.mixups.context import MixContext

_LABELS = ('labels', 'label')


def _callback() -> Any:
    try:
        return import_module('transformers').TrainerCallback
    except ImportError as error:
        raise InputError(
            'openmix.integrations.transformers needs transformers: pip install transformers accelerate'
        ) from error


class TrainerMixer(_callback()):  # type: ignore[misc]
    """Mix the training batches of a `Trainer` for image classification, and no others.

    `Trainer(..., data_collator=mixer, callbacks=[mixer], compute_loss_func=mixer.compute_loss)`. As callback it learns
    when the trainer trains, so that evaluations, by the same collator, read clean images. The datasets give dicts of
    `pixel_values` (C, H, W) and `labels`; set `remove_unused_columns=False` if `datasets` transforms them on the fly.

    With gradient accumulation the loss is divided by the number of steps, which `Trainer` leaves to the function.

    Args:
        policy: a policy of images, or its registry dict.
        loss: function of (logits, labels, mix).
        collate: makes a batch of a list of samples.

    Raises:
        InputError: it is no policy; or a batch is asked for although the trainer has no such callback.
    """

    def __init__(
        self,
        policy: MixPolicy | dict[str, Any],
        loss: Callable[[Tensor, Tensor, Mix], Tensor] = mix_ce,
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> None:
        super().__init__()
        self.policy = policy_of_images('TrainerMixer', policy)
        self.loss, self.collate = loss, collate
        self.mixing: bool | None = None
        self.trains, self.accumulated = False, 1

    def __call__(self, samples: list[Any]) -> dict[str, Any]:
        """Make a batch: `pixel_values` (N, C, H, W) and `labels`, in training a dict of the labels and the `Mix`."""
        if self.mixing is None:
            raise InputError('TrainerMixer: the Trainer needs it twice: data_collator=mixer, callbacks=[mixer]')
        batch = dict(self.collate(samples))
        label = next((key for key in _LABELS if key in batch), None)
        if label is None or 'pixel_values' not in batch:
            raise InputError(f'TrainerMixer: a sample has pixel_values and labels, this one has {", ".join(batch)}')
        y = batch.pop(label)
        if not self.mixing:
            return {**batch, 'labels': y}
        x = batch['pixel_values']
        batch['pixel_values'], mix = self.policy(x, MixContext(x, classes_of(y)))
        told = {'labels': y, 'source': mix.source, 'weight': mix.weight}
        return {**batch, 'labels': told if mix.mask is None else {**told, 'mask': mix.mask}}

    def compute_loss(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Tensor:
        """Compute the loss of a batch of this collator, mixed or clean.

        Args:
            outputs: a model's output, with `logits` (N, C).
            labels: as the collator makes them.
            num_items_in_batch: is not read; the mean over each batch is divided by the number of accumulated ones.
        """
        logits = outputs['logits'] if isinstance(outputs, Mapping) else outputs[0]
        if isinstance(labels, Mapping):
            mix = Mix(labels['source'], labels['weight'], labels.get('mask'))
            return self.loss(logits, labels['labels'], mix) / self.accumulated
        return self.loss(logits, labels, Mix.none(len(logits), logits.device))

    def on_init_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.mixing = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.trains, self.accumulated = True, args.gradient_accumulation_steps
        self.mixing = not args.eval_on_start

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.trains = self.mixing = False

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.policy.before_epoch(int(state.epoch or 0))

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.mixing = self.trains and not control.should_evaluate

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.mixing = self.trains and not control.should_evaluate

    def on_evaluate(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.mixing = self.trains
