"""Record the results of fixed seeds, to check that a change of the code does not change them.

    python tests/fixed_seed.py before.json               (at the commit before)
    python tests/fixed_seed.py after.json before.json    (exit code 1 and one line per difference)

The record contains the config hash of every recipe and of every implemented cell; losses, metrics and weights of a
short run with every setting of every policy, every loss and every training option; and the same for cells of tables
that have among them every two parts that meet in one, on generated data. Results are compared bit for bit, so both
records must be made on the same machine with the same torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from config_hashes import hashes
from test_every_cell import chosen
from test_every_policy import POLICIES

from openmix.benchmark.smoke import Smoke
from openmix.benchmark.table import table_names
from openmix.config import load_config
from openmix.data.imitation import imitation
from openmix.engine import launch
from openmix.engine.checkpoint import read_checkpoint
from openmix.json_file import read_object

DIGITS = 'classification/digits/resnet20.py'
MIXUP: dict[str, Any] = {'model.policy': {'type': 'Mixup', '_delete_': True}}
SHORT: dict[str, Any] = {
    'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 6, 'val_interval': 6, '_delete_': True},
    'train_dataloader.batch_size': 16,
    'default_hooks.checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 6},
    'log_level': 'ERROR',
}
DM = {'model.head.loss': {'type': 'decoupled_ce', 'eta': 0.1}}
LOSSES: dict[str, dict[str, Any]] = {
    'mix_ce, smoothed': {'type': 'mix_ce', 'smoothing': 0.1},
    'decoupled_ce': {'type': 'decoupled_ce', 'eta': 0.7},
    'decoupled_ce, released': {'type': 'decoupled_ce', 'scale': 'share', 'least_share': 0.001, 'skip_half': True},
    'decoupled_ce, own side': {'type': 'decoupled_ce', 'eta': 0.7, 'sides': 'own'},
    'mix_bce': {'type': 'mix_bce'},
    'mix_bce, two labels': {'type': 'mix_bce', 'labels': 'two'},
    'decoupled_bce': {'type': 'decoupled_bce', 't': 0.5, 'xi': 0.8},
}
TRAINING: dict[str, dict[str, Any]] = {
    'autocast': {'optim_wrapper.type': 'AutocastOptimWrapper'},
    'accumulation': {'optim_wrapper.accumulative_counts': 2},
    'clipped gradients': {'optim_wrapper.clip_grad': {'max_norm': 0.5}},
    'moving average': {'custom_hooks': [{'type': 'EMAHook', 'momentum': 0.1}]},
    'channels last': {'model.data_preprocessor.channels_last': True},
    'gradient checkpointing': {'model.grad_checkpointing': True},
    'compiled': {'compile': {'backend': 'eager'}},
    'decay of matrices only': {
        'optim_wrapper.constructor': 'PartConstructor',
        'optim_wrapper.paramwise_cfg': {'decay_vectors': False},
    },
    'AdamW': {'optim_wrapper.optimizer': {'type': 'AdamW', 'lr': 0.001, '_delete_': True}},
}


def settings() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the overrides of the short runs on digits, by name."""
    for name, cases in POLICIES.items():
        for i, case in enumerate(cases):
            if 'teacher' not in case.options:  # what the tables ask of one runs below
                yield f'{name} {i}', {'model.policy': {'type': name, **case.options, '_delete_': True}}
    for name, loss in LOSSES.items():
        yield name, MIXUP | {'model.head.loss': {**loss, '_delete_': True}}
    for name, options in TRAINING.items():
        yield name, MIXUP | DM | options


def measured(path: Path) -> bytes:
    """Return the rows of a run's `result.json` as text, without clock readings."""
    rows = [{key: value for key, value in row.items() if key != 'time_s'} for row in read_object(path)['history']]
    return json.dumps(rows, sort_keys=True).encode()


def trained(cfg: Any, folder: Path) -> str:
    """Train a recipe for some steps; return a hash of its metrics and of every tensor in its checkpoint."""
    cfg.work_dir = str(folder)
    cfg.experiment_name = folder.name
    path = launch.train(launch.prepare(cfg))
    found = hashlib.sha256(measured(path))
    for checkpoint in sorted(folder.glob('*.pth')):
        content = read_checkpoint(checkpoint)
        for part in ('state_dict', 'ema_state_dict'):
            for key, value in sorted(content.get(part, {}).items()):
                found.update(key.encode())
                found.update(torch.as_tensor(value).contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def runs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the hash of every short run."""
    for i, (name, options) in enumerate(settings()):
        yield name, trained(load_config(DIGITS, SHORT | options), folder / f'run{i}')


def cells() -> Iterator[tuple[str, str]]:
    """Yield the name of every chosen cell, with a hash of the metrics of its smoke run."""
    found: dict[str, str] = {}

    def train(cfg: Any, weights: Path | None) -> Path:
        path = launch.train(launch.prepare(cfg))
        found['last'] = hashlib.sha256(measured(path)).hexdigest()[:16]
        return path

    for table in table_names():
        with Smoke(train, imitation) as smoke:
            for outcome in smoke.all(chosen()[table]):
                yield f'{table}: {outcome.cell.folder}', outcome.error or found['last']


def record(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for section, entries in (('hash', hashes()), ('run', runs(folder)), ('smoke', cells())):
        with contextlib.redirect_stdout(sys.stderr):
            found |= {f'{section} {name}': value for name, value in entries}
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [
        f'{name}: {one.get(name, "not there")}, {other.get(name, "not there")}'
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


def main(out: str, before: str | None = None) -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = record(Path(folder))
    Path(out).write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')
    differing = differences(json.loads(Path(before).read_text(encoding='utf-8')), found) if before else []
    print(*differing, f'{len(found)} recorded, {len(differing)} differ', sep='\n')
    return 1 if differing else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
