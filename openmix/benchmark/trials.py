"""The runs of a table: which there are, and what the folder of each one says."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmix.benchmark.cell import Cell
from openmix.benchmark.grid import best, final_cell, points, search_cells
from openmix.benchmark.table import Table
from openmix.errors import InputError, nearest
from openmix.lease import holder_of
from openmix.provenance import Provenance, provenance

# From what wants attention most to what wants it least; a cell is in the first state any trial is in.
STATES = ('running', 'failed', 'interrupted', 'stale', 'pending', 'done')
NOT_IMPLEMENTED = 'not implemented'
_CHECKPOINTS = ('epoch_*.pth', 'iter_*.pth', 'latest.pth')  # what a run can be resumed from


@dataclass(frozen=True)
class Trial:
    """One run of a cell with one seed; its folder is `<work dir>/<row>/<column>/trial<index>`.

    Attributes:
        cell: with the values of `point` among its overrides.
        provenance: of the cell as the table declares it now.
        epochs: how many the recipe trains; None where it counts iterations.
        kind: 'final', or 'search' for one point of the cell's grid on held-out images.
        point: the values that the search tries or has chosen; empty without a grid.
    """

    cell: Cell
    index: int
    seed: int
    folder: Path
    provenance: Provenance
    epochs: int | None
    kind: str = 'final'
    point: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """How messages call it."""
        at = f', search {self.folder.parent.name}' if self.kind == 'search' else ''
        return f'{self.cell.name}{at}, trial {self.index}'

    @property
    def config_hash(self) -> str:
        """What its result is expected to say."""
        return self.provenance.digest

    @property
    def identity(self) -> dict[str, Any]:
        """What `cell.json` says the folder was made for; mmengine dumps its own `config.py` beside it."""
        place = {'table': self.cell.table, 'row': self.cell.row, 'column': self.cell.column}
        run = {'trial': self.index, 'seed': self.seed, 'kind': self.kind, 'variant': self.cell.variant}
        return place | run | self.provenance.as_dict()

    def found(self) -> dict[str, Any]:
        """Whatever `result.json` the folder holds, also of another config or seed; empty where there is none."""
        return read_json(self.folder / 'result.json')

    def result(self) -> dict[str, Any] | None:
        """The finished run's `result.json`; None where there is none for this config and seed, in this form."""
        found = self.found()
        ours = self.provenance.made(found) and found.get('seed') == self.seed
        readouts = found.get('readouts')
        whole = isinstance(readouts, dict) and all(isinstance(values, dict) for values in readouts.values())
        return found if ours and whole else None

    def value(self) -> float | None:
        """The cell's readout of the finished run; None where there is none, or it recorded no such thing."""
        result = self.result()
        try:
            return None if result is None else read_out(result, self.cell.metric, self.cell.readout)
        except InputError:
            return None

    def last_epoch(self) -> dict[str, Any]:
        """The newest line of `metrics.jsonl`; empty where there is none."""
        try:
            lines = (self.folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
            found = json.loads(lines[-1]) if lines else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def resumable(self) -> bool:
        """Whether a run of this config and seed left a checkpoint."""
        return any(any(self.folder.glob(kind)) for kind in _CHECKPOINTS) and not self.is_stale()

    def failures(self) -> list[int]:
        """The exit codes of the runs that failed, oldest first; what was stopped did not fail."""
        try:
            return [int(code) for code in (self.folder / 'exit_code').read_text(encoding='utf-8').split()]
        except (OSError, ValueError):
            return []

    def is_stale(self) -> bool:
        """Whether the folder holds a run, or a result, of another provenance or seed, or one that cannot be read."""
        made_for = read_json(self.folder / 'cell.json')
        another = 'config_hash' in made_for and not self.provenance.made(made_for)
        changed = another or made_for.get('seed', self.seed) != self.seed
        return changed or ((self.folder / 'result.json').is_file() and self.result() is None)

    def state(self) -> str:
        """One of `STATES`."""
        return 'running' if holder_of(self.folder) is not None else self.state_at_rest()

    def state_at_rest(self) -> str:
        """The state but for whether a process is at it."""
        if self.is_stale():
            return 'stale'
        if self.value() is not None:
            return 'done'
        if self.result() is not None or (self.folder / 'exit_code').is_file():
            return 'failed'
        return 'interrupted' if (self.folder / 'log.txt').is_file() else 'pending'


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def default_work_dir(table: Table) -> Path:
    """Where a table's runs live unless told otherwise; those of another variant than the table's in their own."""
    other = '' if table.variant == table.declared_variant else f'@{table.variant}'
    return Path('work_dirs') / 'tables' / f'{table.name}{other}'


def trials_of(table: Table, cells: Sequence[Cell], work_dir: Path, trials: int | None = None) -> list[Trial]:
    """Every trial of the cells that are implemented, searches first, then trial 0 of all, then trial 1.

    A cell with a grid has its final trials once every point of its search is finished.

    Args:
        trials: how many a cell; None: as the table says.

    Raises:
        InputError: `trials` is below 1, or a cell does not fit its recipe.
    """
    count = table.trials if trials is None else trials
    if count < 1:
        raise InputError(f'trials must be >= 1, got {count}')
    searches: list[Trial] = []
    finals: list[list[Trial]] = []
    for cell in (cell for cell in cells if cell.implemented):
        point: dict[str, Any] | None = {}
        if cell.grid:
            own = _searches(table, cell, Path(work_dir))
            searches += own
            point = choose(own)
        if point is not None:
            chosen = final_cell(cell, point)
            finals.append(_trials(chosen, [table.seed(i) for i in range(count)], Path(work_dir), 'final', point))
    return [*searches, *(own[index] for index in range(count) for own in finals)]


def _searches(table: Table, cell: Cell, work_dir: Path) -> list[Trial]:
    found = zip(search_cells(cell, table.validation), points(cell), strict=True)
    return [trial for at, point in found for trial in _trials(at, [table.seed(0)], work_dir, 'search', point)]


def _trials(cell: Cell, seeds: Sequence[int], work_dir: Path, kind: str, point: dict[str, Any]) -> list[Trial]:
    cfg = cell.resolve()
    made_by, epochs = provenance(cfg), (cfg.get('train_cfg') or {}).get('max_epochs')
    return [
        Trial(cell, index, seed, work_dir / cell.folder / f'trial{index}', made_by, epochs, kind, point)
        for index, seed in enumerate(seeds)
    ]


def choose(searches: Sequence[Trial]) -> dict[str, Any] | None:
    """The point that reads best on the held-out images; None while any is not finished."""
    values = [value for search in searches if (value := search.value()) is not None]
    if len(values) < len(searches):
        return None
    return searches[best(values, searches[0].cell.lower_is_better)].point


def stages(table: Table, cells: Sequence[Cell], work_dir: Path, trials: int | None = None) -> Iterator[list[Trial]]:
    """The trials to run, stage after stage: ask for the next one when those of the last are finished."""
    searches = [trial for trial in trials_of(table, cells, work_dir, trials) if trial.kind == 'search']
    if searches:
        yield distinct(searches)
    yield distinct(trial for trial in trials_of(table, cells, work_dir, trials) if trial.kind == 'final')


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """Each run once: cells that read one training share its folder."""
    found: dict[Path, Trial] = {}
    for trial in trials:
        found.setdefault(trial.folder, trial)
    return list(found.values())


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
