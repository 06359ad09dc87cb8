"""`Cell`: one experiment of a table, and the recipe that it stands for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from openmix.benchmark.escape import visible
from openmix.benchmark.literal import as_python
from openmix.benchmark.variant import add_published
from openmix.config import apply_options, apply_overrides, load_config
from openmix.errors import InputError
from openmix.metrics import lower_is_better
from openmix.provenance import provenance


@dataclass(frozen=True)
class Cell:
    """One experiment of a table: a recipe with overrides, and the number that was printed for it.

    Attributes:
        table: name of the table.
        row, column: names as printed.
        config: the recipe, by its name below `configs/` or by path.
        overrides: dotted keys on top of the recipe.
        published: the printed number; None where there is none.
        folder: `<row-slug>/<column-slug>`, its place in the table's work folder; cells that are the
            same run share that of the first.
        metric: the key of the metric in a run's results, such as 'accuracy/top1'.
        readout: how validations become one number: 'last', 'best' or 'median_last<N>'.
        spread: the printed deviation of `published`.
        other_source: a number that another source prints, for a cell that the print lost.
        implemented: False where some part of the experiment has no code yet.
        variant: 'published' (policies get what they declare as published) or 'corrected'.
        options: dotted keys that `--cfg-options` sets on top of all else.
        grid: dotted key -> values to choose from on held-out images; empty: nothing to choose.
    """

    table: str
    row: str
    column: str
    config: str
    overrides: dict[str, Any] = field(hash=False)
    published: float | None
    folder: str
    metric: str
    readout: str
    spread: float | None = None
    other_source: float | None = None
    implemented: bool = True
    variant: str = 'corrected'
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    grid: dict[str, list] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The name in messages: 'ROW / COLUMN'."""
        return f'{self.row} / {self.column}'

    @property
    def lower_is_better(self) -> bool:
        """True if smaller values of the metric are better, as of errors and times."""
        return lower_is_better(self.metric)

    def resolve(self) -> Config:
        """The recipe with this cell's overrides, and what the variant adds.

        Raises:
            InputError: the cell is not implemented, there is no such recipe, or an override does not fit it.
        """
        where = f"table '{self.table}', cell '{self.name}'"
        if not self.implemented:
            raise InputError(f'{where}: not implemented yet')
        try:
            cfg = apply_overrides(_recipe(self.config), self.overrides)
            cfg = apply_options(cfg, self.options) if self.options else cfg
            return add_published(cfg) if self.variant == 'published' else cfg
        except InputError as error:
            raise InputError(f'{where}: {error}') from error

    def config_text(self) -> str:
        """The resolved recipe as a file that `tools/train.py` runs; the docstring says what it is."""
        cfg = self.resolve()
        lines = [f'Table: {self.table}', f'Row: {self.row}', f'Column: {self.column}', f'Recipe: {self.config}']
        lines += [f'Variant: {self.variant}', f'Hash: {provenance(cfg).digest}']
        about = '\n'.join(['One cell of a table, resolved.', '', *map(visible, lines), ''])
        try:
            return as_python(cfg._cfg_dict.to_dict(), about)
        except InputError as error:
            raise InputError(f"table '{self.table}', cell '{self.name}': {error}") from error


def value_at(cfg: Config, place: str) -> Any:
    """The value at a dotted key of a recipe; None where the key is missing."""
    node: Any = cfg._cfg_dict
    for key in place.split('.'):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


@functools.lru_cache(maxsize=64)
def _recipe(name: str) -> Config:
    """A loaded recipe; cells share it and `apply_overrides` copies."""
    return load_config(name)


def layered(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`; where it replaces a whole dict, what `under` said below that key goes."""
    replaced = tuple(f'{key}.' for key, value in over.items() if isinstance(value, Mapping) and value.get('_delete_'))
    return {key: value for key, value in under.items() if not key.startswith(replaced)} | dict(over)
