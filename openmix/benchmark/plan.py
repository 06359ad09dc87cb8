"""What running a table would take: trials, data, disk and hours."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mmengine.config import Config
from rich.markup import escape
from rich.table import Table as Grid

from openmix.benchmark.cell import Cell
from openmix.benchmark.records import Record
from openmix.benchmark.run import clock
from openmix.benchmark.table import Table
from openmix.benchmark.trials import Trial, distinct
from openmix.config import tools_path
from openmix.errors import InputError
from openmix.provenance import datasets_in
from openmix.registry import DATASETS

_ACTIONS = {'done': 'skip', 'running': 'leave alone', 'stale': 'set aside, run'}
_HOURS = re.compile(r'about ([\d.]+) h for the whole schedule')
_MOMENTS = {'SGD': 1}  # copies of the weights that an optimiser keeps; of others 2
Recipe = tuple[str, str]  # (recipe, type of its policy): what decides the speed


class Need(NamedTuple):
    """What the trials that are not finished take.

    Attributes:
        runs: how many there are.
        seconds: one after another on one device; of those whose speed is known.
        unknown: how many have no known speed.
        disk: bytes of their checkpoints.
        unsized: how many have a model of unknown size.
        data: one line for each data set that is missing.
    """

    runs: int
    seconds: float
    unknown: int
    disk: float
    unsized: int
    data: list[str]


def trial_grid(table: Table, trials: Sequence[Trial]) -> Grid:
    """What `run` would do with every trial."""
    grid = Grid(title=escape(table.title), title_justify='left')
    for head in ('row', 'column', 'trial', 'seed', 'epochs', 'action', 'recipe'):
        grid.add_column(head)
    for trial in distinct(trials):
        action = _ACTIONS.get(trial.state(), 'resume' if trial.resumable() else 'run')
        name = trial.folder.parent.name if trial.kind == 'search' else trial.index
        cells = (trial.cell.row, trial.cell.column, name, trial.seed, trial.epochs or '', action, trial.cell.config)
        grid.add_row(*(escape(str(cell)) for cell in cells))
    return grid


def needs(
    table: Table,
    trials: Sequence[Trial],
    records: Sequence[Record],
    parameters: Callable[[Config], int | None],
    hours: Mapping[Recipe, float] | None = None,
    count: int | None = None,
) -> Need:
    """What is left to do and what it takes.

    A cell whose search is not finished counts with all the trials that it will have.

    Args:
        parameters: counts those of a resolved recipe's model; None where it cannot tell.
        hours: measured for a whole run of a recipe; goes before the speed of earlier runs.
        count: trials of a cell whose search is not finished; None: as the table says.
    """
    ahead = [trial for trial in distinct(trials) if trial.state() not in ('done', 'running')]
    waiting = [record.cell for record in records if record.searches and not record.trials]
    cells = [trial.cell for trial in ahead] + [cell for cell in waiting for _ in range(count or table.trials)]
    speeds, seconds, unknown, disk, unsized = _speeds(records), 0.0, 0, 0.0, 0
    resolved = {cell.folder: cell.resolve() for cell in cells}
    sizes: dict[Recipe, float | None] = {}
    for cell in cells:
        cfg = resolved[cell.folder]
        recipe, epochs = recipe_of(cell, cfg), (cfg.get('train_cfg') or {}).get('max_epochs')
        per_epoch = speeds.get(recipe) or speeds.get((cell.config, ''))
        if hours and recipe in hours:
            seconds += hours[recipe] * 3600
        elif per_epoch and epochs:
            seconds += per_epoch * epochs
        else:
            unknown += 1
        if recipe not in sizes:
            sizes[recipe] = checkpoint_bytes(cfg, parameters)
        size = sizes[recipe]
        disk, unsized = disk + (size or 0.0), unsized + (size is None)
    return Need(len(cells), seconds, unknown, disk, unsized, missing_data(list(resolved.values())))


def recipe_of(cell: Cell, cfg: Config) -> Recipe:
    """What decides how long an epoch takes."""
    return cell.config, str(((cfg.get('model') or {}).get('policy') or {}).get('type', ''))


def _speeds(records: Sequence[Record]) -> dict[Recipe, float]:
    """Seconds an epoch of finished runs, by recipe and policy; by recipe alone under ''."""
    found: dict[Recipe, list[float]] = {}
    for record in records:
        for trial, result in zip(record.finished, record.results, strict=True):
            if trial.epochs and 'duration_s' in result:
                recipe = recipe_of(trial.cell, trial.cell.resolve())
                for key in {recipe, (recipe[0], '')}:
                    seconds = result['duration_s'] * result.get('world_size', 1) / trial.epochs
                    found.setdefault(key, []).append(seconds)
    return {key: sum(values) / len(values) for key, values in found.items()}


def checkpoint_bytes(cfg: Config, parameters: Callable[[Config], int | None]) -> float | None:
    """What the checkpoints that a run keeps take: float32 weights and the optimiser's copies of them."""
    count = parameters(cfg)
    if count is None:
        return None
    optimizer = ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('type')
    kept = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('max_keep_ckpts', 1)
    return 4.0 * count * (1 + _MOMENTS.get(str(optimizer), 2)) * max(1, kept)


def missing_data(recipes: Sequence[Config]) -> list[str]:
    """One line a data set that has no files where the recipes look: the data set's own word on how to get it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for cfg in recipes:
        for dataset in datasets_in(cfg._cfg_dict.to_dict()):
            found.setdefault((str(dataset['type']), str(dataset['root'])), dataset)
    return [
        line for (_, root), dataset in found.items() if not _has_files(Path(root)) if (line := _how_to_get(dataset))
    ]


def _has_files(root: Path) -> bool:
    return root.is_dir() and any(root.iterdir())


def _how_to_get(dataset: dict[str, Any]) -> str:
    if 'download' in dataset:
        dataset['download'] = False
    try:
        DATASETS.build(dataset)
    except InputError as error:
        return str(error)
    except Exception as error:  # a plan goes on: the line says what is known
        return f'{dataset["type"]}: {dataset["root"]} is missing ({type(error).__name__})'
    return ''


def measure_hours(cells: Sequence[Cell], iterations: int, script: Path | None = None) -> Iterator[tuple[Recipe, Any]]:
    """(recipe, hours of a whole run, or the line that says why there are none), one for each distinct recipe.

    Args:
        iterations: trained of each.
        script: takes `CONFIG --dry-run N`; `tools/train.py` unless given.
    """
    first: dict[Recipe, Cell] = {}
    for cell in cells:
        first.setdefault(recipe_of(cell, cell.resolve()), cell)
    for recipe, cell in first.items():
        with TemporaryDirectory() as folder:
            config = Path(folder) / 'cell.py'
            config.write_text(cell.config_text(), encoding='utf-8')
            command = [sys.executable, str(script or tools_path('train.py')), str(config), '--dry-run', str(iterations)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        hours = _HOURS.search(done.stdout)
        last = (done.stderr.strip().splitlines() or ['no output'])[-1]
        yield recipe, float(hours[1]) if hours and not done.returncode else last


def summary(trials: Sequence[Trial], records: Sequence[Record], need: Need) -> list[str]:
    """The plan in lines."""
    runs = distinct(trials)
    lines = [f'{len(runs)} trials, {need.runs} to run']
    absent = sum(not record.cell.implemented for record in records)
    lines += [f'{absent} cells are not implemented and left out'] if absent else []
    if any(record.searches and not record.trials for record in records):
        lines.append('cells with a grid train their final trials when their search is finished')
    if need.runs > need.unknown:
        lines.append(f'time: about {clock(need.seconds)} one after another on one device')
    if need.unknown:
        lines.append(f'time of {need.unknown} trials unknown: nothing like them is finished; --dry-run 20 measures')
    if need.unsized:
        lines.append(f'disk of {need.unsized} trials unknown: their model cannot be built here')
    if need.runs > need.unsized:
        size = f'{need.disk / 1e9:.1f} GB' if need.disk >= 1e8 else f'{need.disk / 1e6:.1f} MB'
        lines.append(f'disk: about {size} for checkpoints')
    return [*lines, *(f'missing data: {line}' for line in need.data)]
