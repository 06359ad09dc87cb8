"""Grid search on held-out images: the points of a cell's grid, and the choice of the best."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from openmix.benchmark.cell import Cell, layered
from openmix.benchmark.earlier import PREFIX
from openmix.benchmark.folders import plain_slug


def points(cell: Cell) -> list[dict[str, Any]]:
    """List every combination of the grid's values, as dotted overrides."""
    return [dict(zip(cell.grid, values)) for values in itertools.product(*cell.grid.values())]


def label(point: Mapping[str, Any]) -> str:
    """Name a point in messages: 'alpha=0.2, eta=1'."""
    return ', '.join(f'{key.rpartition(".")[2]}={value}' for key, value in point.items())


def search_cells(cell: Cell, validation: Mapping[str, Any]) -> list[Cell]:
    """Make one cell per point, trained without the held-out images and evaluated on them, below the cell's folder.

    Keys of `validation` below `from.` hold images out of earlier stages too; a cell without that stage ignores them.
    """
    held_out = {key: value for key, value in validation.items() if _has_stage(cell, key)}
    return [
        replace(
            cell,
            overrides=layered(cell.overrides, {**held_out, **point}),
            folder=f'{cell.folder}/search/{point_folder(point)}',
            grid={},
            chosen_for={},
        )
        for point in points(cell)
    ]


def _has_stage(cell: Cell, key: str) -> bool:
    """Return true if a cell has the stage to which a dotted key belongs."""
    depth = 0
    while key.startswith(PREFIX):
        key, depth = key.removeprefix(PREFIX), depth + 1
    return depth == 0 or f'{PREFIX * depth}config' in cell.overrides


def point_folder(point: Mapping[str, Any]) -> str:
    """Name the folder of a point by its values alone: 'alpha-0p2' for a plain number, otherwise with a digest."""
    plain = '-'.join(plain_slug(f'{key.rpartition(".")[2]} {value}'.replace('.', 'p')) for key, value in point.items())
    numbers = all(type(value) in (int, float) and _is_plain(value) for value in point.values())
    if numbers and len({key.rpartition('.')[2] for key in point}) == len(point):
        return plain
    return f'{plain[:60]}-{hashlib.sha256(json.dumps(point, default=str).encode()).hexdigest()[:6]}'


def _is_plain(value: float) -> bool:
    """Return true for a number that is written with only digits and a point."""
    return set(str(value)) <= set('0123456789.')


def final_cell(cell: Cell, point: Mapping[str, Any]) -> Cell:
    """Make the cell at the chosen point, trained on all images, in the cell's own folder."""
    return replace(cell, overrides=layered(cell.overrides, point), grid={}, chosen_for={})


def best(values: Sequence[float], lower_is_better: bool) -> int:
    """Return the index of the best value; the first of equal ones."""
    return values.index(min(values) if lower_is_better else max(values))
