"""The hook that calls an algorithm's methods during training."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from openmix.algorithm import algorithm_of
from openmix.registry import HOOKS


# The second name is that of recipes written for earlier versions.
@HOOKS.register_module(name=['AlgorithmHook', 'MixPolicyHook'])
class AlgorithmHook(Hook):
    """Call the algorithm's `read_data` and `start` before the first step, `before_step` and `after_step` around each.

    `before_epoch` is called before the first step of a pass over the training data, and of a resumed run.
    `after_step` is a hook of the optimiser, so with gradient accumulation it is called only after real steps.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None

    def before_train(self, runner: Any) -> None:
        algorithm = algorithm_of(runner.model)
        self.epoch = None
        if runner.iter == 0:
            algorithm.read_data(runner.train_dataloader.dataset)
            algorithm.start()
        runner.optim_wrapper.optimizer.register_step_post_hook(lambda *_: algorithm.after_step())

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        algorithm, epoch = algorithm_of(runner.model), runner.iter // len(runner.train_dataloader)
        if epoch != self.epoch:
            self.epoch = epoch
            algorithm.before_epoch(epoch)
        algorithm.before_step(runner.iter, runner.planned_iters)
