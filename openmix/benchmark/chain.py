"""The runs of earlier stages that trials start from; their folders are named by a digest of the recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from openmix.benchmark.cell import Cell
from openmix.benchmark.length import length_of
from openmix.benchmark.table import default_work_dir, load_table
from openmix.benchmark.trial import Trial
from openmix.config_files import work_dir_of
from openmix.errors import InputError
from openmix.provenance import provenance

WEIGHTS = Path('work_dirs') / 'weights'  # the earlier stages of all tables


def earlier_of(cell: Cell, seed: int, weights: Path) -> Trial | None:
    """Return the run that a cell's run with a seed starts from, in a folder named by a digest of its recipe."""
    found = cell.earlier
    if found is None:
        return None
    seed = seed if found.seed is None else found.seed
    made_by = provenance(found.recipe)
    recipe = work_dir_of(found.cell.config).relative_to('work_dirs')
    folder = recipe / f'{made_by.recipe}-seed{seed}'
    stage = replace(found.cell, folder=str(Path('weights') / folder))
    before = earlier_of(found.cell, seed, weights)
    own = Trial(stage, 0, seed, weights / folder, made_by, length_of(found.recipe), None, 'earlier', {}, before)
    there = None if found.origin is None else _of_its_table(own, *found.origin)
    return own if there is None else there


def _of_its_table(trial: Trial, name: str, row: str, column: str) -> Trial | None:
    """Return the same run in the work folder of the table that it is a cell of; None unless it is finished there."""
    try:
        table = load_table(name).as_variant(trial.cell.variant)
        cell = table.cell(row, column)
    except InputError:  # a table outside configs/tables is not found by its name
        return None
    work_dir = default_work_dir(table)
    index = next((index for index in range(table.trials) if table.seed(index) == trial.seed), None)
    if index is None or not (work_dir / cell.folder).is_dir():
        return None
    own = replace(trial, folder=work_dir / cell.folder / f'trial{index}')
    return own if own.state() == 'done' else None


def with_earlier(trials: Iterable[Trial], shown: bool = False) -> list[Trial]:
    """List each run once, preceded by the earlier stages that it still needs.

    Args:
        trials: the trials.
        shown: list the earlier stages of finished runs too, if their folders exist.
    """
    found: dict[Path, Trial] = {}

    def add(trial: Trial) -> None:
        before = trial.earlier
        if before is not None and before.folder not in found:
            needed = trial.state() != 'done'
            if needed or (shown and before.folder.is_dir()):
                add(before)
        found.setdefault(trial.folder, trial)

    for trial in trials:
        add(trial)
    return list(found.values())
