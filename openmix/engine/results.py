"""Per-epoch metrics and `result.json`: what a run leaves for others to read."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from openmix.engine import measures
from openmix.engine.environment import commit, environment
from openmix.engine.history import Row, read_history, text_of
from openmix.engine.resume import earlier_plans
from openmix.errors import InputError
from openmix.files import set_aside, write_text
from openmix.metrics import lower_is_better
from openmix.provenance import Provenance, data_fingerprint
from openmix.registry import HOOKS


def readouts(name: str, values: Sequence[float]) -> dict[str, float]:
    """One metric's history read the ways tables ask for.

    Args:
        name: of the metric; the best of a loss, nll, error or time is the lowest.
        values: one an epoch or validation, oldest first, not empty.

    Returns:
        last, best (of those that are numbers), and the median of the last 3, 5 and 10, where there are as many.
    """
    best = min if lower_is_better(name) else max
    numbers = [value for value in values if not math.isnan(value)]
    medians = {f'median_last{n}': statistics.median(values[-n:]) for n in (3, 5, 10) if n <= len(values)}
    return {'last': values[-1], 'best': best(numbers, default=math.nan), **medians}


@HOOKS.register_module()
class ResultHook(Hook):
    """Keeps `metrics.jsonl`, one line an epoch or validation interval, and writes `result.json` when training ends.

    A resumed run keeps the lines of the epochs it builds on, and their time.

    Args:
        recipe: identifies it, see `openmix.config.config_hash`.
    """

    # Behind the CheckpointHook, which saves a run that ends early as it ends: a result says that all is done.
    priority = 'LOWEST'

    def __init__(self, recipe: str = '') -> None:
        self.provenance = Provenance(recipe, None)
        self.rows: dict[int, Row] = {}
        self._time_before = 0.0
        self._started = time.perf_counter()

    def before_train(self, runner: Any) -> None:
        folder = Path(runner.work_dir)
        self.rows = {}
        if is_main_process():
            self.provenance = self.provenance._replace(data=data_fingerprint(runner.cfg))
        if runner.iter == 0 and is_main_process():
            (folder / 'result.json').unlink(missing_ok=True)
        if runner.iter > 0:
            self.rows = self._rows_before(runner, folder / 'metrics.jsonl')
        if not measures.has_last_line(runner):
            measures.set_last_line(runner, max((at for at in self.rows if at < runner.iter), default=0))
        self._time_before = max((row['time_s'] for row in self.rows.values()), default=0.0)
        self._started = time.perf_counter()

    def _rows_before(self, runner: Any, path: Path) -> dict[int, Row]:
        """The rows of the iterations that the run goes on from; a damaged file is set aside, its good lines stay."""
        rows, damaged = read_history(path)
        kept = {int(row['iter']): row for row in rows if row['iter'] <= runner.iter}
        if damaged and is_main_process():
            aside = set_aside(path, 'damaged')
            runner.logger.warning(f'{damaged} damaged line(s) in {path}: the file is now {aside}, the others stay')
            write_text(path, text_of(kept))
        return kept

    def after_train_epoch(self, runner: Any) -> None:
        self._add(runner, {})

    def after_interval(self, runner: Any) -> None:
        self._add(runner, {})

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if runner.iter > 0:
            self._add(runner, metrics or {})

    def _add(self, runner: Any, metrics: Mapping[str, float]) -> None:
        """Put metrics into the row of the current iteration; a new row starts with what the training gave.

        Raises:
            InputError: the training gives something else under a metric's name.
        """
        iteration = runner.iter
        if shared := [name for name in measures.output_names(runner) if name in metrics]:
            raise InputError(
                f"the model's loss and a metric of the validation both give '{shared[0]}'; give one another name"
            )
        if iteration not in self.rows:
            epoch = -(-iteration // len(runner.train_dataloader))
            measured = {**measures.outputs(runner, iteration), 'lr': measures.learning_rate(runner)}
            self.rows[iteration] = {'epoch': epoch, 'iter': iteration, **measured}
        measures.set_last_line(runner, iteration)
        row = self.rows[iteration]
        row |= {k: float(v) for k, v in metrics.items()}
        row['time_s'] = round(self.elapsed(), 3)
        if is_main_process():
            runner.check_claim()
            write_text(Path(runner.work_dir) / 'metrics.jsonl', text_of(self.rows))

    def recipe_of(self, runner: Any) -> str:
        """The hash of the recipe that the run's result will carry; '' where none is known."""
        return self._provenance_of(earlier_plans(runner.message_hub)).recipe if self.provenance.recipe else ''

    def _provenance_of(self, plans: Sequence[Mapping[str, Any]]) -> Provenance:
        """A run whose length was changed on the way is another one than a run that was planned so from its start."""
        if not plans:
            return self.provenance
        recipe = hashlib.sha256(json.dumps([self.provenance.recipe, *plans]).encode()).hexdigest()[:12]
        return self.provenance._replace(recipe=recipe)

    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._time_before + time.perf_counter() - self._started

    def after_train(self, runner: Any) -> None:
        if not is_main_process():
            return
        history = [self.rows[key] for key in sorted(self.rows)]
        names = dict.fromkeys(k for row in history for k in row if k not in ('epoch', 'iter', 'time_s', 'lr'))
        values = {name: [row[name] for row in history if name in row] for name in names}
        plans = earlier_plans(runner.message_hub)
        result = {
            'metrics': {name: series[-1] for name, series in values.items()},
            'readouts': {name: readouts(name, series) for name, series in values.items()},
            'history': history,
            'seed': runner.seed,
            **self._provenance_of(plans).as_dict(),
            'commit': commit(),
            'environment': environment(),
            'world_size': runner.world_size,
            **_weights(runner),
            **({'earlier_plans': plans} if plans else {}),
            'duration_s': round(self.elapsed(), 1),
            'iterations': runner.iter,
            'epochs': round(runner.iter / len(runner.train_dataloader), 3),
            'ended_early': runner.iter < runner.max_iters,
            'finished': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        }
        path = Path(runner.work_dir) / 'result.json'
        runner.check_claim()
        write_text(path, json.dumps(result, indent=1) + '\n')
        runner.logger.info(f'Result: {path}')


def _weights(runner: Any) -> dict[str, Any]:
    """Say which weights the run started from; of those of a run its recipe and seed too."""
    start = {key: value for key, value in (runner.cfg.get('weights') or {}).items() if value is not None}
    return {'weights': ({'seed': runner.seed} if start.get('run') else {}) | start} if start else {}
