"""What the folders of a table say of every cell: the numbers of its finished runs, old ones and those of others."""

from __future__ import annotations

import contextlib
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openmix.benchmark.cell import Cell
from openmix.benchmark.trials import NOT_IMPLEMENTED, STATES, Trial, read_json, read_out
from openmix.errors import InputError


class Numbers(NamedTuple):
    """Results that are not the cell's own current ones.

    Attributes:
        source: '' for our own folder, else the folder of the others.
        as_of: the hash they were made with, where it is not the cell's; None where it is.
        values: the cell's readout of each run.
    """

    source: str
    as_of: str | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """What is known of one cell.

    Attributes:
        trials: those asked for; empty where the cell is not implemented or its search is not finished.
        finished: those of them that are.
        results: of the finished ones, beside `finished`.
        values: the cell's readout of each finished trial.
        searches: the runs that choose among the cell's grid.
        old: results of another config, version or data that lie in the cell's folder, in place or set aside.
        theirs: results that were taken in from other folders.
    """

    cell: Cell
    trials: tuple[Trial, ...]
    finished: tuple[Trial, ...]
    results: tuple[dict[str, Any], ...]
    values: tuple[float, ...]
    state: str
    searches: tuple[Trial, ...] = ()
    old: Numbers | None = None
    theirs: tuple[Numbers, ...] = ()

    @property
    def mean(self) -> float | None:
        """Over finished trials; None where there is none."""
        return mean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None below two trials, where it says nothing."""
        return deviation(self.values)

    @property
    def by_seed(self) -> dict[int, float]:
        """Seed -> value of the finished trials."""
        return {trial.seed: value for trial, value in zip(self.finished, self.values, strict=True)}

    @property
    def status(self) -> str:
        """The state, with the count where only some trials, or some runs of the search, are finished."""
        done = sum(search.value() is not None for search in self.searches)
        if done < len(self.searches):
            return f'search {self.state} ({done}/{len(self.searches)})'
        partial = 0 < len(self.finished) < len(self.trials)
        return f'{self.state} ({len(self.finished)}/{len(self.trials)})' if partial else self.state


def mean(values: Sequence[float]) -> float | None:
    """None where there is no value."""
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None below two values."""
    return statistics.stdev(values) if len(values) >= 2 else None


def read_records(cells: Sequence[Cell], trials: Sequence[Trial], imports: Sequence[Path] = ()) -> list[Record]:
    """One record a cell, those that are not implemented included.

    Args:
        trials: of the cells, see `trials_of`; of a cell without any nothing is looked up.
        imports: work folders of others, laid out as ours.

    Raises:
        InputError: a folder to import holds no result.
    """
    for folder in imports:
        if not any(folder.glob('*/*/trial*/result.json')):
            raise InputError(f'nothing to import: {folder} has no <row>/<column>/trial<n>/result.json')
    by_place: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        by_place[trial.cell.row, trial.cell.column].append(trial)
    return [_record(cell, by_place[cell.row, cell.column], imports) for cell in cells]


def _record(cell: Cell, trials: Sequence[Trial], imports: Sequence[Path]) -> Record:
    states = [trial.state() for trial in trials]
    finals = [(trial, state) for trial, state in zip(trials, states, strict=True) if trial.kind == 'final']
    done = [(trial, trial.result(), trial.value()) for trial, state in finals if state == 'done']
    finished = [(trial, result, value) for trial, result, value in done if result is not None and value is not None]
    ours = finals[0][0] if finals else None
    old = [numbers for numbers in _lying(cell, ours.folder.parent, '', ours) if numbers.as_of] if ours else []
    theirs = [numbers for folder in imports for numbers in _theirs(cell, folder, ours)]
    return Record(
        cell=cell,
        trials=tuple(trial for trial, _ in finals),
        finished=tuple(trial for trial, _, _ in finished),
        results=tuple(result for _, result, _ in finished),
        values=tuple(value for _, _, value in finished),
        state=min(states, key=STATES.index) if states else 'pending' if cell.implemented else NOT_IMPLEMENTED,
        searches=tuple(trial for trial in trials if trial.kind == 'search'),
        old=old[0] if old else None,
        theirs=tuple(theirs),
    )


def _lying(cell: Cell, folder: Path, source: str, ours: Trial | None) -> list[Numbers]:
    """The readable results below a cell's folder by hash, those set aside included; the largest group first."""
    groups: dict[str | None, list[float]] = defaultdict(list)
    for result in (read_json(path) for path in sorted(folder.glob('trial*/result.json'))):
        with contextlib.suppress(InputError):  # an older version may not have recorded the metric
            value = read_out(result, cell.metric, cell.readout)
            current = ours is not None and ours.provenance.made(result)
            groups[None if current else str(result.get('config_hash') or 'unknown')].append(value)
    found = [Numbers(source, digest, tuple(values)) for digest, values in groups.items()]
    return sorted(found, key=lambda numbers: -len(numbers.values))


def _theirs(cell: Cell, folder: Path, ours: Trial | None) -> list[Numbers]:
    found = _lying(cell, folder / cell.folder, str(folder), ours)
    return [numbers for numbers in found if numbers.as_of is None] or found
