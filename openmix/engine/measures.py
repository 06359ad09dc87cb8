"""The training statistics of a run, defined once for the log, TensorBoard, `metrics.jsonl` and `result.json`.

They are given by iteration. Losses, diagnostics and times are means over the iterations since the last line of
`metrics.jsonl`, that is since the end of the last epoch, or of the last validation interval in training by iteration.
The learning rate is that of the last step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from openmix.errors import InputError
from openmix.metrics import TAKEN, is_loss

_LAST_LINE = 'last_line'
_OUTPUTS = 'loss_outputs'
_TRAIN = 'train/'


def set_last_line(runner: Any, iterations: int) -> None:
    """Record that `metrics.jsonl` has a line for this iteration; checkpoints store it."""
    runner.message_hub.update_info(_LAST_LINE, iterations)


def has_last_line(runner: Any) -> bool:
    """Return true if the iteration of the last line is known; checkpoints of older versions do not store it."""
    return _LAST_LINE in runner.message_hub.runtime_info


def add(runner: Any, values: Mapping[str, float]) -> None:
    """Record the scalars that `Algorithm.loss` returned in one iteration, by name.

    Raises:
        InputError: a name has another meaning in the records of a run.
    """
    hub = runner.message_hub
    check_free(values)
    # Stored in checkpoints, because a line may be due before the first iteration of a resumed run.
    names = list(dict.fromkeys([*output_names(runner), *values]))
    hub.update_info(_OUTPUTS, names)
    for name in names:
        value = values.get(name)
        # A diagnostic that is missing or not finite in an iteration does not count in the mean.
        given = value is not None and (is_loss(name) or math.isfinite(value))
        hub.update_scalar(f'{_TRAIN}{name}', value if given else 0.0, int(given))


def check_free(names: Iterable[str]) -> None:
    """Raise an `InputError` if a scalar of `Algorithm.loss` has a name that the records of a run use otherwise."""
    if taken := [name for name in names if name in TAKEN]:
        raise InputError(
            f"the model's loss gives '{taken[0]}', and the records of a run have something else under that name; "
            'give it another one'
        )


def output_names(runner: Any) -> list[str]:
    """Return the names that `Algorithm.loss` has returned so far; none in a checkpoint of an older version."""
    return list(runner.message_hub.runtime_info.get(_OUTPUTS, ()))


def outputs(runner: Any, iterations: int) -> dict[str, float]:
    """Compute the mean of every training loss and diagnostic; empty if nothing was trained since the last line.

    Args:
        runner: the runner.
        iterations: number of iterations trained.
    """
    names = output_names(runner)
    return {name: value for name, value in _means(runner, iterations).items() if name in names or is_loss(name)}


def learning_rate(runner: Any) -> float:
    """Return the learning rate of the first parameter group in the last step; 0 before the first step."""
    known = runner.message_hub.log_scalars.get(f'{_TRAIN}lr')
    return float(known.current()) if known is not None else 0.0


def times(runner: Any, iterations: int) -> dict[str, float]:
    """Compute the mean seconds per iteration, `time`, and of waiting for data, `data_time`; empty without a timer."""
    return {name: value for name, value in _means(runner, iterations).items() if name in ('time', 'data_time')}


def seconds_per_iteration(runner: Any) -> float | None:
    """Compute the mean seconds of an iteration of the whole run, before a resume too; None without a timer."""
    buffer = runner.message_hub.log_scalars.get(f'{_TRAIN}time')
    return None if buffer is None or not buffer.data[1].any() else float(buffer.mean(len(buffer.data[0])))


def _means(runner: Any, iterations: int) -> dict[str, float]:
    since = iterations - runner.message_hub.runtime_info.get(_LAST_LINE, 0)
    scalars = runner.message_hub.log_scalars if since > 0 else {}
    return {
        name.removeprefix(_TRAIN): float(buffer.mean(since))
        for name, buffer in scalars.items()
        if name.startswith(_TRAIN) and buffer.data[1][-since:].any()
    }
