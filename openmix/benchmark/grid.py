"""Choosing hyper-parameters on held-out images: the points of a cell's grid, and the best of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from openmix.benchmark.cell import Cell, layered, slugs


def points(cell: Cell) -> list[dict[str, Any]]:
    """Every combination of the grid's values, as dotted overrides."""
    return [dict(zip(cell.grid, values)) for values in itertools.product(*cell.grid.values())]


def label(point: Mapping[str, Any]) -> str:
    """How messages call a point: 'alpha=0.2, eta=1'."""
    return ', '.join(f'{key.rpartition(".")[2]}={value}' for key, value in point.items())


def search_cells(cell: Cell, validation: Mapping[str, Any]) -> list[Cell]:
    """One cell a point, trained without the held-out images and read on them; below the cell's own folder."""
    found = points(cell)
    # A point is a short name and a number: dashes for dots would make 0.2 and 02 one folder.
    folders = slugs(re.sub(r'(?<=\d)\.(?=\d)', 'p', label(point)) for point in found)
    return [
        replace(
            cell,
            overrides=layered(cell.overrides, {**validation, **point}),
            folder=f'{cell.folder}/search/{folder}',
            grid={},
        )
        for point, folder in zip(found, folders.values(), strict=True)
    ]


def final_cell(cell: Cell, point: Mapping[str, Any]) -> Cell:
    """The cell at the point that was chosen, trained on all images; in the cell's own folder."""
    return replace(cell, overrides=layered(cell.overrides, point), grid={})


def best(values: Sequence[float], lower_is_better: bool) -> int:
    """Place of the best value; of equal ones the first."""
    return values.index(min(values) if lower_is_better else max(values))
