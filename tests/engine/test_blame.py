"""An error that a library raises in a step becomes one line with the place; an error of the user's code does not."""

import pytest
import torch
from torch import nn

from openmix.config import load_config
from openmix.engine import launch
from openmix.errors import InputError, from_library, message_of
from openmix.registry import MODELS

# Three times as small as the network can halve an image: its last features are 1 x 1.
TINY = {'model.backbone': dict(_delete_=True, type='TorchvisionBackbone', name='resnet18'), 'train_cfg.max_epochs': 1}


def recipe(tmp_path, images, **options):
    cfg = load_config('classification/digits/resnet20.py', {**TINY, **options})
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.subset = images
        cfg[f'{part}_dataloader'].batch_size = 16
    cfg.work_dir, cfg.vis_backends, cfg.visualizer.vis_backends = str(tmp_path), [], []
    return cfg


class Refusing(nn.Module):
    """A backbone that works in the preflight but fails on the CPU; `own`: by an error of the user's code."""

    def __init__(self, error: str, only: str = 'both') -> None:
        super().__init__()
        self.num_features, self.error, self.only = 48, error, only
        self.inner = nn.Sequential(nn.Flatten(), Raising(error, only), nn.Linear(3 * 16 * 16, 48))

    def forward(self, x):
        return self.inner(x)


@pytest.fixture(autouse=True)
def registered():
    MODELS.register_module(module=Refusing)
    yield
    del MODELS.module_dict['Refusing']


class Raising(nn.Module):
    def __init__(self, error: str, only: str) -> None:
        super().__init__()
        self.error, self.only = error, only

    def forward(self, x):
        if x.device.type == 'meta' or self.only == ('evaluation' if self.training else 'training'):
            return x
        if self.error == 'library':
            nn.functional.interpolate(x, size=3)
        elif self.error == 'device':
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.')
        elif self.error == 'host':
            torch.empty(2**50)
        raise ValueError('of the user')


class Images(torch.utils.data.Dataset):
    """A data set whose samples raise an error, of a library or of this file."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if self.error == 'library':
            return nn.functional.interpolate(torch.ones(1, 1, 2, 2), size=(3, 3, 3))
        raise KeyError('of the user')


@pytest.mark.parametrize(
    ('batch_size', 'drop_last', 'refused'), [(16, False, True), (16, True, False), (11, False, False)]
)
def test_a_last_batch_of_one_image_is_tried_before_the_first_step(tmp_path, batch_size, drop_last, refused):
    cfg = recipe(tmp_path, 33)
    cfg.train_dataloader.update(batch_size=batch_size, drop_last=drop_last)
    if not refused:
        assert launch.train(launch.prepare(cfg)).is_file()
        return
    line = 'last batch of an epoch has 1 image, not 16: model.backbone: .* drop_last'
    with pytest.raises(InputError, match=line) as told:
        launch.train(launch.prepare(cfg))
    assert '\n' not in str(told.value)
    assert not list(tmp_path.glob('*.pth'))


def test_a_last_batch_of_one_image_is_trained_where_the_model_takes_it(tmp_path):
    cfg = load_config('classification/digits/resnet20.py', {'train_cfg.max_epochs': 1})
    cfg.train_dataloader.dataset.subset = cfg.val_dataloader.dataset.subset = 33
    cfg.train_dataloader.batch_size, cfg.work_dir = 16, str(tmp_path)
    assert launch.train(launch.prepare(cfg)).is_file()


@pytest.mark.parametrize(
    ('error', 'only', 'line'),
    [
        ('library', 'training', r'^model.backbone: in a training step, inner.1 \(Raising\): .*'),
        ('library', 'evaluation', r'^model.backbone: in a validation step, inner.1 \(Raising\): .*'),
        (
            'device',
            'training',
            r'^train_dataloader: out of memory on the device in a training step: .* lower ',
        ),
        ('host', 'training', r'^train_dataloader: out of memory in a training step: .*lower batch_size'),
        ('host', 'evaluation', r'^val_dataloader: out of memory in a validation step: .*lower batch_size'),
    ],
)
def test_a_refusal_in_a_step_is_a_line(tmp_path, error, only, line):
    backbone = dict(_delete_=True, type='Refusing', error=error, only=only)
    cfg = recipe(tmp_path, 32, **{'model.backbone': backbone})
    with pytest.raises(InputError, match=line) as told:
        launch.train(launch.prepare(cfg))
    assert '\n' not in str(told.value)


def test_an_error_of_ones_own_code_keeps_its_traceback(tmp_path):
    cfg = recipe(tmp_path, 32, **{'model.backbone': dict(_delete_=True, type='Refusing', error='own')})
    with pytest.raises(ValueError, match='of the user'):
        launch.train(launch.prepare(cfg))


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(('error', 'said'), [('library', 'Input and output must have'), ('own', "no 'of the user'")])
def test_errors_of_workers_are_told_apart_like_others(error, said, workers):
    loader = torch.utils.data.DataLoader(Images(error), num_workers=workers)
    with pytest.raises((ValueError, KeyError)) as told:
        next(iter(loader))
    assert from_library(told.value) == (error == 'library')
    assert '\n' not in message_of(told.value)
    assert message_of(told.value).startswith(said)
