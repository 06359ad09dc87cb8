"""Mixing in Lightning's own trainer, where it is installed."""

import native
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

pytest.importorskip('lightning', reason='Lightning is not installed')

import lightning.pytorch as pl

from openmix.errors import InputError
from openmix.integrations.lightning import MixCallback, MixingMixin
from openmix.losses import mix_ce


class Plain(pl.LightningModule):
    """A module that knows nothing of mixing."""

    def __init__(self):
        super().__init__()
        self.network, self.losses, self.seen = native.model(), [], []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.seen.append(batch[0])

    def configure_optimizers(self):
        return native.optimizer(self.network)


class Mixing(MixingMixin, Plain):
    def __init__(self):
        super().__init__()
        self.policy = native.policy()

    def training_step(self, batch, batch_idx):
        images, labels, mix = batch
        loss = mix_ce(self.network(images), labels, mix)
        self.losses.append(loss.item())
        return loss


def fit(module, callbacks=(), **loading):
    trainer = pl.Trainer(
        max_steps=native.STEPS,
        accelerator='cpu',
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        num_sanity_val_steps=1,
    )
    trainer.fit(module, DataLoader(native.samples(), native.BATCH, **loading), DataLoader(native.samples(6), 6))
    return module


@pytest.mark.parametrize('by', ['mixin', 'callback'])
def test_twenty_steps_are_those_of_the_native_loop(by):
    callback = MixCallback(native.policy(), num_classes=native.CLASSES)
    module = fit(Mixing()) if by == 'mixin' else fit(Plain(), [callback])
    assert module.losses == pytest.approx(native.losses(), rel=1e-5)
    clean = torch.stack([image for image, _ in native.samples(6)])
    assert module.seen
    assert all(torch.equal(images, clean) for images in module.seen)  # validation is not mixed
    told = module.policy if by == 'mixin' else callback.transform.policy
    assert told.epochs == [0, 1, 2, 3]


def test_a_batch_that_cannot_be_changed_is_one_line():
    def as_tuple(samples):
        return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])

    with pytest.raises(InputError, match='return a list or dict'):
        fit(Plain(), [MixCallback({'type': 'Mixup'}, num_classes=4)], collate_fn=as_tuple)
