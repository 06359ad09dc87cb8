"""Check that the backbone of every stage can take the weights of the stage before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mmengine.config import Config

from openmix.benchmark.trial import Trial
from openmix.errors import InputError


def check_fits(trials: Iterable[Trial], check: Callable[[Config, Config, str], None]) -> None:
    """Check the backbones of the stages of trials, each pair once.

    Args:
        trials: the trials.
        check: function of a recipe, the recipe of the stage before it, and its name in messages.

    Raises:
        InputError: `check` refuses a pair of stages; the line names the cell.
    """
    seen: set[tuple[str, str]] = set()
    for trial in trials:
        after, before = trial, trial.earlier
        while before is not None:
            pair = after.provenance.recipe, before.provenance.recipe
            if pair not in seen:
                seen.add(pair)
                try:
                    check(after.cell.resolve(), before.cell.resolve(), f'the earlier stage {before.cell.config}')
                except InputError as error:
                    raise InputError(f"table '{trial.cell.table}', cell '{trial.name}': {error}") from error
            after, before = before, before.earlier
