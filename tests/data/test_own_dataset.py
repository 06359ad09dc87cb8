"""A user's data set, as in the documentation, trains; one that returns something else gives one error line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from openmix.data.base import ImageDataset
from openmix.data.collate import identity_collate
from openmix.errors import InputError
from openmix.evaluation.accuracy import Accuracy
from openmix.models.preprocessor import ImagePreprocessor

ROOT = Path(__file__).parent.parent.parent
PREPROCESSOR = ImagePreprocessor((0.5,) * 3, (0.5,) * 3)
IMAGE = torch.zeros(3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ('samples', 'got'),
    [
        ([(IMAGE, 1)] * 2, r'got a list of a uint8 tensor of \(2, 3, 8, 8\), a int64 tensor of \(2,\)'),
        ([IMAGE] * 2, 'got a Tensor'),
        (
            [{'img': IMAGE, 'gt_label': 1}] * 2,
            r'got a dict of img: a uint8 tensor of \(2, 3, 8, 8\), gt_label: a int64 tensor',
        ),
        ([{'inputs': IMAGE, 'labels': [1, 2], 'ids': 0}] * 2, 'labels: a list'),
        ([{'inputs': IMAGE, 'labels': 1, 'ids': torch.zeros(3)}] * 2, r'ids: a float32 tensor of \(2, 3\)'),
        ([{}] * 2, 'an empty dict'),
        ([{'inputs': torch.zeros(8, 8), 'labels': 1, 'ids': 0}] * 2, r'inputs: a float32 tensor of \(2, 8, 8\)'),
    ],
)
def test_what_is_no_batch_is_told_in_a_line(samples, got):
    with pytest.raises(InputError, match=rf'a batch must be a dict of inputs .*{got}.*identity_collate') as error:
        PREPROCESSOR(identity_collate(samples), training=True)
    assert len(str(error.value).splitlines()) == 1


def test_what_another_collate_function_leaves_is_told_too():
    with pytest.raises(InputError, match='inputs: a list, labels: a list'):
        PREPROCESSOR({'inputs': [IMAGE, IMAGE], 'labels': [1, 2]})


@pytest.mark.parametrize(
    'samples',
    [
        [{'inputs': torch.zeros(3, 8, 8)}, {'inputs': torch.zeros(3, 9, 8)}],
        [{'inputs': IMAGE, 'labels': 1}, {'inputs': IMAGE}],
        [{'inputs': object()}] * 2,
        [np.array(['a'])] * 2,
    ],
)
def test_samples_that_do_not_stack(samples):
    with pytest.raises(InputError, match=r'the samples of a batch cannot be stacked: .*; see docs/data.md') as error:
        identity_collate(samples)
    assert len(str(error.value).splitlines()) == 1


def test_a_good_sample_is_a_good_batch():
    batch = identity_collate([{'inputs': IMAGE, 'labels': 1, 'ids': i} for i in range(4)])
    out = PREPROCESSOR(batch, training=True)
    assert out['inputs'].shape == (4, 3, 8, 8)
    assert out['labels'].tolist() == [1] * 4
    views = PREPROCESSOR({'inputs': torch.zeros(4, 2, 3, 8, 8, dtype=torch.uint8)})
    assert views['inputs'].shape == (4, 2, 3, 8, 8)


def test_measuring_needs_labels_and_ids():
    with pytest.raises(InputError, match='must hold labels and ids'):
        Accuracy().process(None, [{'logits': torch.zeros(2, 3), 'labels': torch.zeros(2).long(), 'ids': None}])


def test_a_subclass_says_what_it_has_forgotten():
    with pytest.raises(InputError, match=r'Own needs a class method facts\(\*\*kwargs\) that returns Facts'):
        type('Own', (ImageDataset,), {}).facts()


OWN = """
import torch
from torch.utils.data import Dataset
from openmix.registry import DATASETS


@DATASETS.register_module()
class Pairs(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.zeros(3, 16, 16, dtype=torch.uint8), index % 10

    def set_epoch(self, epoch, seed=0):
        pass
"""

RECIPE = """
_base_ = {base!r}
custom_imports = dict(imports=['own_pairs'], allow_failed_imports=False)
own = dict(_delete_=True, type='Pairs')
model = dict(head=dict(num_classes=10), data_preprocessor=dict(mean=(0.5,) * 3, std=(0.5,) * 3))
train_dataloader = dict(dataset=own, batch_size=4, num_workers={workers})
val_dataloader = dict(dataset=own, batch_size=4)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1])
def test_pairs_of_image_and_label_end_training_in_one_line(tmp_path, nursery, workers):
    (tmp_path / 'own_pairs.py').write_text(OWN)
    base = str(ROOT / 'configs' / 'classification' / 'digits' / 'resnet20.py')
    (tmp_path / 'own.py').write_text(RECIPE.format(base=base, workers=workers))
    words = ['train.py', tmp_path / 'own.py', '--work-dir', tmp_path / 'run']
    done = nursery.run(words, env={'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert 'a batch must be a dict of inputs (N, 3, H, W), labels (N,) and ids (N,)' in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
