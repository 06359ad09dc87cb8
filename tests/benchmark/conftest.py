"""A small table with a small recipe, and a script that writes the files of `tools/train.py` without training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from openmix.benchmark.folders import layout
from openmix.benchmark.records import read_records
from openmix.benchmark.run import Queue
from openmix.benchmark.table import load_table
from openmix.benchmark.trials import stages, trials_of
from openmix.shipped import configs_dir, tools_path

RECIPE = """
model = dict(type='MixClassifier', policy=dict(type='NoMix'), head=dict(type='LinearHead', loss=dict(type='mix_ce')))
train_cfg = dict(max_epochs=4)
randomness = dict(seed=0)
"""

TABLE = """
title: A <small> table
source: nowhere, Table 0
metric: accuracy/top1
readout: median_last3
trials: 2
base: {base}
columns:
  MCE: {{model.head.loss: {{type: mix_ce, _delete_: true}}}}
  DM(CE):
    model.head.loss: {{type: decoupled_ce, eta: 0.1, _delete_: true}}
    model.policy.alpha: 0.2
rows:
  Vanilla: {{model.policy: {{type: NoMix, _delete_: true}}}}
  Mixup: {{model.policy: {{type: Mixup, alpha: 1.0, _delete_: true}}}}
  CutMix: {{model.policy: {{type: CutMix, alpha: 1e-1, _delete_: true}}}}
published:
  Mixup: [79.12, 80.44]
  CutMix: [78.17, null]
exceptions:
  Vanilla: {{DM(CE): null}}
  CutMix: {{DM(CE): {{model.policy: {{type: CutMix, alpha: 2.0, _delete_: true}}}}}}
gains: {{DM(CE): MCE}}
notes: [first note]
"""

ITERATIONS = f"""
_base_ = '{configs_dir()}/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4))
train_dataloader = dict(dataset=dict(subset=100), batch_size=20)
val_dataloader = dict(dataset=dict(subset=20))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=400, val_interval=20)
default_hooks = dict(checkpoint=dict(interval=20, by_epoch=False), logger=dict(interval=20))
vis_backends = []
"""
ITERATIONS_TABLE = """
title: By iteration
metric: accuracy/top1
readout: median_last15
base: {base}
columns: {{MCE: {{model.head.loss: {{type: mix_ce, _delete_: true}}}}}}
rows:
  Vanilla: {{model.policy: {{type: NoMix, _delete_: true}}}}
  Mixup: {{model.policy: {{type: Mixup, alpha: 1.0, _delete_: true}}}}
"""

# Accuracies 70, 80, 90, 100 less the seed; CutMix fails where a file `fail` lies beside the recipe.
SCRIPT = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument('config', type=pathlib.Path)
parser.add_argument('--work-dir', type=pathlib.Path)
parser.add_argument('--seed', type=int)
parser.add_argument('--resume', action='store_true')
args = parser.parse_args()
text = args.config.read_text()
digest = text.split('Hash: ')[1].split()[0]
print('resume' if args.resume else 'start', flush=True)
if 'Row: CutMix' in text and pathlib.Path(__file__).with_name('fail').exists():
    print('the last words')
    sys.exit(int(pathlib.Path(__file__).with_name('fail').read_text() or 3))
history = [{'epoch': e, 'accuracy/top1': 60.0 + 10 * e - args.seed, 'loss': 1 / e} for e in range(1, 5)]
(args.work_dir / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\\n' for row in history))
(args.work_dir / 'config.py').write_text('# as dumped by the engine')
result = {
    'metrics': {'accuracy/top1': 100.0 - args.seed},
    'readouts': {'accuracy/top1': {'last': 100.0 - args.seed, 'median_last3': 90.0 - args.seed}},
    'history': history, 'seed': args.seed, 'config_hash': digest, 'commit': 'c0ffee' * 6,
    'environment': {'machine': 'a <test> bench'}, 'duration_s': 12.5,
}
(args.work_dir / 'result.json').write_text(json.dumps(result))
"""

PICTURE_SCRIPT = """
import pathlib, sys
if 'Row: Mixup' in pathlib.Path(sys.argv[1]).read_text():
    sys.exit('no picture today')
pathlib.Path(sys.argv[sys.argv.index('--out') + 1]).write_bytes(b'a png')
"""


class Bench:
    """A table in a temporary folder with its scripts."""

    def __init__(self, root: Path) -> None:
        self.root, self.work_dir = root, root / 'work'
        (root / 'recipe.py').write_text(RECIPE)
        self.path, self.script, self.picture_script = root / 'small.yaml', root / 'fake.py', root / 'pictures.py'
        self.path.write_text(TABLE.format(base=root / 'recipe.py'))
        self.script.write_text(SCRIPT)
        self.picture_script.write_text(PICTURE_SCRIPT)
        self.said = root / 'said.txt'

    @property
    def table(self):
        return load_table(self.path)

    def edit(self, old: str, new: str) -> None:
        """Change the table's file."""
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new))

    def trials(self, rows=None, columns=None, trials=None):
        return trials_of(self.table, self.table.select(rows, columns), self.work_dir, trials)

    def records(self, rows=None, columns=None, trials=None, imports=()):
        others = [(folder, layout(self.table.cells, folder)) for folder in imports]
        return read_records(self.table.select(rows, columns), self.trials(rows, columns, trials), others)

    def run(self, jobs=2, rows=None, columns=None, trials=None, **options):
        """Run every stage; return the failed trials and the output."""
        failed = []
        with self.said.open('w') as file:
            for stage in stages(self.table, self.table.select(rows, columns), self.work_dir, trials):
                failed += Queue(Console(file=file, width=200), self.script, jobs, **options).run(stage)
        return failed, self.said.read_text()

    def log(self, place: str) -> str:
        return (self.work_dir / place / 'log.txt').read_text()

    def result(self, place: str) -> dict:
        return json.loads((self.work_dir / place / 'result.json').read_text())


@pytest.fixture(scope='session')
def benchmark_py(nursery):
    """Return a function that runs tools/benchmark.py in a new process and returns its exit code and output."""

    def run(*args, cwd=None, env=None):
        if env is None:
            return nursery.run(['benchmark.py', *args], cwd or Path.cwd())
        # Python reads some variables as it starts.
        words = [sys.executable, str(tools_path('benchmark.py')), *map(str, args)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, cwd=cwd, env=env)

    return run


@pytest.fixture(scope='session')
def bench_type():
    """Return the class `Bench`, for tables that several tests of a file share."""
    return Bench


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr('openmix.benchmark.run.cuda_devices', list)
    return Bench(tmp_path)


@pytest.fixture
def iterations(tmp_path):
    """Make a folder with the table `mine.yaml`, whose two cells train by iteration on real digits."""
    (tmp_path / 'recipe.py').write_text(ITERATIONS)
    (tmp_path / 'mine.yaml').write_text(ITERATIONS_TABLE.format(base=tmp_path / 'recipe.py'))
    return tmp_path
