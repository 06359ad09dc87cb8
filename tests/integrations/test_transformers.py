"""Mixing in Hugging Face's own `Trainer`, where it is installed."""

import native
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

pytest.importorskip('transformers', reason='transformers is not installed')
pytest.importorskip('accelerate', reason='accelerate, which the Trainer of transformers needs, is not installed')

from transformers import Trainer, TrainingArguments

from openmix.errors import InputError
from openmix.integrations.transformers import TrainerMixer


class Model(nn.Module):
    """A model with the interface that the trainer calls."""

    def __init__(self):
        super().__init__()
        self.network, self.seen = native.model(), []

    def forward(self, pixel_values):
        if not self.training:
            self.seen.append(pixel_values)
        return {'logits': self.network(pixel_values)}


def train(tmp_path, mixer, callbacks=None, **options):
    """Train, and evaluate every seven steps; return the model, the clean batches and the losses."""
    rows = [{'pixel_values': image, 'labels': label} for image, label in native.samples()]
    read, losses, model = [], [], Model()

    def collate(samples):
        batch = default_collate(samples)
        read.append((batch['pixel_values'], batch['labels']))
        return dict(batch)

    def compute_loss(outputs, labels, num_items_in_batch=None):
        loss = mixer.compute_loss(outputs, labels, num_items_in_batch)
        if model.training:
            losses.append(loss.item())
        return loss

    mixer.collate = collate
    options = {'max_steps': native.STEPS, 'eval_strategy': 'steps', 'eval_steps': 7, 'eval_on_start': True, **options}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=native.BATCH,
        use_cpu=True,
        save_strategy='no',
        report_to=[],
        disable_tqdm=True,
        max_grad_norm=0.0,
        remove_unused_columns=False,
        label_names=['labels'],
        **options,
    )
    steps = native.optimizer(model)
    trainer = Trainer(
        model,
        arguments,
        data_collator=mixer,
        train_dataset=rows,
        eval_dataset=rows[:8],
        callbacks=[mixer] if callbacks is None else callbacks,
        compute_loss_func=compute_loss,
        optimizers=(steps, torch.optim.lr_scheduler.ConstantLR(steps, 1.0)),
    )
    trainer.train()
    return model, [one for one in read if len(one[0]) == native.BATCH], losses, trainer


def test_twenty_steps_are_those_of_the_native_loop_and_evaluations_are_clean(tmp_path):
    mixer = TrainerMixer(native.policy())
    model, batches, losses, trainer = train(tmp_path, mixer)
    assert losses == pytest.approx(native.losses(batches[: native.STEPS]), rel=1e-5)
    clean = torch.stack([image for image, _ in native.samples()][:8])
    assert len(model.seen) == 4  # at the start, and after 7, 14 and 20 steps
    trainer.evaluate()
    assert all(torch.equal(images, clean) for images in model.seen)
    assert mixer.policy.epochs == [0, 1, 2, 3]


def test_accumulated_losses_are_divided(tmp_path):
    *_, losses, _ = train(tmp_path, TrainerMixer(native.policy()), max_steps=2, gradient_accumulation_steps=2)
    assert losses[0] == pytest.approx(native.losses()[0] / 2, rel=0.5)
    assert len(losses) == 4
    assert max(losses) < 1.1  # half of log 4, and not the whole


def test_a_collator_that_is_no_callback_is_one_line(tmp_path):
    with pytest.raises(InputError, match='needs it twice'):
        train(tmp_path, TrainerMixer({'type': 'Mixup'}), callbacks=[])
