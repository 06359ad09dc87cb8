"""`Trial`: one run of a cell with one seed, and what its folder says of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmix.benchmark.cell import Cell
from openmix.benchmark.length import Length, median_of
from openmix.benchmark.trial_files import CHECKPOINTS, TrialFiles, last_checkpoint, read_trial_files
from openmix.errors import InputError, nearest
from openmix.lease import holder_of
from openmix.provenance import Provenance
from openmix.result import Result

# In order of urgency; the state of a cell is the first one that any of its trials has.
STATES = ('running', 'failed', 'blocked', 'interrupted', 'stale', 'pending', 'done')
NOT_IMPLEMENTED = 'not implemented'


@dataclass(frozen=True)
class Trial:
    """One run of a cell with one seed; its folder is `<work dir>/<row>/<column>/trial<index>`.

    Attributes:
        cell: the cell, with the values of `point` in its overrides.
        provenance: provenance of the cell as it is now in the table.
        length: length of the training; None if the recipe states none.
        values: number of values of the cell's metric that a whole training records; None if the recipe does not
            determine it.
        kind: 'final'; 'search' for one point of the cell's grid on held-out images; 'earlier' for an earlier stage.
        point: the values that the search tries or has chosen; empty without a grid.
        earlier: the run whose weights it starts from; None if there is none.
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
        """The name in messages: 'ROW / COLUMN, trial N', or 'RECIPE, run DIGEST, seed S' for an earlier stage."""
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
        """The file of the resolved recipe, which the runs of a cell share."""
        # Not in the trial's own folder, where mmengine writes its final config with the same name.
        name = f'{self.folder.name}.py' if self.kind == 'earlier' else 'config.py'
        return self.folder.parent / name

    @property
    def config_hash(self) -> str:
        """The `config_hash` in a result of this trial: 12 hex digits."""
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
        """Return the finished run's result; None if there is none with this config and seed."""
        found = (files or self.files()).result
        ours = found is not None and self.provenance.made(found.config_hash, found.data) and found.seed == self.seed
        return found if ours else None

    def value(self, files: TrialFiles | None = None) -> float | None:
        """Return the cell's readout of the finished run; None if there is no result or no such readout."""
        result = self.result(files)
        try:
            return None if result is None else read_out(result, self.cell.metric, self.cell.readout)
        except InputError:
            return None

    def is_finished(self, files: TrialFiles | None = None) -> bool:
        """Return true if the run has its purpose's output: the cell's readout, or weights for a later stage."""
        if self.kind == 'earlier':
            return self.result(files) is not None and self.last_checkpoint() is not None
        return self.value(files) is not None

    def outcome(self) -> str:
        """Return the readout of the finished run as text; 'finished' for an earlier stage.

        Raises:
            InputError: the run has no such readout, or no checkpoint.
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
        """Return the newest checkpoint in its folder; None if there is none."""
        return last_checkpoint(self.folder)

    def last_row(self) -> Mapping[str, float]:
        """Return the newest line of `metrics.jsonl`; empty if there is none."""
        return self.files().last_row

    def resumable(self) -> bool:
        """Return true if there is a checkpoint of a run with this config and seed."""
        return any(any(self.folder.glob(kind)) for kind in CHECKPOINTS) and not self.is_stale()

    def failures(self) -> list[int]:
        """Return the exit codes of failed runs, oldest first; stopped runs have not failed."""
        return list(self.files().codes)

    def lacks_checkpoint(self, files: TrialFiles | None = None) -> bool:
        """Return true for a finished earlier stage whose checkpoint, which the next stage needs, was deleted."""
        return self.kind == 'earlier' and self.result(files) is not None and self.last_checkpoint() is None

    def is_stale(self, files: TrialFiles | None = None) -> bool:
        """Return true if the folder has a run or result of another provenance or seed, or an unreadable one.

        So has an earlier stage without its checkpoint.
        """
        files = files or self.files()
        made_for, ours = files.made_for, self.result(files) is not None
        another = made_for is not None and not (
            self.provenance.made(made_for.config_hash, made_for.data) and made_for.seed == self.seed
        )
        unknown = made_for is None and (self.folder / 'cell.json').exists() and not ours
        return another or unknown or self.lacks_checkpoint(files) or (files.has_result and not ours)

    def state(self, files: TrialFiles | None = None) -> str:
        """Return the state, one of `STATES`."""
        return 'running' if holder_of(self.folder) is not None else self.state_at_rest(files)

    def state_at_rest(self, files: TrialFiles | None = None) -> str:
        """Return the state by the files alone: one of `STATES` except 'running'."""
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


def read_out(result: Result, metric: str, readout: str) -> float:
    """Return a readout of a metric of a run, such as the median of its last validations.

    Raises:
        InputError: the run did not record the metric or the readout, has fewer validations than the median needs, or
            the number is not finite.
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
