"""A run that loses a process is restarted by its launcher and ends with the same result."""

import os
import subprocess
import sys
from pathlib import Path

import kill_and_resume as harness
import pytest
import torch

from openmix.engine.restart import checkpoint_of_launch, launch_id
from openmix.files import appearing

ROOT = Path(__file__).parent.parent.parent
OF_LAUNCHERS = ('TORCHELASTIC_RUN_ID', 'TORCHELASTIC_RESTART_COUNT', 'SLURM_JOB_ID', 'SLURM_RESTART_COUNT')
# Ends one of two processes inside an epoch, where torchrun starts it for the first time.
MODULE = """
import os, signal
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from openmix.registry import HOOKS

@HOOKS.register_module()
class KilledOnce(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if os.environ.get('TORCHELASTIC_RESTART_COUNT') == '0' and get_rank() == 1 and runner.iter == 8:
            os.kill(os.getpid(), signal.SIGKILL)
"""
EXTRA = """
custom_imports = dict(imports=['killed_once'])
custom_hooks = [*custom_hooks, dict(type='KilledOnce')]
default_hooks['checkpoint']['minutes'] = 1e-6
for loader in (train_dataloader, val_dataloader):
    loader.update(num_workers=0, persistent_workers=False)
del loader
"""


@pytest.mark.slow
def test_torchrun_goes_on_where_a_process_was_killed(tmp_path, monkeypatch):
    harness.write_images(tmp_path / 'images')
    recipe = harness.write_recipe(tmp_path, tmp_path / 'images', 'dict(max_epochs=2)')
    recipe.write_text(recipe.read_text() + EXTRA)
    (tmp_path / 'killed_once.py').write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    env = {name: value for name, value in os.environ.items() if name not in OF_LAUNCHERS}
    env |= {'PYTHONPATH': f'{tmp_path}:{ROOT}', 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, 'MAX_RESTARTS': '1'}
    env |= {'CUDA_VISIBLE_DEVICES': '', 'GLOO_SOCKET_IFNAME': 'lo'}
    call = [str(ROOT / 'tools/dist_train.sh'), str(recipe), '2', '--work-dir', str(tmp_path / 'killed'), '--seed', '7']
    run = subprocess.Popen(call, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    harness.finish(recipe, tmp_path / 'alone', processes=2)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said[-3000:]
    assert 'exitcode: -9' in said
    assert f'Load checkpoint from {tmp_path}/killed/latest.pth' in said
    assert harness.differences(tmp_path / 'alone', tmp_path / 'killed') == []
    assert len((tmp_path / 'killed/metrics.jsonl').read_text().splitlines()) == 2


def set_launcher(monkeypatch, **names):
    for name in OF_LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)


def write_checkpoint(folder: Path, name: str = 'epoch_1.pth') -> Path:
    """Write a checkpoint as a run of the current launch would."""
    with appearing(folder / name) as partial:
        torch.save(dict(meta=dict(launch=launch_id()), state_dict={}), partial)
    return folder / name


@pytest.mark.parametrize(
    ('first', 'second', 'goes_on'),
    [
        # Torchrun with an id of the launch: the count is that of one machine only.
        (dict(TORCHELASTIC_RUN_ID='a1'), dict(TORCHELASTIC_RESTART_COUNT='1'), True),
        (dict(TORCHELASTIC_RUN_ID='a1'), dict(TORCHELASTIC_RESTART_COUNT='0'), True),
        (dict(TORCHELASTIC_RUN_ID='a1'), dict(TORCHELASTIC_RUN_ID='b2', TORCHELASTIC_RESTART_COUNT='1'), False),
        # Torchrun without one.
        (dict(TORCHELASTIC_RUN_ID='none'), dict(TORCHELASTIC_RESTART_COUNT='1'), True),
        (dict(TORCHELASTIC_RUN_ID='none'), dict(TORCHELASTIC_RESTART_COUNT='0'), False),
        # A job of Slurm: requeued, repeated within it, another one.
        (dict(SLURM_JOB_ID='7'), dict(SLURM_RESTART_COUNT='1'), True),
        (dict(SLURM_JOB_ID='7'), {}, False),
        (dict(SLURM_JOB_ID='7'), dict(SLURM_JOB_ID='8', SLURM_RESTART_COUNT='1'), False),
        # No launcher.
        ({}, {}, False),
    ],
)
def test_only_the_same_launch_goes_on_by_itself(tmp_path, monkeypatch, first, second, goes_on):
    set_launcher(monkeypatch, **first)
    written = write_checkpoint(tmp_path)
    set_launcher(monkeypatch, **{**first, **second})
    found = checkpoint_of_launch(tmp_path)
    assert (found and found.path) == (written if goes_on else None)


def test_nothing_to_go_on_from_is_a_start(tmp_path, monkeypatch, capsys):
    set_launcher(monkeypatch, TORCHELASTIC_RUN_ID='a1', TORCHELASTIC_RESTART_COUNT='1')
    assert checkpoint_of_launch(tmp_path) is None
    (tmp_path / 'epoch_1.pth').write_bytes(b'cut short')
    assert checkpoint_of_launch(tmp_path) is None
    assert 'passed over' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(('processes', 'printed'), [('1', ['on', 'last']), ('2', ['last'])])
def test_one_of_several_ends_at_once_but_not_before_what_it_owes(processes, printed):
    code = "import atexit, openmix.engine.launch as l; atexit.register(print, 'last'); l.end_process(); print('on')"
    call, env = [sys.executable, '-c', code], {**os.environ, 'WORLD_SIZE': processes}
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, printed), done.stderr
