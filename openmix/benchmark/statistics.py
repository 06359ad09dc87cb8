"""Statistics of measured numbers: differences from the published ones, and confidence intervals of gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from openmix.benchmark.claims import Verdict, judge, pairs_of
from openmix.benchmark.evaluations import column_of
from openmix.benchmark.records import Record, deviation, mean
from openmix.benchmark.table import Table

LEAST_TOLERANCE = 0.2  # percentage points; seeds alone cause differences of this size
_CONFIDENCE = 0.95


def difference(record: Record) -> float | None:
    """Compute the measured mean minus the published number; None if one is missing."""
    return _minus(record.mean, record.cell.published)


def tolerance(record: Record) -> float:
    """Return the largest difference that counts as agreement: max(0.2, 2 sample standard deviations)."""
    return max(LEAST_TOLERANCE, 2 * (record.std or 0.0))


def agreement(record: Record) -> str:
    """Compare with the published number: 'better' or 'worse' beyond the tolerance, 'agrees', or '' if unknown.

    A single trial has no deviation, so nothing is told of it.
    """
    found = difference(record)
    if found is None or len(record.values) < 2:
        return ''
    if abs(found) <= tolerance(record):
        return 'agrees'
    return 'better' if (found < 0) == record.cell.lower_is_better else 'worse'


def half_width(values: Sequence[float]) -> float | None:
    """Compute half of the 95 % confidence interval of the mean by Student's t; None for fewer than two values."""
    spread = deviation(values)
    if spread is None:
        return None
    from scipy.special import stdtrit  # comes with scikit-learn; slow to import

    n = len(values)
    return float(stdtrit(n - 1, (1 + _CONFIDENCE) / 2)) * spread / n**0.5


class Gain(NamedTuple):
    """The difference of two columns in one row, `column` minus `over`; None if a number is missing.

    Attributes:
        ours: mean difference over pairs of trials with the same seed; without pairs, the difference of the means.
        half_width: half of its 95 % confidence interval; None for fewer than two pairs.
        pairs: number of pairs.
    """

    row: str
    column: str
    over: str
    ours: float | None
    published: float | None
    half_width: float | None = None
    pairs: int = 0


def gains(table: Table, records: Sequence[Record]) -> list[Gain]:
    """Compute one gain per row for every pair of columns that the table compares; absent cells have none.

    What evaluations add to two columns is compared too.
    """
    by_place = {(record.cell.row, record.cell.column): record for record in records}
    measures = dict.fromkeys(record.cell.measure for record in records)
    pairs = [
        (column_of(column, measure), column_of(over, measure))
        for measure in measures
        for column, over in table.gains.items()
    ]
    found = []
    for column, over in pairs:
        for row in table.rows:
            new, old = by_place.get((row, column)), by_place.get((row, over))
            if new is not None and old is not None:
                found.append(_gain(row, column, over, new, old))
    return found


def _gain(row: str, column: str, over: str, new: Record, old: Record) -> Gain:
    before = old.by_seed
    paired = [value - before[seed] for seed, value in new.by_seed.items() if seed in before]
    ours = mean(paired) if paired else _minus(new.mean, old.mean)
    published = _minus(new.cell.published, old.cell.published)
    return Gain(row, column, over, ours, published, half_width(paired), len(paired))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def verdicts(table: Table, records: Sequence[Record]) -> list[Verdict]:
    """Test every claim of the table on the measured means."""
    numbers = {(record.cell.row, record.cell.column): record.mean for record in records}
    return [judge(claim, pairs_of(claim, table.cells, table.gains), numbers) for claim in table.claims]
