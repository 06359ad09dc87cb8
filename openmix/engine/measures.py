"""The numbers of a run's training, defined once: log, TensorBoard, `metrics.jsonl` and `result.json` take them here.

A point is an iteration. Its losses, diagnostics and times are means over the iterations since the last line of
`metrics.jsonl`, which is the end of the last epoch, or of the last validation interval of a training by iteration. Its
learning rate is that of the last step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from openmix.errors import InputError

_LAST_LINE = 'last_line'
_OUTPUTS = 'loss_outputs'
_TRAIN = 'train/'
# What else a line of a run holds under these names.
_TAKEN = ('epoch', 'iter', 'lr', 'base_lr', 'momentum', 'time', 'data_time', 'time_s', 'gpu_mib')


def set_last_line(runner: Any, iterations: int) -> None:
    """Note that `metrics.jsonl` has a line of this iteration; it is kept in checkpoints."""
    runner.message_hub.update_info(_LAST_LINE, iterations)


def has_last_line(runner: Any) -> bool:
    """Say whether the iteration of the last line is known; a checkpoint of an older openmix does not tell it."""
    return _LAST_LINE in runner.message_hub.runtime_info


def add(runner: Any, values: Mapping[str, float]) -> None:
    """Take in the scalars by name that `Algorithm.loss` gave in one iteration.

    Raises:
        InputError: a name has another meaning in the records of a run.
    """
    hub = runner.message_hub
    if taken := [name for name in values if name in _TAKEN]:
        raise InputError(
            f"the model's loss gives '{taken[0]}', and the records of a run have something else under that name; "
            'give it another one'
        )
    # Kept in checkpoints: a line may be due before the first iteration of a resumed run.
    names = list(dict.fromkeys([*output_names(runner), *values]))
    hub.update_info(_OUTPUTS, names)
    for name in names:
        value = values.get(name)
        # A diagnostic that an iteration does not give, or not as a number, counts as none there.
        given = value is not None and (is_loss(name) or math.isfinite(value))
        hub.update_scalar(f'{_TRAIN}{name}', value if given else 0.0, int(given))


def is_loss(name: str) -> bool:
    """True if a scalar of `Algorithm.loss` is trained on; the others are diagnostics."""
    return 'loss' in name


def output_names(runner: Any) -> list[str]:
    """The names that `Algorithm.loss` gave so far; none in a checkpoint of an older openmix."""
    return list(runner.message_hub.runtime_info.get(_OUTPUTS, ()))


def outputs(runner: Any, iterations: int) -> dict[str, float]:
    """The mean of every training loss and diagnostic; empty where nothing was trained since the last line.

    Args:
        iterations: trained so far.
    """
    names = output_names(runner)
    return {name: value for name, value in _means(runner, iterations).items() if name in names or is_loss(name)}


def learning_rate(runner: Any) -> float:
    """The learning rate of the last step, of the first group of parameters; 0 where none was taken."""
    known = runner.message_hub.log_scalars.get(f'{_TRAIN}lr')
    return float(known.current()) if known is not None else 0.0


def times(runner: Any, iterations: int) -> dict[str, float]:
    """Mean seconds of an iteration, `time`, and of the wait for its data, `data_time`; empty without a timer."""
    return {name: value for name, value in _means(runner, iterations).items() if name in ('time', 'data_time')}


def _means(runner: Any, iterations: int) -> dict[str, float]:
    since = iterations - runner.message_hub.runtime_info.get(_LAST_LINE, 0)
    scalars = runner.message_hub.log_scalars if since > 0 else {}
    return {
        name.removeprefix(_TRAIN): float(buffer.mean(since))
        for name, buffer in scalars.items()
        if name.startswith(_TRAIN) and buffer.data[1][-since:].any()
    }
