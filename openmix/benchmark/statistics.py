"""Statistics of measured numbers: differences from the published ones, and confidence intervals of gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from openmix.benchmark.claims import Verdict, judge, pairs_of
from openmix.benchmark.evaluations import column_of
from openmix.benchmark.records import Record
from openmix.benchmark.significance import Difference, effect, holm, over_seeds, over_seeds_and_images
from openmix.benchmark.table import Table
from openmix.metrics import Right

LEAST_TOLERANCE = 0.2  # percentage points; seeds alone cause differences of this size


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


class Gain(NamedTuple):
    """The difference of two columns in one row, `column` minus `over`; None if a number is missing.

    Attributes:
        ours: mean difference over pairs of trials with the same seed; without pairs, the difference of the means.
        half_width: half of its 95 % confidence interval; None for fewer than two pairs.
        pairs: number of pairs.
        images: number of test images over which the interval is taken too; 0: over seeds alone.
        p: p value of the paired test that it is zero; None for fewer than two pairs.
        p_holm: the same, corrected by Holm's method for the number of gains that are tested together.
        effect: Cohen's d over trials; None for fewer than two trials of a side, or without a spread.
        beside: the row whose number is subtracted; '' for that of the gain.
    """

    row: str
    column: str
    over: str
    ours: float | None
    published: float | None
    half_width: float | None = None
    pairs: int = 0
    images: int = 0
    p: float | None = None
    p_holm: float | None = None
    effect: float | None = None
    beside: str = ''

    @property
    def name(self) -> str:
        """The columns that are compared: 'DM(CE) − MCE'; of another row with its name: 'MCE − Vanilla / MCE'."""
        return f'{self.column} − {f"{self.beside} / " if self.beside else ""}{self.over}'


def gains(table: Table, records: Sequence[Record]) -> list[Gain]:
    """Compute one gain per row for every pair of columns that the table compares; absent cells have none.

    What evaluations add to two columns is compared too; the gains of each measure are tested together.
    """
    by_place = {(record.cell.row, record.cell.column): record for record in records}
    found = []
    for measure in dict.fromkeys(record.cell.measure for record in records):
        together = []
        for column, over in table.gains.items():
            for row in table.rows:
                new, old = (by_place.get((row, column_of(one, measure))) for one in (column, over))
                if new is not None and old is not None:
                    together.append(_gain(new, old))
        found += corrected(together)
    return found


def over_first_row(table: Table, records: Sequence[Record]) -> list[Gain]:
    """Compare every cell with the first row, where both have two trials of the same seeds or more.

    The first row's cell is that in the same column; where it has none, as vanilla training has none with a decoupled
    loss, that in the column over which this one's gains are.
    """
    first = {record.cell.column: record for record in records if record.cell.row == table.rows[0]}
    found: dict[str, list[Gain]] = {}
    for record in records:
        column = record.cell.column
        base = first.get(column) or first.get(table.gains.get(column, ''))
        if record.cell.row != table.rows[0] and base is not None:
            gain = _gain(record, base)
            found.setdefault(record.cell.measure, []).extend([gain] if gain.p is not None else [])
    return [gain for together in found.values() for gain in corrected(together)]


def corrected(found: Sequence[Gain]) -> list[Gain]:
    """Correct the p values of gains that are tested together."""
    tested = [gain.p for gain in found if gain.p is not None]
    values = iter(holm(tested))
    return [gain if gain.p is None else gain._replace(p_holm=next(values)) for gain in found]


def _gain(new: Record, old: Record) -> Gain:
    row, beside = new.cell.row, '' if old.cell.row == new.cell.row else old.cell.row
    published = _minus(new.cell.published, old.cell.published)
    seeds = [seed for seed in new.by_seed if seed in old.by_seed]
    gain = Gain(row, new.cell.column, old.cell.column, _minus(new.mean, old.mean), published, beside=beside)
    gain = gain._replace(effect=effect(new.values, old.values))
    if not seeds:
        return gain
    right = _right_of_both(new, old, seeds)
    tested = _test(new, old, seeds) if right is None else over_seeds_and_images(right)
    images = 0 if right is None else right.shape[1]
    return gain._replace(ours=tested.mean, half_width=tested.half_width, p=tested.p, pairs=len(seeds), images=images)


def _test(new: Record, old: Record, seeds: Sequence[int]) -> Difference:
    after, before = new.by_seed, old.by_seed
    return over_seeds([after[seed] - before[seed] for seed in seeds])


def _right_of_both(new: Record, old: Record, seeds: Sequence[int]) -> np.ndarray | None:
    """Return (S, N) differences in percent of which images two cells classify rightly; None if not all are recorded.

    They are of the last validation, so that the readout must be `last`, and of the same images.
    """
    cells = {(record.cell.metric, record.cell.readout, record.cell.measure) for record in (new, old)}
    if len(seeds) < 2 or len(cells) > 1 or (new.cell.readout, new.cell.measure) != ('last', ''):
        return None
    found = []
    for record in (new, old):
        by_seed = dict(zip((trial.seed for trial in record.finished), record.results, strict=True))
        found.append([(by_seed[seed].data, by_seed[seed].right.get(record.cell.metric)) for seed in seeds])
    known = [(data, right) for side in found for data, right in side if right is not None]
    alike = {(data, right.images, right.ids) for data, right in known}
    if len(known) < 2 * len(seeds) or len(alike) > 1 or known[0][1].images < 2:
        return None
    after, before = (np.array([_unpacked(right) for _, right in side if right is not None]) for side in found)
    return 100.0 * (after - before)


def _unpacked(right: Right) -> np.ndarray:
    bits = np.frombuffer(bytes.fromhex(right.bits), np.uint8)
    return np.unpackbits(bits, count=right.images).astype(float)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def verdicts(table: Table, records: Sequence[Record]) -> list[Verdict]:
    """Test every claim of the table on the measured means."""
    numbers = {(record.cell.row, record.cell.column): record.mean for record in records}
    return [judge(claim, pairs_of(claim, table.cells, table.gains), numbers) for claim in table.claims]
