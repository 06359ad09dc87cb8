"""Check that a recipe's algorithm gives the predictions that its metrics read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from mmengine.config import Config

from openmix.algorithm import Algorithm
from openmix.engine.blame import line_of
from openmix.errors import InputError
from openmix.registry import METRICS, MODELS, find


@runtime_checkable
class Reader(Protocol):
    """A metric class that declares in `reads` which predictions it reads, see `Algorithm.answers`."""

    reads: frozenset[str]


def check_metrics(cfg: Config) -> None:
    """Check that the algorithm gives the predictions that each metric reads; a metric without `reads` is not checked.

    Raises:
        InputError: a prediction is missing; the line names metric and algorithm.
    """
    for part in ('val', 'test'):
        place = f'{part}_evaluator'
        for metric in _metrics(cfg.get(place) or []):
            found = find(METRICS, metric.get('type'))
            if isinstance(found, Reader):
                check_answers(cfg, found.reads, place, str(metric['type']))


def _metrics(evaluator: Any) -> list[Any]:
    """List the registry dicts of an evaluator's metrics; it may be one metric, a list, or a dict with a list."""
    if not isinstance(evaluator, Mapping):
        return list(evaluator)
    return list(evaluator['metrics']) if 'type' not in evaluator else [evaluator]


def check_answers(cfg: Config, wanted: Collection[str], place: str, reader: str) -> None:
    """Check that the algorithm of a recipe gives certain predictions.

    Args:
        cfg: recipe.
        wanted: names of the predictions.
        place: dotted key of the reader in the recipe, '' for none.
        reader: name of the reader, for the error line.

    Raises:
        InputError: a prediction is missing; the line names it and the algorithm's predictions.
    """
    algorithm = find(MODELS, cfg.model.get('type'))
    if not (isinstance(algorithm, type) and issubclass(algorithm, Algorithm)) or set(wanted) <= algorithm.answers:
        return
    lacking = _listed(sorted(set(wanted) - algorithm.answers))
    given = _listed(sorted(algorithm.answers)) or 'nothing (its `answers` is empty)'
    line = f'{reader} reads {lacking}, and {algorithm.__name__} answers {given}; {_remedy(place)}'
    raise InputError(line_of(cfg, place, line))


def _remedy(place: str) -> str:
    """Say what to do about a reader at `place`; an evaluator is often inherited, so it cannot just be left out."""
    part, evaluator, _ = place.partition('_evaluator')
    if not evaluator:
        return 'leave it out'
    none = ' = '.join(f'{part}_{key}' for key in ('cfg', 'dataloader', 'evaluator'))
    return f'take a metric that reads what it answers, or set {none} = None'


def _listed(names: list[str]) -> str:
    return ' and '.join(map(repr, names))
