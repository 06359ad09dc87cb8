"""The cost of running a table: trials, data, disk space and hours."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mmengine.config import Config

from openmix.benchmark.cell import Cell, value_at
from openmix.benchmark.grid import search_cells
from openmix.benchmark.length import length_of, unit_of
from openmix.benchmark.published_settings import published_settings
from openmix.benchmark.records import Record
from openmix.benchmark.table import Table
from openmix.benchmark.text_table import TextTable, text_table
from openmix.benchmark.times import clock
from openmix.benchmark.trial import Trial
from openmix.benchmark.trials import distinct
from openmix.benchmark.variant import without_published
from openmix.declared import defines
from openmix.json_file import finite_of, read_object
from openmix.provenance import datasets_in
from openmix.shipped import tools_path

_ACTIONS = {'done': 'skip', 'running': 'leave alone', 'stale': 'set aside, run'}
_MOMENTS = {'SGD': 1}  # number of moment buffers per weight; 2 for other optimisers
Recipe = tuple[str, str]  # (recipe, type of its policy), which determine the speed
Training = tuple[str, str, str]  # also its length, which together determine the time


class Need(NamedTuple):
    """The time, disk space and data that the unfinished trials need.

    Attributes:
        runs: number of trials.
        seconds: total time of those with a known speed, one after another on one device.
        unknown: number of runs without a known speed.
        disk: bytes of their checkpoints; None if they were not counted.
        unsized: number of runs whose model has an unknown size.
        data: one line for each missing data set.
        own: policies that declare no published options, although the variant is 'published'.
        settings: settings of the printed runs that the recipes have, where the variant is 'published'.
    """

    runs: int
    seconds: float
    unknown: int
    disk: float | None
    unsized: int
    data: list[str]
    own: list[str]
    settings: list[str]


def trial_table(table: Table, trials: Sequence[Trial]) -> TextTable:
    """Make a text table with one line per trial and the action of `run`, such as run, resume or skip."""
    lines = []
    unit = unit_of([trial.length for trial in trials])
    for trial in distinct(trials):
        action = _ACTIONS.get(trial.state(), 'resume' if trial.resumable() else 'run')
        cell, length = trial.cell, '' if trial.length is None else trial.length.count if unit else trial.length
        cells = (cell.row, cell.column, trial.label, trial.seed, length, action, cell.config)
        lines.append([*map(str, cells)])
    return text_table(
        ('row', 'column', 'trial', 'seed', f'{unit}s' if unit else 'length', 'action', 'recipe'), lines, table.title
    )


def needs(
    table: Table,
    trials: Sequence[Trial],
    records: Sequence[Record],
    parameters: Callable[[Config], int | None] | None,
    hours: Mapping[Training, float] | None = None,
    count: int | None = None,
) -> Need:
    """Estimate the time, disk space and data that the unfinished trials need.

    A cell whose search is not finished counts with all its later trials.

    Args:
        table: the table.
        trials: its trials.
        records: its records.
        parameters: function that counts a model's parameters, given a resolved recipe, or returns None if it
            cannot; None: do not estimate disk space.
        hours: measured hours of a whole run by recipe, policy and length; preferred to the speed of earlier runs.
        count: number of trials of a cell whose search is not finished; None: by the table.
    """
    ahead = [trial for trial in distinct(trials) if trial.state() not in ('done', 'running')]
    cells = [trial.cell for trial in ahead] + waiting(table, records, count)
    speeds, seconds, unknown, disk, unsized = _speeds(records), 0.0, 0, 0.0, 0
    resolved = {cell.folder: cell.resolve() for cell in cells}
    sizes: dict[Recipe, float | None] = {}
    for cell in cells:
        cfg = resolved[cell.folder]
        recipe, length = recipe_of(cell, cfg), length_of(cfg)
        unit = length.unit if length else ''
        pace = speeds.get((recipe, unit)) or speeds.get(((cell.config, ''), unit))
        if hours and (training := training_of(cell, cfg)) in hours:
            seconds += hours[training] * 3600
        elif pace and length:
            seconds += pace * length.count
        else:
            unknown += 1
        if parameters is not None:
            if recipe not in sizes:
                sizes[recipe] = checkpoint_bytes(cfg, parameters)
            size = sizes[recipe]
            disk, unsized = disk + (size or 0.0), unsized + (size is None)
    data = missing_data(list(resolved.values()))
    published = [resolved[cell.folder] for cell in cells if cell.variant == 'published']
    own = list(dict.fromkeys(kind for cfg in published for kind in without_published(cfg)))
    told = published_settings(cells)
    return Need(len(cells), seconds, unknown, None if parameters is None else disk, unsized, data, own, told)


def waiting(table: Table, records: Sequence[Record], count: int | None = None) -> list[Cell]:
    """List a cell for every run that cannot be listed as a trial before a search is finished.

    Args:
        table: the table.
        records: its records.
        count: see `needs`.
    """
    found: list[Cell] = []
    for record in filter(_waits, records):
        found += [record.cell] * (count or table.trials)
        # The points of a search whose other keys are not chosen yet.
        found += search_cells(record.cell, table.validation) if record.cell.grid and not record.searches else []
    return found


def _waits(record: Record) -> bool:
    """Return true for a cell whose final trials are not known before a search is finished."""
    return record.cell.implemented and not record.trials and bool(record.cell.grid or record.cell.chosen_for)


def recipe_of(cell: Cell, cfg: Config) -> Recipe:
    """Return (recipe, policy type) of a cell; runs with the same two are assumed to have the same speed."""
    return cell.config, str(value_at(cfg, 'model.policy.type') or '')


def training_of(cell: Cell, cfg: Config) -> Training:
    """Return (recipe, policy type, length) of a cell; runs with the same three are assumed to take the same time."""
    length = length_of(cfg)
    return *recipe_of(cell, cfg), '' if length is None else str(length)


def _speeds(records: Sequence[Record]) -> dict[tuple[Recipe, str], float]:
    """Compute seconds per epoch or iteration of finished runs, by (recipe, policy) and unit; '' is any policy."""
    found: dict[tuple[Recipe, str], list[float]] = {}
    for record in records:
        for trial, result in [*zip(record.finished, record.results, strict=True), *record.earlier_results()]:
            if trial.length and result.duration_s is not None:
                recipe = recipe_of(trial.cell, trial.cell.resolve())
                for key in {recipe, (recipe[0], '')}:
                    seconds = result.duration_s * result.world_size / trial.length.count
                    found.setdefault((key, trial.length.unit), []).append(seconds)
    return {key: sum(values) / len(values) for key, values in found.items()}


def checkpoint_bytes(cfg: Config, parameters: Callable[[Config], int | None]) -> float | None:
    """Estimate the bytes of a run's checkpoints, float32 weights and optimiser moments; None for unknown models."""
    count = parameters(cfg)
    if count is None:
        return None
    optimizer = value_at(cfg, 'optim_wrapper.optimizer.type')
    kept = value_at(cfg, 'default_hooks.checkpoint.max_keep_ckpts')
    return 4.0 * count * (1 + _MOMENTS.get(str(optimizer), 2)) * max(1, kept if isinstance(kept, int) else 1)


def missing_data(recipes: Sequence[Config]) -> list[str]:
    """Write one line per data set without files, with the command that downloads it if there is one."""
    found: dict[tuple[str, str], None] = {}
    for cfg in recipes:
        for dataset in datasets_in(cfg._cfg_dict.to_dict()):
            found[str(dataset['type']), str(dataset['root'])] = None
    return [_how_to_get(kind, root) for kind, root in found if not _has_files(Path(root))]


def _has_files(root: Path) -> bool:
    try:
        return root.is_dir() and any(root.iterdir())
    except (OSError, ValueError):
        return False


def _how_to_get(kind: str, root: str) -> str:
    try:
        prepares = defines('data', kind, 'prepare')
    except KeyError:  # a user's own class
        prepares = False
    if prepares:
        return f'{kind} in {root}: {shlex.join(["python", "tools/prepare_dataset.py", kind, "--root", root])}'
    return f'{kind}: {root} holds no files'


def measure_hours(cells: Sequence[Cell], iterations: int, script: Path | None = None) -> Iterator[tuple[Training, Any]]:
    """Measure each distinct training; yield it with the hours of a whole run, or with an error line.

    Args:
        cells: the cells whose recipes are measured.
        iterations: number of iterations to train.
        script: a script with the arguments `CONFIG --dry-run N --out FILE`; by default `tools/train.py`.
    """
    first: dict[Training, Cell] = {}
    for cell in cells:
        first.setdefault(training_of(cell, cell.resolve()), cell)
    for training, cell in first.items():
        with TemporaryDirectory() as folder:
            config, out = Path(folder) / 'cell.py', Path(folder) / 'cost.json'
            config.write_text(cell.config_text(), encoding='utf-8')
            train = [sys.executable, str(script or tools_path('train.py')), str(config)]
            told = ['--dry-run', str(iterations), '--out', str(out)]
            done = subprocess.run([*train, *told], capture_output=True, text=True, check=False)
            cost = None if done.returncode else read_object(out)
        last = (done.stderr.strip().splitlines() or ['no output'])[-1]
        yield training, last if cost is None else finite_of('--dry-run: hours', cost.get('hours'))


def _trials(count: int) -> str:
    return f'{count} trial' if count == 1 else f'{count} trials'


def summary(trials: Sequence[Trial], records: Sequence[Record], need: Need) -> list[str]:
    """Write the plan as lines of text."""
    runs = distinct(trials)
    lines = [f'{_trials(len(runs))}, {need.runs} to run']
    absent = sum(not record.cell.implemented for record in records)
    lines += [f'{absent} cells are not implemented and left out'] if absent else []
    if any(map(_waits, records)):
        lines.append('cells with a grid train their final trials when their search is finished')
    if need.runs > need.unknown:
        lines.append(f'time: about {clock(need.seconds)} one after another on one device')
    if need.unknown:
        lines.append(f'time of {_trials(need.unknown)}: unknown until one like it is finished; --dry-run 20 measures')
    if need.unsized:
        lines.append(f'disk of {_trials(need.unsized)}: unknown, the model cannot be built here')
    if need.disk is None:
        lines += ['disk: not counted; --disk builds the models and counts their checkpoints'] if need.runs else []
    elif need.runs > need.unsized:
        size = f'{need.disk / 1e9:.1f} GB' if need.disk >= 1e8 else f'{need.disk / 1e6:.1f} MB'
        lines.append(f'disk: about {size} for checkpoints')
    lines += [f'{kind} declares no options of published runs: it runs as the recipe says' for kind in need.own]
    lines += need.settings
    return [*lines, *(f'missing data: {line}' for line in need.data)]
