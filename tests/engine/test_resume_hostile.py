"""A run resumes although files in its folder were changed; tested with real processes."""

import json
import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import kill_and_resume as harness
import pytest

from openmix.engine import claim, launch
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.checkpoint_folder import POINTER, newest_intact
from openmix.lease import holder_of, inside

pytestmark = pytest.mark.slow


def longer(epochs: int) -> list[str]:
    return ['--resume', '--cfg-options', f'train_cfg.max_epochs={epochs}']


def iterations(folder: Path) -> list[int]:
    return [json.loads(line)['iter'] for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def test_a_clock_that_was_set_back(recipe, alone, tmp_path):
    shutil.copytree(alone, tmp_path / 'run')
    ahead = time.time() + 3600
    os.utime(tmp_path / 'run/epoch_2.pth', (ahead, ahead))
    harness.said(recipe, tmp_path / 'run', *longer(4))
    assert [path.name for path in sorted((tmp_path / 'run').glob('*.pth'))] == ['epoch_4.pth']
    named = Path((tmp_path / 'run/last_checkpoint').read_text())
    assert named == tmp_path / 'run/epoch_4.pth'
    assert read_checkpoint(named)['meta']['iter'] == 12


def test_a_branch_from_an_older_checkpoint(recipe, alone, tmp_path):
    """The files of the branch that is left do not stand in the way of the new one's, and are kept."""
    keep = ['--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=-1']
    harness.said(recipe, tmp_path / 'run', *keep)
    old = (tmp_path / 'run/epoch_2.pth').read_bytes()
    harness.said(recipe, tmp_path / 'run', '--resume', str(tmp_path / 'run/epoch_1.pth'))
    assert (tmp_path / 'run/epoch_2.pth.old').read_bytes() == old
    assert [path.name for path in sorted((tmp_path / 'run').glob('*.pth'))] == ['epoch_2.pth']
    assert iterations(tmp_path / 'run') == [3, 6]
    assert harness.differences(alone, tmp_path / 'run') == []


@pytest.mark.parametrize('damage', ['half a line', 'a folder', 'a link'])
def test_damaged_metrics_cost_only_their_lines(recipe, alone, tmp_path, damage):
    shutil.copytree(alone, tmp_path / 'run')
    path = tmp_path / 'run/metrics.jsonl'
    lines = path.read_text().splitlines()
    kept = []
    if damage == 'half a line':
        path.write_text(f'{lines[0]}\n{lines[1][:40]}')
        kept = [3]
    else:
        path.unlink()
        path.mkdir() if damage == 'a folder' else path.symlink_to('nowhere')
    said = harness.said(recipe, tmp_path / 'run', *longer(3))
    assert iterations(tmp_path / 'run') == [*kept, 6, 9]
    assert said.count('damaged line(s)') == 1
    assert os.path.lexists(tmp_path / 'run/metrics.jsonl.damaged')
    assert [row['iter'] for row in json.loads((tmp_path / 'run/result.json').read_text())['history']] == [*kept, 6, 9]


def test_a_fresh_start_passes_by_what_is_no_checkpoint(recipe, alone, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'epoch_1.pth').symlink_to('nowhere')
    (folder / 'epoch_2.pth').mkdir()
    os.mkfifo(folder / 'latest.pth')
    harness.said(recipe, folder)
    assert harness.differences(alone, folder) == []
    assert sorted(path.name for path in folder.glob('*.old')) == [
        'epoch_1.pth.old',
        'epoch_2.pth.old',
        'latest.pth.old',
    ]


@contextmanager
def suspended(recipe, work_dir):
    """Suspend a training (SIGSTOP) after two of 200 epochs while it writes no file; kill it at the end."""
    options = ['--cfg-options', 'train_cfg.max_epochs=200']
    (child,) = harness.start(recipe, work_dir, options=options, stops_before=6)
    try:
        harness.wait_until_stopped([child])
        assert newest_intact(work_dir).path == Path((work_dir / POINTER).read_text())
        yield child
    finally:
        # Unless it has ended and was waited for.
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_two_trainings_in_one_folder(recipe, tmp_path):
    """The second is refused, however long the first gives no sign of life."""
    with suspended(recipe, tmp_path / 'run') as first:
        os.utime(inside(tmp_path / 'run'), (0, 0))
        before = content(tmp_path / 'run')
        for options in ([], ['--resume']):
            (second,) = harness.start(recipe, tmp_path / 'run', options=options)
            assert harness.wait([second], harness.SECONDS) == [2]
            (line,) = (tmp_path / 'run.rank0.log').read_text().strip().splitlines()[-1:]
            assert line.startswith(f'error: process {first} on ')
            assert 'wait for its end or stop it' in line
            assert content(tmp_path / 'run') == before
        os.kill(first, signal.SIGTERM)
        os.kill(first, signal.SIGCONT)
        assert harness.wait([first], harness.SECONDS) == [143]
    assert not inside(tmp_path / 'run').exists()


def test_a_folder_that_another_has_taken_over_is_left_as_it_is(recipe, tmp_path):
    with suspended(recipe, tmp_path / 'run') as child:
        path = inside(tmp_path / 'run')
        path.write_text(json.dumps({**json.loads(path.read_text()), 'machine': 'another', 'token': 'other'}))
        before = content(tmp_path / 'run')
        log = next((tmp_path / 'run').glob('*/*.log'))
        os.kill(child, signal.SIGCONT)
        assert harness.wait([child], harness.SECONDS) == [2]
        after = content(tmp_path / 'run')
        own = log.parent  # what it says of itself goes to a folder of its own
        differing = {path for path in after.keys() | before.keys() if after.get(path) != before.get(path)}
        assert all(path.is_relative_to(own) for path in differing), differing
    assert "is no longer this training's" in harness.log_of(tmp_path / 'run')


def test_a_killed_training_is_resumed_at_once(recipe, tmp_path):
    with suspended(recipe, tmp_path / 'run') as child:
        assert holder_of(tmp_path / 'run').pid == child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    done = max(iterations(tmp_path / 'run')) // 3
    assert inside(tmp_path / 'run').exists()
    assert holder_of(tmp_path / 'run') is None
    harness.said(recipe, tmp_path / 'run', *longer(done + 2))
    assert iterations(tmp_path / 'run')[-1] == 3 * (done + 2)
    assert not inside(tmp_path / 'run').exists()


@pytest.mark.parametrize('processes', [1, 2])
def test_who_trains_is_told_before_what_there_is_to_resume(recipe, tmp_path, processes):
    """The other training has saved nothing yet."""
    with claim.claimed(tmp_path / 'run'):
        second = harness.start(recipe, tmp_path / 'run', processes, ['--resume'])
        assert harness.wait(second, harness.SECONDS) == [2] * processes
        assert f'error: process {os.getpid()} on ' in harness.log_of(tmp_path / 'run')
        assert 'nothing to resume' not in harness.log_of(tmp_path / 'run')


@pytest.mark.parametrize('processes', [1, 2])
def test_nothing_to_resume_leaves_nothing(recipe, tmp_path, processes):
    children = harness.start(recipe, tmp_path / 'run', processes, ['--resume'])
    assert harness.wait(children, harness.SECONDS) == [2] * processes
    for rank in range(processes):
        said = (tmp_path / f'run.rank{rank}.log').read_text().strip().splitlines()
        assert said[-1].startswith('error: nothing to resume in '), said
    assert not (tmp_path / 'run').exists()


def test_a_checkpoint_is_chosen_once_the_folder_is_held(recipe, alone, tmp_path, monkeypatch):
    """Another training saves its last checkpoint, and ends, while this one looks for the right to the folder."""

    @contextmanager
    def late(folder):
        os.replace(tmp_path / 'newest.pth', folder / 'epoch_2.pth')
        with claim.claimed(folder) as held:
            yield held

    harness.said(recipe, tmp_path / 'run', '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=-1')
    os.replace(tmp_path / 'run/epoch_2.pth', tmp_path / 'newest.pth')
    monkeypatch.setattr(launch, 'claimed', late)
    assert 'Resumed after iteration 6,' in harness.said(recipe, tmp_path / 'run', *longer(3))


def test_all_processes_of_a_second_training_are_refused(recipe, tmp_path):
    with suspended(recipe, tmp_path / 'run') as first:
        second = harness.start(recipe, tmp_path / 'run', 2)
        try:
            assert harness.wait(second, harness.SECONDS) == [2, 2]
        finally:
            for child in second:
                if os.path.exists(f'/proc/{child}'):
                    os.kill(child, signal.SIGKILL)
        assert f'process {first} on ' in harness.log_of(tmp_path / 'run')
