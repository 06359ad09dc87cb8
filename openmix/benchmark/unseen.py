"""Check that cells are not evaluated on images that one of their earlier stages is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmengine.config import Config

from openmix.benchmark.earlier import PREFIX
from openmix.benchmark.trial import Trial
from openmix.errors import InputError

Check = Callable[[Config, int | None, Mapping[str, Any], int | None, str], list[str]]


def check_stages(trials: Iterable[Trial], check: Check) -> list[str]:
    """Check the validation and test data of every trial against the training data of each of its earlier stages.

    Args:
        trials: the trials.
        check: function of a recipe, its seed, the recipe of an earlier stage, its seed and its name in messages; it
            returns notes.

    Returns:
        the notes.

    Raises:
        InputError: `check` refuses a pair of stages; the line names the cell.
    """
    seen: set[tuple[str, str, bool]] = set()
    notes: dict[str, None] = {}
    for trial in trials:
        stage, before = PREFIX, trial.earlier
        while before is not None:
            pair = trial.provenance.recipe, before.provenance.recipe, trial.seed == before.seed
            if pair not in seen:
                seen.add(pair)
                notes |= dict.fromkeys(_check_pair(trial, before, stage, check))
            stage, before = f'{stage}{PREFIX}', before.earlier
    return list(notes)


def _check_pair(trial: Trial, before: Trial, stage: str, check: Check) -> list[str]:
    recipe = before.cell.resolve()._cfg_dict.to_dict()
    named = f'the earlier stage {before.cell.config}'
    try:
        return check(trial.cell.resolve(), trial.seed, recipe, before.seed, named)
    except InputError as error:
        key = f'{stage}train_dataloader.dataset.val_fraction'
        how = f"; '{key}' in the table's validation does so" if trial.kind == 'search' else ''
        raise InputError(f"table '{trial.cell.table}', cell '{trial.name}': {error}{how}") from error
