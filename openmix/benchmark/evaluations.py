"""What was measured of the checkpoints of a table, as further columns beside what training recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openmix.benchmark.facets import SEPARATOR
from openmix.benchmark.records import Record
from openmix.benchmark.trial import Trial
from openmix.errors import InputError
from openmix.json_file import list_of, mapping_of, read_object, text_of
from openmix.result import numbers_of

FOLDER = 'evaluations'  # in the folder of a trial
NOT_EVALUATED = 'not evaluated'


@dataclass(frozen=True)
class Evaluation:
    """The content of `evaluations/<name>.json` in a trial's folder.

    Attributes:
        config_hash: that of the run whose checkpoint it is, see `openmix.result.Result`.
        checkpoint: name of the file.
        columns: names of what a table shows -> keys of `metrics`.
        options: the words on the command line that ask for it.
        metrics: key -> number.
        none: names of what was asked for and the classifier cannot have.
    """

    config_hash: str
    checkpoint: str
    columns: Mapping[str, str] = field(hash=False)
    options: tuple[str, ...]
    metrics: Mapping[str, float] = field(hash=False)
    none: tuple[str, ...] = ()


def read_evaluation(path: Path) -> Evaluation | None:
    """Read one evaluation; None if there is no file.

    Raises:
        InputError: the file cannot be read or holds something else; the line names it.
    """
    found = read_object(path)
    return None if found is None else parse_evaluation(found, str(path))


def parse_evaluation(found: Mapping[str, Any], where: str) -> Evaluation:
    """Check a JSON object and convert it to an `Evaluation`; unknown keys are ignored.

    Raises:
        InputError: a value is missing or has the wrong type.
    """
    for key in ('config_hash', 'checkpoint', 'columns', 'options', 'metrics'):
        if key not in found:
            raise InputError(f"{where}: '{key}' is missing")
    metrics = numbers_of(f'{where}: metrics', found['metrics'])
    columns = {
        text_of(f'{where}: columns', name): text_of(f'{where}: columns', key)
        for name, key in mapping_of(f'{where}: columns', found['columns']).items()
    }
    if lost := [key for key in columns.values() if key not in metrics]:
        raise InputError(f"{where}: metrics: '{lost[0]}' is missing")
    return Evaluation(
        config_hash=text_of(f'{where}: config_hash', found['config_hash']),
        checkpoint=text_of(f'{where}: checkpoint', found['checkpoint']),
        columns=columns,
        options=tuple(text_of(f'{where}: options', word) for word in list_of(f'{where}: options', found['options'])),
        metrics=metrics,
        none=tuple(text_of(f'{where}: none', name) for name in list_of(f'{where}: none', found.get('none', []))),
    )


def evaluation_path(trial: Trial, name: str) -> Path:
    """Return the file of one evaluation of a trial."""
    return trial.folder / FOLDER / f'{name}.json'


def is_current(evaluation: Evaluation | None, trial: Trial) -> bool:
    """Return true if an evaluation is one of a trial's last checkpoint.

    A checkpoint that was deleted since has left its numbers.
    """
    if evaluation is None:
        return False
    result, last = trial.result(), trial.last_checkpoint()
    ours = result is not None and evaluation.config_hash == result.config_hash
    return ours and (last is None or last.name == evaluation.checkpoint)


def evaluations_of(trial: Trial) -> tuple[list[Evaluation], list[str]]:
    """Read the evaluations of a finished trial's last checkpoint, and one line per file that cannot be read."""
    found, bad = [], []
    for path in sorted((trial.folder / FOLDER).glob('*.json')):
        try:
            evaluation = read_evaluation(path)
        except InputError as error:
            bad.append(str(error))
            continue
        if evaluation is not None and is_current(evaluation, trial):
            found.append(evaluation)
    return found, bad


def column_of(column: str, measure: str) -> str:
    """Return the name of the column that an evaluation adds to one of the table; without a measure, that one."""
    return f'{column}{SEPARATOR}{measure}' if measure else column


def with_evaluations(records: Sequence[Record]) -> list[Record]:
    """Return records of a table, followed by those of its evaluations.

    Each measure that any trial has becomes a column beside each column of the table, without the cells that cannot
    have it. Cells that share their runs are evaluated once.
    """
    read = {trial.folder: evaluations_of(trial) for record in records for trial in record.finished}
    records = [
        replace(record, bad=(*record.bad, *(line for trial in record.finished for line in read[trial.folder][1])))
        for record in records
    ]
    keys = {name: key for found, _ in read.values() for one in found for name, key in one.columns.items()}
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(record.cell.folder, record)
    return [
        *records,
        *(
            _record(record, read, name, key)
            for name, key in keys.items()
            for record in first.values()
            if not _has_none(record, read, name)
        ),
    ]


def _has_none(record: Record, read: Mapping[Path, tuple[list[Evaluation], list[str]]], name: str) -> bool:
    """Return true if every finished trial of a cell was found to have no such measure."""
    told = [any(name in one.none for one in read[trial.folder][0]) for trial in record.finished]
    return bool(told) and all(told)


def _record(record: Record, read: Mapping[Path, tuple[list[Evaluation], list[str]]], measure: str, key: str) -> Record:
    numbers = {
        trial: one.metrics[one.columns[measure]]
        for trial in record.finished
        for one in read[trial.folder][0]
        if measure in one.columns
    }
    kept = [(trial, result) for trial, result in zip(record.finished, record.results, strict=True) if trial in numbers]
    cell = replace(
        record.cell,
        column=column_of(record.cell.column, measure),
        metric=key,
        readout='last',
        published=None,
        spread=None,
        other_source=None,
        measure=measure,
    )
    lacking = record.finished and len(kept) < len(record.finished)
    return replace(
        record,
        cell=cell,
        finished=tuple(trial for trial, _ in kept),
        results=tuple(result for _, result in kept),
        values=tuple(numbers.values()),
        state=NOT_EVALUATED if lacking else record.state,
        old=None,
        theirs=(),
        bad=(),
    )


def to_evaluate(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """List the options of evaluations that finished trials lack, without doubles."""
    asked: dict[str, tuple[str, ...]] = {}
    for record in records:
        for trial in record.finished:
            asked |= {name: one.options for one in evaluations_of(trial)[0] for name in one.columns}
    lacking = [record.cell.measure for record in records if record.state == NOT_EVALUATED]
    return list(dict.fromkeys(asked[measure] for measure in lacking if measure in asked))
