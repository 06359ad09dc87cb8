"""Ties a policy's own duties, attach and after_step, to the training loop."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from openmix.registry import HOOKS


@HOOKS.register_module()
class MixPolicyHook(Hook):
    """Calls `policy.attach` before the first step, `policy.before_step` and `policy.after_step` around every one.

    The optimiser makes the last call, so it falls on real steps only when gradients accumulate.
    """

    def before_train(self, runner: Any) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if runner.iter == 0:
            model.policy.attach(model)
        runner.optim_wrapper.optimizer.register_step_post_hook(lambda *_: model.policy.after_step(model))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.policy.before_step(runner.iter, runner.planned_iters)
