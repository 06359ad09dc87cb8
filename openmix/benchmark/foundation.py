"""The runs of earlier stages that the numbers of a table depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openmix.benchmark.records import Record
from openmix.benchmark.trial import Trial

HEADS = ('stage', 'recipe', 'with', 'run', 'seeds', 'cells')
_MOST_CELLS = 3  # named; of the others the count


@dataclass(frozen=True)
class Foundation:
    """The runs of one earlier stage's recipe, one per seed.

    Attributes:
        trials: the runs, by seed.
        cells: names of the cells that start from them.
    """

    trials: tuple[Trial, ...]
    cells: tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        """Return the texts of a row, in the order of `HEADS`."""
        first = self.trials[0]
        overrides = ', '.join(f'{key}={value}' for key, value in first.cell.own_settings.items())
        seeds = ', '.join(str(trial.seed) for trial in self.trials)
        more = f' and {len(self.cells) - _MOST_CELLS} more' if len(self.cells) > _MOST_CELLS else ''
        cells = '; '.join(self.cells[:_MOST_CELLS]) + more
        return str(first.stage), first.cell.config, overrides, first.provenance.recipe, seeds, cells


def foundations(records: Sequence[Record]) -> list[Foundation]:
    """List the earlier stages of all cells, first stages first; runs that cells share are listed once."""
    trials: dict[tuple[int, str], dict[int, Trial]] = {}
    cells: dict[tuple[int, str], dict[str, None]] = {}
    for record in records:
        for trial in record.earlier():
            key = trial.stage, trial.provenance.recipe
            trials.setdefault(key, {})[trial.seed] = trial
            cells.setdefault(key, {})[record.cell.name] = None
    return [
        Foundation(tuple(trials[key].values()), tuple(cells[key])) for key in sorted(trials, key=lambda key: key[0])
    ]
