import pytest
import torch

from openmix.data.splits import (
    balanced_subset,
    choose_rows,
    every_nth_of_class,
    holdout,
    rank_in_class,
    source_split,
)
from openmix.errors import InputError

LABELS = torch.tensor([i % 7 % 5 for i in range(203)])


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
