"""A run goes on from its folder whatever happened to the files in it; as real processes."""

import json
import os
import shutil
import time
from pathlib import Path

import kill_and_resume as harness
import pytest

from openmix.engine.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp('recipe')
    harness.write_images(folder / 'images', per_class=6)
    recipe = harness.write_recipe(folder, folder / 'images', 'dict(max_epochs=2)')
    text = recipe.read_text().replace('num_workers=2', 'num_workers=0').replace('persistent_workers=True,', '')
    recipe.write_text(text)
    return recipe


@pytest.fixture(scope='module')
def alone(recipe):
    """A finished run of two epochs of three batches."""
    harness.finish(recipe, recipe.parent / 'alone')
    return recipe.parent / 'alone'


def run(recipe: Path, work_dir: Path, *options: str, code: int = 0) -> str:
    """What the process printed."""
    codes = harness.wait(harness.start(recipe, work_dir, options=options), seconds=60)
    said = work_dir.with_suffix('.rank0.log').read_text()
    assert codes == [code], said[-3000:]
    assert 'Traceback' not in said
    return said


def longer(epochs: int) -> list[str]:
    return ['--resume', '--cfg-options', f'train_cfg.max_epochs={epochs}']


def iterations(folder: Path) -> list[int]:
    return [json.loads(line)['iter'] for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def test_a_clock_that_was_set_back(recipe, alone, tmp_path):
    shutil.copytree(alone, tmp_path / 'run')
    ahead = time.time() + 3600
    os.utime(tmp_path / 'run/epoch_2.pth', (ahead, ahead))
    run(recipe, tmp_path / 'run', *longer(4))
    assert [path.name for path in sorted((tmp_path / 'run').glob('*.pth'))] == ['epoch_4.pth']
    named = Path((tmp_path / 'run/last_checkpoint').read_text())
    assert named == tmp_path / 'run/epoch_4.pth'
    assert read_checkpoint(named)['meta']['iter'] == 12


def test_a_branch_from_an_older_checkpoint(recipe, alone, tmp_path):
    """The files of the branch that is left do not stand in the way of the new one's, and are kept."""
    keep = ['--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=-1']
    run(recipe, tmp_path / 'run', *keep)
    old = (tmp_path / 'run/epoch_2.pth').read_bytes()
    run(recipe, tmp_path / 'run', '--resume', str(tmp_path / 'run/epoch_1.pth'))
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
    said = run(recipe, tmp_path / 'run', *longer(3))
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
    run(recipe, folder)
    assert harness.differences(alone, folder) == []
    assert sorted(path.name for path in folder.glob('*.old')) == [
        'epoch_1.pth.old',
        'epoch_2.pth.old',
        'latest.pth.old',
    ]
