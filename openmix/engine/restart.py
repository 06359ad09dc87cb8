"""Continue a run that its launcher restarts: torchrun after a failure, or Slurm after a requeue."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list

from openmix.engine.checkpoint import Checkpoint
from openmix.engine.checkpoint_folder import checkpoints_in, newest_intact
from openmix.errors import InputError, number_from_environment

# The id that torchrun uses if none is given.
_NO_ID = 'none'


def launch_id() -> str | None:
    """Return the id of this launch, the same in all processes and restarts; None without a launcher."""
    if run := os.environ.get('TORCHELASTIC_RUN_ID'):
        return f'torchrun {run}'
    if job := os.environ.get('SLURM_JOB_ID'):
        return f'slurm {job}'
    return None


def unique_launch() -> str | None:
    """Return `launch_id` if it is unique; None if torchrun was given no id, or without a launcher."""
    return None if os.environ.get('TORCHELASTIC_RUN_ID') == _NO_ID else launch_id()


def may_be_restart() -> bool:
    """Return true if this may be a restart of the launch.

    Torchrun counts restarts per machine, and machines that did not fail restart with 0. So with a unique id the
    answer is always true.
    """
    if os.environ.get('TORCHELASTIC_RUN_ID', _NO_ID) != _NO_ID:
        return True
    of_torchrun = 'TORCHELASTIC_RESTART_COUNT'
    return number_from_environment(of_torchrun if os.environ.get(of_torchrun) else 'SLURM_RESTART_COUNT', 0) > 0


def checkpoint_of_launch(folder: Path) -> Checkpoint | None:
    """Return the newest intact checkpoint of a run's folder if an earlier start of the same launch wrote it.

    Checkpoints of another launch are not used; that needs `--resume`.
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
    """Choose the checkpoint to resume from in every process, and compare the choices; every process must call it.

    Raises:
        InputError: in all processes: `choose` raised it in one of them, or the choices differ, as they do if the
            machines do not share the run's folder.
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
    """Raise the first process's refusal in every process; every process must call it.

    Args:
        refusal: the error line in the first process; None if there is none.

    Raises:
        InputError: the first process refuses.
    """
    heard = [refusal]
    # Otherwise the other processes would wait for the first forever.
    broadcast_object_list(heard)
    if heard[0] is not None:
        raise InputError(heard[0])
