"""What the folders of a table say: the state of every trial, and the numbers of every cell."""

from __future__ import annotations

import fcntl
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openmix.benchmark.table import Cell, Table
from openmix.config import config_hash
from openmix.errors import InputError, nearest

# From what wants attention most to what wants it least; a cell is in the first state any trial is in.
STATES = ('running', 'failed', 'interrupted', 'stale', 'pending', 'done')


@dataclass(frozen=True)
class Trial:
    """One run of a cell with one seed; its folder is `<work dir>/<row>/<column>/trial<index>`.

    Attributes:
        config_hash: of the cell as the table declares it now.
        epochs: how many the recipe trains; None where it counts iterations.
    """

    cell: Cell
    index: int
    seed: int
    folder: Path
    config_hash: str
    epochs: int | None

    @property
    def name(self) -> str:
        """How messages call it."""
        return f'{self.cell.name}, trial {self.index}'

    @property
    def identity(self) -> dict[str, Any]:
        """What `cell.json` says the folder was made for; mmengine dumps its own `config.py` beside it."""
        place = {'table': self.cell.table, 'row': self.cell.row, 'column': self.cell.column}
        return place | {'trial': self.index, 'seed': self.seed, 'config_hash': self.config_hash}

    def result(self) -> dict[str, Any] | None:
        """The finished run's `result.json`; None where there is none for this config and seed."""
        found = _read_json(self.folder / 'result.json')
        ours = found.get('config_hash') == self.config_hash and found.get('seed') == self.seed
        return found if ours else None

    def last_epoch(self) -> dict[str, Any]:
        """The newest line of `metrics.jsonl`; empty where there is none."""
        try:
            lines = (self.folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
            return json.loads(lines[-1]) if lines else {}
        except (OSError, ValueError):
            return {}

    def resumable(self) -> bool:
        """Whether a run of this config and seed left a checkpoint."""
        last = self.folder / 'last_checkpoint'
        return last.is_file() and Path(last.read_text().strip()).is_file() and not self.is_stale()

    def is_stale(self) -> bool:
        """Whether the folder holds a run of another config or seed."""
        made_for = _read_json(self.folder / 'cell.json')
        return any(key in made_for and made_for[key] != getattr(self, key) for key in ('seed', 'config_hash'))

    def state(self) -> str:
        """One of `STATES`."""
        if is_locked(self.folder):
            return 'running'
        if self.is_stale():
            return 'stale'
        if self.result() is not None:
            return 'done'
        if (self.folder / 'exit_code').is_file():
            return 'failed'
        return 'interrupted' if (self.folder / 'log.txt').is_file() else 'pending'


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_locked(folder: Path) -> bool:
    """Whether a process trains in the folder: the runner and its child hold a lock that dies with them."""
    try:
        with open(folder / 'lock') as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def default_work_dir(table: Table) -> Path:
    """Where a table's runs live unless told otherwise."""
    return Path('work_dirs') / 'tables' / table.name


def trials_of(table: Table, cells: Sequence[Cell], work_dir: Path, trials: int | None = None) -> list[Trial]:
    """Every trial of the cells: first trial 0 of all, then trial 1, so that a table fills evenly.

    Args:
        trials: how many a cell; None: as the table says.

    Raises:
        InputError: `trials` is below 1, or a cell does not fit its recipe.
    """
    count = table.trials if trials is None else trials
    if count < 1:
        raise InputError(f'trials must be >= 1, got {count}')
    resolved = []
    for cell in cells:
        cfg = cell.resolve()
        resolved.append((cell, config_hash(cfg), (cfg.get('train_cfg') or {}).get('max_epochs')))
    return [
        Trial(cell, index, table.seed(index), Path(work_dir) / cell.folder / f'trial{index}', digest, epochs)
        for index in range(count)
        for cell, digest, epochs in resolved
    ]


def read_out(result: dict[str, Any], metric: str, readout: str) -> float:
    """The number of a run: one readout of one metric over its epochs.

    Raises:
        InputError: the run did not record the metric or the readout.
    """
    recorded = result.get('readouts', {})
    if metric not in recorded:
        raise InputError(f"a result has no metric '{metric}'; {nearest(metric, recorded)}")
    if readout in recorded[metric]:
        return float(recorded[metric][readout])
    last = re.fullmatch(r'median_last(\d+)', readout)
    values = [epoch[metric] for epoch in result.get('history', []) if metric in epoch]
    if last is None or not values:
        raise InputError(f"a result has no readout '{readout}'; {nearest(readout, recorded[metric])}")
    return float(statistics.median(values[-int(last[1]) :]))


@dataclass(frozen=True)
class Record:
    """What is known of one cell.

    Attributes:
        trials: those asked for.
        results: of the finished ones, beside `finished`.
        values: the table's readout of each finished trial.
    """

    cell: Cell
    trials: tuple[Trial, ...]
    finished: tuple[Trial, ...]
    results: tuple[dict[str, Any], ...]
    values: tuple[float, ...]
    state: str

    @property
    def mean(self) -> float | None:
        """Over finished trials; None where there is none."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None below two trials, where it says nothing."""
        return statistics.stdev(self.values) if len(self.values) >= 2 else None

    @property
    def status(self) -> str:
        """The state, with the count where only some trials are finished."""
        partial = 0 < len(self.finished) < len(self.trials)
        return f'{self.state} ({len(self.finished)}/{len(self.trials)})' if partial else self.state


def read_records(table: Table, trials: Sequence[Trial]) -> list[Record]:
    """One record a cell, in the table's order.

    Raises:
        InputError: a finished run lacks the table's metric or readout.
    """
    records = []
    for cell in dict.fromkeys(trial.cell for trial in trials):
        own = tuple(trial for trial in trials if trial.cell == cell)
        states = [trial.state() for trial in own]
        done = [(trial, trial.result()) for trial, state in zip(own, states, strict=True) if state == 'done']
        finished = [(trial, result) for trial, result in done if result is not None]
        results = tuple(result for _, result in finished)
        values = tuple(read_out(result, table.metric, table.readout) for result in results)
        records.append(
            Record(cell, own, tuple(trial for trial, _ in finished), results, values, min(states, key=STATES.index))
        )
    return records


class Gain(NamedTuple):
    """How much higher one column is than another in a row; None where a number is missing."""

    row: str
    column: str
    over: str
    ours: float | None
    published: float | None


def gains(table: Table, records: Sequence[Record]) -> list[Gain]:
    """One gain a row for every pair of columns that the table compares; absent cells have none."""
    by_place = {(record.cell.row, record.cell.column): record for record in records}
    found = []
    for column, over in table.gains.items():
        for row in table.rows:
            new, old = by_place.get((row, column)), by_place.get((row, over))
            if new is not None and old is not None:
                published = _minus(new.cell.published, old.cell.published)
                found.append(Gain(row, column, over, _minus(new.mean, old.mean), published))
    return found


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
