"""Test the queue: which trials it runs, skips, resumes, sets aside or leaves alone."""

import errno
import json
import os
import re
import signal
import threading

import pytest
from mmengine.config import Config
from rich.console import Console
from waiting import SECONDS, until

from openmix.benchmark import run, run_folder
from openmix.benchmark.times import clock
from openmix.benchmark.training import command_line, slots
from openmix.config import load_config
from openmix.engine.global_batch import split_batch
from openmix.errors import InputError, Stopped
from openmix.files import set_aside
from openmix.lease import Lease, beside, holder_of

pytestmark = pytest.mark.slow
SMALL = {'model.backbone.depth': 8, 'model.backbone.width': 8, 'train_cfg.max_epochs': 3}


def states(bench, **chosen):
    return [trial.state() for trial in bench.trials(**chosen)]


def test_runs_everything_once(bench):
    failed, said = bench.run()
    assert not failed
    assert '0 trials done before, 10 to run, 2 at a time' in said
    assert '[10/10]' in said
    assert states(bench) == ['done'] * 10
    assert bench.result('mixup/dm-ce/trial1')['seed'] == 1
    assert 'Row: Mixup' in (bench.work_dir / 'mixup/dm-ce/config.py').read_text()
    assert json.loads((bench.work_dir / 'mixup/dm-ce/trial1/cell.json').read_text())['column'] == 'DM(CE)'
    before = (bench.work_dir / 'mixup/mce/trial0/result.json').stat().st_mtime_ns
    failed, said = bench.run()
    assert not failed
    assert '10 trials done before, 0 to run' in said
    assert (bench.work_dir / 'mixup/mce/trial0/result.json').stat().st_mtime_ns == before


def test_more_trials_run_only_the_new_ones(bench):
    bench.run(rows='Mixup', columns='MCE', trials=1)
    _, said = bench.run(rows='Mixup', columns='MCE', trials=3)
    assert '1 trials done before, 2 to run' in said
    assert [bench.result(f'mixup/mce/trial{k}')['seed'] for k in range(3)] == [0, 1, 2]


@pytest.mark.parametrize('checkpoint', ['epoch_2.pth', 'iter_100.pth', 'latest.pth'])
def test_interrupted_trial_is_resumed(bench, checkpoint):
    (trial,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    bench.run(rows='Mixup', columns='MCE', trials=1)
    (trial.folder / 'result.json').unlink()
    (trial.folder / checkpoint).write_text('')
    assert states(bench, rows='Mixup', columns='MCE', trials=1) == ['interrupted']
    bench.run(rows='Mixup', columns='MCE', trials=1)
    assert bench.log('mixup/mce/trial0') == 'start\nresume\n'


def test_lost_checkpoint_starts_over(bench):
    (trial,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    bench.run(rows='Mixup', columns='MCE', trials=1)
    (trial.folder / 'result.json').unlink()
    (trial.folder / 'last_checkpoint').write_text(f'{trial.folder / "gone.pth"}')
    bench.run(rows='Mixup', columns='MCE', trials=1)
    assert bench.log('mixup/mce/trial0') == 'start\n'


def test_failures_are_tried_again_and_the_others_go_on(bench):
    (bench.root / 'fail').touch()
    failed, said = bench.run(trials=1)
    assert [trial.name for trial in failed] == ['CutMix / MCE, trial 0', 'CutMix / DM(CE), trial 0']
    assert said.count('exit code 3; tried again later') == 2
    assert '    the last words' in said.split('[5/5]')[1]
    assert states(bench, trials=1) == ['done', 'done', 'done', 'failed', 'failed']
    assert bench.log('cutmix/mce/trial0').count('the last words') == 2
    (bench.root / 'fail').unlink()
    failed, said = bench.run(trials=1)
    assert len(failed) == 2
    assert 'left out, it failed 2 times; --retries 2 tries it again' in said
    failed, said = bench.run(trials=1, retries=2)
    assert not failed
    assert '3 trials done before, 2 to run' in said
    assert not (bench.work_dir / 'cutmix/mce/trial0/exit_code').exists()


def test_no_retries(bench):
    (bench.root / 'fail').touch()
    bench.run(rows='CutMix', columns='MCE', trials=1, retries=0)
    assert bench.log('cutmix/mce/trial0').count('the last words') == 1


def test_bad_input_is_tried_once_a_call(bench):
    (bench.root / 'fail').write_text('2')
    chosen = dict(rows='CutMix', columns='MCE', trials=1)
    for calls in (1, 2, 3):
        failed, said = bench.run(**chosen)
        assert len(failed) == 1
        assert 'tried again' not in said
        assert bench.log('cutmix/mce/trial0').count('the last words') == calls
    (bench.root / 'fail').unlink()
    assert not bench.run(**chosen)[0]


def test_what_was_stopped_from_outside_has_not_failed(bench):
    (bench.root / 'fail').write_text('143')
    stopped, said = bench.run(rows='CutMix', columns='MCE', trials=1)
    assert len(stopped) == 1
    assert '1 of 1 trials were stopped; the same command resumes them' in said
    assert states(bench, rows='CutMix', columns='MCE', trials=1) == ['interrupted']


def test_a_run_without_result_is_a_failure(bench):
    bench.script.write_text('')
    failed, _ = bench.run(rows='Mixup', columns='MCE', trials=1)
    assert [trial.state() for trial in failed] == ['failed']


def test_a_result_without_the_metric_is_a_failure(bench):
    bench.script.write_text(bench.script.read_text().replace('accuracy/top1', 'accuracy/top5'))
    failed, said = bench.run(rows='Mixup', columns='MCE', trials=1)
    assert len(failed) == 1
    assert "no metric 'accuracy/top1'; did you mean 'accuracy/top5'?" in said
    (record,) = bench.records(rows='Mixup', columns='MCE', trials=1)
    assert (record.status, record.values) == ('failed', ())


def test_changed_config_sets_the_old_run_aside(bench):
    chosen = dict(rows='CutMix', columns='MCE', trials=1)
    bench.run(**chosen)
    bench.edit('1e-1', '3e-1')
    assert states(bench, **chosen) == ['stale']
    _, said = bench.run(**chosen)
    assert '1 to run' in said
    assert 'the old run is kept in' in said
    assert states(bench, **chosen) == ['done']
    old, new = (bench.result(f'cutmix/mce/{folder}')['config_hash'] for folder in ('trial0.old1', 'trial0'))
    assert old != new


def test_changed_seed_is_another_run(bench):
    chosen = dict(rows='CutMix', columns='MCE', trials=1)
    bench.run(**chosen)
    bench.edit('trials: 2', 'seeds: [5, 6]')
    assert states(bench, **chosen) == ['stale']


def test_set_aside_never_overwrites(tmp_path):
    for _ in range(2):
        (tmp_path / 'trial0').mkdir()
        set_aside(tmp_path / 'trial0', 'old', first='1')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['trial0.old1', 'trial0.old2']


@pytest.mark.parametrize('text', ['{"readouts": [1]}', '[]', 'no json'])
def test_a_result_of_another_form_is_set_aside(bench, text):
    chosen = dict(rows='CutMix', columns='MCE', trials=1)
    bench.run(**chosen)
    place = bench.work_dir / 'cutmix/mce/trial0/result.json'
    known = {key: bench.result('cutmix/mce/trial0')[key] for key in ('config_hash', 'seed')}
    place.write_text(json.dumps({**known, **json.loads(text)}) if text.startswith('{') else text)
    (place.parent / 'metrics.jsonl').write_text('[1]\n')
    before = place.read_text()
    assert states(bench, **chosen) == ['stale']
    bench.run(**chosen)
    assert states(bench, **chosen) == ['done']
    assert (bench.work_dir / 'cutmix/mce/trial0.old1/result.json').read_text() == before


def test_a_trial_in_training_elsewhere_is_left_alone(bench):
    chosen = dict(rows='Mixup', columns='MCE', trials=1)
    (trial,) = bench.trials(**chosen)
    lease = Lease.take(beside(trial.folder))
    assert lease is not None
    assert states(bench, **chosen) == ['running']
    failed, said = bench.run(**chosen)
    lease.release()
    assert not failed
    assert f'left to process {os.getpid()} on ' in said
    assert states(bench, **chosen) == ['pending']
    bench.run(**chosen)
    assert states(bench, **chosen) == ['done']


def test_a_lost_lease_ends_the_training(bench, monkeypatch):
    bench.script.write_text('import time\ntime.sleep(600)')
    monkeypatch.setattr(Lease, 'keep', lambda self: False)
    (trial,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    stopped, said = bench.run(rows='Mixup', columns='MCE', trials=1, retries=0)
    assert 'took it over' in said
    assert [lost.name for lost in stopped] == [trial.name]


SAVES = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
def save(number, frame):
    time.sleep(0.2)
    (folder / 'latest.pth').write_text('saved')
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
(folder / 'ready').touch()
time.sleep(600)
"""


@pytest.fixture
def signal_when(bench):
    """Send this process several signals, each as soon as its condition holds."""
    over, senders = threading.Event(), []

    def send(number, *conditions):
        for condition in conditions:
            if not until(lambda condition=condition: over.is_set() or condition()) or over.is_set():
                return
            os.kill(os.getpid(), number)

    def start(number, *conditions):
        senders.append(threading.Thread(target=send, args=(number, *conditions), daemon=True))
        senders[-1].start()

    usual = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it for all that it starts
    yield start
    over.set()  # a signal must not reach the next test
    for sender in senders:
        sender.join()
    signal.signal(signal.SIGHUP, usual)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_trainings_save_themselves(bench, signal_when, number):
    usual = signal.getsignal(number)
    bench.script.write_text(SAVES)
    chosen = dict(rows='Mixup', columns='MCE', trials=1)
    (trial,) = bench.trials(**chosen)
    signal_when(number, (trial.folder / 'ready').exists)
    with pytest.raises(Stopped, match='what is trained so far is kept, go on with: ') as stopped:
        bench.run(**chosen)
    assert stopped.value.code == 128 + number
    assert re.search(r'stopped after \d.*, can be resumed', bench.said.read_text())
    assert states(bench, **chosen) == ['interrupted']
    assert trial.resumable()
    assert signal.getsignal(number) is usual


def test_a_terminal_that_is_gone_loses_no_training(bench, signal_when, monkeypatch):
    bench.script.write_text(SAVES)
    chosen = dict(rows='Mixup', columns='MCE', trials=1)
    (trial,) = bench.trials(**chosen)
    written = Console.print

    def gone(*args, **kwargs):
        if (trial.folder / 'ready').exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written(*args, **kwargs)

    monkeypatch.setattr(Console, 'print', gone)
    signal_when(signal.SIGHUP, (trial.folder / 'ready').exists)
    with pytest.raises(Stopped):
        bench.run(**chosen)
    assert states(bench, **chosen) == ['interrupted']
    assert holder_of(trial.folder) is None


def test_a_second_signal_kills(bench, signal_when, monkeypatch):
    """A training that is long in saving itself: left alone it would be waited for, and could be resumed."""
    monkeypatch.setattr(run, '_GRACE_S', 10 * SECONDS)
    bench.script.write_text(SAVES.replace('time.sleep(0.2)', f'time.sleep({SECONDS})'))
    (trial,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    asked = 'a second Ctrl-C kills them'
    signal_when(signal.SIGINT, (trial.folder / 'ready').exists, lambda: asked in bench.said.read_text())
    with pytest.raises(Stopped):
        bench.run(rows='Mixup', columns='MCE', trials=1)
    assert not trial.resumable()


def test_a_full_disk_stops_the_others_and_loses_nothing(bench, monkeypatch):
    bench.run(rows='Mixup', columns='MCE', trials=1)

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(run_folder, 'write_text', full)
    with pytest.raises(OSError, match='No space left'):
        bench.run(rows='Mixup', trials=1)
    assert states(bench, rows='Mixup', trials=1) == ['done', 'pending']


@pytest.mark.parametrize('place', ['/proc/runs', '/dev/null/runs', 'a file', 'a file/runs'])
def test_a_work_folder_that_cannot_be_written_is_one_line(bench, benchmark_py, place):
    (bench.root / 'a file').write_text('mine')
    done = benchmark_py('run', bench.path, '--rows', 'Mixup', '--work-dir', place, cwd=bench.root)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "cannot write '" in done.stderr
    assert done.stderr.endswith('see to it, or give another --work-dir\n')
    assert (bench.root / 'a file').read_text() == 'mine'


def test_a_folder_in_the_place_of_a_cells_config_is_one_line(bench, benchmark_py):
    (bench.work_dir / 'mixup/mce/config.py').mkdir(parents=True)
    done = benchmark_py('run', bench.path, '--rows', 'Mixup', '--columns', 'MCE', '--work-dir', bench.work_dir)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert f"cannot write '{bench.work_dir}/mixup/mce/config.py': Is a directory" in done.stderr


def test_slots_share_devices_or_cores(monkeypatch):
    def shown(jobs, per_run=1):
        return [slot['CUDA_VISIBLE_DEVICES'] for slot in slots(jobs, ['2', '5', '6', '7', '9'], per_run)]

    assert shown(None) == ['2', '5', '6', '7', '9']
    assert shown(7)[5:] == ['2', '5']
    assert shown(None, 2) == ['2,5', '6,7']
    assert shown(3, 2) == ['2,5', '6,7', '2,5']
    assert shown(None, 5) == ['2,5,6,7,9']
    with pytest.raises(InputError, match='gpus-per-run is 6, this machine shows 5 GPUs'):
        shown(None, 6)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(8), raising=False)
    assert slots(3, []) == [{'OMP_NUM_THREADS': '2'}] * 3
    assert slots(2, [], 2) == [{'OMP_NUM_THREADS': '2'}] * 2
    assert slots(9, [])[0] == {'OMP_NUM_THREADS': '1'}


def test_several_processes_share_the_batch(bench):
    (trial,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    words = command_line(trial, bench.root / 'config.py', resume=True, per_run=4)
    assert words[0].endswith('tools/dist_train.sh')
    assert words[1:3] == [str(bench.root / 'config.py'), '4']
    assert words[-2:] == ['--split-batch', '--resume']


def test_wrong_numbers_are_refused(bench):
    with pytest.raises(InputError, match=r'jobs must be in \[1, 1024\], got 0'):
        bench.run(jobs=0)
    with pytest.raises(InputError, match=r'gpus-per-run must be in \[1, 1024\], got 0'):
        bench.run(per_run=0)
    with pytest.raises(InputError, match=r'retries must be in \[0, 1000\], got -1'):
        bench.run(retries=-1)
    with pytest.raises(InputError, match=r'trials must be in \[1, 1000\], got 0'):
        bench.trials(trials=0)


def test_clock():
    assert [clock(s) for s in (8.4, 200, 7500)] == ['8 s', '3 min 20 s', '2 h 05 min']


def test_a_cell_on_two_processes(bench, tmp_path, monkeypatch):
    """Through tools/dist_train.sh: another number of devices is the same cell, with the batch of its recipe."""
    digits = load_config('classification/digits/resnet20.py', SMALL)
    (bench.root / 'recipe.py').write_text(digits.pretty_text)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    bench.script = None
    failed, said = bench.run(jobs=1, rows='CutMix', columns='MCE', trials=1, per_run=2)
    assert not failed, said + bench.log('cutmix/mce/trial0')
    assert bench.result('cutmix/mce/trial0')['world_size'] == 2
    assert len(bench.result('cutmix/mce/trial0')['history']) == 3
    assert 'The global batch is' not in bench.log('cutmix/mce/trial0')
    assert states(bench, rows='CutMix', columns='MCE', trials=1) == ['done']


def test_the_batch_divides_among_the_processes():
    cfg = load_config('classification/digits/resnet20.py')
    with pytest.raises(InputError, match='batch_size 64 is no multiple of 3 processes'):
        split_batch(cfg, 3)
    split_batch(cfg, 4)
    assert cfg.train_dataloader.batch_size == 16


def test_groups_of_pools_divide_among_the_processes():
    pools = {'type': 'Pools', 'labelled': {'type': 'Digits'}, 'ratio': 3}
    cfg = Config({'train_dataloader': {'batch_size': 12, 'dataset': pools}})
    with pytest.raises(InputError, match=r'batch_size 12 cannot be .* 2 processes .* a multiple of 8, such as 8'):
        split_batch(cfg, 2)
    split_batch(cfg, 3)
    assert cfg.train_dataloader.batch_size == 4


def test_asked_to_stop_at_its_end_a_training_may_be_done(bench, signal_when):
    """It writes its result, is asked to stop, and exits with 1."""
    script = bench.script.read_text()
    tail = """import signal, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
(args.work_dir / 'ready').touch()
time.sleep(600)
"""
    bench.script.write_text(f'{script}\n{tail}')
    chosen = dict(rows='Mixup', columns='MCE', trials=1)
    (trial,) = bench.trials(**chosen)
    signal_when(signal.SIGTERM, (trial.folder / 'ready').exists)
    with pytest.raises(Stopped):
        bench.run(**chosen)
    assert states(bench, **chosen) == ['done']


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (['--rows', 'CutMax'], "no row matches 'CutMax'; did you mean 'CutMix'?"),
        (['--gpus-per-run', '0'], 'gpus-per-run must be in [1, 1024], got 0'),
        (['--engine', 'slurm', '--time-min', '0', '--print-sbatch'], 'time-min must be in [1, 527040], got 0'),
    ],
)
def test_bad_input_of_the_command_is_one_line(bench, options, line, benchmark_py):
    done = benchmark_py('run', bench.path, '--work-dir', bench.work_dir, *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert line in done.stderr
    assert not bench.work_dir.exists()


@pytest.mark.parametrize('name', ['log.txt', 'metrics.jsonl', 'exit_code'])
@pytest.mark.parametrize('kind', ['folder', 'pipe', 'loop', 'dangling link', 'device'])
def test_what_lies_in_the_place_of_a_runs_file_is_set_aside(bench, name, kind):
    """A log that is a pipe held the queue up for ever, a folder ended it with a traceback."""
    path = bench.work_dir / 'mixup/mce/trial0' / name
    path.parent.mkdir(parents=True)
    make = {
        'folder': path.mkdir,
        'pipe': lambda: os.mkfifo(path),
        'loop': lambda: path.symlink_to(path.name),
        'dangling link': lambda: path.symlink_to('nowhere'),
        'device': lambda: path.symlink_to('/dev/null'),
    }
    make[kind]()
    found = []
    queue = threading.Thread(target=lambda: found.append(bench.run(rows='Mixup', columns='MCE', trials=1)), daemon=True)
    queue.start()
    queue.join(SECONDS)
    assert found, 'the queue still waits'
    ((failed, said),) = found
    assert not failed
    assert f'{path} is no regular file and is now {path}.old' in said
    assert bench.records('Mixup', 'MCE', 1)[0].state == 'done'
    assert os.path.lexists(f'{path}.old')
    assert not path.with_name('nowhere').exists()
