"""The hook that saves checkpoints and deletes old ones."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from openmix.engine.checkpoint_folder import LATEST, POINTER, last_good, prune, retire
from openmix.engine.stopping import StopRequest, command_to_resume
from openmix.errors import InputError, Stopped, nearest
from openmix.files import remove_partial, write_text
from openmix.metrics import lower_is_better
from openmix.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Save checkpoints so that a run can be killed at any moment and resumed with the same results.

    A checkpoint is the state after an iteration. It is written atomically, and older ones are deleted only after
    that. With gradient accumulation it is saved after the next step of the optimiser. The checkpoint at the end of
    an epoch is saved before the epoch's validation, which a resumed run repeats.

    On SIGTERM, SIGINT and SIGHUP a checkpoint is saved and the run stops: during training after the current
    iteration; during validation at once if the state is already saved, else after the next training iteration.
    Several processes agree on it after a training iteration. A run that a hook ends early with `stop_training` is
    saved at its end; gradients of an incomplete accumulation are dropped.

    Args:
        interval: epochs or iterations between two checkpoints; -1: only the last one.
        by_epoch: count epochs, and name files `epoch_<N>.pth`; False: iterations, and `iter_<N>.pth`.
        minutes: also save after this many minutes, as `latest.pth`, which the next checkpoint replaces.
        max_keep_ckpts: number of `epoch_<N>.pth` or `iter_<N>.pth` to keep; -1: all.
        save_last: save after the last iteration, also of a run that ends early, whatever the interval.
        save_begin: first epoch or iteration that is saved.
        save_best: a metric, such as 'accuracy/top1': the weights with its best value are kept as
            `best_<metric>.pth`. For a loss, nll or error the lowest value is the best.

    Raises:
        InputError: an argument is out of range; during training, weights are not finite.
        Stopped: a signal arrived and the run is saved.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        minutes: float | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_begin: int = 0,
        save_best: str | None = None,
    ) -> None:
        for name, value in (('interval', interval), ('max_keep_ckpts', max_keep_ckpts)):
            if value != -1 and value < 1:
                raise InputError(f'CheckpointHook: {name} must be >= 1, or -1, got {value}')
        if minutes is not None and minutes <= 0:
            raise InputError(f'CheckpointHook: minutes must be > 0, or None, got {minutes}')
        self.interval, self.by_epoch, self.minutes = interval, by_epoch, minutes
        self.max_keep_ckpts, self.save_last, self.save_begin = max_keep_ckpts, save_last, save_begin
        self.save_best = save_best
        self.stop = StopRequest()
        self._due: str | None = None
        self._saved_at = 0.0
        self._saved_iter = 0

    def before_train(self, runner: Any) -> None:
        if is_main_process():
            remove_partial(Path(runner.work_dir))
            how = f'goes on from iteration {runner.iter}' if runner.iter else 'starts anew'
            for path in retire(Path(runner.work_dir), beyond=runner.iter):
                runner.logger.warning(f'This run {how}; a checkpoint that is not of it is now {path}')
        self._saved_at = time.monotonic()
        self.stop.listen()
        runner.logger.info(f'Checkpoints go to {runner.work_dir}')

    def after_train(self, runner: Any) -> None:
        self.stop.forget()
        # Only a run that ended early gets here without its last checkpoint.
        if self.save_last and self._saved_iter != runner.iter < runner.max_iters:
            self.save(runner, self._name(runner, runner.iter), runner.epoch, runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        iterations = runner.iter + 1
        self._due = self._name_if_due(runner, iterations) or self._due
        stop = self.stop.agreed(iterations)
        minutes = (time.monotonic() - self._saved_at) / 60
        rolling = stop is not None or (self.minutes is not None and minutes >= self.minutes)
        if not (self._due or rolling):
            return
        # Within an accumulation the state would include gradients, which differ between ranks.
        if iterations % accumulation(runner) and iterations < runner.max_iters:
            return
        self.save(runner, self._due or LATEST, runner.epoch, iterations)
        self._due = None
        if stop is not None:
            self._leave(iterations, stop)

    def _leave(self, iterations: int, stop: int) -> None:
        self.stop.forget()
        raise Stopped(f'saved after iteration {iterations}; go on with: {command_to_resume()}', stop)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        stop = self.stop.alone()
        # Nothing was trained since the checkpoint, so a resumed run starts with this validation.
        if stop is not None and runner.iter == self._saved_iter:
            self._leave(runner.iter, stop)

    def _name_if_due(self, runner: Any, iterations: int) -> str | None:
        """Return the name of the file to write after this iteration by the interval; None if none is due."""
        per_epoch = len(runner.train_dataloader)
        done, left = divmod(iterations, per_epoch) if self.by_epoch else (iterations, 0)
        at_interval = self.interval > 0 and left == 0 and done % self.interval == 0 and done >= self.save_begin
        if not (at_interval or (self.save_last and iterations == runner.max_iters)):
            return None
        return self._name(runner, iterations)

    def _name(self, runner: Any, iterations: int) -> str:
        """Return the name of the checkpoint after a number of iterations."""
        per_epoch = len(runner.train_dataloader)
        return f'epoch_{-(-iterations // per_epoch)}.pth' if self.by_epoch else f'iter_{iterations}.pth'

    def save(self, runner: Any, name: str, epoch: int, iterations: int) -> None:
        """Write the current state, record it as the newest, and delete older ones.

        Args:
            runner: the runner.
            name: name of the file.
            epoch: epoch that a resumed run continues with.
            iterations: number of iterations trained.
        """
        folder = Path(runner.work_dir)
        check_finite(runner, iterations)
        meta = dict(epoch=epoch, iter=iterations, batches_per_epoch=len(runner.train_dataloader))
        runner.save_checkpoint(str(folder), name, meta=meta)
        self._saved_at, self._saved_iter = time.monotonic(), iterations
        if not is_main_process():
            return
        runner.check_claim()
        write_text(folder / POINTER, str(folder / name))
        if self.max_keep_ckpts > 0:
            prune(folder, self.max_keep_ckpts, written=(name,))
        if name != LATEST:
            (folder / LATEST).unlink(missing_ok=True)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if self.save_best is None or not metrics:
            return
        if self.save_best not in metrics:
            raise InputError(
                f"CheckpointHook: no metric '{self.save_best}' for save_best; {nearest(self.save_best, metrics)}"
            )
        value, hub = float(metrics[self.save_best]), runner.message_hub
        sign = -1 if lower_is_better(self.save_best) else 1
        if math.isnan(value):
            return
        if 'best_score' in hub.runtime_info and sign * value <= sign * hub.get_info('best_score'):
            return
        hub.update_info('best_score', value)
        meta = dict(epoch=runner.epoch, iter=runner.iter, best={self.save_best: value})
        name = f'best_{self.save_best.replace("/", "_")}.pth'
        runner.save_checkpoint(runner.work_dir, name, meta=meta, save_optimizer=False, save_param_scheduler=False)


def accumulation(runner: Any) -> int:
    """Return the number of iterations per step of the optimiser."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)


def check_finite(runner: Any, iterations: int) -> None:
    """Check that all weights are finite, because saving others could replace the last usable checkpoint.

    Raises:
        InputError: a value is not finite; the line names the first such parameter or buffer.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            kept = last_good(Path(runner.work_dir))
            raise InputError(f"'{name}' is not finite after iteration {iterations}, nothing is saved; {kept}")
