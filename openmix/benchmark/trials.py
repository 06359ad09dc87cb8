"""List the runs of a table, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openmix.benchmark.cell import Cell
from openmix.benchmark.chain import WEIGHTS, earlier_of, with_earlier
from openmix.benchmark.folders import Layout, layout, point_folder_of
from openmix.benchmark.grid import best, final_cell, points, search_cells
from openmix.benchmark.grid_schema import with_chosen
from openmix.benchmark.length import length_of, median_of, values_of
from openmix.benchmark.limits import MOST_RUNS, MOST_TRIALS
from openmix.benchmark.table import Table
from openmix.benchmark.trial import Trial
from openmix.errors import InputError, check_number
from openmix.provenance import provenance


def trials_of(
    table: Table, cells: Sequence[Cell], work_dir: Path, trials: int | None = None, weights: Path = WEIGHTS
) -> list[Trial]:
    """List every trial of the implemented cells, searches first, then trial 0 of all cells, then trial 1.

    A cell with a grid has final trials only after every point of its search is finished, and one for which another
    column chooses has a search only after that one's. Earlier stages are not listed, see `with_earlier`.

    Args:
        table: the table.
        cells: the cells.
        work_dir: the table's work folder.
        trials: number of trials per cell; None: by the table.
        weights: folder of earlier stages.

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
    searches: dict[tuple[str, str], list[Trial]] = {}
    finals: list[list[Trial]] = []

    def searched(cell: Cell) -> dict[str, Any] | None:
        """List the search of a cell, of what it waits for too; return the point, None if it is not chosen yet."""
        others = dict.fromkeys(cell.chosen_for.values())
        known = with_chosen(cell, {other: searched(_placed(table.cell(cell.row, other), places)) for other in others})
        if known is None:
            return None
        if not cell.grid:  # everything is chosen by others
            return points(known)[0]
        if (cell.row, cell.column) not in searches:
            searches[cell.row, cell.column] = _searches(table, known, Path(work_dir), Path(weights))
        return choose(searches[cell.row, cell.column])

    for cell in (_placed(cell, places) for cell in cells if cell.implemented):
        if (point := searched(cell)) is not None:
            seeds = [table.seed(i) for i in range(count)]
            finals.append(_trials(final_cell(cell, point), seeds, Path(work_dir), Path(weights), 'final', point))
    found = [trial for own in searches.values() for trial in own]
    return [*found, *(own[index] for index in range(count) for own in finals)]


def _placed(cell: Cell, places: Layout) -> Cell:
    return replace(cell, folder=places.of(cell))


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
        Trial(cell, index, seed, folder, made_by, length, values, kind, point, earlier_of(cell, seed, weights))
        for index, (seed, folder) in enumerate(own)
    ]


def choose(searches: Sequence[Trial]) -> dict[str, Any] | None:
    """Return the point with the best result on the held-out images; None until all are finished."""
    values = [value for search in searches if (value := search.value()) is not None]
    if len(values) < len(searches):
        return None
    return searches[best(values, searches[0].cell.lower_is_better)].point


def stages(
    table: Table, cells: Sequence[Cell], work_dir: Path, trials: int | None = None, weights: Path = WEIGHTS
) -> Iterator[list[Trial]]:
    """Yield the trials to run: the searches, then those that wait for their choices, then the final trials."""
    seen: set[Path] = set()
    while searches := [
        trial
        for trial in trials_of(table, cells, work_dir, trials, weights)
        if trial.kind == 'search' and trial.folder not in seen
    ]:
        seen |= {trial.folder for trial in searches}
        yield with_earlier(searches)
    yield with_earlier(trial for trial in trials_of(table, cells, work_dir, trials, weights) if trial.kind == 'final')


def check_readouts(trials: Iterable[Trial]) -> None:
    """Check before training that every training records enough values for its median readout.

    Raises:
        InputError: a training records fewer values of the metric than the median needs.
    """
    for trial in trials:
        if trial.values is not None and trial.values < (count := median_of(trial.cell.readout)):
            raise InputError(
                f"table '{trial.cell.table}', cell '{trial.cell.name}': {trial.cell.readout} needs {count} values of "
                f'{trial.cell.metric}, and a training of {trial.length} records {trial.values}; '
                'train longer, validate more often or choose another readout'
            )


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """List each run once; cells with the same training share its folder."""
    found: dict[Path, Trial] = {}
    for trial in trials:
        found.setdefault(trial.folder, trial)
    return list(found.values())
