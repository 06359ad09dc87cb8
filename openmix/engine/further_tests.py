"""Test a model on further images, after those of its recipe."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openmix.engine.data_check import check_built
from openmix.registry import HOOKS, find


def further_tests(
    runner: Any,
    datasets: Mapping[str, Mapping[str, Any]],
    without: Sequence[Mapping[str, Any]],
    classes: Sequence[str] | None,
    others: str,
) -> Iterator[tuple[str, dict[str, float]]]:
    """Test a runner's model on other images, and yield the name of each data set and its metrics.

    Args:
        runner: a runner that has tested its model.
        datasets: name -> registry dict.
        without: registry dicts of hooks that shall not run again.
        classes: the classes that the model was trained on; None: not known.
        others: who has these classes, for the error line.

    Raises:
        InputError: a data set cannot be read, or has other classes.
    """
    measured = tuple(find(HOOKS, hook['type']) for hook in without)
    runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, measured)]
    loader = runner.cfg.to_dict()['test_dataloader']
    for name, dataset in datasets.items():
        runner.logger.info(f'test on {name}')
        runner.test_loop.dataloader = runner._loader(copy.deepcopy({**loader, 'dataset': dict(dataset)}), name)
        check_built(runner.test_loop.dataloader.dataset, classes, name, others)
        yield name, {key: float(value) for key, value in runner.test_loop.run().items()}
