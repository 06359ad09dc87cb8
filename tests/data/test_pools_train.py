"""Train on two pools as a user does: in a process, with workers, interrupted, and in several processes."""

import json
import shutil
from pathlib import Path

import pytest
from image_trees import save_image
from processes import all_end

from openmix.engine.checkpoint import read_checkpoint
from openmix.shipped import configs_dir

ROOT = Path(__file__).parent.parent.parent
METHOD = """
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from torch import Tensor, nn

from openmix.algorithm import Algorithm
from openmix.batch import Batch
from openmix.models.classifier import width_of
from openmix.registry import MODELS, ModelConfig, PreprocessorConfig


@MODELS.register_module()
class Consistency(Algorithm):
    answers = frozenset({'logits'})

    def __init__(self, backbone: ModelConfig, data_preprocessor: PreprocessorConfig | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(width_of(self.backbone), 10)

    def read_data(self, dataset: Any) -> None:
        if 'READ' in os.environ:
            rows = dataset.chosen()['labelled'].tolist()
            Path(os.environ['READ'], f'{get_rank()}.txt').write_text(''.join(f'{row}\\n' for row in rows))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        own, others = batch['labelled'], batch['unlabelled']
        assert 'labels' not in others
        weak, strong = others['inputs'].unbind(1)
        logits = self.head(self.backbone(torch.cat([own['inputs'], weak, strong])))
        logits, easy, hard = logits.split([len(own['inputs']), len(weak), len(strong)])
        return {
            'loss_labelled': F.cross_entropy(logits, own['labels']),
            'loss_unlabelled': F.cross_entropy(hard, easy.detach().argmax(1)),
        }

    def predict(self, batch: Batch) -> dict[str, Any]:
        return {'logits': self.head(self.backbone(batch['inputs'])), 'labels': batch['labels'], 'ids': batch['ids']}
"""
RECIPE = """
_base_ = {base!r}
custom_imports = dict(imports=['method'])
weak = {weak}
strong = {strong}
model = dict(
    _delete_=True,
    type='Consistency',
    backbone=dict(type='ThinResNet', depth=8, width=4),
    data_preprocessor=dict(type='ImagePreprocessor', augment={augment}),
)
train_dataloader = dict(
    batch_size=16,
    drop_last=True,
    sampler=dict(_delete_=True, type='PoolSampler'),
    dataset=dict(_delete_=True, type='Pools', ratio=3, {data}),
)
val_dataloader = dict(dataset={judged})
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=12, val_interval=6)
param_scheduler = []
default_hooks = dict(checkpoint=dict(interval=6, by_epoch=False, max_keep_ckpts=5))
"""
MEMORY = dict(
    weak="[dict(type='BatchRandomCrop', padding=1)]",
    strong="[*weak, dict(type='BatchColorJitter', brightness=0.5)]",
    augment='dict(labelled=weak, unlabelled=[weak, strong])',
    data="labelled=dict(type='Digits', subset=20, split_seed=None)",
    judged='dict(subset=40)',
)


def files(root):
    """Settings of the same recipe, its images in files."""
    part = f"type='ImageFolder', root={str(root)!r}, classes=[str(c) for c in range(10)]"
    sized = "dict(type='torchvision/Resize', size=[16, 16])"
    return dict(
        weak="[dict(type='torchvision/RandomResizedCrop', size=16)]",
        strong=f"[{sized}, dict(type='torchvision/RandomHorizontalFlip')]",
        augment='[]',
        data=f'labelled=dict({part}, subset=.5, split_seed=None, pipeline=weak), '
        f"unlabelled=dict({part}, pipeline=[dict(type='MultiView', views=[weak, strong])]), keep_labelled=False",
        judged=f"dict(_delete_=True, {part}, split='test', size=16)",
    )


def write(folder, **settings):
    base = str(configs_dir() / 'classification/digits/resnet20.py')
    (folder / 'method.py').write_text(METHOD)
    recipe = folder / 'pools.py'
    recipe.write_text(RECIPE.format(base=base, **settings))
    return recipe


@pytest.fixture
def in_memory(tmp_path):
    return write(tmp_path, **MEMORY)


@pytest.fixture
def in_files(tmp_path):
    for split, count in (('train', 4), ('test', 1)):
        for c in range(10):
            for i in range(count):
                save_image(tmp_path / 'data' / split / str(c) / f'{i}.png', 20, 24, seed=50 * c + i + 9 * count)
    return write(tmp_path, **files(tmp_path / 'data'))


@pytest.fixture
def run(nursery):
    """Return a function that runs a command on a recipe in its folder, and returns the output."""

    def said(recipe, *args, tool='train.py', expect=0):
        ran = nursery.run([tool, recipe, *args], recipe.parent, {'PYTHONPATH': str(recipe.parent)})
        assert ran.returncode == expect, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    return said


def weights(folder):
    return read_checkpoint(str(folder / 'iter_12.pth'))['state_dict']


def same(one, other):
    return all(one[key].equal(other[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['in_memory', 'in_files'])
def test_is_resumed_to_the_bit_with_another_number_of_workers(run, kind, tmp_path, request):
    recipe = request.getfixturevalue(kind)
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    run(recipe, '--work-dir', whole, '--seed', 1)
    cut.mkdir()
    for name in ('iter_6.pth', 'labelled.txt'):
        shutil.copy(whole / name, cut)
    run(recipe, '--work-dir', cut, '--resume', cut / 'iter_6.pth', '--cfg-options', 'train_dataloader.num_workers=2')
    assert same(weights(whole), weights(cut))
    assert (cut / 'labelled.txt').read_text() == (whole / 'labelled.txt').read_text()
    rows = (whole / 'labelled.txt').read_text().split()
    assert len(set(rows)) == 20


@pytest.mark.slow
def test_the_seed_of_the_run_draws_the_labelled_images(run, in_memory, tmp_path, nursery):
    digests, lists = set(), []
    for seed in range(2):
        folder = tmp_path / str(seed)
        run(in_memory, '--work-dir', folder, '--seed', seed, '--cfg-options', 'train_cfg.max_iters=1')
        lists.append((folder / 'labelled.txt').read_text())
        digests.add(json.loads((folder / 'result.json').read_text())['config_hash'])
    assert lists[0] != lists[1]
    assert len(digests) == 1
    # Two processes, and the list of a run given as such, train on the same images.
    both = tmp_path / 'both'
    words = ['train.py', in_memory, '--work-dir', both, '--seed', 1, '--cfg-options', 'train_cfg.max_iters=2']
    all_end(nursery.ranks(2, words, tmp_path / 'log', {'PYTHONPATH': str(tmp_path), 'READ': str(tmp_path)}), 0)
    assert (both / 'labelled.txt').read_text() == lists[1]
    assert [(tmp_path / f'{rank}.txt').read_text() for rank in range(2)] == [lists[1]] * 2
    given = f'train_dataloader.dataset.labelled.subset={tmp_path / "1" / "labelled.txt"}'
    again = tmp_path / 'again'
    run(in_memory, '--work-dir', again, '--cfg-options', given, 'train_cfg.max_iters=1')
    assert (again / 'labelled.txt').read_text() == lists[1]
    # Where the list beside the run is another, the run does not go on.
    (tmp_path / '1' / 'labelled.txt').write_text(lists[0])
    line = run(in_memory, '--work-dir', tmp_path / '1', '--resume', '--cfg-options', 'train_cfg.max_iters=2', expect=2)
    assert "labelled.txt' lists the images that the run was trained on" in line.splitlines()[-1]


@pytest.mark.slow
def test_verify_dataset_looks_into_pools(run, in_files, tmp_path):
    out = run(in_files, tool='verify_dataset.py')
    assert 'split_seed=None is the seed of a run: shown for seed 0' in out
    assert 'train labelled: 20 images, served at 16x16, 10 classes, 2 to 2 images a class' in out
    assert 'train unlabelled: 20 images, served at 16x16, 10 classes, 2 to 2 images a class' in out
    shutil.copy(tmp_path / 'data/train/3/2.png', tmp_path / 'data/test/3/7.png')
    line = run(in_files, tool='verify_dataset.py', expect=2).splitlines()[-1]
    assert line.startswith('error: val: 1 of 11 images are in train labelled too')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('train_dataloader.batch_size=18', 'batch_size is 18, and Pools with ratio=3 are read in groups of 4'),
        ('train_dataloader.sampler.type=DefaultSampler', "sampler: Pools are read by sampler=dict(type='PoolSampler')"),
        ('val_dataloader.sampler.type=PoolSampler', 'val_dataloader.sampler'),
        ('train_dataloader.dataset.labelled.subset=25', '25 labelled images are not equally many of each of the 10'),
        ('train_dataloader.dataset.labelled.subset=absent.txt', 'absent.txt'),
        ('train_dataloader.dataset.labelled.subset=2.5', 'subset must be in (0, 1], got 2.5'),
        ('train_dataloader.dataset.labelled.subst=2', "Digits has no 'subst'; did you mean 'subset'?"),
        ('model.data_preprocessor.augment.unlabelled.1.0.paddin=2', "BatchRandomCrop has no 'paddin'"),
        ('model.data_preprocessor.augment.unlabeled=[]', 'augment is for the pools labelled, unlabelled, unlabeled'),
        ('val_dataloader.dataset.split=val val_dataloader.dataset.val_fraction=0.1', 'its images are trained on'),
    ],
)
def test_what_does_not_do_is_refused_before_the_first_step(run, in_memory, option, message):
    line = run(in_memory, '--dry-run', 1, '--cfg-options', *option.split(), expect=2).splitlines()[-1]
    assert line.startswith('error: ')
    assert message in line
