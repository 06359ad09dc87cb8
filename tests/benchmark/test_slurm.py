"""Test the Slurm engine with submitit's local executors, and the script that it would submit."""

import os
import re
import signal
import subprocess
import sys

import pytest
from waiting import until

from openmix.benchmark import slurm
from openmix.benchmark.slurm import Resources, sbatch_script, submit
from openmix.errors import InputError
from openmix.lease import holder_of

submitit = pytest.importorskip('submitit', reason='needs submitit: the extra [slurm]')
CPU = Resources(gpus=0)


def test_every_trial_is_a_job_debug(bench, tmp_path):
    trials = bench.trials(trials=1)
    jobs = submit(trials, tmp_path / 'jobs', 'small', CPU, cluster='debug', train_script=bench.script)
    assert [job.result() for job in jobs] == ['done'] * 5
    assert [trial.state() for trial in trials] == ['done'] * 5


def test_a_failure_is_the_jobs_result(bench, tmp_path):
    (bench.root / 'fail').touch()
    trials = bench.trials(rows='CutMix', columns='MCE', trials=1)
    (job,) = submit(trials, tmp_path / 'jobs', 'small', CPU, cluster='debug', train_script=bench.script)
    assert job.result() == 'failed'


# Saves on SIGTERM; what it resumes from it finishes.
LONG = """
if not args.resume:
    import signal, time
    def save(number, frame):
        (args.work_dir / 'latest.pth').write_text('saved')
        sys.exit(143)
    signal.signal(signal.SIGTERM, save)
    (args.work_dir / 'ready').touch()
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize('number', ['SIGUSR2', 'SIGTERM'])
def test_a_preempted_job_is_saved_queued_again_and_resumed(bench, tmp_path, number):
    """The controller of submitit's local executor starts the job again where Slurm would queue it."""
    script = bench.script.read_text()
    bench.script.write_text(script.replace('history = ', f'{LONG}history = ', 1))
    (trial,) = trials = bench.trials(rows='Mixup', columns='MCE', trials=1)
    (job,) = submit(trials, tmp_path / 'jobs', 'small', CPU, cluster='local', train_script=bench.script)
    assert until((trial.folder / 'ready').exists)
    holder = holder_of(trial.folder)
    assert holder is not None
    os.kill(holder.pid, signal.Signals[number])
    assert job.result() == 'done'
    assert bench.log('mixup/mce/trial0') == 'start\nresume\n'
    assert 'preempted' in job.stderr()


def test_the_script_of_an_array(tmp_path):
    resources = Resources(partition='long', time_min=90, gpus=2, cpus=6, parallel=20)
    text = sbatch_script(90, tmp_path / 'jobs', 'table1', resources)
    found = dict(re.findall(r'^#SBATCH --([\w-]+)(?:=(.*))?$', text, re.MULTILINE))
    assert found.pop('output').endswith('jobs/%A_%a_0_log.out')
    assert found.pop('error').endswith('jobs/%A_%a_0_log.err')
    assert found == {
        'array': '0-89%20',
        'cpus-per-task': '6',
        'gpus-per-node': '2',
        'job-name': 'table1',
        'nodes': '1',
        'ntasks-per-node': '1',
        'open-mode': 'append',
        'partition': 'long',
        'requeue': '',
        'signal': 'USR2@120',
        'time': '90',
        'wckey': 'submitit',
    }
    assert f'{sys.executable} -u -m submitit.core._submit {tmp_path}/jobs' in text
    syntax = subprocess.run(['bash', '-n'], input=text, text=True, capture_output=True)
    assert syntax.returncode == 0, syntax.stderr


def test_the_script_of_one_job_on_the_cpu(tmp_path):
    text = sbatch_script(1, tmp_path, 'one', CPU)
    assert '--array' not in text
    assert '--gpus' not in text
    assert '--partition' not in text


@pytest.mark.slow
def test_the_command_prints_the_script_of_a_table(bench, benchmark_py):
    bench.edit('  Vanilla: {model', '  Vanilla: {implemented: false, model')
    done = benchmark_py('run', bench.path, '--print-sbatch', '--work-dir', bench.work_dir, '--array-parallelism', '4')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('#!/bin/bash\n')
    assert '#SBATCH --array=0-7%4\n' in done.stdout
    assert not bench.work_dir.exists()


@pytest.mark.slow
def test_without_slurm_is_one_line(bench, monkeypatch, benchmark_py):
    monkeypatch.setenv('PATH', '/nowhere')
    done = benchmark_py('run', bench.path, '--engine', 'slurm', '--work-dir', bench.work_dir)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert 'no Slurm here' in done.stderr


def test_without_submitit_is_one_line(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[slurm\]'"):
        sbatch_script(2, tmp_path, 'none', CPU)
    with pytest.raises(InputError, match=r"pip install -e '\.\[slurm\]'"):
        submit(bench.trials(), tmp_path, 'none', CPU)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'time_min': 0}, r'time-min must be in \[1, '),
        ({'gpus': -1}, r'gpus-per-run must be in \[0, '),
        ({'cpus': 0}, r'cpus-per-task must be in \[1, '),
        ({'parallel': 0}, r'array-parallelism must be in \[1, '),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Resources(**options)


def test_a_crashed_nodes_lease_is_waited_for(bench, monkeypatch):
    (trial,) = bench.trials(rows='Mixup', columns='MCE', trials=1)
    answers = iter([object(), object(), None])
    monkeypatch.setattr(slurm, 'holder_of', lambda folder: next(answers))
    monkeypatch.setattr(slurm, '_LOOK_AGAIN_S', 0)
    assert slurm.TrialJob(trial, 0, 1, bench.script)() == 'done'
