"""Test provenance: the recipe, the version and the data each change the hash."""

import hashlib
import os
from itertools import pairwise

import pytest
from mmengine.config import Config

from openmix.config_hash import config_hash
from openmix.provenance import Provenance, data_fingerprint, needs_files, provenance


def recipe(*roots, kind='ImageFolder'):
    loaders = {
        f'{name}_dataloader': {'dataset': {'type': kind, 'root': str(root)}}
        for name, root in zip(('train', 'val'), roots)
    }
    return Config({'model': {'type': 'MixClassifier'}, **loaders})


@pytest.fixture
def root(tmp_path):
    for place in ('train/a/1.jpg', 'train/b/1.jpg', 'val/a/2.jpg', 'list.txt', '.openmix/cache.npy', 'all.tar.gz'):
        (tmp_path / 'images' / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'images' / place).write_bytes(b'1')
    return tmp_path / 'images'


def touched(root):
    """Change the modification time of a folder, because a disk's clock may be too coarse to show a change."""
    was = root.stat()
    os.utime(root, ns=(was.st_atime_ns, was.st_mtime_ns + 10**9))


def test_the_hashes_are_those_of_results_that_were_recorded(root):
    """Another value here would leave every finished run of every user without its table."""
    cfg = Config(
        {
            'model': {'type': 'MixClassifier', 'policy': {'type': 'CutMix', 'alpha': 0.2}},
            'default_hooks': {
                'checkpoint': {'type': 'CheckpointHook'},
                'param_scheduler': {'type': 'ParamSchedulerHook'},
            },
            'lr': 1e-3,
            'milestones': [1, 2],
            'crop': (8, 8),
            'resume': None,
            'name': 'é',
            'work_dir': 'anywhere',
            'randomness': {'seed': 3},
        }
    )
    assert config_hash(cfg) == '604eba0f789b'
    assert Provenance('r', 'd', '1').digest == '82fe109b2adc'
    assert Provenance('r', None, '1').digest == '72a2f251f74d'
    assert data_fingerprint(recipe(root)) == 'b6af85b6c55a'


def test_each_part_changes_the_hash():
    ours = Provenance('r', 'd', '1')
    others = [ours._replace(recipe='s'), ours._replace(data='e'), ours._replace(version='2')]
    assert len({ours.digest, *(other.digest for other in others)}) == 4
    assert ours.made(ours.digest, ours.data)
    assert not any(ours.made(other.digest, other.data) for other in others)
    assert not ours.made('', None)


def test_absent_data_are_taken_for_the_same():
    made = Provenance('r', 'd', '1').digest, 'd'
    assert Provenance('r', None, '1').made(*made)
    assert not Provenance('s', None, '1').made(*made)
    assert not Provenance('r', None, '2').made(*made)


@pytest.mark.parametrize(
    ('place', 'content', 'changes'),
    [
        ('train/a/2.jpg', b'1', True),
        ('list.txt', b'12', True),
        ('train/a/1.jpg', b'12', False),  # images are told by name
        ('.openmix/another.npy', b'1', False),
        ('more.zip', b'1', False),
    ],
)
def test_the_fingerprint_is_of_the_files(root, place, content, changes):
    before = data_fingerprint(recipe(root, root))
    (root / place).write_bytes(content)
    touched(root)
    after = data_fingerprint(recipe(root, root))
    assert None not in (before, after)
    assert (before != after) == changes
    assert (provenance(recipe(root)).digest != provenance(recipe(root, root)).digest) or changes


def test_the_fingerprint_follows_the_tree_not_its_place(root):
    before = data_fingerprint(recipe(root))
    moved = root.rename(root.with_name('moved'))
    assert data_fingerprint(recipe(moved)) == before


def test_no_fingerprint_without_the_files(root, tmp_path):
    assert data_fingerprint(recipe(tmp_path / 'nowhere')) is None
    assert data_fingerprint(recipe(root, tmp_path / 'nowhere')) is None
    assert data_fingerprint(Config({'train_dataloader': {'dataset': {'type': 'Digits', 'split': 'train'}}})) is None


def test_only_the_folder_of_the_data_set_counts(tmp_path):
    (tmp_path / 'cifar-10-batches-py').mkdir()
    (tmp_path / 'cifar-10-batches-py/data_batch_1').write_bytes(b'1')
    before = data_fingerprint(recipe(tmp_path, kind='CIFAR10'))
    (tmp_path / 'another').write_bytes(b'1')
    touched(tmp_path)
    assert before is not None
    assert data_fingerprint(recipe(tmp_path, kind='CIFAR10')) == before


def test_links_that_go_round_and_pipes_end(root):
    before = data_fingerprint(recipe(root))
    for name in ('here', 'there'):
        (root / 'train' / name).symlink_to('.')
        (root / name).symlink_to('..')
    os.mkfifo(root / 'train' / 'a' / 'pipe')
    touched(root)
    looped = data_fingerprint(recipe(root))
    assert looped not in (None, before)
    levels = [root.parent / 'levels' / str(i) for i in range(20)]
    for here, below in pairwise(levels):
        here.mkdir(parents=True)
        for name in 'ab':
            (here / name).symlink_to(below)
    levels[-1].mkdir()
    (levels[-1] / 'x.jpg').write_bytes(b'1')
    (root / 'deep').symlink_to(levels[0])
    touched(root)
    assert data_fingerprint(recipe(root)) not in (None, looped)


@pytest.mark.parametrize('target', ['nowhere', 'broken.txt'], ids=['to nothing', 'to itself'])
def test_a_broken_link_hides_no_change_of_the_files(root, target):
    before = data_fingerprint(recipe(root))
    (root / 'broken.txt').symlink_to(target)
    touched(root)
    broken = data_fingerprint(recipe(root))
    (root / 'train' / 'a' / '9.jpg').write_bytes(b'1')
    touched(root)
    assert len({None, before, broken, data_fingerprint(recipe(root))}) == 4


def test_two_links_to_one_folder_are_two_places(root):
    """As results that were recorded count them: the digest is of the tree as it is read."""
    (root / 'test').symlink_to('val')
    (root / 'valid').symlink_to('val')
    (root / 'extra').mkdir()
    (root / 'extra' / os.fsdecode(b'\xff.jpg')).write_bytes(b'1')
    lines = [f'/{half}/a/2.jpg' for half in ('test', 'val', 'valid')]
    lines += ['/list.txt 1', '/train/a/1.jpg', '/train/b/1.jpg', '/extra/\udcff.jpg']
    one = hashlib.sha256('\n'.join(sorted(lines)).encode(errors='surrogateescape')).hexdigest()[:12]
    assert data_fingerprint(recipe(root)) == hashlib.sha256(one.encode()).hexdigest()[:12]


def test_the_fingerprint_is_of_a_list_of_images_too(root):
    cfg, file = recipe(root), root.parent / 'labelled.txt'
    plain = data_fingerprint(cfg)
    cfg.train_dataloader.dataset = {'type': 'Pools', 'labelled': {**cfg.train_dataloader.dataset, 'subset': str(file)}}
    assert data_fingerprint(cfg) is None  # not there
    found = []
    for text in ('1\n2\n', '1\n3\n'):
        file.write_text(text)
        found.append(data_fingerprint(cfg))
    assert len({plain, *found}) == 3


@pytest.mark.parametrize('place', ['dataset', 'labelled', 'datasets'])
def test_a_list_of_images_is_known_by_its_content_wherever_it_lies(tmp_path, place):
    def cut(subset):
        digits = {'type': 'Digits', 'subset': subset}
        nested = {'dataset': digits, 'labelled': {'labelled': digits}, 'datasets': {'datasets': [digits]}}
        return Config({'train_dataloader': {'dataset': nested[place]}})

    for name, text in (('a', '0\n1\n'), ('b', '0\n1\n'), ('c', '2\n3\n')):
        (tmp_path / name).write_text(text)
    a, b, c = (provenance(cut(str(tmp_path / name))) for name in 'abc')
    assert a == b
    assert a.recipe == c.recipe
    assert a.data != c.data
    # A number is the recipe's alone, as before.
    assert len({a.recipe, *(config_hash(cut(subset)) for subset in (None, 2, 3, 0.5))}) == 5
    assert provenance(cut(2)).data is None
    assert not needs_files(cut(2))
    assert needs_files(cut(str(tmp_path / 'gone')))
