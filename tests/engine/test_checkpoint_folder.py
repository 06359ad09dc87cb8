"""The content of checkpoints, not the times of the files, decides which is newest and which are deleted."""

import os
import random
import time

import pytest
import torch

from openmix.engine.checkpoint_folder import LATEST, checkpoints_in, newest_intact, position_of, prune, retire
from openmix.errors import InputError


def write(folder, name, iteration, batches=10):
    meta = {'iter': iteration, 'batches_per_epoch': batches}
    torch.save({'meta': meta, 'state_dict': {'w': torch.zeros(3)}}, folder / name)
    return folder / name


@pytest.fixture
def folder(tmp_path):
    """Make checkpoints of three epochs and of a stop inside the fourth, with file times in another order."""
    written = [write(tmp_path, f'epoch_{n}.pth', 10 * n) for n in (1, 2, 3)] + [write(tmp_path, LATEST, 34)]
    hours = [3, -1, 2, -5]
    for path, hour in zip(written, hours, strict=True):
        os.utime(path, (time.time() + 3600 * hour,) * 2)
    return tmp_path


def names(folder):
    return [path.name for path in checkpoints_in(folder)]


def test_the_most_trained_comes_first(folder):
    assert names(folder) == [LATEST, 'epoch_3.pth', 'epoch_2.pth', 'epoch_1.pth']
    assert newest_intact(folder).meta.iteration == 34
    for path in folder.iterdir():  # a copy without times
        os.utime(path, (0, 0))
    assert names(folder)[0] == LATEST
    write(folder, LATEST, 25)  # left by an earlier stop
    assert names(folder) == ['epoch_3.pth', LATEST, 'epoch_2.pth', 'epoch_1.pth']


def test_the_number_counts_where_the_content_does_not(folder, capsys):
    (folder / 'epoch_12.pth').write_bytes(b'cut short')
    (folder / 'iter_15.pth').write_bytes(b'cut short')
    (folder / 'epoch_last.pth').write_bytes(b'a name without a number')
    assert names(folder) == [
        'epoch_12.pth',
        LATEST,
        'epoch_3.pth',
        'epoch_2.pth',
        'iter_15.pth',
        'epoch_1.pth',
        'epoch_last.pth',
    ]
    assert newest_intact(folder).path.name == LATEST
    assert "epoch_12.pth' is not a checkpoint" in capsys.readouterr().err


def test_what_was_just_written_stays(folder):
    prune(folder, 1, written=('epoch_2.pth',))
    assert sorted(names(folder)) == ['epoch_2.pth', 'epoch_3.pth', LATEST]
    prune(folder, 1, written=('epoch_3.pth',))
    assert sorted(names(folder)) == ['epoch_3.pth', LATEST]


def test_what_is_no_file_stops_nothing(folder, capsys):
    (folder / 'epoch_7.pth').symlink_to('nowhere')
    (folder / 'epoch_8.pth').mkdir()
    os.mkfifo(folder / 'epoch_9.pth')
    assert newest_intact(folder).path.name == LATEST
    said = capsys.readouterr().err
    assert all(word in said for word in ('leads nowhere', 'is a folder', 'is a pipe, socket or device'))
    prune(folder, 1, written=())
    assert (folder / 'epoch_8.pth').is_dir()
    aside = retire(folder, beyond=0)
    assert names(folder) == []
    assert {path.name for path in aside} >= {'epoch_8.pth.old', 'epoch_9.pth.old', f'{LATEST}.old'}


def test_another_branch_is_set_aside_and_nothing_is_lost(folder):
    before = (folder / 'epoch_3.pth').read_bytes()
    (folder / 'epoch_3.pth.old').write_text('of an earlier run')
    (folder / 'epoch_2.pth').write_bytes(b'damaged')
    renamed = retire(folder, beyond=10)
    assert sorted(path.name for path in renamed) == ['epoch_2.pth.old', 'epoch_3.pth.old2', f'{LATEST}.old']
    assert names(folder) == ['epoch_1.pth']
    assert (folder / 'epoch_3.pth.old2').read_bytes() == before
    assert (folder / 'epoch_3.pth.old').read_text() == 'of an earlier run'


def test_whatever_the_meta_says(folder):
    """A file of any content has a place in the order and loses to none by an error."""
    rng = random.Random(0)
    values = [None, -1, True, 1.5, 'x', [1], {}, 2**70, torch.ones(2), float('nan')]
    for _ in range(100):
        meta = rng.choice([{'iter': rng.choice(values), 'batches_per_epoch': rng.choice(values)}, rng.choice(values)])
        content = rng.choice([{'meta': meta}, meta])
        torch.save(content, folder / 'epoch_5.pth')
        assert len(names(folder)) == 5
    (folder / 'epoch_5.pth').unlink()
    for path in checkpoints_in(folder):
        path.write_bytes(b'')
    with pytest.raises(InputError, match='nothing to resume'):
        newest_intact(folder)


def test_a_file_that_was_replaced_is_read_again(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    assert position_of(path).iteration is None

    def replace(content):
        other = tmp_path / 'other'
        other.write_bytes(content)
        other.replace(path)

    for iteration in (3, 5):
        torch.save({'meta': {'iter': iteration}}, tmp_path / 'saved')
        whole = (tmp_path / 'saved').read_bytes()
        replace(whole)
        assert position_of(path).iteration == iteration
    replace(bytes(len(whole)))
    assert position_of(path).iteration is None
    replace(whole)
    assert position_of(path).iteration == 5
