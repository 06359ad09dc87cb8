"""`Cell`: one experiment of a table, and the recipe that it stands for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmengine.config import Config

from openmix.benchmark.earlier import PREFIX, below, beside
from openmix.benchmark.escape import visible
from openmix.benchmark.literal import as_python
from openmix.benchmark.made_for import STEPS
from openmix.benchmark.shorten import shortened
from openmix.benchmark.variant import add_published
from openmix.config import apply_options, apply_overrides, config_hash, load_config
from openmix.errors import InputError
from openmix.metrics import lower_is_better
from openmix.provenance import data_fingerprint, needs_files, provenance


@dataclass(frozen=True)
class Cell:
    """One experiment of a table: a recipe with overrides, and the number that was printed for it.

    Attributes:
        table: name of the table.
        row, column: names as printed.
        config: the recipe, by its name below `configs/` or by path.
        overrides: dotted keys on top of the recipe; those below `from.` are of the stage before, see `earlier`.
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
        steps: iterations that the recipe is shortened to; None: as it is.
        place: what stands behind the cell's name in error lines, for an earlier stage.
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
    steps: int | None = None
    place: str = ''

    @property
    def name(self) -> str:
        """The name in messages: 'ROW / COLUMN'."""
        return f'{self.row} / {self.column}'

    @property
    def said(self) -> dict[str, Any]:
        """What the command line changes: dotted keys, and '--steps'."""
        return self.options | ({} if self.steps is None else {STEPS: self.steps})

    @property
    def lower_is_better(self) -> bool:
        """True if smaller values of the metric are better, as of errors and times."""
        return lower_is_better(self.metric)

    def resolve(self) -> Config:
        """The recipe with this cell's overrides, and what the variant adds.

        Raises:
            InputError: the cell is not implemented, there is no such recipe, or an override does not fit it.
        """
        where = f"table '{self.table}', cell '{self.name}'{self.place}"
        if not self.implemented:
            raise InputError(f'{where}: not implemented yet')
        start = None if self.earlier is None else self.earlier.start()
        try:
            if start is None and (of_none := below(self.options)):
                raise InputError(f"option '{PREFIX}{next(iter(of_none))}': the cell has no earlier stage")
            cfg = apply_overrides(_recipe(self.config), beside(self.overrides))
            cfg = apply_options(cfg, options) if (options := beside(self.options)) else cfg
            if self.steps is not None:
                cfg = apply_overrides(cfg, shortened(cfg, self.steps), '--steps')
            cfg = add_published(cfg) if self.variant == 'published' else cfg
            if start is not None:
                if cfg.get('weights'):
                    raise InputError(f"{self.config} names the weights that it starts from itself; leave out 'from'")
                cfg.weights = start
            return cfg
        except InputError as error:
            raise InputError(f'{where}: {error}') from error

    @functools.cached_property
    def earlier(self) -> Earlier | None:
        """The stage that this cell's run starts from; None where it starts from nothing."""
        said = below(self.overrides)
        if not said:
            return None
        seed, config, variant = said.pop('seed', None), said.pop('config'), said.pop('variant', self.variant)
        origin = tuple(said.pop(word) for word in ('table', 'row', 'column') if word in said)
        options = below(self.options)
        seed = options.pop('seed', seed)
        cell = replace(
            self,
            config=config,
            overrides=said,
            options=options,
            variant=variant,
            published=None,
            spread=None,
            other_source=None,
            grid={},
            steps=None,
            place=f'{self.place}, from',
        )
        return Earlier(cell, seed, origin if len(origin) == 3 else None)

    def as_variant(self, variant: str) -> Cell:
        """The cell with every stage of that variant, also one that another table's cell has in its own."""
        kept = {key: value for key, value in self.overrides.items() if not key.endswith(f'{PREFIX}variant')}
        return replace(self, variant=variant, overrides=kept)

    def config_text(self) -> str:
        """The resolved recipe as a file that `tools/train.py` runs; the docstring says what it is."""
        cfg = self.resolve()
        lines = [f'Table: {self.table}', f'Row: {self.row}', f'Column: {self.column}', f'Recipe: {self.config}']
        if (before := self.earlier) is not None:
            lines.append(f'From: {before.cell.config}, run {cfg.weights["run"]}')
        lines += [f'Variant: {self.variant}', f'Hash: {provenance(cfg).digest}']
        about = '\n'.join(['One cell of a table, resolved.', '', *map(visible, lines), ''])
        try:
            return as_python(cfg._cfg_dict.to_dict(), about)
        except InputError as error:
            raise InputError(f"table '{self.table}', cell '{self.name}': {error}") from error


@dataclass(frozen=True)
class Earlier:
    """The stage that a cell's run starts from.

    Attributes:
        cell: its recipe with its overrides; of the cell that starts from it the names.
        seed: of its run; None: that of the run that starts from it.
        origin: table, row and column of the cell that it is, where a table names one.
    """

    cell: Cell
    seed: int | None
    origin: tuple[str, str, str] | None

    @functools.cached_property
    def recipe(self) -> Config:
        """The resolved recipe, not to be changed.

        Raises:
            InputError: see `Cell.resolve`, or the run would keep no weights.
        """
        cfg = self.cell.resolve()
        hooks = cfg.get('default_hooks') or {}
        saved = hooks.get('checkpoint', {})
        if saved is None or saved.get('save_last') is False:
            raise InputError(
                f"table '{self.cell.table}', cell '{self.cell.name}'{self.cell.place}: {self.cell.config} saves no "
                'last checkpoint to start from; set default_hooks.checkpoint.save_last'
            )
        return cfg

    def start(self) -> dict[str, Any]:
        """The `weights` of the recipe that starts from this stage: by content, never by a path."""
        cfg = self.recipe
        data = data_fingerprint(cfg)
        if data is None and not needs_files(cfg) and (cfg.get('weights') or {}).get('data', '') == '':
            data = ''
        known = {'run': config_hash(cfg), 'seed': self.seed, 'data': data}
        return {key: value for key, value in known.items() if value is not None}


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
