"""Signals and lost folders end a training at once, with one line, and leave no process behind."""

import json
import os
import runpy
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
from PIL import Image
from processes import until

from openmix.engine.claim import claimed
from openmix.engine.restart import may_be_restart
from openmix.engine.stopping import StopRequest
from openmix.errors import InputError, number_from_environment
from openmix.lease import Lease, inside
from openmix.shipped import configs_dir

SECONDS = 60  # on a loaded machine; what never ends fails all the same
RECIPE = f"""
_base_ = {str(configs_dir() / 'classification' / 'digits' / 'resnet20.py')!r}
model = dict(backbone=dict(depth=8, width=2))
train_cfg = dict(max_epochs=%d)
"""
SLOW_VALIDATION = """
custom_imports = dict(imports=['slow_metric'])
val_evaluator = dict(type='SlowAccuracy', while_there={!r})
val_dataloader = dict(batch_size=8)
"""
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(scope='module')
def temporary(tmp_path_factory):
    return tmp_path_factory.mktemp('temporary')


@pytest.fixture
def run(nursery, temporary, tmp_path):
    """Start a command with a recipe; kill its remaining processes at the end."""
    commands = []

    def start(recipe, *words):
        path = tmp_path / 'recipe.py'
        path.write_text(recipe)
        log = tmp_path / f'log{len(commands)}'
        commands.append(nursery.start(['train.py', path, *words], log, env={'TMPDIR': str(temporary)}))
        return commands[-1]

    yield start
    for command in commands:
        command.clear()


def ended(command, code, last):
    assert command.ends(SECONDS) == code, command.said[-2000:]
    assert last in command.said.strip().splitlines()[-1]
    assert 'Traceback' not in command.said
    assert command.left() == []


def measured(folder):
    rows = json.loads((folder / 'result.json').read_text())['history']
    return [{key: value for key, value in row.items() if key != 'time_s'} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'code'), SIGNALS)
def test_a_dry_run_leaves_no_folder_behind(run, temporary, number, code):
    before = set(temporary.glob('tmp*'))
    command = run(RECIPE % 100_000, '--dry-run', 100_000)
    command.wait_for('s an iteration')
    assert set(temporary.glob('tmp*')) > before
    os.kill(command.pid, number)
    assert command.ends(SECONDS) == code
    assert set(temporary.glob('tmp*')) == before
    assert 'Traceback' not in command.said


@pytest.mark.slow
def test_a_signal_in_a_long_validation_is_answered_within_it(run, tmp_path):
    folder, whole, slow = tmp_path / 'run', tmp_path / 'whole', tmp_path / 'slow'
    recipe = RECIPE % 2 + SLOW_VALIDATION.format(str(slow))
    slow.touch()
    command = run(recipe, '--work-dir', folder)
    command.wait_for('iteration 23/46')
    os.kill(command.pid, signal.SIGTERM)
    ended(command, 143, 'saved after iteration 23; go on with: ')
    slow.unlink()
    ended(run(recipe, '--work-dir', folder, '--resume'), 0, 'result.json')
    ended(run(recipe, '--work-dir', whole), 0, 'result.json')
    assert measured(folder) == measured(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tool', 'number', 'code'),
    [
        ('analyze.py', signal.SIGTERM, 143),
        ('mixed_predictions.py', signal.SIGINT, 130),
        ('test.py', signal.SIGHUP, 129),
    ],
)
def test_a_signal_ends_what_evaluates_and_nothing_is_left(nursery, temporary, tmp_path, tool, number, code):
    slow, out = tmp_path / 'slow', tmp_path / 'out'
    slow.touch()
    recipe = tmp_path / 'recipe.py'
    of_test = (
        SLOW_VALIDATION.format(str(slow))
        .replace('val_', 'test_')
        .replace('batch_size=8', 'batch_size=8, num_workers=2')
    )
    recipe.write_text(RECIPE % 1 + of_test + f'work_dir = {str(tmp_path / "run")!r}\n')
    done = nursery.run(
        ['train.py', recipe, '--cfg-options', 'test_dataloader=None', 'test_evaluator=None', 'test_cfg=None']
    )
    assert done.returncode == 0, done.stderr
    before = set(temporary.glob('*'))
    words = [tool, recipe, tmp_path / 'run' / 'epoch_1.pth', *([] if tool == 'test.py' else ['--out', out])]
    command = nursery.start(words, tmp_path / 'log')
    try:
        command.wait_for('seed 0, processes 1')
        time.sleep(1)  # into the evaluation, which lasts while the file is there
        os.kill(command.pid, number)
        assert command.ends(SECONDS) == code
        assert 'Traceback' not in command.said
        assert command.left() == []
    finally:
        command.clear()
    assert set(temporary.glob('*')) == before
    assert not out.exists()


@pytest.fixture(scope='module')
def trained(nursery, tmp_path_factory):
    """Train for an epoch; return the folder, with `recipe.py` and a recipe whose command stalls as it writes."""
    folder = tmp_path_factory.mktemp('trained')
    recipe = folder / 'recipe.py'
    recipe.write_text(RECIPE % 1 + f'work_dir = {str(folder / "run")!r}\n')
    done = nursery.run(['train.py', recipe])
    assert done.returncode == 0, done.stderr
    stalling = "custom_imports = dict(imports=['stalled'])\n"
    mixed = "model = dict(policy=dict(type='Mixup', alpha=1.0, _delete_=True))\n"
    (folder / 'stalling.py').write_text(f'_base_ = {str(recipe)!r}\n{stalling}{mixed}')
    layout = runpy.run_path(str(Path(__file__).parent.parent / 'integrations' / 'openmixup_layout.py'))
    layout['write_config'](folder / 'theirs', more='import stalled').rename(folder / 'theirs' / 'theirs.py')
    images = folder / 'images'
    images.mkdir()
    Image.new('RGB', (8, 8)).save(images / 'a.png')
    return folder


WRITING = {
    'predict.py': ('run/epoch_1.pth', 'images', '--config', 'stalling.py', '--out', 'OUT/found.csv'),
    'grad_cam.py': ('stalling.py', 'run/epoch_1.pth', '--count', '2', '--out', 'OUT'),
    'tsne.py': ('stalling.py', 'run/epoch_1.pth', '--count', '10', '--perplexity', '2', '--out', 'OUT'),
    'mixed_strips.py': ('stalling.py', 'run/epoch_1.pth', '--count', '1', '--out', 'OUT/strips.png'),
    'publish_model.py': ('run/epoch_1.pth', '--format', 'hf', '--config', 'stalling.py', '--out', 'OUT/hub'),
    'convert_openmixup.py': ('theirs/theirs.py', '--out', 'OUT'),
}


@pytest.mark.slow
@pytest.mark.parametrize('tool', WRITING)
def test_a_signal_in_the_middle_of_writing_leaves_no_half(nursery, trained, temporary, tmp_path, tool):
    """Every other command is interrupted, the others are terminated: both ways are one."""
    number, code, last = [(signal.SIGINT, 130, 'interrupted'), (signal.SIGTERM, 143, 'terminated')][
        sorted(WRITING).index(tool) % 2
    ]
    out, stalled, before = tmp_path / 'out', tmp_path / 'stalled', set(temporary.glob('*'))
    words = [tool, *(word.replace('OUT', str(out)) for word in WRITING[tool])]
    env = {'TMPDIR': str(temporary), 'STALL_BELOW': str(out), 'STALLED': str(stalled)}
    env['PYTHONPATH'] = str(Path(__file__).parent)
    command = nursery.start(words, tmp_path / 'log', cwd=trained, env=env)
    try:
        assert until(lambda: stalled.exists() or command.poll() is not None, SECONDS)
        assert stalled.exists(), command.said[-3000:]
        os.kill(command.pid, number)
        assert command.ends(SECONDS) == code, command.said[-2000:]
        assert command.said.splitlines()[-1] == last
        assert 'Traceback' not in command.said
        assert command.left() == []
    finally:
        command.clear()
    assert set(temporary.glob('*')) == before
    assert not out.exists() or list(out.rglob('*')) == []


@pytest.mark.slow
def test_a_signal_while_a_list_waits_for_its_reader(tmp_path):
    """The names of timm's models are more than a pipe holds."""
    command = [sys.executable, str(processes.TOOLS / 'list.py'), 'timm']
    listing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=processes.ENVIRONMENT)
    try:
        assert select.select([listing.stdout], [], [], 2 * SECONDS)[0]
        listing.send_signal(signal.SIGINT)
        _, said = listing.communicate(timeout=SECONDS)
        assert (listing.returncode, said) == (130, b'interrupted\n')
    finally:
        listing.kill()
        listing.wait()


@pytest.mark.slow
def test_a_hang_up_between_validations_saves_the_run(run, tmp_path):
    command = run(RECIPE % 100_000, '--work-dir', tmp_path / 'run')
    command.wait_for('validation')
    command.to_all(signal.SIGHUP)
    ended(command, 129, 'saved after iteration')
    assert (tmp_path / 'run' / 'last_checkpoint').is_file()


def test_a_worker_that_cannot_hand_over_a_batch_ends(tmp_path):
    """Of files to open there are none left in the worker: its first batch never comes."""
    program = tmp_path / 'program.py'
    program.write_text(
        'import resource, torch\n'
        'from openmix.engine.workers import end_with_command\n'
        'def use_up(_):\n'
        '    resource.setrlimit(resource.RLIMIT_NOFILE, (1, 1))\n'
        'given = dict(num_workers=1, worker_init_fn=use_up, collate_fn=torch.stack)\n'
        'loader = torch.utils.data.DataLoader(torch.ones(4, 3), **given)\n'
        'end_with_command(loader)\n'
        'next(iter(loader))\n'
    )
    command = processes.start([program], tmp_path / 'log')
    try:
        assert command.ends(SECONDS) == 1, command.said
        assert "a loader's worker cannot hand over a batch" in command.said
        assert 'exited unexpectedly' in command.said
    finally:
        command.clear()


@pytest.mark.parametrize('words', ['train.py classification/digits/resnet20.py', 'benchmark.py run quickstart'])
def test_a_current_folder_that_is_gone_is_refused(tmp_path, words):
    shell = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    script, *arguments = words.split()
    command = [sys.executable, str(processes.TOOLS / script), *arguments]
    ended = subprocess.run(
        ['sh', '-c', shell, 'sh', *command],
        cwd=tmp_path,
        env=processes.ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (ended.returncode, ended.stdout) == (2, '')
    assert ended.stderr.startswith('error: the current folder cannot be used')
    assert ended.stderr.count('\n') == 1


def test_what_nohup_ignores_stays_ignored():
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopRequest()
        stop.listen()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)
        stop.forget()
        assert stop.signal is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)


@pytest.mark.slow
@pytest.mark.parametrize('then', ['removed', 'replaced'])
def test_a_folder_that_goes_while_it_is_trained_in_is_one_line(run, tmp_path, then):
    folder = tmp_path / 'run'
    command = run(RECIPE % 100_000, '--work-dir', folder)
    command.wait_for('validation')
    folder.rename(tmp_path / 'moved')
    if then == 'replaced':
        folder.mkdir()
    assert until(lambda: command.poll() is not None, SECONDS)
    ended(command, 2, 'error: ')
    assert str(folder) in command.said.splitlines()[-1]
    shutil.rmtree(folder, ignore_errors=True)


def test_a_lease_in_a_folder_that_cannot_be_written_to_any_more(tmp_path, monkeypatch):
    lease = Lease.take(inside(tmp_path))

    def refused(*_args, **_kwargs):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr('openmix.lease.HEARTBEAT_S', -1)
    monkeypatch.setattr('openmix.lease.os.utime', refused)
    monkeypatch.setattr('pathlib.Path.unlink', refused)
    assert lease.keep()
    lease.release()
    assert lease.is_mine()


def test_a_lease_that_cannot_be_read_is_not_said_to_be_lost(tmp_path, monkeypatch):
    def refused(path, _now):
        raise OSError(24, 'Too many open files', str(path))

    def checked():
        with claimed(tmp_path) as claim:
            claim.check()
            monkeypatch.setattr('openmix.lease._read', refused)
            claim.check()

    with pytest.raises(InputError, match=r'cannot write .*Too many open files; .* repeat the command with --resume'):
        checked()


@pytest.mark.parametrize('kind', ['pipe', 'folder', 'dangling link'])
def test_a_lease_that_is_no_file_is_refused_at_once(tmp_path, kind):
    path = inside(tmp_path)
    {'pipe': os.mkfifo, 'folder': os.mkdir, 'dangling link': lambda path: path.symlink_to('nowhere')}[kind](path)
    with pytest.raises(InputError, match='is no file that a training has written'), claimed(tmp_path):
        pass
    assert os.path.lexists(path)


@pytest.mark.parametrize('text', ['x', '-1', '1.0', '1e3', ' 1', '9' * 20, '١'])
def test_a_launchers_number_that_is_none(monkeypatch, text):
    monkeypatch.setenv('SLURM_RESTART_COUNT', text)
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    monkeypatch.delenv('TORCHELASTIC_RESTART_COUNT', raising=False)
    with pytest.raises(InputError, match='SLURM_RESTART_COUNT must be a whole number'):
        may_be_restart()


def test_a_launchers_number_that_is_not_set(monkeypatch):
    monkeypatch.setenv('RANK', '')
    assert number_from_environment('RANK', 3) == 3
    monkeypatch.setenv('RANK', '07')
    assert number_from_environment('RANK', 3) == 7
