"""`Cell`: one experiment of a table, with its recipe."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmengine.config import Config

from openmix.benchmark.as_published import printed_place, settings_of
from openmix.benchmark.earlier import PREFIX, below, beside
from openmix.benchmark.escape import visible
from openmix.benchmark.literal import as_python
from openmix.benchmark.made_for import STEPS
from openmix.benchmark.shorten import shortened
from openmix.benchmark.variant import add_published
from openmix.config import apply_options, load_config, with_published
from openmix.config_hash import config_hash
from openmix.errors import InputError
from openmix.metrics import lower_is_better
from openmix.overrides import apply_overrides
from openmix.provenance import data_fingerprint, needs_files, provenance
from openmix.recipe_published import divided, lost_of, published_of


@dataclass(frozen=True)
class Cell:
    """One experiment of a table: a recipe with overrides, and its published number.

    Attributes:
        table: name of the table.
        row, column: names as in the publication.
        config: the recipe, by its name below `configs/` or by path.
        overrides: dotted keys on top of the recipe; those below `from.` belong to the stage before, see `earlier`,
            those below `published.` to the printed run alone.
        published: the published number; None if there is none.
        folder: `<row-slug>/<column-slug>` below the table's work folder; cells with the same run share the
            folder of the first one.
        metric: the key of the metric in a run's results, such as 'accuracy/top1'.
        readout: how one number is computed from the validations: 'last', 'best' or 'median_last<N>'.
        spread: the published standard deviation of `published`.
        other_source: a number from another source, for a cell that is missing in the publication.
        implemented: False if a part of the experiment has no code yet.
        variant: 'published' (with the settings that the recipe and the cell have as those of the printed run, and the
            options that parts declare as published) or 'corrected'.
        options: dotted keys that `--cfg-options` sets on top of everything else.
        grid: dotted key -> values to choose from on held-out images; empty: no search.
        chosen_for: dotted key -> the column of the same row whose search chooses its value.
        steps: number of iterations that the recipe is shortened to; None: not shortened.
        place: suffix of the cell's name in error lines, for an earlier stage.
        measure: what of a trained checkpoint the metric is, see `openmix.benchmark.evaluations`; '': it is recorded by
            training.
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
    chosen_for: dict[str, str] = field(default_factory=dict, hash=False)
    steps: int | None = None
    place: str = ''
    measure: str = ''

    @property
    def name(self) -> str:
        """The name in messages: 'ROW / COLUMN'."""
        return f'{self.row} / {self.column}'

    @property
    def said(self) -> dict[str, Any]:
        """The changes from the command line: dotted keys, and '--steps'."""
        return self.options | ({} if self.steps is None else {STEPS: self.steps})

    @property
    def own_settings(self) -> dict[str, Any]:
        """The dotted keys that this stage says in its variant, without those of earlier stages."""
        own, printed = settings_of(beside(self.overrides))
        return own | printed if self.variant == 'published' else own

    def divide_published(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Divide `published` of the recipe into the settings that this stage takes, and those that it loses.

        Lost are those in a dict or list that the cell replaces without stating them.
        """
        return divided(published_of(_recipe(self.config)), self.own_settings | beside(self.options))

    def lost_by_recipe(self) -> dict[str, Any]:
        """Return what the bases of the recipe have as published and the recipe lost."""
        return lost_of(_recipe(self.config))

    @property
    def lower_is_better(self) -> bool:
        """True if lower values of the metric are better, as for errors and times."""
        return lower_is_better(self.metric)

    def resolve(self) -> Config:
        """Load the recipe and apply this cell's overrides and the variant's options.

        Raises:
            InputError: the cell is not implemented, there is no such recipe, or an override does not fit it.
        """
        where = f"table '{self.table}', cell '{self.name}'{self.place}"
        if not self.implemented:
            raise InputError(f'{where}: not implemented yet')
        start = None if self.earlier is None else self.earlier.start()
        try:
            own, printed = settings_of(beside(self.overrides))
            if self.variant == 'published':
                cfg = apply_overrides(_recipe(self.config, published=True), own)
                cfg = apply_overrides(cfg, printed) if printed else cfg
            else:
                cfg = apply_overrides(_recipe(self.config), own)
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
        """The stage whose weights this cell's run starts from; None if there is none."""
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
            chosen_for={},
            steps=None,
            place=f'{self.place}, from',
        )
        return Earlier(cell, seed, origin if len(origin) == 3 else None)

    def as_variant(self, variant: str) -> Cell:
        """Return the cell with all its stages in this variant, also those taken from another table."""
        kept = {key: value for key, value in self.overrides.items() if not key.endswith(f'{PREFIX}variant')}
        return replace(self, variant=variant, overrides=kept)

    def config_text(self) -> str:
        """Write the resolved recipe as a file for `tools/train.py`, with a docstring that describes the cell."""
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
        cell: recipe and overrides of the stage, with the names of the cell that starts from it.
        seed: seed of its run; None: the seed of the run that starts from it.
        origin: table, row and column, if the stage is a cell of a table.
    """

    cell: Cell
    seed: int | None
    origin: tuple[str, str, str] | None

    @functools.cached_property
    def recipe(self) -> Config:
        """The resolved recipe, which must not be modified.

        Raises:
            InputError: see `Cell.resolve`, or the recipe saves no checkpoint at the end.
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
        """Return the `weights` entry of the recipe that starts from this stage; it contains no path."""
        cfg = self.recipe
        data = data_fingerprint(cfg)
        if data is None and not needs_files(cfg) and (cfg.get('weights') or {}).get('data', '') == '':
            data = ''
        known = {'run': config_hash(cfg), 'seed': self.seed, 'data': data}
        return {key: value for key, value in known.items() if value is not None}


def value_at(cfg: Config, place: str) -> Any:
    """Return the value at a dotted key of a recipe; None if the key is missing."""
    node: Any = cfg._cfg_dict
    for key in place.split('.'):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


@functools.lru_cache(maxsize=128)
def _recipe(name: str, published: bool = False) -> Config:
    """Load a recipe once for all cells; they must not modify it (`apply_overrides` copies).

    Args:
        published: with the settings of the published runs.
    """
    return with_published(_recipe(name)) if published else load_config(name)


def layered(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge overrides, `over` taking precedence; if it replaces a whole value, keys of `under` below it are dropped.

    What `over` states or replaces for every variant, `under` no longer has for the printed run alone.
    """
    whole = [key for key, value in over.items() if not isinstance(value, Mapping) or value.get('_delete_')]
    below = tuple(f'{place}.' for key in whole for place in (key, printed_place(key)))
    stated = set(map(printed_place, over))
    return {key: value for key, value in under.items() if key not in stated and not key.startswith(below)} | dict(over)
