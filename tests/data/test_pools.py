"""Test pools of labelled and unlabelled images, and their sampler."""

import math
import random
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from openmix.batch import pools_of
from openmix.data.base import ImageDataset
from openmix.data.cifar import CIFAR10
from openmix.data.collate import identity_collate
from openmix.data.digits import Digits
from openmix.data.facts import Facts
from openmix.data.image_folder import ImageFolder
from openmix.data.pools import Pools
from openmix.data.sampler import DefaultSampler, PoolSampler
from openmix.engine.loops import read_pass
from openmix.errors import InputError

DIGITS = dict(type='Digits', subset=20)


class Sizes:
    """As much of `Pools` as its sampler asks for."""

    def __init__(self, labelled, unlabelled, ratio):
        self.sizes, self.ratio = (labelled, unlabelled), ratio

    def __len__(self):
        return sum(self.sizes)


def orders(sizes, world=1, seed=3, epoch=0, replacement=False):
    """The indices of every rank."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(world):
            patch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, world))
            sampler = PoolSampler(sizes, seed=seed, replacement=replacement)
            sampler.set_epoch(epoch)
            order = list(sampler)
            assert len(order) == len(sampler)
            found.append(order)
    return found


def drawn(number):
    """Random numbers of a case, and pools of random sizes."""
    rng = random.Random(number)
    return rng, Sizes(rng.randint(1, 40), rng.randint(1, 60), rng.randint(1, 9))


@pytest.mark.parametrize('number', range(60))
def test_a_pass_is_of_whole_groups_and_shows_every_image(number):
    rng, pools = drawn(number)
    world, replacement, epoch = rng.randint(1, 4), number % 2 == 1, rng.randint(0, 3)
    first, total, group = pools.sizes[0], len(pools), 1 + pools.ratio
    ranks = orders(pools, world, epoch=epoch, replacement=replacement)
    assert len({len(order) for order in ranks}) == 1
    everything = [index for order in ranks for index in order]
    # No draw of an image comes twice, whichever process reads it.
    assert len(set(everything)) == len(everything)
    for order in ranks:
        for start in range(0, len(order), group):
            labelled = [index % total < first for index in order[start : start + group]]
            assert labelled == [True] + [False] * pools.ratio
    counts = torch.bincount(torch.tensor(everything) % total, minlength=total)
    # The draws of an image are numbered from 0 on.
    for place in range(total):
        numbers = sorted(index // total for index in everything if index % total == place)
        assert numbers == list(range(len(numbers)))
    if not replacement:
        assert counts.min() > 0
        for part in (counts[:first], counts[first:]):
            assert part.max() - part.min() <= 1
    groups = math.ceil(max(first, math.ceil(pools.sizes[1] / pools.ratio)) / world)
    assert len(ranks[0]) == groups * group


@pytest.mark.parametrize('number', range(40))
def test_seek_leaves_out_what_was_read(number):
    rng, pools = drawn(number)
    epoch, skipped = rng.randint(0, 3), rng.randint(0, 100)
    sampler = PoolSampler(pools, seed=1, replacement=number % 2 == 1)
    sampler.set_epoch(epoch)
    whole = list(sampler)
    sampler.seek(skipped)
    assert list(sampler) == whole[skipped:]
    assert list(sampler) == whole


def test_the_order_is_a_function_of_seed_and_epoch():
    pools = Sizes(20, 100, 3)
    assert orders(pools, seed=1) == orders(pools, seed=1)
    assert orders(pools, seed=1) != orders(pools, seed=2)
    assert orders(pools, epoch=1) != orders(pools, epoch=2)
    assert orders(pools) != orders(pools, replacement=True)


def test_processes_share_the_groups_of_one():
    pools = Sizes(20, 84, 4)
    (alone,), shared = orders(pools), orders(pools, 3)
    groups = [order[start : start + 5] for order in shared for start in range(0, len(order), 5)]
    assert sorted(groups) == sorted(alone[start : start + 5] for start in range(0, len(alone), 5))


def test_with_replacement_all_images_are_as_likely():
    counts = torch.bincount(torch.tensor(orders(Sizes(10, 20_000, 5), replacement=True)[0]) % 20_010)[:10]
    assert counts.sum() == 4000
    assert (counts - 400).abs().max() < 5 * math.sqrt(400)
    assert counts.float().var() > 40  # shuffled they would all be 400


def test_a_batch_has_a_plain_one_a_pool():
    pools = Pools(DIGITS, ratio=7)
    batch = pools.__getitems__(list(PoolSampler(pools, seed=0))[:16])
    assert [*batch] == ['labelled', 'unlabelled']
    assert {key: tuple(value.shape) for key, value in batch['labelled'].items()} == {
        'inputs': (2, 3, 16, 16),
        'labels': (2,),
        'ids': (2,),
    }
    assert {key: len(value) for key, value in batch['unlabelled'].items()} == dict(inputs=14, true_labels=14, ids=14)
    for name, labels in (('labelled', 'labels'), ('unlabelled', 'true_labels')):
        alone = pools.parts[name].__getitems__(batch[name]['ids'])
        assert torch.equal(batch[name]['inputs'], alone['inputs'])
        assert torch.equal(batch[name][labels], alone['labels'])


def test_no_label_of_an_unlabelled_image_is_called_so():
    pools = Pools(DIGITS, ratio=3)
    for index in range(len(pools)):
        assert ('labels' in pools[index]) == (index < 20)
    for example in (pools.example(8, labelled=DIGITS, ratio=3), pools.__getitems__(list(PoolSampler(pools, 0))[:8])):
        assert 'labels' not in example['unlabelled']
        assert 'true_labels' not in example['labelled']


def test_the_unlabelled_pool_is_the_whole_split_by_default():
    own = Digits(subset=20)
    assert Pools(DIGITS).sizes == (20, 1442)
    without = Pools(DIGITS, keep_labelled=False)
    assert without.sizes == (20, 1422)
    assert not set(without.parts['unlabelled'].rows.tolist()) & set(own.rows.tolist())
    held = Pools(dict(DIGITS, val_fraction=0.5), keep_labelled=False)
    assert held.sizes == (20, len(Digits(val_fraction=0.5)) - 20)
    # Images in memory are held once.
    assert without.parts['unlabelled'].array is without.parts['labelled'].array


def test_ids_are_places_in_the_pool_that_is_left():
    pools = Pools(DIGITS, keep_labelled=False)
    batch = pools.__getitems__([0, 20, 1, 21, 19, len(pools) - 1])
    assert batch['labelled']['ids'].tolist() == [0, 1, 19]
    assert batch['unlabelled']['ids'].tolist() == [0, 1, 1421]


def test_images_of_files_are_left_out_by_their_file(folder_tree):
    given = dict(type='ImageFolder', root=str(folder_tree), size=16)
    pools = Pools(dict(given, subset=3), dict(given, pipeline=None), keep_labelled=False)
    assert pools.sizes == (3, 15)
    assert not set(pools.parts['labelled'].paths) & set(pools.parts['unlabelled'].paths)
    kept = Pools(dict(given, subset=3), given)
    assert kept.sizes == (3, 18)


@pytest.mark.parametrize('in_memory', [False, True])
def test_an_image_is_left_out_whatever_its_root_is_called(folder_tree, tmp_path, monkeypatch, in_memory):
    monkeypatch.chdir(folder_tree.parent)
    (tmp_path / 'link').symlink_to(folder_tree)
    linked = tmp_path / 'of links' / 'train'
    for file in sorted((folder_tree / 'train').rglob('*.*')):
        place = linked / file.relative_to(folder_tree / 'train')
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file)
    own = dict(type='ImageFolder', root=folder_tree.name, size=16, in_memory=in_memory, cache=False)
    for other in (
        folder_tree.name,
        folder_tree,
        f'{folder_tree}/../{folder_tree.name}',
        tmp_path / 'link',
        linked / '..',
    ):
        pools = Pools(dict(own, subset=3), dict(own, root=str(other)), keep_labelled=False)
        assert pools.sizes == (3, 15), other


def test_images_of_another_way_to_read_them_are_not_told_apart(folder_tree):
    class Own(Digits):
        pass

    with pytest.raises(InputError, match='cannot tell which images of Own are labelled'):
        Pools(DIGITS, dict(type=Own), keep_labelled=False)


def test_a_split_is_known_by_the_real_folder(tmp_path):
    (tmp_path / 'a' / CIFAR10.folder).mkdir(parents=True)
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / CIFAR10.folder).symlink_to(tmp_path / 'a' / CIFAR10.folder)
    assert CIFAR10.drawn(root=str(tmp_path / 'a')) == CIFAR10.drawn(root=str(tmp_path / 'b'))


def test_no_two_pools_draw_alike():
    seeds = []

    class Seen(Digits):
        def set_epoch(self, epoch, seed=0):
            seeds.append(seed)

    pools = Pools(dict(type=Seen, subset=20), dict(type=Seen))
    for seed in (0, 1, 2**32 - 1):
        pools.set_epoch(3, seed)
    draws = [(seed, epoch, image) for seed in seeds for epoch in range(6) for image in range(6)]
    assert len({(*np.random.SeedSequence(draw).generate_state(4),) for draw in draws}) == len(draws) == 6 * 36
    # Those of the labelled pool are those of a data set alone; whatever takes a seed takes all of them.
    assert seeds[::2] == [0, 1, 2**32 - 1]
    for seed in seeds:
        np.random.RandomState(seed)


class Numbered(ImageDataset):
    """Images of the number of the pass, which `set_epoch` keeps as an attribute."""

    def __init__(self):
        super().__init__(self.facts(), torch.zeros(4, dtype=torch.int64))
        self.epoch = -1

    @classmethod
    def facts(cls, **kwargs):
        return Digits.facts()

    def set_epoch(self, epoch, seed=0):
        self.epoch = epoch

    def images(self, indices):
        return torch.full((len(indices), 3, 2, 2), self.epoch, dtype=torch.uint8), torch.arange(len(indices))


class Joined(Dataset):
    """A data set of data sets, in a list."""

    def __init__(self, *parts):
        self.parts = list(parts)

    def __len__(self):
        return sum(map(len, self.parts))

    def __getitem__(self, index):
        return self.parts[index // 4][index % 4]

    def set_epoch(self, epoch, seed=0):
        for part in self.parts:
            part.set_epoch(epoch, seed)


@pytest.mark.parametrize(
    'build', [Numbered, lambda: Pools(dict(type=Numbered), balanced=False), lambda: Joined(Joined(Numbered()))]
)
def test_workers_that_outlive_a_pass_see_the_next_one(build):
    dataset = build()
    sampler = PoolSampler(dataset, seed=0) if isinstance(dataset, Pools) else DefaultSampler(dataset, seed=0)
    loader = DataLoader(
        dataset, batch_size=2, sampler=sampler, num_workers=1, persistent_workers=True, collate_fn=identity_collate
    )
    passes = []
    for number in range(3):
        batches = [pool for batch in read_pass(loader, number, 0, seed=0) for pool in pools_of(batch).values()]
        passes.append({int(value) for batch in batches for value in batch['inputs'].unique()})
    assert passes == [{0}, {1}, {2}]


def test_pools_tell_of_themselves():
    given = dict(labelled=DIGITS, ratio=7)
    assert Pools.facts(**given) == Digits.facts()
    assert Pools.served(**given) == (3, 16, 16)
    assert Pools.group(**given) == 8
    assert Pools.pools(**given)['unlabelled'] == {'type': 'Digits'}
    assert {name: len(batch['ids']) for name, batch in Pools.example(24, **given).items()} == dict(
        labelled=3, unlabelled=21
    )
    assert len(Pools.example(2, **given)['unlabelled']['ids']) == 7


def test_two_draws_of_an_image_differ_and_are_the_same_again(folder_tree):
    flips = [dict(type='torchvision/RandomResizedCrop', size=16)]
    given = dict(type='ImageFolder', root=str(folder_tree), pipeline=flips)
    pools = Pools(dict(given, subset=3), given)
    total = len(pools)

    def read(*indices):
        pools.set_epoch(4, seed=9)
        return pools.__getitems__([*indices])

    once = read(0, 5, 0 + total, 5 + total)
    # A resumed run reads the second draws without the first, and its process has drawn other numbers.
    random.random(), torch.rand(1), np.random.rand()
    again = read(0 + total, 5 + total)
    for name in ('labelled', 'unlabelled'):
        assert once[name]['ids'].tolist() == [0, 0] if name == 'labelled' else [2, 2]
        assert not torch.equal(once[name]['inputs'][0], once[name]['inputs'][1])
        assert torch.equal(once[name]['inputs'][1:], again[name]['inputs'])
    # One place of two pools is two images.
    pools.set_epoch(4, seed=9)
    same = Pools(given, given)
    same.set_epoch(4, seed=9)
    batch = same.__getitems__([0, len(same) // 2])
    assert not torch.equal(batch['labelled']['inputs'], batch['unlabelled']['inputs'])


class Unknown(ImageDataset):
    def __init__(self):
        super().__init__(self.facts(), torch.zeros(4, dtype=torch.int64))

    @classmethod
    def facts(cls, **kwargs):
        return Digits.facts()


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: Pools(DIGITS, ratio=0), 'Pools: ratio must be an integer >= 1|Pools: ratio must be in'),
        (lambda: Pools(dict(type='Digits'), keep_labelled=False), 'leaves no unlabelled image'),
        (lambda: Pools(dict(type=Pools, labelled=DIGITS)), 'labelled must be a data set derived from ImageDataset'),
        (lambda: Pools(DIGITS, dict(type=Unknown), keep_labelled=False), 'cannot tell which images of Unknown'),
        (lambda: PoolSampler(range(4)), 'draws from Pools, not from range'),
        (lambda: Pools(DIGITS).__getitems__(list(DefaultSampler(Pools(DIGITS), seed=0))[:8]), 'no groups of 1 and 1'),
        (lambda: Pools(DIGITS, ratio=3).__getitems__([0, 20, 21]), "sampler=dict\\(type='PoolSampler'\\)"),
    ],
)
def test_what_does_not_do_is_refused_in_one_line(build, message):
    with pytest.raises(InputError, match=message) as error:
        build()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('subset', 'message'),
    [
        (5, '5 labelled images are not equally many of each of the 10 classes; take 10, or balanced=False in Pools'),
        (25, '25 labelled images are not equally many of each of the 10 classes; take 20 or 30, or'),
    ],
)
def test_a_number_of_labels_that_gives_no_class_its_share_is_refused(subset, message):
    """Before an image is read, with its place, and where pools are built by hand."""
    given = dict(DIGITS, subset=subset)
    with pytest.raises(InputError, match=f'^Pools: subset of labelled: {message}'):
        Pools(given)
    with pytest.raises(InputError, match=rf'^train_dataloader\.dataset\.labelled\.subset: {message}'):
        Pools.check_loader({}, 'train_dataloader', labelled=given)
    Pools.check_loader({}, 'train_dataloader', labelled=given, balanced=False)
    assert Pools(given, balanced=False).sizes[0] == subset


@pytest.mark.parametrize(
    'labelled', [dict(type='UnlabelledFolder', root='.', subset=5), dict(type='STL10', split='unlabelled')]
)
def test_labelled_images_without_labels_are_refused_before_they_are_read(labelled):
    line = f'^train_dataloader.dataset.labelled: the images of this {labelled["type"]} have no labels; give it as unlab'
    with pytest.raises(InputError, match=line):
        Pools.check_loader({}, 'train_dataloader', labelled=labelled)


def test_a_class_with_too_few_images_is_refused(folder_tree, tmp_path):
    """With a number of images where others would take its place, and with a list that leaves it out."""
    root = shutil.copytree(folder_tree, tmp_path / 'fewer')
    for number in range(1, 6):
        (root / 'train' / 'cat' / f'{number}.png').unlink()
    given = dict(type='ImageFolder', root=str(root), size=16)
    classes = ImageFolder.facts(root=str(root)).classes
    with pytest.raises(
        InputError, match=f"the class '{classes[0]}' has 1 labelled image, and each needs 2; take fewer"
    ):
        Pools(dict(given, subset=2 * len(classes)), given)
    assert Pools(dict(given, subset=len(classes)), given).parts['labelled'].labels.tolist() == [*range(len(classes))]
    (tmp_path / 'list.txt').write_text('0\n')
    with pytest.raises(InputError, match=f"the class '{classes[1]}' has no labelled image, and it needs 1"):
        Pools(dict(given, subset=str(tmp_path / 'list.txt')), given)


def test_a_balanced_split_is_drawn_by_the_seed_alone():
    """Seeds 0, 1, 2 give three splits, each with as many images of every class."""
    splits = [Pools(dict(DIGITS, split_seed=seed)).parts['labelled'] for seed in (0, 1, 2, 0)]
    assert all(split.labels.bincount().tolist() == [2] * 10 for split in splits)
    rows = [tuple(split.rows.tolist()) for split in splits]
    assert (len(set(rows)), rows[0]) == (3, rows[3])


def test_other_classes_are_refused(monkeypatch):
    other = Facts('Other', ('a', 'b'), (0.5,) * 3, (0.5,) * 3, (16, 16))

    class Other(Unknown):
        @classmethod
        def facts(cls, **kwargs):
            return other

    with pytest.raises(InputError, match='different classes'):
        Pools(DIGITS, dict(type=Other))
