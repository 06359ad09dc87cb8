"""Test the speed suites: ratios are computed correctly, and every suite runs. No test depends on a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import Interval

from benchmarks import memory, peer
from benchmarks.breakdown import covered, shares
from benchmarks.flops import arithmetic, beside_arithmetic
from benchmarks.run import SUITES, parse, render
from benchmarks.setting import Setting
from benchmarks.suites import semisup
from benchmarks.timing import Comparison, Turn, alternating, summarise
from openmix.errors import InputError

ROOT = Path(__file__).parent.parent
RUN = ROOT / 'benchmarks' / 'run.py'

MIXUP = 'def mixup(img, gt_label, alpha=1.0):\n    return img + img.flip(0).cuda(), gt_label\n'
FMIX = 'def fmix(img, gt_label, size=(1, 1)):\n    assert size == tuple(img.shape[2:])\n    return img, gt_label\n'

# A stand-in for USB: it has the functions that are called, and insists on the batch that it would be given.
USB = """
import types
import torch

def get_config(config):
    return types.SimpleNamespace(**config)

def get_net_builder(name, from_name):
    assert (name, from_name) == ('wrn_28_2', False)
    return lambda num_classes, **more: Linear(3 * 32 * 32, num_classes)

class Linear(torch.nn.Linear):
    def forward(self, x):
        return {'logits': super().forward(x.flatten(1))}

class FixMatch:
    def __init__(self, args, builder):
        self.model = builder(num_classes=args.num_classes, pretrained=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), args.lr)

    def train_step(self, x_lb, y_lb, x_ulb_w, x_ulb_s):
        assert x_ulb_w.shape == x_ulb_s.shape == (7 * len(x_lb), 3, 32, 32) and (x_ulb_w != x_ulb_s).any()
        logits = self.model(torch.cat([x_lb, x_ulb_w, x_ulb_s]))['logits']
        assert self.model.training and logits.shape[1] == 10
        return {'loss': torch.nn.functional.cross_entropy(logits[:len(x_lb)], y_lb)}, {}

    def call_hook(self, *names):
        assert names == ('after_train_step', 'ParamUpdateHook')
        self.out_dict['loss'].backward()
        self.optimizer.step()
        self.model.zero_grad()

def get_algorithm(args, builder, tb_log, logger):
    assert args.algorithm == 'fixmatch'
    return FixMatch(args, builder)
"""


def write_usb(folder: Path, text: str = USB) -> None:
    (folder / 'semilearn').mkdir()
    (folder / 'semilearn' / '__init__.py').write_text(text)


def write_peer(folder: Path, text: str) -> str:
    augments = folder / 'openmixup' / 'models' / 'augments.py'
    augments.parent.mkdir(parents=True)
    for package in (augments.parent, augments.parent.parent):
        (package / '__init__.py').write_text('')
    augments.write_text(text)
    return str(folder)


def run(*arguments: str, beside: Sequence[str] = ()) -> subprocess.CompletedProcess:
    """Run the benchmarks; folders `beside` hold libraries to compare with."""
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    env['PYTHONPATH'] = os.pathsep.join([*beside, *filter(None, [os.environ.get('PYTHONPATH')])])
    return subprocess.run([sys.executable, str(RUN), *arguments], capture_output=True, text=True, env=env)


class FakeTime:
    """A clock that only calls of candidates advance."""

    def __init__(self, *rates: tuple[str, float]) -> None:
        self.now, self.calls = 0.0, ''
        self.candidates = {name: lambda name=name, cost=cost: self.spend(name, cost) for name, cost in rates}

    def spend(self, name: str, cost: float) -> None:
        self.now += cost
        self.calls += name


def test_candidates_alternate_and_settling_calls_are_not_timed():
    time = FakeTime(('a', 1.0), ('b', 2.0))
    turns = alternating(time.candidates, settle=1)(rounds=2, seconds=3.0, clock=lambda: time.now)
    # Warm-up of a third of the length, then in turns; every turn has one call before its clock starts.
    assert time.calls == 'aabb' + ('aaaa' + 'bbb') * 2
    assert [turn.value for turn in turns['a']] == [1.0, 1.0]
    assert [turn.value for turn in turns['b']] == [2.0, 2.0]


def test_a_turn_is_the_mean_over_its_calls():
    costs = iter([9.0, 9.0, 9.0, 1.0, 2.0, 3.0])
    time = FakeTime()
    time.candidates = {'a': lambda: time.spend('a', next(costs))}
    turns = alternating(time.candidates)(rounds=1, seconds=5.5, clock=lambda: time.now)
    assert [turn.value for turn in turns['a']] == [2.0]


def measured(**seconds: list[float]):
    return lambda rounds, length: {name: [Turn(s, faults=2.0) for s in times] for name, times in seconds.items()}


def test_ratios_are_medians_of_the_rounds_own_ratios():
    rows = summarise(Comparison('t', measured(a=[1.0, 10.0, 4.0], b=[3.0, 20.0, 4.0])), 3, 1.0)
    a, b = rows
    assert (a.median, a.low, a.high, a.rounds, a.faults) == (4.0, 1.0, 10.0, 3, 2.0)
    assert a.ratios == ()
    (ratio,) = b.ratios
    # The rounds' own are 3, 2 and 1; that of the two medians would be 1.
    assert (ratio.to, ratio.median, ratio.low, ratio.high) == ('a', 2.0, 1.0, 3.0)


def test_a_candidate_is_read_against_what_it_names():
    against = {'b': [], 'c': ['b', 'a']}
    rows = summarise(Comparison('t', measured(a=[1.0], b=[2.0], c=[8.0], d=[3.0]), against), 1, 1.0)
    assert [[(ratio.to, ratio.median) for ratio in row.ratios] for row in rows] == [
        [],
        [],
        [('b', 4.0), ('a', 8.0)],
        [('a', 3.0)],
    ]


def test_memory_is_shown_in_its_own_unit():
    table = render(summarise(Comparison('t', measured(a=[1200.0], b=[1500.0]), unit='MB'), 1, 1.0))
    assert 'median MB' in table
    assert re.search(r'b +\| 1500 +\|.* 1.25 \(1.25..1.25\) of a', table)


def test_arithmetic_is_told_beside_what_does_it(monkeypatch):
    """Products of 4 x 4 matrices, 128 FLOPs each, that take 32 s and then 64 s."""
    costs = iter([32.0, 64.0])
    monkeypatch.setattr('benchmarks.flops.alternating', lambda runs: measured(product=[next(costs)]))
    found = beside_arithmetic(measured(a=[3.0, 4.0], b=[5.0, 6.0]), {'a': 8.0, 'b': 20.0}, 4, 'cpu')(2, 1.0)
    assert {name: [turn.value for turn in turns] for name, turns in found.items()} == {
        'a': [3.0, 4.0],
        'b': [5.0, 6.0],
        arithmetic('a'): [2.0, 4.0],
        arithmetic('b'): [5.0, 10.0],
    }


def profiled(*events):
    """Make a profile of events (name, device, start, end) in microseconds."""
    return SimpleNamespace(
        events=lambda: [
            SimpleNamespace(name=name, device_type=device, time_range=Interval(*span), self_cpu_time_total=3.0)
            for name, device, *span in events
        ]
    )


def test_a_gpu_is_busy_while_its_kernels_run():
    cpu, gpu = DeviceType.CPU, DeviceType.CUDA
    found = profiled(('launch', cpu, 0, 20), ('conv', gpu, 4, 10), ('norm', gpu, 8, 10), ('conv', gpu, 12, 14))
    longest, busy = shares(found)
    assert longest == [('conv', 0.8), ('norm', 0.2)]
    assert busy == 0.4


def test_without_a_gpu_operators_count_by_their_own_time():
    cpu = DeviceType.CPU
    longest, busy = shares(profiled(('conv', cpu, 0, 20), ('inner', cpu, 1, 2), ('conv', cpu, 30, 31)))
    assert longest == [('conv', 2 / 3), ('inner', 1 / 3)]
    assert busy is None


def test_time_that_kernels_share_counts_once():
    assert covered([(0, 2), (5, 6), (1, 3), (5.5, 5.8)]) == 4
    assert covered([]) == 0


@pytest.mark.slow
def test_a_breakdown_names_what_takes_long(tmp_path):
    script, trace = str(ROOT / 'benchmarks/breakdown.py'), tmp_path / 'trace.json'
    call = [sys.executable, script, '--quick', '--steps', '3', '--trace', str(trace)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r'^\| ([0-9.]+)% \| (.*) \|$', done.stdout, re.MULTILINE)
    assert len(rows) == 12
    assert 0 < sum(float(share) for share, _ in rows) <= 100.5
    assert any('convolution_backward' in event['name'] for event in json.loads(trace.read_text())['traceEvents'])
    wrong = subprocess.run([sys.executable, script, 'CutMix, decoupled_c'], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, '')
    assert "did you mean 'CutMix, decoupled_ce'" in wrong.stderr


def allocate(megabytes: int) -> None:
    torch.ones(megabytes, 250_000)


@pytest.mark.slow
def test_the_peak_of_a_process_is_its_own():
    """It holds nothing of this process, nor of the large one before it."""
    here = torch.ones(600, 250_000)
    turns = memory.peaks({'large': (allocate, 300), 'small': (allocate, 1)})(1, 0.0)
    ((large,), (small,)) = turns.values()
    assert 250 < large.value - small.value < 350
    assert memory.resident() > here.nbytes / memory.MEGA


def test_every_round_has_a_process_of_its_own(monkeypatch):
    started = []
    monkeypatch.setattr(memory, 'peak', lambda *run: started.append(run) or float(len(started)))
    turns = memory.peaks({'small': (allocate, 1), 'large': (allocate, 300)})(2, 0.0)
    assert started == [(allocate, 1)] * 2 + [(allocate, 300)] * 2
    assert {name: [turn.value for turn in taken] for name, taken in turns.items()} == {
        'small': [1.0, 2.0],
        'large': [3.0, 4.0],
    }


@pytest.fixture(scope='module')
def rows(tmp_path_factory):
    """Run every suite in its smallest form, with stand-ins for the other libraries."""
    folder = tmp_path_factory.mktemp('benchmarks')
    write_usb(folder)
    out = folder / 'rows.jsonl'
    quick = ['--quick', '--rounds', '1', '--seconds', '0.001', '--json', str(out)]
    done = run(*quick, '--peer', write_peer(folder, MIXUP + FMIX), beside=[str(folder)])
    assert done.returncode == 0, done.stderr
    assert 'these times say nothing' in done.stdout
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize('suite', SUITES)
def test_every_suite_writes_its_rows(rows, suite):
    mine = [row for row in rows if row['suite'].startswith(f'{suite}:')]
    assert len(mine) >= 2
    names = {row['name'] for row in mine}
    for row in mine:
        assert 0 < row['low'] <= row['median'] <= row['high']
        assert row['rounds'] == 1
        assert row['machine']['torch'] == metadata.version('torch')
        assert row['machine']['quick'] is True
        for ratio in row['ratios']:
            assert ratio['to'] in names - {row['name']}
            beside = [other for other in mine if other['suite'] == row['suite']]
            (reference,) = (other for other in beside if other['name'] == ratio['to'])
            assert ratio['median'] == pytest.approx(row['median'] / reference['median'])


@pytest.mark.slow
def test_no_suite_is_left_out(rows):
    assert {row['suite'].partition(':')[0] for row in rows} == set(SUITES)


@pytest.mark.slow
def test_the_peer_is_timed_beside_its_namesakes(rows):
    names = {row['name'] for row in rows}
    assert {'peer Mixup / batch', 'peer FMix / batch'} <= names
    assert 'peer CutMix / batch' not in names
    (ours,) = (row for row in rows if row['name'] == 'FMix / sample')
    assert {ratio['to'] for ratio in ours['ratios']} == {'Mixup / sample', 'peer FMix / batch'}


@pytest.mark.slow
def test_a_step_of_usb_is_timed_where_it_imports(rows):
    mine = {row['name']: row for row in rows if "beside USB's" in row['suite']}
    assert list(mine) == ["USB's", "USB's, of its own WRN-28-2", 'ours']
    assert [ratio['to'] for ratio in mine['ours']['ratios']] == ["USB's", "USB's, of its own WRN-28-2"]


@pytest.mark.parametrize('has_it', [False, True])
def test_a_step_of_usb_is_compared_only_where_there_is_one(has_it, tmp_path, monkeypatch):
    monkeypatch.setattr(semisup, 'find_spec', lambda name: has_it or None)
    monkeypatch.delitem(sys.modules, 'semilearn', raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    write_usb(tmp_path)
    titles = [comparison.title for comparison in semisup.comparisons(Setting(quick=True))]
    assert any("beside USB's" in title for title in titles) == has_it
    assert ('semilearn' in sys.modules) == has_it


def test_a_usb_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, 'semilearn', raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    write_usb(tmp_path, "raise ImportError('cannot import\\n PaddingStrategy')")
    with pytest.raises(InputError, match=r'semilearn is installed, .*: ImportError: cannot import PaddingStrategy$'):
        semisup.usb_steps(nn.Identity(), {})


def forget_peer(monkeypatch):
    for name in [name for name in sys.modules if name.partition('.')[0] == 'openmixup']:
        monkeypatch.delitem(sys.modules, name)


def test_of_a_peer_its_functions_are_imported_and_not_its_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'cuda', torch.Tensor.cuda)
    sizes = 'assert to_2tuple(3) == (3, 3) and batch_shuffle_ddp() == 5'
    text = f'from openmixup.models.utils import batch_shuffle_ddp, to_2tuple\n{sizes}\n{MIXUP}'
    text += 'def gridmix(img, label, n_holes=20, **others):\n    assert n_holes == (2, 6)\n    return img, label\n'
    path = write_peer(tmp_path, text)
    for package in ('openmixup', 'openmixup/models', 'openmixup/models/utils'):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / '__init__.py').write_text('raise ImportError("MMCV is too new")')
    (tmp_path / 'openmixup/models/utils/gather_layer.py').write_text('def batch_shuffle_ddp():\n    return 5\n')
    forget_peer(monkeypatch)
    found = peer.peer_functions(peer.import_peer(path), ['Mixup', 'GridMix', 'CutMix'])
    assert list(found) == ['Mixup', 'GridMix']
    assert found['Mixup'](torch.ones(2, 3, 4, 4), torch.arange(2))[0].unique().tolist() == [2.0]
    forget_peer(monkeypatch)


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('import no_such_package', 'cannot be imported: ModuleNotFoundError'),
        ('raise AssertionError("MMCV is\\n too new")', 'AssertionError: MMCV is too new'),
        ('def mixup(img, gt_label):\n    raise RuntimeError("no detector")', 'mixup does not run: RuntimeError'),
        ('', 'no function named as one of our policies'),
    ],
)
def test_a_peer_that_does_not_run_is_one_line(tmp_path, monkeypatch, text, line):
    monkeypatch.setattr(torch.Tensor, 'cuda', torch.Tensor.cuda)
    path = write_peer(tmp_path, text)
    forget_peer(monkeypatch)
    with pytest.raises(InputError, match=line) as failed:
        peer.peer_functions(peer.import_peer(path), ['Mixup'])
    for name in [name for name in sys.modules if name.partition('.')[0] == 'openmixup']:
        del sys.modules[name]
    assert '\n' not in str(failed.value)


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        (['--rounds', '2'], '--rounds must be at least 3'),
        (['--quick', '--rounds', '0'], '--rounds must be at least 1'),
        (['--minutes', '0'], '--minutes must be above 0'),
        (['--suite', 'loss', '--peer', '.'], "--peer is timed in the suite 'policies'"),
    ],
)
def test_bad_arguments_are_input_errors(monkeypatch, arguments, line):
    monkeypatch.setattr(sys, 'argv', ['run.py', *arguments])
    with pytest.raises(InputError, match=line):
        parse()


@pytest.mark.slow
def test_bad_input_is_one_line_and_exit_code_2():
    done = run('--peer', 'nowhere')
    assert done.returncode == 2
    assert done.stderr == "error: --peer: no folder 'openmixup' in 'nowhere'; name a checkout of OpenMixup\n"
