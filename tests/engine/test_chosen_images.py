"""The lists of its training images that a run writes into its folder."""

import pytest
import torch
from processes import all_end

from openmix.data.digits import Digits
from openmix.data.pools import Pools
from openmix.engine.run_seed import write_chosen
from openmix.errors import InputError

DIGITS = dict(type='Digits', subset=20)


def lists(folder):
    return {path.name: [int(row) for row in path.read_text().split()] for path in folder.glob('*.txt')}


def test_every_pool_that_is_cut_is_listed(tmp_path):
    write_chosen(Pools(DIGITS), tmp_path, resumed=False)
    assert [*lists(tmp_path)] == ['labelled.txt']
    pools = Pools(DIGITS, keep_labelled=False)
    write_chosen(pools, tmp_path, resumed=False)
    found = lists(tmp_path)
    assert {name: len(rows) for name, rows in found.items()} == {'labelled.txt': 20, 'unlabelled.txt': 1422}
    assert sorted(found['labelled.txt'] + found['unlabelled.txt']) == list(range(1442))
    again = Pools(
        dict(type='Digits', subset=str(tmp_path / 'labelled.txt')),
        dict(type='Digits', subset=str(tmp_path / 'unlabelled.txt')),
    )
    assert all(torch.equal(again.parts[name].rows, part.rows) for name, part in pools.parts.items())


def test_the_lists_of_a_former_run_go_and_those_of_the_user_stay(tmp_path):
    (tmp_path / 'mine.txt').write_text('0\n')
    for dataset, names in (
        (Digits(subset=3), {'subset.txt'}),
        (Pools(DIGITS, keep_labelled=False), {'labelled.txt', 'unlabelled.txt'}),
        (Pools(DIGITS), {'labelled.txt'}),
        (Digits(), set()),
        (Digits(subset=3), {'subset.txt'}),
        ([], set()),  # a data set that knows nothing of rows
    ):
        write_chosen(dataset, tmp_path, resumed=False)
        assert {*lists(tmp_path)} == names | {'mine.txt'}


def test_a_list_that_the_recipe_names_is_left_as_it_is(tmp_path):
    own = tmp_path / 'subset.txt'
    own.write_text('7\n5')
    write_chosen(Digits(subset=str(own)), tmp_path, resumed=False, lists=[own])
    assert own.read_text() == '7\n5'
    write_chosen(Pools(dict(type='Digits', subset=str(own)), balanced=False), tmp_path, resumed=False, lists=[own])
    assert lists(tmp_path) == {'subset.txt': [7, 5], 'labelled.txt': [5, 7]}


@pytest.mark.parametrize(
    ('before', 'now', 'named'),
    [
        (Digits(subset=3), Digits(subset=4), 'subset.txt'),
        (Digits(subset=3), Digits(), 'subset.txt'),
        (Pools(DIGITS, keep_labelled=False), Pools(DIGITS, dict(type='Digits', subset=30)), 'unlabelled.txt'),
        (Pools(DIGITS, keep_labelled=False), Pools(DIGITS), 'unlabelled.txt'),
    ],
)
def test_a_resumed_run_is_held_against_every_list(tmp_path, before, now, named):
    write_chosen(before, tmp_path, resumed=False)
    written = lists(tmp_path)
    write_chosen(before, tmp_path, resumed=True)
    with pytest.raises(InputError, match=f"{named}' lists the images that the run was trained on"):
        write_chosen(now, tmp_path, resumed=True)
    assert lists(tmp_path) == written


def test_a_folder_that_takes_no_file_is_told_in_a_line(tmp_path):
    (tmp_path / 'subset.txt').mkdir()
    for dataset in (Digits(subset=3), Digits()):
        with pytest.raises(InputError, match=r"cannot write '.*subset\.txt'") as error:
            write_chosen(dataset, tmp_path, resumed=False)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.slow
def test_every_process_refuses_a_changed_list(tmp_path, nursery):
    """Each is started by itself: torchrun would end the others, and hide that they wait."""
    recipe, run = tmp_path / 'cut.py', tmp_path / 'run'
    text = "_base_ = 'openmix::classification/digits/resnet20.py'\ntrain_dataloader = dict(dataset=dict(subset=40))\n"
    recipe.write_text(text)
    call = ['train.py', recipe, '--work-dir', run]
    sizes = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size={}', 'train_dataloader.num_workers=0']
    options = ['--cfg-options', *sizes]
    once = [*call, *(word.format(8) for word in options)]
    done = nursery.run(once)
    assert done.returncode == 0, done.stderr
    rows = (run / 'subset.txt').read_text()
    (run / 'subset.txt').write_text('0\n')
    both = nursery.ranks(2, [*call, '--resume', *(word.format(4) for word in options)], tmp_path / 'log')
    all_end(both, 2)
    for process in both:
        assert "subset.txt' lists the images that the run was trained on" in process.said.splitlines()[-1]
    assert rows.count('\n') == 40
