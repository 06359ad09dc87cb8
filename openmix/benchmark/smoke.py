"""Smoke runs: train cells in miniature on generated data, to check that they run."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from mmengine.config import Config

from openmix.benchmark.cell import Cell, Earlier
from openmix.benchmark.trial import read_out
from openmix.benchmark.trial_files import last_checkpoint
from openmix.config_hash import config_hash
from openmix.errors import InputError
from openmix.overrides import apply_overrides
from openmix.result import read_result
from openmix.small import BATCH, SIDE, small_of

if TYPE_CHECKING:
    from openmix.parts import Part

Imitation = Callable[[dict[str, Any], Path], AbstractContextManager[Path]]
Train = Callable[[Config, Path | None], Path]


class Outcome(NamedTuple):
    """The outcome of one cell: its error line, or '', and its duration in seconds."""

    cell: Cell
    error: str
    seconds: float


class Smoke:
    """Train cells for two epochs of a few images each, and read their metric.

    Args:
        train: function of a recipe with `work_dir`, and a file of initial weights or None; it trains the recipe and
            returns the path of its `result.json`.
        imitation: function of a data set's dict and an empty folder; it returns a context manager in which a stand-in
            for the data set exists.
    """

    def __init__(self, train: Train, imitation: Imitation) -> None:
        self.train, self.imitation = train, imitation
        self.stack, self.runs = ExitStack(), 0
        self.roots: dict[tuple[str, str], Path] = {}
        self.written: set[str] = set()
        self.stages: dict[str, Path | InputError] = {}

    def __enter__(self) -> Smoke:
        self.folder = Path(self.stack.enter_context(TemporaryDirectory(prefix='openmix-smoke-')))
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def all(self, cells: Sequence[Cell]) -> Iterator[Outcome]:
        """Run the cells one after another and yield their outcomes; cells with the same training run once."""
        first: dict[str, Cell] = {}
        for cell in cells:
            first.setdefault(cell.folder, cell)
        for cell in first.values():
            began = monotonic()
            try:
                self.one(cell)
                error = ''
            except Exception as found:  # any error of a cell is an outcome
                error = _line(found)
            yield Outcome(cell, error, monotonic() - began)

    def one(self, cell: Cell) -> float:
        """Run one cell and return its metric.

        Raises:
            InputError: the cell does not fit its recipe, or did not measure a finite number.
        """
        cfg = cell.resolve()
        path = self._train(cell, cfg, unsaved(cfg))
        result = read_result(path)
        if result is None:
            raise InputError(f'the pass left no {path.name}')
        return read_out(result, cell.metric, 'last')  # a median may need more validations than two

    def _train(self, cell: Cell, cfg: Config, more: Mapping[str, Any]) -> Path:
        """Train a cell's small recipe, after its earlier stages; return the path of its `result.json`.

        Args:
            cell: the cell.
            cfg: its resolved recipe.
            more: overrides on top of the shrunk recipe.
        """
        weights = None if cell.earlier is None else self._weights_of(cell.earlier)
        self.runs += 1
        cfg = apply_overrides(cfg, {**shrink(cfg, self._root_of), **more}, 'shrinking')
        cfg.pop('weights', None)  # they name the full-size stage, and this one starts from the small stage
        cfg.work_dir = str(self.folder / f'run{self.runs}')
        cfg.experiment_name = f'{self.folder.name}-{self.runs}'  # mmengine keeps its records by this name
        try:
            return self.train(cfg, weights)
        finally:
            gc.collect()  # a runner and its hooks refer to each other, and would keep the weights of many runs

    def _weights_of(self, earlier: Earlier) -> Path:
        """Return the checkpoint of the smoke run of an earlier stage, which cells share.

        Raises:
            InputError: that run failed.
        """
        run = config_hash(earlier.recipe)
        if run not in self.stages:
            try:
                found = last_checkpoint(self._train(earlier.cell, earlier.recipe, {}).parent)
                self.stages[run] = found or InputError('it left no checkpoint')
            except Exception as error:  # any error is reported for every cell that starts from this stage
                self.stages[run] = InputError(_line(error))
        weights = self.stages[run]
        if isinstance(weights, InputError):
            raise InputError(f'its earlier stage {earlier.cell.config}: {weights}')
        return weights

    def _root_of(self, dataset: Mapping[str, Any]) -> Path:
        """Return the folder of a data set's stand-in, written on first use; equal roots in recipes get one folder."""
        where = str(dataset['type']), str(dataset.get('root'))
        root = self.roots.setdefault(where, self.folder / f'data{len(self.roots)}')
        if (asked := repr(sorted(dataset.items(), key=repr))) not in self.written:
            self.stack.enter_context(self.imitation(dict(dataset), root))
            self.written.add(asked)
        return root


def shrink(cfg: Config, root_of: Callable[[Mapping[str, Any]], Path]) -> dict[str, Any]:
    """Make the overrides that shrink a recipe: only sizes and lengths change, its parts stay."""
    plain = cfg._cfg_dict.to_dict()
    found: dict[str, Any] = {'log_level': 'ERROR', 'vis_backends': []}
    found |= {'visualizer.vis_backends': []} if plain.get('visualizer') else {}
    found |= _set(plain, 'env_cfg', 'cudnn_benchmark', False)
    loader = {'batch_size': BATCH, 'num_workers': 0, 'persistent_workers': False, 'pin_memory': False}
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        found |= {f'{key}.{name}': value for name, value in loader.items()} if plain.get(key) else {}
    loop = plain.get('train_cfg') or {}
    found |= {'train_cfg.val_interval': 1}
    found |= {'train_cfg.max_iters': 2} if 'max_iters' in loop else {'train_cfg.max_epochs': 2}
    schedulers = plain.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    found['param_scheduler'] = [_clipped(scheduler, ('begin', 'end'), 1) for scheduler in schedulers]
    hooks = plain.get('custom_hooks') or []
    found['custom_hooks'] = [_clipped(hook, ('begin_epoch', 'begin_iter'), 0) for hook in hooks]
    from openmix.parts import parts  # imports torch, which other commands of tables do not need

    return found | _small_parts(list(parts(plain)), root_of)


def unsaved(cfg: Config) -> dict[str, Any]:
    """Make the override by which a recipe saves no checkpoint."""
    return _set(cfg._cfg_dict.to_dict(), 'default_hooks', 'checkpoint', None)


def _set(recipe: Mapping[str, Any], part: str, key: str, value: Any) -> dict[str, Any]:
    """Make the override that sets a key in a part of a recipe; the part may be missing."""
    return {f'{part}.{key}': value} if recipe.get(part) else {part: {key: value}}


def _line(error: Exception) -> str:
    """Format an error on one line."""
    lines = str(error).strip().splitlines() or ['']
    return lines[-1] if isinstance(error, InputError) else f'{type(error).__name__}: {lines[0]}'


def _small_parts(found: Sequence[Part], root_of: Callable[[Mapping[str, Any]], Path]) -> dict[str, Any]:
    """Make overrides: the `small` arguments of all parts, smaller images, and stand-ins for innermost data sets."""
    from openmix.registry import DATASETS, TRANSFORMS
    from openmix.signatures import arguments

    changed: dict[str, Any] = {}
    datasets = [part for part in found if part.registry is DATASETS]
    for part in found:
        values = small_of(part.built, part.node)
        if part.registry in (DATASETS, TRANSFORMS) and 'size' in part.node:
            values |= {'size': _at_most(part.node['size'], SIDE)}
        if part.node.get('ten_crop') is not None:  # crops of an image that is a few pixels larger
            values |= {'ten_crop': _at_most(part.node['ten_crop'], SIDE - SIDE // 8)}
        if part in datasets and _is_fraction(part.node.get('val_fraction')):
            values |= {'val_fraction': _of_few(part.node['val_fraction'])}
        if part in datasets and not any(one.place.startswith(f'{part.place}.') for one in datasets):
            root = root_of(part.node)
            values |= {'root': str(root)} if 'root' in {**part.node, **(arguments(part.built) or {})} else {}
        changed |= {f'{part.place}.{key}': value for key, value in values.items()}
    return changed


def _is_fraction(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


def _of_few(fraction: float) -> float:
    """Map a held-out fraction to one near a half, which holds out one of the two images of a class in a stand-in.

    A larger fraction stays larger, so that a recipe whose splits share images does so in small too.
    """
    return 0.4 + fraction / 5


def _at_most(size: Any, most: int) -> Any:
    """Limit a size, one side or several, to `most`; return other values unchanged."""
    if isinstance(size, (list, tuple)):
        return [_at_most(side, most) for side in size]
    return min(size, most) if isinstance(size, int) else size


def _clipped(part: Mapping[str, Any], keys: Sequence[str], most: int) -> dict[str, Any]:
    """Limit the numbers under these keys of a part of a recipe to `most`."""
    clipped = copy.deepcopy(dict(part))
    for key in keys:
        if isinstance(clipped.get(key), int):
            clipped[key] = min(clipped[key], most)
    return clipped
