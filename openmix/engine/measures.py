"""The numbers of a run's training, defined once: log, TensorBoard, `metrics.jsonl` and `result.json` take them here.

A point is an iteration. Its losses and times are means over the iterations since the last line of `metrics.jsonl`,
which is the end of the last epoch, or the last validation of a training by iteration. Its learning rate is that of
the last step.
"""

from __future__ import annotations

from typing import Any

_LAST_LINE = 'last_line'
_TRAIN = 'train/'


def set_last_line(runner: Any, iterations: int) -> None:
    """Note that `metrics.jsonl` has a line of this iteration; it is kept in checkpoints."""
    runner.message_hub.update_info(_LAST_LINE, iterations)


def has_last_line(runner: Any) -> bool:
    """Say whether the iteration of the last line is known; a checkpoint of an older openmix does not tell it."""
    return _LAST_LINE in runner.message_hub.runtime_info


def losses(runner: Any, iterations: int) -> dict[str, float]:
    """The mean of every training loss, by its name; empty where nothing was trained since the last line.

    Args:
        iterations: trained so far.
    """
    return {name: value for name, value in _means(runner, iterations).items() if 'loss' in name}


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
    return {k.removeprefix(_TRAIN): float(v.mean(since)) for k, v in scalars.items() if k.startswith(_TRAIN)}
