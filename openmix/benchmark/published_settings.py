"""Say which settings of printed runs the recipes of cells have, and which were lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from openmix.benchmark.cell import Cell


def published_settings(cells: Iterable[Cell]) -> list[str]:
    """List the settings of printed runs that the recipes of published cells have, a line for recipes with the same.

    These are the settings that at least one cell, or an earlier stage of one, takes. Settings that a cell or a recipe
    loses, since it replaces the dict or list that they lie in without stating them, have lines of their own.
    """
    taken: dict[str, dict[str, Any]] = {}
    lost: dict[str, dict[str, Any]] = {}
    for stage in _published_stages(cells):
        kept, gone = stage.divide_published()
        taken.setdefault(stage.config, {}).update(kept)
        lost.setdefault(stage.config, {}).update(stage.lost_by_recipe())
        lost.setdefault(f"'{stage.name}'{stage.place}", {}).update(gone)
    return [
        *(f'{names} as published: {said}' for said, names in _alike(taken)),
        *(f'{names} without these published settings, whose place it replaces: {said}' for said, names in _alike(lost)),
    ]


def _published_stages(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Yield each implemented cell and its earlier stages that are in the variant `published`."""
    for cell in cells:
        stage: Cell | None = cell if cell.implemented else None
        while stage is not None:
            if stage.variant == 'published':
                yield stage
            stage = None if stage.earlier is None else stage.earlier.cell


def _alike(settings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return pairs of settings, written out, and the names that have them."""
    found: dict[str, list[str]] = {}
    for name, values in settings.items():
        if values:
            found.setdefault(', '.join(f'{key}={value!r}' for key, value in values.items()), []).append(name)
    return [(said, ', '.join(names)) for said, names in found.items()]
