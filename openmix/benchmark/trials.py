"""The runs of a table: which there are, and what the folder of each one says."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openmix.benchmark.cell import Cell
from openmix.benchmark.folders import layout, point_folder_of
from openmix.benchmark.grid import best, final_cell, points, search_cells
from openmix.benchmark.length import Length, length_of, median_of, values_of
from openmix.benchmark.limits import MOST_RUNS, MOST_TRIALS
from openmix.benchmark.table import Table, load_table
from openmix.benchmark.trial_files import CHECKPOINTS, TrialFiles, last_checkpoint, read_trial_files
from openmix.config import work_dir_of
from openmix.errors import InputError, check_number, nearest
from openmix.lease import holder_of
from openmix.provenance import Provenance, provenance
from openmix.result import Result

# From what wants attention most to what wants it least; a cell is in the first state any trial is in.
STATES = ('running', 'failed', 'blocked', 'interrupted', 'stale', 'pending', 'done')
NOT_IMPLEMENTED = 'not implemented'
WEIGHTS = Path('work_dirs') / 'weights'  # the earlier stages of all tables


@dataclass(frozen=True)
class Trial:
    """One run of a cell with one seed; its folder is `<work dir>/<row>/<column>/trial<index>`.

    Attributes:
        cell: with the values of `point` among its overrides.
        provenance: of the cell as the table declares it now.
        length: of the training; None where the recipe states none.
        values: of the cell's metric that a whole training records; None where the recipe does not tell.
        kind: 'final', 'search' for one point of the cell's grid on held-out images, or 'earlier' for a stage that
            others start from.
        point: the values that the search tries or has chosen; empty without a grid.
        earlier: the run that it starts from; None where it starts from nothing.
    """

    cell: Cell
    index: int
    seed: int
    folder: Path
    provenance: Provenance
    length: Length | None
    values: int | None
    kind: str = 'final'
    point: dict[str, Any] = field(default_factory=dict, hash=False)
    earlier: Trial | None = field(default=None, hash=False)

    @property
    def name(self) -> str:
        """The name in messages: 'ROW / COLUMN, trial N', or 'RECIPE, run DIGEST, seed S' of an earlier stage."""
        if self.kind == 'earlier':
            return f'{self.cell.config}, run {self.provenance.recipe}, seed {self.seed}'
        at = f', search {self.folder.parent.name}' if self.kind == 'search' else ''
        return f'{self.cell.name}{at}, trial {self.index}'

    @property
    def label(self) -> str:
        """The name among the runs of its cell: the number of the trial, the point of a search, or 'stage N'."""
        if self.kind == 'earlier':
            return f'stage {self.stage}'
        return self.folder.parent.name if self.kind == 'search' else str(self.index)

    @property
    def stage(self) -> int:
        """The number of its stage, from 1."""
        return 1 if self.earlier is None else self.earlier.stage + 1

    @property
    def config_path(self) -> Path:
        """The file of the resolved recipe; runs of one cell share it."""
        # Not in the trial's own folder: mmengine dumps the config it ends up with there, by the same name.
        name = f'{self.folder.name}.py' if self.kind == 'earlier' else 'config.py'
        return self.folder.parent / name

    @property
    def config_hash(self) -> str:
        """The `config_hash` that a result of this trial carries: 12 hex digits."""
        return self.provenance.digest

    @property
    def identity(self) -> dict[str, Any]:
        """The content of `cell.json`: table, row, column, trial, seed, kind, variant and provenance."""
        place = {'table': self.cell.table, 'row': self.cell.row, 'column': self.cell.column}
        run = {'trial': self.index, 'seed': self.seed, 'kind': self.kind, 'variant': self.cell.variant}
        options = {'options': self.cell.said} if self.cell.said else {}
        return place | run | self.provenance.as_dict() | options

    def files(self) -> TrialFiles:
        """Read the files of its folder."""
        return read_trial_files(self.folder)

    def result(self, files: TrialFiles | None = None) -> Result | None:
        """The finished run's `result.json`; None where there is none for this config and seed."""
        found = (files or self.files()).result
        ours = found is not None and self.provenance.made(found.config_hash, found.data) and found.seed == self.seed
        return found if ours else None

    def value(self, files: TrialFiles | None = None) -> float | None:
        """The cell's readout of the finished run; None where there is none, or it recorded no such thing."""
        result = self.result(files)
        try:
            return None if result is None else read_out(result, self.cell.metric, self.cell.readout)
        except InputError:
            return None

    def is_finished(self, files: TrialFiles | None = None) -> bool:
        """True if it has what it was run for: the cell's readout, or weights for a later stage."""
        if self.kind == 'earlier':
            return self.result(files) is not None and self.last_checkpoint() is not None
        return self.value(files) is not None

    def outcome(self) -> str:
        """The readout of the finished run as text; 'finished' of a run for a later stage.

        Raises:
            InputError: the run recorded no such readout, or kept no weights.
        """
        if self.kind == 'earlier':
            if self.last_checkpoint() is None:
                raise InputError(f'{self.folder} holds no checkpoint of its end for the stage after it')
            return 'finished'
        result = self.result()
        if result is None:
            raise InputError(f'{self.folder} holds no result of this config and seed')
        return f'{read_out(result, self.cell.metric, self.cell.readout):.2f}'

    def last_checkpoint(self) -> Path | None:
        """The checkpoint of the end of its finished run."""
        return last_checkpoint(self.folder)

    def last_row(self) -> Mapping[str, float]:
        """The newest line of `metrics.jsonl`; empty where there is none."""
        return self.files().last_row

    def resumable(self) -> bool:
        """True if a run of this config and seed left a checkpoint."""
        return any(any(self.folder.glob(kind)) for kind in CHECKPOINTS) and not self.is_stale()

    def failures(self) -> list[int]:
        """The exit codes of the runs that failed, oldest first; what was stopped did not fail."""
        return list(self.files().codes)

    def is_stale(self, files: TrialFiles | None = None) -> bool:
        """True if the folder holds a run or result of another provenance or seed, or one that cannot be read."""
        files = files or self.files()
        made_for, ours = files.made_for, self.result(files) is not None
        another = made_for is not None and not (
            self.provenance.made(made_for.config_hash, made_for.data) and made_for.seed == self.seed
        )
        unknown = made_for is None and (self.folder / 'cell.json').exists() and not ours
        # What a later stage would start from was deleted.
        gone = self.kind == 'earlier' and ours and self.last_checkpoint() is None
        return another or unknown or gone or (files.has_result and not ours)

    def state(self, files: TrialFiles | None = None) -> str:
        """One of `STATES`."""
        return 'running' if holder_of(self.folder) is not None else self.state_at_rest(files)

    def state_at_rest(self, files: TrialFiles | None = None) -> str:
        """One of `STATES` but 'running': the state by the files alone."""
        files = files or self.files()
        if self.is_stale(files):
            return 'stale'
        if self.is_finished(files):
            return 'done'
        if self.result(files) is not None or files.has_failed:
            return 'failed'
        if self.earlier is not None and self.earlier.state() in ('failed', 'blocked'):
            return 'blocked'
        return 'interrupted' if files.has_log else 'pending'


def default_work_dir(table: Table) -> Path:
    """The default work folder of a table; another variant, options or a shorter length have one of their own."""
    other = '' if table.variant == table.declared_variant else f'@{table.variant}'
    if table.options:
        said = json.dumps(table.options, sort_keys=True, default=str)
        other += f'@options-{hashlib.sha256(said.encode()).hexdigest()[:6]}'
    other += '' if table.steps is None else f'@steps-{table.steps}'
    return Path('work_dirs') / 'tables' / f'{table.name}{other}'


def trials_of(
    table: Table, cells: Sequence[Cell], work_dir: Path, trials: int | None = None, weights: Path = WEIGHTS
) -> list[Trial]:
    """Every trial of the cells that are implemented, searches first, then trial 0 of all, then trial 1.

    A cell with a grid has its final trials once every point of its search is finished. The earlier stages are those
    of the trials, see `with_earlier`.

    Args:
        trials: how many a cell; None: as the table says.
        weights: the folder of earlier stages.

    Raises:
        InputError: `trials` is below 1, or a cell does not fit its recipe.
    """
    count = table.trials if trials is None else trials
    check_number('trials', count, 1, MOST_TRIALS)
    if count * len(cells) > MOST_RUNS:
        raise InputError(
            f'{len(cells)} cells with {count} trials each are more than {MOST_RUNS} runs; choose some rows'
        )
    places = layout(table.cells, Path(work_dir))
    searches: list[Trial] = []
    finals: list[list[Trial]] = []
    for cell in (replace(cell, folder=places.of(cell)) for cell in cells if cell.implemented):
        point: dict[str, Any] | None = {}
        if cell.grid:
            own = _searches(table, cell, Path(work_dir), Path(weights))
            searches += own
            point = choose(own)
        if point is not None:
            chosen = final_cell(cell, point)
            seeds = [table.seed(i) for i in range(count)]
            finals.append(_trials(chosen, seeds, Path(work_dir), Path(weights), 'final', point))
    return [*searches, *(own[index] for index in range(count) for own in finals)]


def _searches(table: Table, cell: Cell, work_dir: Path, weights: Path) -> list[Trial]:
    trials = []
    for at, point in zip(search_cells(cell, table.validation), points(cell), strict=True):
        made_by = provenance(at.resolve())
        place = point_folder_of(work_dir / cell.folder / 'search', work_dir / at.folder, made_by)
        at = replace(at, folder=f'{cell.folder}/search/{place}')
        trials += _trials(at, [table.seed(0)], work_dir, weights, 'search', point)
    return trials


def _trials(
    cell: Cell, seeds: Sequence[int], work_dir: Path, weights: Path, kind: str, point: dict[str, Any]
) -> list[Trial]:
    cfg = cell.resolve()
    made_by, length, values = provenance(cfg), length_of(cfg), values_of(cfg, cell.metric)
    own = [(seed, work_dir / cell.folder / f'trial{index}') for index, seed in enumerate(seeds)]
    return [
        Trial(cell, index, seed, folder, made_by, length, values, kind, point, _earlier(cell, seed, weights))
        for index, (seed, folder) in enumerate(own)
    ]


def _earlier(cell: Cell, seed: int, weights: Path) -> Trial | None:
    """The run that a cell's run of a seed starts from, in a folder that is named by its content."""
    found = cell.earlier
    if found is None:
        return None
    seed = seed if found.seed is None else found.seed
    made_by = provenance(found.recipe)
    recipe = work_dir_of(found.cell.config).relative_to('work_dirs')
    folder = recipe / f'{made_by.recipe}-seed{seed}'
    stage = replace(found.cell, folder=str(Path('weights') / folder))
    before = _earlier(found.cell, seed, weights)
    own = Trial(stage, 0, seed, weights / folder, made_by, length_of(found.recipe), None, 'earlier', {}, before)
    there = None if found.origin is None else _of_its_table(own, *found.origin)
    return own if there is None else there


def _of_its_table(trial: Trial, name: str, row: str, column: str) -> Trial | None:
    """The same run, finished, in the work folder of the table that it is a cell of; None where there is none."""
    try:
        table = load_table(name).as_variant(trial.cell.variant)
        cell = table.cell(row, column)
    except InputError:  # a table elsewhere refers to itself by the name of its file
        return None
    work_dir = default_work_dir(table)
    index = next((index for index in range(table.trials) if table.seed(index) == trial.seed), None)
    if index is None or not (work_dir / cell.folder).is_dir():
        return None
    own = replace(trial, folder=work_dir / cell.folder / f'trial{index}')
    return own if own.state() == 'done' else None


def with_earlier(trials: Iterable[Trial], shown: bool = False) -> list[Trial]:
    """Each run once, and before it the runs that it starts from, where they are still needed.

    Args:
        shown: also those of finished runs, where their folder is there.
    """
    found: dict[Path, Trial] = {}

    def add(trial: Trial) -> None:
        before = trial.earlier
        if before is not None and before.folder not in found:
            needed = trial.state() != 'done'
            if needed or (shown and before.folder.is_dir()):
                add(before)
        found.setdefault(trial.folder, trial)

    for trial in trials:
        add(trial)
    return list(found.values())


def choose(searches: Sequence[Trial]) -> dict[str, Any] | None:
    """The point that reads best on the held-out images; None while any is not finished."""
    values = [value for search in searches if (value := search.value()) is not None]
    if len(values) < len(searches):
        return None
    return searches[best(values, searches[0].cell.lower_is_better)].point


def stages(
    table: Table, cells: Sequence[Cell], work_dir: Path, trials: int | None = None, weights: Path = WEIGHTS
) -> Iterator[list[Trial]]:
    """The trials to run, searches first: ask for the others when those are finished."""
    searches = [trial for trial in trials_of(table, cells, work_dir, trials, weights) if trial.kind == 'search']
    if searches:
        yield with_earlier(searches)
    yield with_earlier(trial for trial in trials_of(table, cells, work_dir, trials, weights) if trial.kind == 'final')


def check_readouts(trials: Iterable[Trial]) -> None:
    """Hold the medians that are asked for against how often the trainings measure, before they run.

    Raises:
        InputError: a training has fewer values of the metric than its median is of.
    """
    for trial in trials:
        if trial.values is not None and trial.values < (count := median_of(trial.cell.readout)):
            raise InputError(
                f"table '{trial.cell.table}', cell '{trial.cell.name}': {trial.cell.readout} needs {count} values of "
                f'{trial.cell.metric}, and a training of {trial.length} records {trial.values}; '
                'train longer, validate more often or choose another readout'
            )


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """Each run once: cells that read one training share its folder."""
    found: dict[Path, Trial] = {}
    for trial in trials:
        found.setdefault(trial.folder, trial)
    return list(found.values())


def read_out(result: Result, metric: str, readout: str) -> float:
    """The number of a run: one readout of one metric over its validations.

    Raises:
        InputError: the run did not record the metric or the readout, has fewer validations than a median is of, or
            what it recorded is not finite.
    """
    recorded = result.readouts
    if metric not in recorded:
        raise InputError(f"a result has no metric '{metric}'; {nearest(metric, recorded)}")
    found = recorded[metric].get(readout)
    values = [row[metric] for row in result.history if metric in row]
    count = median_of(readout)
    if values and count > len(values):
        raise InputError(f'{readout} of {metric} needs {count} validations, and the run has {len(values)}')
    if found is None:
        if not count or not values:
            raise InputError(f"a result has no readout '{readout}'; {nearest(readout, recorded[metric])}")
        found = statistics.median(values[-count:])
    if not math.isfinite(found):
        raise InputError(f"a result's {readout} of {metric} is {found}")
    return found
