"""The queue: what runs, what is skipped, resumed, set aside or left alone."""

import json
import os

import pytest

from openmix.benchmark.run import Queue, clock, set_aside, slot_environments, take_lock
from openmix.errors import InputError


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


def test_interrupted_trial_is_resumed(bench):
    (trial,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    bench.run(rows='Mixup', columns='MCE', trials=1)
    (trial.folder / 'result.json').unlink()
    (trial.folder / 'epoch_2.pth').write_text('')
    (trial.folder / 'last_checkpoint').write_text(f'{trial.folder / "epoch_2.pth"}')
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


def test_failures_are_reported_and_the_others_go_on(bench):
    (bench.root / 'fail').touch()
    failed, said = bench.run(trials=1)
    assert [trial.name for trial in failed] == ['CutMix / MCE, trial 0', 'CutMix / DM(CE), trial 0']
    assert 'FAILED' in said
    assert 'exit code 3' in said
    assert '    the last words' in said.split('[5/5]')[1]
    assert states(bench, trials=1) == ['done', 'done', 'done', 'failed', 'failed']
    (bench.root / 'fail').unlink()
    failed, said = bench.run(trials=1)
    assert not failed
    assert '3 trials done before, 2 to run' in said


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
        set_aside(tmp_path / 'trial0')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['trial0.old1', 'trial0.old2']


def test_a_trial_in_training_elsewhere_is_left_alone(bench):
    chosen = dict(rows='Mixup', columns='MCE', trials=1)
    (trial,) = bench.trials(**chosen)
    lock = take_lock(trial.folder)
    assert lock is not None
    assert states(bench, **chosen) == ['running']
    failed, said = bench.run(**chosen)
    os.close(lock)
    assert not failed
    assert 'left alone' in said
    assert states(bench, **chosen) == ['pending']
    bench.run(**chosen)
    assert states(bench, **chosen) == ['done']


def test_interrupting_the_queue_stops_its_trainings(bench, monkeypatch):
    bench.script.write_text('import time\ntime.sleep(60)')

    def interrupt(queue, running):
        raise KeyboardInterrupt

    monkeypatch.setattr(Queue, '_show', interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.run(rows='Mixup', columns='MCE', trials=1)
    assert states(bench, rows='Mixup', columns='MCE', trials=1) == ['interrupted']


def test_slots_share_devices_or_cores(monkeypatch):
    assert [slot['CUDA_VISIBLE_DEVICES'] for slot in slot_environments(3, ['2', '5'])] == ['2', '5', '2']
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(8), raising=False)
    assert slot_environments(3, []) == [{'OMP_NUM_THREADS': '2'}] * 3
    assert slot_environments(9, [])[0] == {'OMP_NUM_THREADS': '1'}


def test_wrong_numbers_are_refused(bench):
    with pytest.raises(InputError, match='jobs must be >= 1'):
        bench.run(jobs=0)
    with pytest.raises(InputError, match='trials must be >= 1'):
        bench.trials(trials=0)


def test_clock():
    assert [clock(s) for s in (8.4, 200, 7500)] == ['8 s', '3 min 20 s', '2 h 05 min']
