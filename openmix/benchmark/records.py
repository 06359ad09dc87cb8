"""The results of every cell of a table: its finished runs, old runs, and runs imported from other folders."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from openmix.benchmark.cell import Cell
from openmix.benchmark.folders import Layout
from openmix.benchmark.length import median_of
from openmix.benchmark.merge import placed
from openmix.benchmark.submission import Submission
from openmix.benchmark.submitters import sources
from openmix.benchmark.trial import NOT_IMPLEMENTED, STATES, Trial, read_out
from openmix.errors import InputError
from openmix.result import Result, read_result

# Shown side by side, since the best validation is chosen on the images that it is read on.
READOUTS = ('best', 'last', 'median_last20')


class Numbers(NamedTuple):
    """Values of a cell from other sources: old runs, and runs imported from other folders.

    Attributes:
        source: '' for the table's own folder, else the imported folder, or the name of the submission.
        as_of: the config hash of the runs if it differs from the cell's, else None.
        values: the cell's readout of each run.
        submission: where the values are from, if that is no folder.
        differs: what of the runs differs from the cell, such as 'data 0a1b2c3d4e5f' or 'recipe'; '' if nothing does.
    """

    source: str
    as_of: str | None
    values: tuple[float, ...]
    submission: Submission | None = None
    differs: str = ''

    @property
    def remark(self) -> str:
        """What stands behind numbers of another recipe, version or data; '' behind others."""
        return f', as of {self.as_of} (other {self.differs})' if self.as_of else ''


@dataclass(frozen=True)
class Record:
    """The results of one cell.

    `values` are in the unit of the cell's metric.

    Attributes:
        trials: the requested trials; empty if the cell is not implemented or its search is not finished.
        finished: the finished ones among them.
        results: results of the trials in `finished`, in the same order.
        values: the cell's readout of each finished trial.
        searches: the runs of the cell's grid search.
        old: results of another config, version or data in the cell's folder, also in renamed trial folders.
        theirs: results imported from other folders and from submissions.
        bad: one line per file that cannot be read.
    """

    cell: Cell
    trials: tuple[Trial, ...]
    finished: tuple[Trial, ...]
    results: tuple[Result, ...]
    values: tuple[float, ...]
    state: str
    searches: tuple[Trial, ...] = ()
    old: Numbers | None = None
    theirs: tuple[Numbers, ...] = ()
    bad: tuple[str, ...] = ()

    @property
    def mean(self) -> float | None:
        """The mean over finished trials; None if there are none."""
        return mean(self.values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation; None for fewer than two trials."""
        return deviation(self.values)

    @property
    def by_seed(self) -> dict[int, float]:
        """The values of the finished trials, by seed."""
        return {trial.seed: value for trial, value in zip(self.finished, self.values, strict=True)}

    def earlier(self) -> list[Trial]:
        """List the runs of earlier stages that its trials start from, the first stage first."""
        found: dict[Path, Trial] = {}
        for trial in (*self.searches, *self.trials):
            before = trial.earlier
            while before is not None:
                found.setdefault(before.folder, before)
                before = before.earlier
        return sorted(found.values(), key=lambda trial: trial.stage)

    def earlier_results(self) -> list[tuple[Trial, Result]]:
        """List the finished runs of earlier stages with their results."""
        found = [(trial, trial.result()) for trial in self.earlier()]
        return [(trial, result) for trial, result in found if result is not None]

    @property
    def status(self) -> str:
        """The state, with a count if only some trials, or some runs of a search or stage, are finished."""
        if self.state in ('pending', 'blocked') and (waits := self._unfinished_stage()):
            return waits
        done = sum(search.value() is not None for search in self.searches)
        if done < len(self.searches):
            return f'search {self.state} ({done}/{len(self.searches)})'
        partial = 0 < len(self.finished) < len(self.trials)
        return f'{self.state} ({len(self.finished)}/{len(self.trials)})' if partial else self.state

    def _unfinished_stage(self) -> str:
        """Describe the first stage that is not finished, with its state and count; '' if there is none."""
        runs = self.earlier()
        for stage in dict.fromkeys(trial.stage for trial in runs):
            states = [trial.state() for trial in runs if trial.stage == stage]
            if (done := states.count('done')) < len(states):
                worst = min((state for state in states if state != 'done'), key=STATES.index)
                return f'stage {stage} {worst} ({done}/{len(states)})'
        return ''


def side_by_side(record: Record) -> dict[str, tuple[float, ...]]:
    """Return each of `READOUTS` of every finished trial; empty if a trial has fewer validations than a median needs.

    It is empty also if a validation is not finite, or an older version did not record a readout.
    """
    metric = record.cell.metric
    if not record.results or not all(_has_each_readout(result, metric) for result in record.results):
        return {}
    return {readout: tuple(read_out(result, metric, readout) for result in record.results) for readout in READOUTS}


def _has_each_readout(result: Result, metric: str) -> bool:
    values = [row[metric] for row in result.history if metric in row]
    recorded = result.readouts.get(metric, {})
    return (
        len(values) >= max(map(median_of, READOUTS))
        and all(map(math.isfinite, [*values, *recorded.values()]))
        and all(median_of(readout) or readout in recorded for readout in READOUTS)
    )


def mean(values: Sequence[float]) -> float | None:
    """Compute the arithmetic mean; None without values."""
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Compute the sample standard deviation; None for fewer than two values."""
    return statistics.stdev(values) if len(values) >= 2 else None


def read_records(
    cells: Sequence[Cell],
    trials: Sequence[Trial],
    imports: Sequence[tuple[Path, Layout]] = (),
    submissions: Sequence[Submission] = (),
) -> list[Record]:
    """Read one record per cell, also for cells that are not implemented.

    Args:
        cells: the cells.
        trials: their trials, see `trials_of`; nothing is read for a cell without trials.
        imports: work folders to import, each with the layout of the table's cells in it.
        submissions: submissions of others, see `openmix.benchmark.merge.check_fits_table`.

    Raises:
        InputError: a submission does not fit the cells.
    """
    by_place: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        by_place[trial.cell.row, trial.cell.column].append(trial)
    found = [_record(cell, by_place[cell.row, cell.column], imports) for cell in cells]
    names = sources(submissions, [folder for folder, _ in imports])
    shown = {one.file: name for one, name in zip(submissions, names, strict=True)}
    return [_with_submissions(record, submissions, shown) for record in found] if submissions else found


def _with_submissions(record: Record, submissions: Sequence[Submission], names: Mapping[str, str]) -> Record:
    ours = record.trials[0] if record.trials else None
    theirs = tuple(
        Numbers(names[one.submission.file], one.as_of, one.values, one.submission, one.differs)
        for one in placed(record.cell, submissions, ours, record.results)
    )
    return replace(record, theirs=(*record.theirs, *theirs))


def _record(cell: Cell, trials: Sequence[Trial], imports: Sequence[tuple[Path, Layout]]) -> Record:
    files = [trial.files() for trial in trials]
    states = [trial.state(found) for trial, found in zip(trials, files, strict=True)]
    finals = [each for each in zip(trials, files, states, strict=True) if each[0].kind == 'final']
    done = [(trial, trial.result(found), trial.value(found)) for trial, found, state in finals if state == 'done']
    finished = [(trial, result, value) for trial, result, value in done if result is not None and value is not None]
    ours = finals[0][0] if finals else None
    bad = [line for found in files for line in found.bad]
    lying = _lying(cell, ours.folder.parent, '', ours, []) if ours else []
    old = [numbers for numbers in lying if numbers.as_of]
    theirs = [n for folder, places in imports for n in _theirs(cell, folder, places.of(cell), ours, bad)]
    return Record(
        cell=cell,
        trials=tuple(trial for trial, _, _ in finals),
        finished=tuple(trial for trial, _, _ in finished),
        results=tuple(result for _, result, _ in finished),
        values=tuple(value for _, _, value in finished),
        state=min(states, key=STATES.index) if states else 'pending' if cell.implemented else NOT_IMPLEMENTED,
        searches=tuple(trial for trial in trials if trial.kind == 'search'),
        old=old[0] if old else None,
        theirs=tuple(theirs),
        bad=tuple(bad),
    )


def _lying(cell: Cell, folder: Path, source: str, ours: Trial | None, bad: list[str]) -> list[Numbers]:
    """Read the results below a cell's folder, grouped by config hash, the largest group first.

    Args:
        cell: the cell.
        folder: its folder.
        source: see `Numbers`.
        ours: a trial of the cell, whose provenance is the current one; None without trials.
        bad: list that one line per unreadable result is appended to.
    """
    groups: dict[tuple[str | None, str], list[float]] = defaultdict(list)
    for path in sorted(folder.glob('trial*/result.json')):
        try:
            result = read_result(path)
        except InputError as error:
            bad.append(str(error))
            continue
        if result is not None:
            with contextlib.suppress(InputError):  # an older version may not have recorded the metric
                value = read_out(result, cell.metric, cell.readout)
                current = ours is not None and ours.provenance.made(result.config_hash, result.data)
                known = (result.config_hash, result.data, result.version)
                differs = (ours.provenance.differs(*known) if ours else None) or 'recipe'
                of = (None, '') if current else (result.config_hash or 'unknown', differs)
                groups[of].append(value)
    found = [Numbers(source, digest, tuple(values), None, differs) for (digest, differs), values in groups.items()]
    return sorted(found, key=lambda numbers: -len(numbers.values))


def _theirs(cell: Cell, folder: Path, place: str, ours: Trial | None, bad: list[str]) -> list[Numbers]:
    found = _lying(cell, folder / place, str(folder), ours, bad)
    return [numbers for numbers in found if numbers.as_of is None] or found
