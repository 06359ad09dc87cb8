"""Test images of a folder that have no labels, alone and as the unlabelled pool."""

import json
from contextlib import nullcontext

import pytest
import torch
from image_trees import save_image
from mmengine.config import Config

from openmix.data.image_folder import ImageFolder
from openmix.data.pools import Pools
from openmix.data.unlabelled_folder import UnlabelledFolder
from openmix.data.verify import describe, table
from openmix.engine.data_check import check_data
from openmix.errors import InputError
from openmix.shipped import configs_dir


@pytest.fixture
def root(folder_tree):
    """Add root/unlabelled with nine images at three depths to the class folders of the training and test images."""
    for i in range(9):
        folder = folder_tree / 'unlabelled' / ('', 'day 1', 'day 2/evening')[i % 3]
        save_image(folder / f'{i}.png', 24, 32, seed=1000 + i)
    return folder_tree


def test_reads_the_images_at_any_depth_without_labels(root):
    memory = UnlabelledFolder(str(root), size=16, in_memory=True)
    files = UnlabelledFolder(str(root), size=16)
    names = [path.relative_to(root / 'unlabelled').as_posix() for path in files.paths]
    assert names == [*(f'{i}.png' for i in (0, 3, 6)), *(f'day 1/{i}.png' for i in (1, 4, 7))] + [
        f'day 2/evening/{i}.png' for i in (2, 5, 8)
    ]
    for data in (memory, files):
        batch = data.__getitems__([8, 0])
        assert [*batch] == ['inputs', 'ids']
        assert batch['ids'].tolist() == [8, 0]
        assert not data.labelled
        assert [*UnlabelledFolder.example(2, root=str(root), size=16)] == ['inputs', 'ids']
    assert torch.equal(memory.__getitems__([8, 0])['inputs'], files.__getitems__([8, 0])['inputs'])
    # Class folders are folders as all others.
    assert len(UnlabelledFolder(str(root), 'train')) == 18
    assert UnlabelledFolder(str(root), 'train').known.classes == ()


def test_a_subset_is_drawn_or_listed(root, tmp_path):
    drawn = [UnlabelledFolder(str(root), subset=4, split_seed=seed).rows.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(UnlabelledFolder(str(root), subset=0.5)) == 5
    (tmp_path / 'list.txt').write_text('7.png 2\n2.png 0\n')
    listed = UnlabelledFolder(str(root), subset=str(tmp_path / 'list.txt'))
    assert [path.name for path in listed.paths] == ['7.png', '2.png']
    (tmp_path / 'list.txt').write_text('12.png\n')
    with pytest.raises(InputError, match=r"no image of the split is called '12.png'"):
        UnlabelledFolder(str(root), subset=str(tmp_path / 'list.txt'))


def test_is_the_unlabelled_pool_of_labelled_class_folders(root):
    own = dict(type='ImageFolder', root=str(root), size=16)
    pools = Pools(own, dict(type='UnlabelledFolder', root=str(root), size=16), ratio=2)
    assert pools.sizes == (18, 9)
    assert pools.known.classes == ('cat', 'dog', 'emu')
    batch = pools.__getitems__([3, 18, 19])
    assert [*batch['labelled']] == ['inputs', 'labels', 'ids']
    assert [*batch['unlabelled']] == ['inputs', 'ids']
    # What is labelled is known by its file, not by its number.
    pools = Pools(
        dict(own, subset=3),
        dict(type='UnlabelledFolder', root=str(root), split='train', size=16),
        keep_labelled=False,
    )
    assert pools.sizes == (3, 15)
    assert not set(pools.parts['labelled'].paths) & set(pools.parts['unlabelled'].paths)


@pytest.mark.parametrize(
    ('split', 'transductive', 'line'),
    [
        ('unlabelled', False, None),
        ('train', False, None),
        ('test', False, r"both read the split 'test'; take another split, or set"),
        ('.', False, r"split='\.' here and .*; take folders of which none holds the other, or set"),
        ('test/cat', False, r'take folders of which none holds the other'),
        ('test_2', False, None),
        ('.', True, None),
        ('unlabelled', True, r'transductive=True, and it holds no image of'),
    ],
)
def test_evaluated_images_are_found_in_a_folder_that_holds_theirs(root, split, transductive, line):
    (root / 'test_2').mkdir()
    own = dict(type='ImageFolder', root=str(root))
    other = dict(type='UnlabelledFolder', root=str(root), split=split)
    judged = {'dataset': dict(own, split='test')}
    train = dict(type='Pools', labelled=own, unlabelled=other, transductive=transductive)
    cfg = Config(dict(train_dataloader={'dataset': train}, val_dataloader=judged))
    with nullcontext() if line is None else pytest.raises(InputError, match=line):
        check_data(cfg)


def test_a_table_of_classes_leaves_it_out(root):
    own, other = ImageFolder(str(root), size=16), UnlabelledFolder(str(root), size=16)
    assert describe(other, {}) == '9 images, served at 16x16, no labels'
    assert table({'train labelled': own, 'train unlabelled': other})[:2] == [
        'label  class  train labelled',
        '0      cat    6',
    ]
    assert table({'train': other}) == []


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (
            dict(split='nowhere'),
            r"UnlabelledFolder: .*pets has no split 'nowhere'; valid: empty, test, train, ",
        ),
        (dict(split='empty'), r'UnlabelledFolder: no images below .*empty; expected .*/\*.jpg, at any depth'),
        (dict(root='/nowhere'), r'UnlabelledFolder: root /nowhere is missing; expected'),
        (
            dict(in_memory=True, pipeline=[dict(type='RandomFlip')]),
            'UnlabelledFolder: a pipeline needs in_memory=False',
        ),
    ],
)
def test_what_is_not_there_is_one_line(root, options, line):
    (root / 'empty').mkdir()
    with pytest.raises(InputError, match=line):
        UnlabelledFolder(**{'root': str(root), **options})


RECIPE = """
_base_ = {base!r}

weak = [dict(type='BatchRandomFlip')]
strong = [dict(type='BatchUniformRandAugment', layers=2), *weak]
images = dict(type='ImageFolder', root={root!r}, size=16, in_memory=True)
model = dict(
    backbone=dict(depth=8, width=4),
    data_preprocessor=dict(augment=dict(_delete_=True, labelled=weak, unlabelled=[weak, strong])),
)
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        labelled=dict(_delete_=True, **images),
        unlabelled=dict(type='UnlabelledFolder', root={root!r}, size=16, in_memory=True),
    ),
)
val_dataloader = dict(dataset=dict(_delete_=True, **images, split='test'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
"""


@pytest.mark.slow
def test_a_semi_supervised_method_trains_on_it(root, tmp_path, nursery):
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(RECIPE.format(base=str(configs_dir() / 'semisup/digits/fixmatch.py'), root=str(root)))
    ran = nursery.run(['train.py', recipe, '--work-dir', tmp_path / 'run'], tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    records = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    assert {'labelled_loss', 'unlabelled_loss', 'mask_rate', 'accuracy/top1'} <= {*records[-1]}
    # Whether a pseudo-label is right is not known, and not made up.
    assert not any('pseudo_label_accuracy' in record for record in records)
    # A classifier has nothing to be trained on.
    words = ['train_dataloader.dataset.type=UnlabelledFolder', 'train_dataloader.dataset.split=unlabelled']
    words += [f'{part}_dataloader.dataset.root={root}' for part in ('train', 'val', 'test')]
    words += [f'{part}_dataloader.dataset.split=test' for part in ('val', 'test')]
    ran = nursery.run(['train.py', 'classification/image_folder/resnet18.py', '--cfg-options', *words], tmp_path)
    assert ran.returncode == 2
    assert 'error: pets has no classes, and this model is trained on labels' in ran.stderr
