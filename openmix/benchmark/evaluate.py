"""Measure the checkpoints of a table's finished trials, without training again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from openmix.benchmark.evaluations import evaluation_path, is_current, read_evaluation
from openmix.benchmark.trial import Trial
from openmix.errors import InputError
from openmix.files import write_text
from openmix.measurements import Measurement, with_metrics

# Measures a checkpoint of a recipe: (recipe, checkpoint, measurements) -> metrics.
Measure = Callable[[Config, Path, Sequence[Measurement]], dict[str, float]]


def check_finished(trials: Sequence[Trial], asked: Sequence[Measurement], to_train: str) -> None:
    """Check that there is something to measure.

    Args:
        trials: the trials of the chosen cells.
        asked: what to measure.
        to_train: command that trains them, for the message.

    Raises:
        InputError: nothing is asked for, or no trial is finished.
    """
    if not asked:
        raise InputError(
            'say what to measure: --attack, --corruptions, --occlusion, --calibration or --mixed-accuracy; '
            '--help shows what they take'
        )
    if not any(trial.kind == 'final' and trial.state() == 'done' for trial in trials):
        raise InputError(f'none of the {len(trials)} chosen trials is finished; train them: {to_train}')


def evaluate_trials(
    trials: Sequence[Trial],
    asked: Sequence[Measurement],
    measure: Measure,
    facts: Mapping[str, object],
    say: Callable[[str], None],
) -> int:
    """Measure the last checkpoint of every finished trial, and write `evaluations/<name>.json` into its folder.

    What was measured before, of the same run and checkpoint, is left alone. What a classifier cannot have is told.

    Args:
        trials: the trials of the chosen cells; those that share a folder are measured once.
        asked: what to measure.
        measure: does it.
        facts: commit and machine, for the files.
        say: prints one line.

    Returns:
        The number of finished trials without a checkpoint.

    Raises:
        InputError: none of the finished trials has a checkpoint, or one cannot be measured; the line names it.
    """
    done = {trial.folder: trial for trial in trials if trial.kind == 'final' and trial.state() == 'done'}
    there = {folder: found for folder, trial in done.items() if (found := trial.last_checkpoint()) is not None}
    if not there:
        raise InputError(f'none of the {len(done)} finished trials has a checkpoint; train them again to evaluate them')
    for folder, trial in done.items():
        if folder not in there:
            say(f'{trial.name}: no checkpoint in {folder}')
            continue
        lacking = [one for one in asked if not _is_there(trial, one)]
        if not lacking:
            say(f'{trial.name}: evaluated before')
            continue
        metrics = _measured(trial, there[folder], lacking, measure)
        shown = []
        for one in lacking:
            if not one.of_it(metrics):
                shown.append(f'no {", ".join(one.columns)}, {one.none_if}')
            _write(trial, there[folder], one, metrics, facts)
            if not one.of_it(metrics):
                continue
            shown += [f'{name} {metrics[key]:.2f}' for name, key in one.columns.items()]
        say(f'{trial.name}: {", ".join(shown)}')
    return len(done) - len(there)


def _is_there(trial: Trial, asked: Measurement) -> bool:
    try:
        found = read_evaluation(evaluation_path(trial, asked.name))
    except InputError:  # a damaged file is written anew
        return False
    return is_current(found, trial) and found is not None and set(asked.columns) <= {*found.columns, *found.none}


def _measured(trial: Trial, checkpoint: Path, asked: Sequence[Measurement], measure: Measure) -> dict[str, float]:
    cfg = trial.cell.resolve()
    if cfg.get('test_evaluator') is not None:
        cfg.test_evaluator = with_metrics(cfg.test_evaluator, asked)
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': trial.seed}
    try:
        metrics = measure(cfg, checkpoint, asked)
    except InputError as error:
        raise InputError(f'{trial.name}: {error}') from error
    for one in asked:
        for key in one.columns.values():
            if key not in metrics and (one.of_it(metrics) or not one.none_if):
                raise InputError(f"{trial.name}: its test gives no '{key}'")
    return metrics


def _write(
    trial: Trial, checkpoint: Path, asked: Measurement, metrics: dict[str, float], facts: Mapping[str, object]
) -> None:
    result = trial.result()
    assert result is not None
    accuracy = {key: value for key, value in metrics.items() if key.startswith('accuracy/')}
    found = {
        'config_hash': result.config_hash,
        'checkpoint': checkpoint.name,
        'columns': asked.columns if asked.of_it(metrics) else {},
        'none': [] if asked.of_it(metrics) else list(asked.columns),
        'options': asked.options,
        'measured_by': asked.hook or asked.metric or asked.files,
        'metrics': {**accuracy, **asked.of_it(metrics)},
        **facts,
        'finished': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
    }
    path = evaluation_path(trial, asked.name)
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps(found, indent=1) + '\n')
