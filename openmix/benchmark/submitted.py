"""The submissions among a table's records, and what is told of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openmix.benchmark.pack import table_hash
from openmix.benchmark.records import Record
from openmix.benchmark.submission import Submission
from openmix.benchmark.table import Table

SUBMITTED = ('Submission', 'Runs', 'Cells', 'openmix', 'Commits', 'Machines', 'File', 'Note')
_OTHER_TABLE = 'its table had other cells, seeds or settings; the runs shown are of the recipes that ours has'


def submissions_in(records: Sequence[Record]) -> dict[str, Submission]:
    """Map the names under which submissions are shown to them, in the order of the cells."""
    return {
        numbers.source: numbers.submission
        for record in records
        for numbers in record.theirs
        if numbers.submission is not None
    }


def submitted(table: Table, records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Return the words of `SUBMITTED` for each submission."""
    own = table_hash(table)
    rows: list[tuple[str, ...]] = []
    for source, one in submissions_in(records).items():
        cells, results = {run.place for run in one.runs}, [run.result for run in one.runs]
        commits = dict.fromkeys((result.commit or '')[:10] for result in results)
        machines = dict.fromkeys(
            result.environment.get('gpu0') or result.environment.get('cpu', '') for result in results
        )
        said = ' '.join(one.note.split())  # on one line, as one line is shown
        note = '; '.join(filter(None, (said, '' if one.table_hash == own else _OTHER_TABLE)))
        facts = (str(len(one.runs)), str(len(cells)), one.version, _some(commits), _some(machines), one.file, note)
        rows.append((source, *facts))
    return rows


def _some(names: Iterable[str], most: int = 3) -> str:
    known = [name for name in names if name]
    return '; '.join(known[:most]) + (f' and {len(known) - most} more' if len(known) > most else '')
