"""Hold the submissions of others against a table: which cells their runs belong to, and what they measured."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openmix.benchmark.cell import Cell
from openmix.benchmark.grid import final_cell, label, points
from openmix.benchmark.length import median_of
from openmix.benchmark.made_for import told
from openmix.benchmark.submission import Submission, SubmittedRun, read_submission
from openmix.benchmark.submitters import check_submitter
from openmix.benchmark.table import Table
from openmix.benchmark.trial import Trial, read_out
from openmix.errors import InputError, nearest
from openmix.metrics import with_unit
from openmix.provenance import Provenance, provenance
from openmix.result import Result

_NEAR = 1e-6  # between a readout and the validations that it is of


@dataclass(frozen=True)
class Placed:
    """The runs of a submission in one cell.

    Attributes:
        submission: the submission.
        values: the cell's readout of each run.
        as_of: the config hash of the runs if their version of openmix or their data differ from ours, else None.
        differs: what of them differs, in words; '' if nothing does.
    """

    submission: Submission
    values: tuple[float, ...]
    as_of: str | None
    differs: str


def read_imports(paths: Sequence[Path], own: Path | None = None) -> tuple[list[Path], list[Submission]]:
    """Divide what `--import` names into work folders and submissions, which are read.

    Args:
        paths: files and folders.
        own: the work folder of the report, which is no import.

    Raises:
        InputError: one is not there, is given twice or is our own, or a file is no submission.
    """
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    if missing := next((path for path in files if not path.exists()), None):
        raise InputError(f'nothing to import: {missing} is neither a work folder nor a submission')
    seen: dict[Path, Path] = {}
    for path in paths:
        if own is not None and path.resolve() == own.resolve():
            raise InputError(f'--import: {path} is the work folder of this report; leave it out')
        if seen.setdefault(path.resolve(), path) is not path:
            raise InputError(f'--import: {path} is given twice')
    for path in folders:
        if not any(path.glob('*/*/trial*/result.json')):
            held = sorted(path.glob('*.zip'))
            hint = f'; to import its files, name them: {path}/*.zip' if held else ''
            raise InputError(f'nothing to import: {path} has no <row>/<column>/trial<n>/result.json{hint}')
    return folders, [read_submission(path) for path in files]


def check_fits_table(table: Table, cells: Sequence[Cell], submissions: Sequence[Submission]) -> None:
    """Check that submissions are of this table, that each has a run of the chosen cells, and no run is in two.

    Raises:
        InputError: one is not; the line names the file and the part of it.
    """
    for one in submissions:
        check_submitter(f'{one.file}: its name', one.name, table.columns)
        for what, theirs, ours in (('table', one.table, table.name), ('variant', one.variant, table.variant)):
            if theirs != ours:
                raise InputError(f"{one.file}: it is of {what} '{theirs}', not of '{ours}'")
        if one.said != told(table.said):
            raise InputError(
                f'{one.file}: its runs are {_with(one.said)}, and this report is {_with(told(table.said))}'
            )
        for run in one.runs:
            _check_place(table, one, run)
        chosen = {cell.folder for cell in cells}
        if not any(run.place in chosen for run in one.runs):
            raise InputError(f'{one.file} has no run of the chosen cells; leave out --rows and --columns, or the file')
    _check_once(submissions)


def _with(said: str) -> str:
    return f'with {said}' if said else 'without options'


def _check_place(table: Table, submission: Submission, run: SubmittedRun) -> None:
    """Check that a run's row, column, seed and folder are those of a cell of the table."""
    where = f'{submission.file}, {run.member}'
    for kind, name, names in (('row', run.row, table.rows), ('column', run.column, table.columns)):
        if name not in names:
            raise InputError(f"{where}: table '{table.name}' has no {kind} '{name}'; {nearest(name, names)}")
    found = [cell for cell in table.cells if (cell.row, cell.column) == (run.row, run.column)]
    if not found or not found[0].implemented:
        raise InputError(f"{where}: table '{table.name}' runs no cell '{run.row} / {run.column}'")
    if found[0].folder != run.place:
        raise InputError(f"{where}: '{found[0].name}' has the folder {found[0].folder}")
    if (seed := table.seed(run.trial)) != run.result.seed:
        raise InputError(f'{where}: trial {run.trial} has seed {seed}, not {run.result.seed}')


def _check_once(submissions: Sequence[Submission]) -> None:
    """Check that no two submissions hold the same run. Runs of one trial by two people are two runs."""
    seen: dict[str, list[tuple[Submission, Result]]] = defaultdict(list)
    for one in submissions:
        for run in one.runs:
            for other, result in seen[run.folder]:
                if same(result, run.result):
                    raise InputError(f'{one.file}, {run.member} is the same run as in {other.file}; leave out one')
            seen[run.folder].append((one, run.result))


def same(one: Result, other: Result) -> bool:
    """Return true if two results are of the same run, also where a number in them is NaN."""
    return one.finished == other.finished and repr(one) == repr(other)


def placed(cell: Cell, submissions: Iterable[Submission], ours: Trial | None, own: Sequence[Result]) -> list[Placed]:
    """Return what each submission measured of a cell, grouped by the version and data of its runs.

    Args:
        cell: the cell.
        submissions: as `check_fits_table` lets them pass.
        ours: a trial of the cell, whose provenance is the current one; None without trials.
        own: our results of the cell.

    Raises:
        InputError: a run is of another recipe, is our own, or does not hold the number; the line names its file.
    """
    found = []
    recipes: dict[str, Provenance] = {}
    for one in submissions:
        groups: dict[tuple[str | None, str], list[float]] = {}
        for run in sorted((run for run in one.runs if run.place == cell.folder), key=lambda run: run.trial):
            where = f'{one.file}, {run.member}'
            if any(same(run.result, result) for result in own):
                raise InputError(f'{where} is our own run; leave out the file')
            differs = _differs(where, cell, run, ours, recipes)
            as_of = run.result.config_hash if differs else None
            groups.setdefault((as_of, differs), []).append(_value(where, cell, run.result))
        found += [Placed(one, tuple(values), as_of, differs) for (as_of, differs), values in groups.items()]
    return found


def _differs(where: str, cell: Cell, run: SubmittedRun, ours: Trial | None, recipes: dict[str, Provenance]) -> str:
    """Check that a run is of the cell's recipe; return what of version and data differs from ours."""
    if dict(run.point) not in (points(cell) if cell.grid else [{}]):
        raise InputError(f"{where}: the grid of '{cell.name}' has no point {label(run.point) or '(none)'}")
    if ours is not None and dict(ours.point) == dict(run.point):
        current = ours.provenance
    else:
        key = repr(sorted(run.point.items()))
        if key not in recipes:
            recipes[key] = provenance(final_cell(cell, run.point).resolve())
        current = recipes[key]
    digest, data, version = run.result.config_hash, run.result.data, run.result.version
    differs = current.differs(digest, data, version)
    if differs is not None:
        return differs
    if current.digest == digest:
        # The hash covers all three, so what is recorded beside it was changed.
        told = [f'data {data or "not recorded"}'] if data != current.data else []
        told += [f'openmix {version}'] if version not in (None, current.version) else []
        raise InputError(
            f'{where} says {" and ".join(told)}, and its hash {digest} is that of data '
            f'{current.data or "not recorded"} and openmix {current.version}'
        )
    raise InputError(f"{where} is of another recipe: its hash is {digest}, and '{cell.name}' has {current.digest} now")


def _value(where: str, cell: Cell, result: Result) -> float:
    """Return the cell's readout of a run, held against its validations and, of percents, against 0 and 100."""
    try:
        value = read_out(result, cell.metric, cell.readout)
    except InputError as error:
        raise InputError(f'{where}: {error}') from error
    if with_unit(cell.metric) != cell.metric and not 0 <= value <= 100:
        raise InputError(f'{where}: {cell.readout} of {cell.metric} is {value:g}, and must be in [0, 100]')
    series = [row[cell.metric] for row in result.history if cell.metric in row]
    if not series:
        raise InputError(f'{where}: its history has no {cell.metric}, of which {cell.readout} is read')
    count = 1 if cell.readout == 'last' else median_of(cell.readout)
    # `best` is left to the run: it may have skipped validations that are not finite.
    last = series[-count:] if count else []
    of_them = statistics.median(last) if last and all(map(math.isfinite, last)) else math.nan
    if last and not abs(of_them - value) <= _NEAR:
        raise InputError(f'{where}: {cell.readout} of {cell.metric} is {value:g}, and {of_them:g} by its history')
    return value
