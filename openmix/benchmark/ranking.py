"""Rank the cells that several tables have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Group
from rich.text import Text

from openmix.benchmark.records import Record
from openmix.benchmark.significance import Ranks, ranks
from openmix.benchmark.table import Table
from openmix.benchmark.text_table import text_table
from openmix.errors import InputError


def common(tables: Sequence[Table], records: Sequence[Sequence[Record]]) -> tuple[list[str], np.ndarray]:
    """Return the names of the cells that every table has measured, and (T, K) means, higher is better.

    Raises:
        InputError: there are fewer than two tables or two common cells, or a table is named twice.
    """
    names = [table.name for table in tables]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise InputError(f'rank needs two different tables or more, got {", ".join(names)}')
    measured = [
        {
            record.cell.name: record.mean * (-1 if record.cell.lower_is_better else 1)
            for record in of_table
            if record.mean is not None and not record.cell.measure
        }
        for of_table in records
    ]
    shared = [name for name in measured[0] if all(name in numbers for numbers in measured)]
    if len(shared) < 2:
        counts = ', '.join(f'{name} {len(numbers)}' for name, numbers in zip(names, measured, strict=True))
        raise InputError(f'fewer than two cells are measured in every table (measured: {counts}); run them first')
    return shared, np.array([[numbers[name] for name in shared] for numbers in measured])


def rank(tables: Sequence[Table], records: Sequence[Sequence[Record]]) -> Group:
    """Write the mean ranks, the best first, and what the tests say of them.

    Raises:
        InputError: see `common`.
    """
    names, numbers = common(tables, records)
    found = ranks(numbers)
    order = sorted(range(len(names)), key=lambda i: found.mean[i])
    lines = [[names[i], f'{found.mean[i]:.2f}', *(f'{abs(row[i]):.2f}' for row in numbers)] for i in order]
    heads = ['', 'mean rank', *(table.name for table in tables)]
    return Group(text_table(heads, lines, f'{len(names)} cells over {len(tables)} tables'), *map(Text, _said(found)))


def _said(found: Ranks) -> list[str]:
    if found.p is None or found.critical is None:
        return ['fewer than three cells, or all of them equal: no test']
    return [
        f"Friedman's test that all rank alike: p = {found.p:.3g}",
        f"critical difference of two mean ranks by Nemenyi's test at 5 %: {found.critical:.2f}",
    ]
