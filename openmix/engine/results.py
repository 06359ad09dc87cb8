"""The hook that writes a run's results: metrics per epoch and `result.json`."""

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
from openmix.engine.precision import precision_of
from openmix.engine.resume import earlier_plans
from openmix.errors import InputError
from openmix.files import set_aside, write_text
from openmix.metrics import RIGHT, Right, lower_is_better
from openmix.provenance import Provenance, data_fingerprint
from openmix.registry import HOOKS


def readouts(name: str, values: Sequence[float]) -> dict[str, float]:
    """Compute the readouts of a metric that tables use.

    Args:
        name: name of the metric; the best of a loss, nll, error or time is the lowest.
        values: one per epoch or validation, oldest first, not empty.

    Returns:
        last, best (nan ignored), and the median of the last 3, 5, 10 and 20 values, if there are as many.
    """
    best = min if lower_is_better(name) else max
    numbers = [value for value in values if not math.isnan(value)]
    medians = {f'median_last{n}': statistics.median(values[-n:]) for n in (3, 5, 10, 20) if n <= len(values)}
    return {'last': values[-1], 'best': best(numbers, default=math.nan), **medians}


@HOOKS.register_module()
class ResultHook(Hook):
    """Write `metrics.jsonl`, one line per epoch or validation interval, and `result.json` at the end of training.

    A resumed run keeps the earlier lines, and their training time counts.

    Args:
        recipe: hash of the recipe, see `openmix.config_hash.config_hash`.
    """

    # Runs after the CheckpointHook, which may still save at the end: a result means that everything is done.
    priority = 'LOWEST'

    def __init__(self, recipe: str = '') -> None:
        self.provenance = Provenance(recipe, None)
        self.rows: dict[int, Row] = {}
        self.right: dict[str, Right] = {}
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
        """Read the rows up to the iteration to resume from; rename a damaged file and keep its good lines."""
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
            self.right = _right(runner, metrics or {})

    def _add(self, runner: Any, metrics: Mapping[str, float]) -> None:
        """Add metrics to the row of the current iteration; a new row starts with the training statistics.

        Raises:
            InputError: a metric has the same name as an output of the model's loss.
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
        """Return the hash of the recipe in the run's result; '' if it is unknown."""
        return self._provenance_of(earlier_plans(runner.message_hub)).recipe if self.provenance.recipe else ''

    def _provenance_of(self, plans: Sequence[Mapping[str, Any]]) -> Provenance:
        """Return the provenance; changing the length of a run on resume changes its hash."""
        if not plans:
            return self.provenance
        recipe = hashlib.sha256(json.dumps([self.provenance.recipe, *plans]).encode()).hexdigest()[:12]
        return self.provenance._replace(recipe=recipe)

    def elapsed(self) -> float:
        """Return the seconds of training so far, including those before a resume."""
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
            **({'right': {name: right._asdict() for name, right in self.right.items()}} if self.right else {}),
            'seed': runner.seed,
            **self._provenance_of(plans).as_dict(),
            'commit': commit(),
            'environment': environment(),
            'precision': precision_of(runner.optim_wrapper),
            'world_size': runner.world_size,
            **_weights(runner),
            **({'earlier_plans': plans} if plans else {}),
            'duration_s': round(self.elapsed(), 1),
            **_minutes_per_epoch(runner),
            'iterations': runner.iter,
            'epochs': round(runner.iter / len(runner.train_dataloader), 3),
            'ended_early': runner.iter < runner.max_iters,
            'finished': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        }
        path = Path(runner.work_dir) / 'result.json'
        runner.check_claim()
        write_text(path, json.dumps(result, indent=1) + '\n')
        runner.logger.info(f'Result: {path}')


def _right(runner: Any, metrics: Mapping[str, float]) -> dict[str, Right]:
    """Return the images that each metric of a validation counts as right; what another validation left is dropped."""
    kept = runner.message_hub.runtime_info.get(RIGHT, {})
    return {
        name: right for name, right in kept.items() if name in metrics and math.isclose(right.accuracy(), metrics[name])
    }


def _minutes_per_epoch(runner: Any) -> dict[str, float]:
    """Return the minutes of training of an epoch, without its validation; empty without a timer."""
    seconds = measures.seconds_per_iteration(runner)
    return {} if seconds is None else {'minutes_per_epoch': round(seconds * len(runner.train_dataloader) / 60, 5)}


def _weights(runner: Any) -> dict[str, Any]:
    """Return the entry about the run's initial weights; for weights of another run also its recipe and seed."""
    start = {key: value for key, value in (runner.cfg.get('weights') or {}).items() if value is not None}
    taken = start.pop('taken', {})
    return {'weights': start | dict(taken)} if start else {}
