"""A tiny pass of a cell on generated data: does it run at all?"""

from __future__ import annotations

import copy
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
from openmix.config import apply_overrides, config_hash
from openmix.errors import InputError
from openmix.result import read_result
from openmix.small import BATCH, SIDE, small_of

if TYPE_CHECKING:
    from openmix.parts import Part

Imitation = Callable[[dict[str, Any], Path], AbstractContextManager[Path]]
Train = Callable[[Config, Path | None], Path]


class Outcome(NamedTuple):
    """The outcome of one cell: its error line, '' without one, and its duration in seconds."""

    cell: Cell
    error: str
    seconds: float


class Smoke:
    """Trains cells for two epochs of a few images each, and reads their metric.

    Args:
        train: takes a recipe with a `work_dir` and a file of weights that it starts from, or None; trains it, and
            returns its `result.json`.
        imitation: takes a data set's dict and an empty folder; a context in which a stand-in for it exists.
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
        """Run the cells one after the other, each training once, and yield their outcomes."""
        first: dict[str, Cell] = {}
        for cell in cells:
            first.setdefault(cell.folder, cell)
        for cell in first.values():
            began = monotonic()
            try:
                self.one(cell)
                error = ''
            except Exception as found:  # whatever a cell raises is what was looked for
                error = _line(found)
            yield Outcome(cell, error, monotonic() - began)

    def one(self, cell: Cell) -> float:
        """The cell's metric after the tiny pass.

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
        """Train a cell's small recipe behind its earlier stages; the path of its `result.json`.

        Args:
            more: overrides on top.
        """
        weights = None if cell.earlier is None else self._weights_of(cell.earlier)
        self.runs += 1
        cfg = apply_overrides(cfg, {**shrink(cfg, self._root_of), **more}, 'shrinking')
        cfg.pop('weights', None)  # the small stage is another run
        cfg.work_dir = str(self.folder / f'run{self.runs}')
        cfg.experiment_name = f'{self.folder.name}-{self.runs}'  # mmengine keeps its records by this name
        return self.train(cfg, weights)

    def _weights_of(self, earlier: Earlier) -> Path:
        """The checkpoint of the small pass of an earlier stage, which cells share.

        Raises:
            InputError: the pass failed.
        """
        run = config_hash(earlier.recipe)
        if run not in self.stages:
            try:
                found = last_checkpoint(self._train(earlier.cell, earlier.recipe, {}).parent)
                self.stages[run] = found or InputError('it left no checkpoint')
            except Exception as error:  # whatever it raises, each cell that starts from it has it
                self.stages[run] = InputError(_line(error))
        weights = self.stages[run]
        if isinstance(weights, InputError):
            raise InputError(f'its earlier stage {earlier.cell.config}: {weights}')
        return weights

    def _root_of(self, dataset: Mapping[str, Any]) -> Path:
        """The stand-in for a data set, made when it is first asked for; one root of a recipe stays one."""
        where = str(dataset['type']), str(dataset.get('root'))
        root = self.roots.setdefault(where, self.folder / f'data{len(self.roots)}')
        if (asked := repr(sorted(dataset.items(), key=repr))) not in self.written:
            self.stack.enter_context(self.imitation(dict(dataset), root))
            self.written.add(asked)
        return root


def shrink(cfg: Config, root_of: Callable[[Mapping[str, Any]], Path]) -> dict[str, Any]:
    """Overrides that make a recipe tiny: what it is made of stays, only its sizes and lengths do not."""
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
    from openmix.parts import parts  # takes torch, which the other commands of tables do without

    return found | _small_parts(list(parts(plain)), root_of)


def unsaved(cfg: Config) -> dict[str, Any]:
    """The override by which a recipe keeps no checkpoint."""
    return _set(cfg._cfg_dict.to_dict(), 'default_hooks', 'checkpoint', None)


def _set(recipe: Mapping[str, Any], part: str, key: str, value: Any) -> dict[str, Any]:
    """The override that sets a key of a part of a recipe, which may lack the part."""
    return {f'{part}.{key}': value} if recipe.get(part) else {part: {key: value}}


def _line(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines() or ['']
    return lines[-1] if isinstance(error, InputError) else f'{type(error).__name__}: {lines[0]}'


def _small_parts(found: Sequence[Part], root_of: Callable[[Mapping[str, Any]], Path]) -> dict[str, Any]:
    """What the parts say of themselves; smaller images; and a stand-in for every data set that holds no others."""
    from openmix.registry import DATASETS, TRANSFORMS
    from openmix.signatures import arguments

    changed: dict[str, Any] = {}
    datasets = [part for part in found if part.registry is DATASETS]
    for part in found:
        values = small_of(part.built, part.node)
        if part.registry in (DATASETS, TRANSFORMS) and 'size' in part.node:
            values |= {'size': _at_most(part.node['size'], SIDE)}
        if part in datasets and not any(one.place.startswith(f'{part.place}.') for one in datasets):
            root = root_of(part.node)
            values |= {'root': str(root)} if 'root' in {**part.node, **(arguments(part.built) or {})} else {}
        changed |= {f'{part.place}.{key}': value for key, value in values.items()}
    return changed


def _at_most(size: Any, most: int) -> Any:
    """A size, one side or several, none of them above `most`; what is no size stays."""
    if isinstance(size, (list, tuple)):
        return [_at_most(side, most) for side in size]
    return min(size, most) if isinstance(size, int) else size


def _clipped(part: Mapping[str, Any], keys: Sequence[str], most: int) -> dict[str, Any]:
    """A part of a recipe whose numbers under these keys are at most `most`."""
    clipped = copy.deepcopy(dict(part))
    for key in keys:
        if isinstance(clipped.get(key), int):
            clipped[key] = min(clipped[key], most)
    return clipped
