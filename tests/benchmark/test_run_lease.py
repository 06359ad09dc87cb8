"""Test leases: there is one holder at a time, also if processes die, and with two runners on one disk."""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from waiting import SECONDS, until

from openmix import lease
from openmix.lease import EXPIRES_S, Holder, Lease, beside, holder_at, holder_of, inside, kept


def age(path, seconds=2 * EXPIRES_S):
    then = time.time() - seconds
    os.utime(path, (then, then))


def rewrite(path, **changed):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_one_holder_at_a_time(tmp_path):
    held = Lease.take(beside(tmp_path / 'a'))
    assert held is not None
    assert held.is_mine()
    assert Lease.take(beside(tmp_path / 'a')) is None
    assert holder_of(tmp_path / 'a').pid == os.getpid()
    held.release()
    assert holder_of(tmp_path / 'a') is None
    assert Lease.take(beside(tmp_path / 'a')) is not None
    assert [path.name for path in tmp_path.iterdir()] == ['a.lease']


def test_a_lease_expires_without_heartbeats(tmp_path):
    held = Lease.take(beside(tmp_path / 'a'))
    rewrite(beside(tmp_path / 'a'), machine='another')
    age(beside(tmp_path / 'a'), EXPIRES_S / 2)
    assert Lease.take(beside(tmp_path / 'a')) is None
    age(beside(tmp_path / 'a'))
    assert holder_of(tmp_path / 'a') is None
    taken = Lease.take(beside(tmp_path / 'a'))
    assert taken is not None
    assert taken.is_mine()
    assert not held.is_mine()
    held.release()  # it is no longer its own to give back
    assert taken.is_mine()
    assert [path.name for path in tmp_path.iterdir()] == ['a.lease']


def test_heartbeats_keep_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, 'HEARTBEAT_S', 3600)
    held = Lease.take(beside(tmp_path / 'a'))
    age(beside(tmp_path / 'a'))
    assert held.keep()  # too early to do anything
    assert time.time() - beside(tmp_path / 'a').stat().st_mtime > EXPIRES_S
    monkeypatch.setattr(lease, 'HEARTBEAT_S', 0)
    assert held.keep()
    assert time.time() - beside(tmp_path / 'a').stat().st_mtime < EXPIRES_S
    rewrite(beside(tmp_path / 'a'), token='theirs')
    assert not held.keep()


def dead_pid():
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    return process.pid


def test_who_is_gone_from_this_machine_holds_nothing(tmp_path):
    Lease.take(beside(tmp_path / 'a'))
    rewrite(beside(tmp_path / 'a'), pid=dead_pid())
    assert holder_of(tmp_path / 'a') is None
    assert Lease.take(beside(tmp_path / 'a')) is not None


def test_who_lives_on_this_machine_holds_it_whatever_its_age(tmp_path):
    """A suspended process gives no sign of life and wakes."""
    Lease.take(beside(tmp_path / 'a'))
    age(beside(tmp_path / 'a'), 10 * EXPIRES_S)
    assert holder_of(tmp_path / 'a') is not None
    assert Lease.take(beside(tmp_path / 'a')) is None


def test_a_later_process_with_the_number_of_the_holder(tmp_path):
    Lease.take(beside(tmp_path / 'a'))
    rewrite(beside(tmp_path / 'a'), started='long ago')
    assert holder_of(tmp_path / 'a') is None
    assert Lease.take(beside(tmp_path / 'a')) is not None


def test_a_killed_process_that_waits_for_its_parent_holds_nothing(tmp_path):
    Lease.take(beside(tmp_path / 'a'))
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        assert until(lambda: lease._started(child) == '')
        rewrite(beside(tmp_path / 'a'), pid=child)
        assert holder_of(tmp_path / 'a') is None
    finally:
        os.waitpid(child, 0)


def test_a_date_in_the_future_is_no_sign_of_life(tmp_path):
    """The disk's clock was set back, or a folder copied: the time of the lease counts from when it is seen."""
    path = beside(tmp_path / 'a')
    Lease.take(path)
    rewrite(path, machine='another')
    age(path, -3600)
    assert Lease.take(path) is None
    assert abs(time.time() - path.stat().st_mtime) < EXPIRES_S
    age(path)
    assert Lease.take(path) is not None


def test_a_later_start_of_one_launch_goes_on_on_another_machine(tmp_path):
    path = inside(tmp_path / 'a')
    first = Lease.take(path, 'torchrun a1')
    assert Lease.take(path, 'torchrun a1') is None  # it lives
    rewrite(path, machine='another')
    assert Lease.take(path) is None
    assert Lease.take(path, 'torchrun b2') is None
    assert Lease.take(path, 'torchrun a1') is not None
    assert not first.is_mine()


def test_a_machine_that_slept_looks_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, 'HEARTBEAT_S', 3600)
    held = Lease.take(beside(tmp_path / 'a'))
    rewrite(beside(tmp_path / 'a'), token='theirs')
    assert held.keep()
    now = lease._clock()
    monkeypatch.setattr(lease, '_clock', lambda: now + 7200)
    assert not held.keep()


@pytest.mark.skipif(not hasattr(time, 'CLOCK_BOOTTIME'), reason='a clock of Linux')
def test_the_clock_goes_on_while_the_machine_sleeps():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= lease._clock() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_heartbeat_that_fails_once_is_made_up_for(tmp_path, monkeypatch):
    """Where no file can be opened for a while nothing is known to be lost, and the holder does not fall silent."""
    monkeypatch.setattr(lease, 'HEARTBEAT_S', 0.01)
    held = Lease.take(beside(tmp_path / 'a'))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed, read = [], lease._read

    def watched(path, now):
        try:
            return read(path, now)
        except OSError as error:
            failed.append(error)
            raise

    monkeypatch.setattr(lease, '_read', watched)
    with kept(held):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            assert until(lambda: failed)
            assert held.keep()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        age(held.path)
        assert until(lambda: time.time() - held.path.stat().st_mtime < EXPIRES_S)
    assert not held.path.exists()


def test_a_lease_is_kept_while_the_block_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, 'HEARTBEAT_S', 0.01)
    held = Lease.take(inside(tmp_path / 'a'))
    with kept(held):
        age(held.path)
        assert until(lambda: time.time() - held.path.stat().st_mtime < EXPIRES_S)
        assert holder_of(tmp_path / 'a') is not None
    assert holder_at(inside(tmp_path / 'a')) is None
    assert not held.path.exists()


GOOD = {'host': 'h', 'machine': 'm', 'pid': 7, 'since': 's', 'token': 't'}


@pytest.mark.parametrize(
    'text',
    ['', '[]', 'null', '[' * 100_000, '{"pid": 3}', '\udcff']
    + [json.dumps({**GOOD, **changed}) for changed in
       ({'pid': '7'}, {'pid': -1}, {'pid': 2**40}, {'pid': True}, {'pid': 1.5}, {'host': 3}, {'machine': None},
        {'token': '../x'}, {'token': ''}, {'token': 'x' * 300}, {'more': 'x'}, {'started': 5})],
)  # fmt: skip
def test_a_lease_of_any_content_is_respected_until_it_expires(tmp_path, text):
    path = beside(tmp_path / 'a')
    path.write_bytes(text.encode('utf-8', 'surrogateescape'))
    assert holder_of(tmp_path / 'a').name == 'a process on an unknown machine'
    assert Lease.take(path) is None
    age(path)
    assert Lease.take(path) is not None


def test_a_lease_of_before_is_understood():
    assert Holder.parse(json.dumps(GOOD).encode()) == Holder('h', 'm', 7, 's', 't')


def test_the_same_number_on_another_machine_is_another_process(tmp_path):
    Lease.take(beside(tmp_path / 'a'))
    rewrite(beside(tmp_path / 'a'), pid=dead_pid(), machine='another')
    assert holder_of(tmp_path / 'a') is not None
    assert Lease.take(beside(tmp_path / 'a')) is None


def test_a_half_written_lease_is_respected_until_it_expires(tmp_path):
    beside(tmp_path / 'a').write_text('')
    assert Lease.take(beside(tmp_path / 'a')) is None
    age(beside(tmp_path / 'a'))
    assert Lease.take(beside(tmp_path / 'a')) is not None


def test_only_one_succeeds_an_expired_lease(tmp_path):
    """Another process stands between finding the lease expired and replacing it."""
    Lease.take(beside(tmp_path / 'a'))
    path = beside(tmp_path / 'a')
    rewrite(path, machine='another', token='old')
    age(path)
    successor = path.with_name(f'{path.name}.old')
    successor.write_text('')
    assert Lease.take(beside(tmp_path / 'a')) is None
    age(successor)  # it died there
    assert Lease.take(beside(tmp_path / 'a')) is None
    assert Lease.take(beside(tmp_path / 'a')) is not None


def test_age_and_holder_are_of_one_file(tmp_path):
    """An expired lease that is replaced while it is read is not the successor's."""
    Lease.take(beside(tmp_path / 'a'))
    path = beside(tmp_path / 'a')
    rewrite(path, machine='another', token='old')
    age(path)
    said = json.loads(path.read_text())
    done = threading.Event()

    def succeed():
        while not done.is_set():
            for name, seconds in (('old', 2 * EXPIRES_S), ('new', 0)):
                beside = tmp_path / 'beside'
                beside.write_text(json.dumps({**said, 'token': name}))
                age(beside, seconds)
                os.replace(beside, path)

    read = set()

    def both():
        found = (lease._read(path, time.time()) for _ in range(5000))
        read.update((each.holder.token, each.expired) for each in found)
        return len(read) > 1

    successor = threading.Thread(target=succeed)
    successor.start()
    try:
        until(both)
    finally:
        done.set()
        successor.join()
    assert read == {('old', True), ('new', False)}


RACER = """
import sys
from pathlib import Path
from openmix.lease import Lease, beside
root, go = Path(sys.argv[1]), Path(sys.argv[1]) / 'go'
print('ready', flush=True)
while not go.exists():
    pass
print(*(i for i in range(200) if Lease.take(beside(root / f'{i}')) is not None), flush=True)
sys.stdin.read()  # who takes over must not find the other gone
"""


@pytest.mark.slow
@pytest.mark.parametrize('expired', [False, True])
def test_two_processes_race(tmp_path, expired):
    for i in range(200 if expired else 0):
        held = Lease.take(beside(tmp_path / f'{i}'))
        rewrite(held.path, machine='another')
        age(held.path)
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    racers = [subprocess.Popen([sys.executable, '-c', RACER, str(tmp_path)], **pipes) for _ in range(2)]
    try:
        for racer in racers:
            assert racer.stdout.readline() == 'ready\n'
        (tmp_path / 'go').touch()
        won = Counter(number for racer in racers for number in racer.stdout.readline().split())
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert len(won) == 200
    assert set(won.values()) == {1}


RUNNER = """
import sys
from pathlib import Path
from rich.console import Console
from openmix.benchmark import run
from openmix.benchmark.table import load_table
from openmix.benchmark.trials import trials_of
run.cuda_devices = list
table, script, work_dir = load_table(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
trials = trials_of(table, table.cells, work_dir)
if sys.argv[4] == 'backwards':
    trials.reverse()
run.Queue(Console(width=200), script, jobs=2).run(trials)
"""


def runner(bench, order='forwards'):
    words = [sys.executable, '-c', RUNNER, bench.path, bench.script, bench.work_dir, order]
    return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True)


def test_a_training_whose_runner_is_gone_is_left_alone(bench):
    chosen = dict(rows='Mixup', columns='MCE', trials=1)
    (trial,) = bench.trials(**chosen)
    training = Lease.take(inside(trial.folder))
    assert trial.state() == 'running'
    failed, said = bench.run(**chosen)
    assert not failed
    assert f'left to process {os.getpid()} on ' in said
    assert [path.name for path in trial.folder.iterdir()] == ['training.lease']
    assert not beside(trial.folder).exists()
    training.release()
    bench.run(**chosen)
    assert trial.state() == 'done'


@pytest.mark.slow
def test_two_runners_train_every_trial_once(bench):
    bench.edit('trials: 2', 'trials: 4')
    counting = "with (args.work_dir / 'starts').open('a') as file:\n    file.write('x')\n"
    bench.script.write_text(bench.script.read_text().replace("print('resume'", f"{counting}print('resume'"))
    runners = [runner(bench, order) for order in ('forwards', 'forwards', 'backwards')]
    for one in runners:
        one.communicate(timeout=SECONDS)
    assert [one.returncode for one in runners] == [0, 0, 0]
    trials = bench.trials()
    assert len(trials) == 20
    assert [(trial.folder / 'starts').read_text() for trial in trials] == ['x'] * 20
    assert [trial.state() for trial in trials] == ['done'] * 20
    assert not list(bench.work_dir.rglob('*.lease*'))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='only there a training is told that its runner was killed')
def test_a_killed_runner_takes_its_trainings_along_and_is_succeeded(bench):
    script = bench.script.read_text()
    bench.script.write_text(
        'import os, pathlib, sys, time\n'
        'folder = pathlib.Path(sys.argv[3])\n'
        'folder.joinpath("part").write_text(str(os.getpid()))\n'
        'folder.joinpath("part").rename(folder / "ready")\n'
        'time.sleep(600)\n'
    )
    killed = runner(bench)
    first, second = bench.trials()[:2]
    ready = [trial.folder / 'ready' for trial in (first, second)]
    try:
        assert until(lambda: all(file.exists() for file in ready))
        assert first.state() == 'running'
    finally:
        killed.kill()
        killed.communicate()
    # Where nobody waits for orphans they stay as zombies.
    assert until(lambda: all(not lease._started(int(file.read_text())) for file in ready))
    assert first.state() == 'interrupted'
    bench.script.write_text(script)
    failed, said = bench.run()
    assert not failed
    assert 'left to' not in said
    assert [trial.state() for trial in bench.trials()] == ['done'] * 10
