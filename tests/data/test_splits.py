import math
import re
from fractions import Fraction

import pytest
import torch

from openmix.data.digits import Digits
from openmix.data.pools import Pools
from openmix.data.splits import (
    balanced_subset,
    choose_rows,
    every_nth_of_class,
    holdout,
    rank_in_class,
    share_of_classes,
    source_split,
)
from openmix.engine.data_check import check_loader_of
from openmix.errors import InputError

LABELS = torch.tensor([i % 7 % 5 for i in range(203)])
KNOWN = ([40, 62, 123, 150, 163, 172], [0, 13, 34, 46, 121, 192])


def test_rank_counts_earlier_samples_of_the_class():
    seen: dict[int, int] = {}
    expected = []
    for label in LABELS.tolist():
        expected.append(seen.get(label, 0))
        seen[label] = expected[-1] + 1
    assert rank_in_class(LABELS).tolist() == expected


def test_every_nth_takes_one_in_n_of_each_class():
    chosen = every_nth_of_class(LABELS, 5)
    assert torch.equal(torch.bincount(LABELS[chosen]), torch.bincount(LABELS) // 5)


@pytest.mark.parametrize('fraction', [0.1, 0.25, 0.5])
def test_holdout_is_disjoint_complete_and_stratified(fraction):
    rest, held = holdout(LABELS, fraction, seed=3)
    assert torch.equal(torch.cat([rest, held]).sort().values, torch.arange(len(LABELS)))
    expected = (torch.bincount(LABELS) * fraction).round().long()
    assert torch.equal(torch.bincount(LABELS[held], minlength=5), expected)


def test_holdout_is_a_function_of_the_seed_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    first, again, other = (holdout(LABELS, 0.2, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize('n', [1, 4, 5, 23, 100, 203])
def test_subset_is_balanced_while_classes_last(n):
    rows = balanced_subset(LABELS, n, seed=0)
    assert len(rows.unique()) == n
    assert torch.equal(rows, rows.sort().values)
    counts, available = torch.bincount(LABELS[rows], minlength=5), torch.bincount(LABELS)
    unfinished = counts < available
    if unfinished.any():
        assert counts.max() - counts[unfinished].min() <= 1


def test_subsets_of_one_seed_are_nested_and_of_two_differ():
    small, large = balanced_subset(LABELS, 20, 0), balanced_subset(LABELS, 60, 0)
    assert set(small.tolist()) < set(large.tolist())
    assert not torch.equal(small, balanced_subset(LABELS, 20, 1))


def test_choose_rows_takes_subsets_of_the_split():
    train = choose_rows(LABELS, 'train', 0.2, 0, None)
    val = choose_rows(LABELS, 'val', 0.2, 0, None)
    assert not set(train.tolist()) & set(val.tolist())
    assert set(choose_rows(LABELS, 'val', 0.2, 0, 10).tolist()) < set(val.tolist())
    assert torch.equal(choose_rows(LABELS, 'test', 0.2, 0, None), torch.arange(len(LABELS)))


def test_errors_name_the_way_out():
    with pytest.raises(InputError, match=r"X has no split 'trian'; did you mean 'train'\?"):
        source_split('X', 'trian', 0.0)
    with pytest.raises(InputError, match='val_fraction='):
        source_split('X', 'val', 0.0)
    with pytest.raises(InputError, match=r'\[0, 1\)'):
        holdout(LABELS, 1.0, 0)
    for n in (0, 204):
        with pytest.raises(InputError, match='between 1 and the 203 images'):
            balanced_subset(LABELS, n, 0)


@pytest.mark.parametrize('fraction', [0.01, 0.15, 0.3, 0.5, 0.55, 1.0])
def test_a_share_of_each_class_is_rounded_up(fraction):
    labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 7 + [3])
    rows = share_of_classes(labels, fraction, seed=0)
    # Exact arithmetic, slowly.
    expected = [math.ceil(Fraction(str(fraction)) * n) for n in (100, 40, 7, 1)]
    assert torch.bincount(labels[rows], minlength=4).tolist() == expected
    assert torch.equal(rows, choose_rows(labels, 'train', 0.0, 0, fraction))
    assert torch.equal(rows, rows.unique())


# Training images of each class: (images, classes with as many), counted in the data sets.
CUB200 = [(29, 6), (30, 194)]
AIRCRAFT = [(66, 33), (67, 67)]
CARS = [
    *((24, 1), (28, 1), (29, 1), (30, 1), (31, 1), (32, 1), (33, 3), (34, 4), (35, 3), (36, 5), (37, 6), (38, 7)),
    *(
        (39, 15),
        (40, 12),
        (41, 20),
        (42, 22),
        (43, 26),
        (44, 27),
        (45, 24),
        (46, 10),
        (47, 2),
        (48, 2),
        (49, 1),
        (68, 1),
    ),
]


@pytest.mark.parametrize(
    ('counts', 'sizes'),
    [(CUB200, (1000, 1800, 3000, 5994)), (AIRCRAFT, (1067, 2067, 3367, 6667)), (CARS, (1310, 2531, 4123, 8144))],
)
def test_shares_of_the_fine_grained_sets_have_the_published_sizes(counts, sizes):
    images = torch.tensor([n for n, classes in counts for _ in range(classes)])
    labels = torch.arange(len(images)).repeat_interleave(images)
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    for share, size in zip((0.15, 0.3, 0.5, 1.0), sizes, strict=True):
        rows = share_of_classes(labels, share, seed=0)
        assert len(rows) == size
        assert torch.bincount(labels[rows], minlength=len(images)).min() > 0


def test_shares_of_one_seed_are_nested_and_of_three_seeds_differ():
    # Rounded up, each class that has images gives one.
    tiny = share_of_classes(LABELS, 1e-9, 0)
    assert LABELS[tiny].unique(return_counts=True)[1].tolist() == [1] * len(LABELS.unique())
    small, large = share_of_classes(LABELS, 0.15, 0), share_of_classes(LABELS, 0.3, 0)
    assert set(small.tolist()) < set(large.tolist())
    assert len({tuple(share_of_classes(LABELS, 0.15, seed).tolist()) for seed in range(3)}) == 3


def test_the_present_draws_of_a_subset_stay():
    """Recorded before shares and lists were known: results of earlier runs hold."""
    assert balanced_subset(LABELS, 6, 0).tolist() == KNOWN[0]
    assert choose_rows(LABELS, 'train', 0.2, 3, 6).tolist() == KNOWN[1]


def test_a_list_of_rows_or_of_names_is_a_subset(tmp_path):
    file, labels = tmp_path / 'list.txt', torch.tensor([0, 0, 1, 1])
    paths = ['/data/a/1.jpg', '/data/a/2 b.jpg', '/data/b/1.jpg', '/data/b/3.jpg']
    for text, rows in (
        ('2\n0\n', [0, 2]),
        ('3.jpg\ntrain/a/1.jpg\n\n', [0, 3]),
        ('b/1.jpg 1\na/2 b.jpg 0', [1, 2]),
        ('2 b.jpg', [1]),
    ):
        file.write_text(text)
        assert choose_rows(labels, 'train', 0.0, None, str(file), paths).tolist() == rows


def test_the_folders_of_a_flat_layout_do_not_count(tmp_path):
    file = tmp_path / 'list.txt'
    file.write_text('train/F-16A-B/0012.jpg\n')
    paths = ['images/0011.jpg', 'images/0012.jpg']
    assert choose_rows(torch.tensor([0, 1]), 'train', 0.0, 0, str(file), paths).tolist() == [1]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'lists no image'),
        ('4\n', 'list.txt:1: there is no row 4, rows are 0 to 3'),
        ('1\n3\n1\n', 'list.txt:3: the image of line 1 again'),
        ('1.jpg\n', "list.txt:1: '1.jpg' names 2 images; put the class folder before it"),
        ('3.jpg\nc/1.jpg\n', "list.txt:2: no image of the split is called 'c/1.jpg'"),
        ('c/3.jpg\n', "list.txt:1: no image of the split is called 'c/3.jpg'"),
        ('b/3.jpg 0\n', 'list.txt:1: label 0 there, 1 in the data set'),
    ],
)
def test_a_wrong_list_is_told_with_its_line(tmp_path, text, message):
    file, labels = tmp_path / 'list.txt', torch.tensor([0, 0, 1, 1])
    file.write_text(text)
    paths = ['/data/a/1.jpg', '/data/a/2.jpg', '/data/b/1.jpg', '/data/b/3.jpg']
    with pytest.raises(InputError, match=re.escape(message)):
        choose_rows(labels, 'train', 0.0, 0, str(file), paths)


def test_what_a_subset_cannot_be(tmp_path):
    for subset in (0.0, 1.5, -0.1, float('nan')):
        with pytest.raises(InputError, match='subset must be'):
            choose_rows(LABELS, 'train', 0.0, 0, subset)
    with pytest.raises(InputError, match='subset: '):
        choose_rows(LABELS, 'train', 0.0, 0, str(tmp_path / 'absent.txt'))
    names, held = tmp_path / 'names.txt', tmp_path / 'held.txt'
    names.write_text('cat.jpg\n')
    with pytest.raises(InputError, match=r"'cat\.jpg' is no row number"):
        choose_rows(LABELS, 'train', 0.0, 0, str(names))
    held.write_text(f'{int(holdout(LABELS, 0.2, 0)[1][0])}\n')
    with pytest.raises(InputError, match='1 images that val_fraction leaves out'):
        choose_rows(LABELS, 'train', 0.2, 0, str(held))


def test_a_number_of_thousands_of_digits_is_no_row_and_no_label(tmp_path):
    file = tmp_path / 'list.txt'
    file.write_text('1' * 5000)
    with pytest.raises(InputError, match=r'list\.txt:1: there is no row .1111'):
        choose_rows(LABELS, 'train', 0.0, 0, str(file))
    paths = [f'/x/{i}.jpg' for i in range(len(LABELS))]
    file.write_text(f'0.jpg {"1" * 5000}')
    with pytest.raises(InputError, match=r'list\.txt:1: label 1+ there'):
        choose_rows(LABELS, 'train', 0.0, 0, str(file), paths)


def test_a_file_that_is_missing_says_what_subset_takes():
    for text in ('True', '[1,2]'):
        with pytest.raises(InputError, match='subset takes a number of images, a fraction of each class, or a text'):
            choose_rows(LABELS, 'train', 0.0, 0, text)


@pytest.mark.parametrize(
    'wrong',
    [{'subset': 0}, {'subset': -5}, {'subset': 1.5}, {'subset': 0.0}, {'split_seed': -1}, {'val_fraction': 1.0}],
)
def test_numbers_that_choose_images_are_checked_with_their_place_before_data_are_read(wrong):
    key = next(iter(wrong))
    with pytest.raises(InputError, match=rf'^train_dataloader\.dataset: .*{key}'):
        check_loader_of({'dataset': {'type': 'Digits', **wrong}}, 'train_dataloader')
    with pytest.raises(InputError, match=rf'^val_dataloader\.dataset: .*{key}'):
        check_loader_of({'dataset': {'type': 'ImageFolder', 'root': 'absent', **wrong}}, 'val_dataloader')
    pools = {'type': 'Pools', 'labelled': {'type': 'Digits'}, 'unlabelled': {'type': 'CIFAR10', **wrong}}
    with pytest.raises(InputError, match=rf'^train_dataloader\.dataset\.unlabelled: .*{key}'):
        check_loader_of({'dataset': pools}, 'train_dataloader')


@pytest.mark.parametrize(
    ('most', 'given'),
    [
        (1442, {'type': 'Digits'}),
        (1442, {'type': 'Digits', 'split': 'val', 'val_fraction': 0.5}),
        (355, {'type': 'Digits', 'split': 'test'}),
        (50000, {'type': 'CIFAR10', 'root': 'absent'}),
        (5794, {'type': 'CUB200', 'root': 'absent', 'split': 'test'}),
    ],
)
def test_more_images_than_are_published_are_refused_before_any_is_read(most, given):
    check_loader_of({'dataset': {**given, 'subset': most}}, 'train_dataloader')
    line = (
        rf'^train_dataloader\.dataset: subset must be between 1 and {most}, the images of the data set, got {most + 1}$'
    )
    with pytest.raises(InputError, match=line):
        check_loader_of({'dataset': {**given, 'subset': most + 1}}, 'train_dataloader')
    check_loader_of({'dataset': {'type': 'ImageFolder', 'root': 'absent', 'subset': 10**9}}, 'train_dataloader')


def test_the_number_of_digits_is_the_published_one():
    assert {split: len(Digits(split)) for split in ('train', 'test')} == Digits.OFFICIAL


def test_a_pool_that_cannot_be_built_is_named():
    with pytest.raises(InputError, match=r'^labelled: subset must be between 1 and the 1442 images'):
        Pools(labelled={'type': 'Digits', 'subset': 2000}, unlabelled={'type': 'Digits'})


def test_without_a_run_its_seed_is_asked_for():
    for given in (('train', 0.2, None, None), ('train', 0.0, None, 5), ('train', 0.0, None, 0.5)):
        with pytest.raises(InputError, match='split_seed=None is the seed of the run'):
            choose_rows(LABELS, *given)
    assert len(choose_rows(LABELS, 'train', 0.0, None, None)) == len(LABELS)
