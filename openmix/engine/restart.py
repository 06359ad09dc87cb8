"""A run that its launcher starts again, by torchrun after a failure or by Slurm after a requeue."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list

from openmix.engine.checkpoint import Checkpoint
from openmix.engine.checkpoint_folder import checkpoints_in, newest_intact
from openmix.errors import InputError, number_from_environment

# The id that torchrun gives where it was given none.
_NO_ID = 'none'


def launch_id() -> str | None:
    """The id that all starts of one launch share, on every machine and in every process; None without a launcher."""
    if run := os.environ.get('TORCHELASTIC_RUN_ID'):
        return f'torchrun {run}'
    if job := os.environ.get('SLURM_JOB_ID'):
        return f'slurm {job}'
    return None


def unique_launch() -> str | None:
    """`launch_id` where it is this launch's alone; None where torchrun was given no id, or without a launcher."""
    return None if os.environ.get('TORCHELASTIC_RUN_ID') == _NO_ID else launch_id()


def may_be_restart() -> bool:
    """True if this launch may have been started before.

    Torchrun's counter is that of one machine: those that did not fail start again at 0. So an id that
    is this launch's alone counts for more.
    """
    if os.environ.get('TORCHELASTIC_RUN_ID', _NO_ID) != _NO_ID:
        return True
    of_torchrun = 'TORCHELASTIC_RESTART_COUNT'
    return number_from_environment(of_torchrun if os.environ.get(of_torchrun) else 'SLURM_RESTART_COUNT', 0) > 0


def checkpoint_of_launch(folder: Path) -> Checkpoint | None:
    """The newest intact checkpoint of a run's folder if an earlier start of this very launch wrote it.

    Nothing is taken up from another launch: that is asked for by `--resume`.
    """
    launch = launch_id()
    if launch is None or not may_be_restart() or not checkpoints_in(folder):
        return None
    try:
        checkpoint = newest_intact(folder)
    except InputError:
        return None
    return checkpoint if checkpoint.meta.launch == launch else None


def chosen_together(choose: Callable[[], Checkpoint | None]) -> Checkpoint | None:
    """What the processes go on from, chosen in each and held against each other; each of them calls it.

    Raises:
        InputError: in all of them: `choose` raised it, or they differ, as they do where machines do not share the
            run's folder.
    """
    chosen, refusal = None, None
    try:
        chosen = choose()
    except InputError as error:
        refusal = str(error)
    mine = 'none' if chosen is None else f'{chosen.path} after iteration {chosen.meta.iteration}'
    of_all = all_gather_object((refusal, mine))
    if refusals := [told for told, _ in of_all if told is not None]:
        raise InputError(refusal or refusals[0])
    if len(found := {one for _, one in of_all}) > 1:
        raise InputError(
            f'the processes would go on from different checkpoints ({", ".join(sorted(found))}); '
            'give a --work-dir that all machines share'
        )
    return chosen


def refuse_together(refusal: str | None) -> None:
    """Raise in every process what the first one has to object; each of them calls it.

    Raises:
        InputError: there is something.
    """
    heard = [refusal]
    # Without it the others would wait for the first.
    broadcast_object_list(heard)
    if heard[0] is not None:
        raise InputError(heard[0])
