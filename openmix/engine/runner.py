"""mmengine's Runner: atomic and strict checkpoints, loops that resume exactly, gloo where there is no GPU."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner as MMRunner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from openmix.algorithm import Algorithm, algorithm_of, limit_labels
from openmix.engine.checkpoint import Checkpoint, check_weights, load_checkpoint, with_own_training_parts
from openmix.engine.claim import Claim
from openmix.engine.compiling import compile_backbone, compile_options
from openmix.engine.data_check import built_classes, check_built, check_loader_of, differing, trained_classes
from openmix.engine.data_parallel import data_parallel
from openmix.engine.device_data import hold_on_device
from openmix.engine.environment import in_short
from openmix.engine.facts_of_run import facts_of_run
from openmix.engine.global_batch import match_learning_rate
from openmix.engine.group import join_group
from openmix.engine.initial_weights import InitialWeights
from openmix.engine.loader import build_loader
from openmix.engine.log import LeftOut
from openmix.engine.part_schedules import without_parts
from openmix.engine.precision import settle_precision
from openmix.engine.restart import refuse_together
from openmix.engine.resume import restore
from openmix.engine.run_seed import write_chosen
from openmix.engine.schedules import with_end
from openmix.engine.smallest_batch import try_smallest_batch
from openmix.engine.workers import more_than_cores
from openmix.errors import InputError
from openmix.files import appearing
from openmix.memory import images_in, memories_in
from openmix.provenance import lists_in

_EARLIER = itertools.count()


class Runner(MMRunner):
    """mmengine's runner with the changes that the module names.

    Attributes:
        schedule_iters: length of the schedules in iterations; None: the length of the loop. A dry run trains only
            the first iterations of a longer schedule.
        claim: this training's claim on the run's folder; None: claims are not checked.
        chosen: the checkpoint that the run resumes from, as it was when it was chosen: the file may change later.
        initial: weights that the backbone of a run that is not resumed starts from.
    """

    schedule_iters: int | None = None
    _train_dataloader: Any
    _val_dataloader: Any
    _test_dataloader: Any

    def __init__(self, *args: Any, cfg: Any = None, experiment_name: str | None = None, **kwargs: Any) -> None:
        if earlier := next(_EARLIER):
            # mmengine names the log by the second, so two runs of one process could share a log and records.
            own = experiment_name or Path(vars(cfg).get('_filename') or 'run').stem
            experiment_name = f'{own}-{earlier}'
        super().__init__(*args, cfg=cfg, experiment_name=experiment_name, **kwargs)
        read = ('train', 'val') if self._train_loop is not None else ('test',)
        if (line := more_than_cores(self.cfg, read)) is not None:
            self.logger.warning(line)

    @property
    def planned_iters(self) -> int:
        """The number of iterations of the whole run: the length of the schedules of the optimiser and the policy."""
        return self.schedule_iters or self.max_iters

    @classmethod
    def from_cfg(cls, cfg: Any) -> Any:
        """Build a runner for a recipe; its parts are looked up in OpenMix's registries if it names no scope."""
        cfg.default_scope = cfg.get('default_scope', 'openmix')
        return super().from_cfg(cfg)

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(log_level, log_file, **{'logger_name': 'openmix', **kwargs})
        logger.addFilter(LeftOut())
        return logger

    def _log_env(self, env_cfg: dict) -> None:
        # A short line, because result.json has the environment, and the run's folder the recipe.
        self.logger.info(f'{in_short()}; seed {self.seed}, processes {self.world_size}')

    claim: Claim | None = None
    chosen: Checkpoint | None = None
    initial: InitialWeights | None = None
    _facts: dict[str, Any] | None = None

    def setup_env(self, env_cfg: dict) -> None:
        join_group(self.launcher, env_cfg)
        super().setup_env(env_cfg)

    def check_claim(self) -> None:
        """Check that this training still owns the run's folder; called before every write into it.

        Raises:
            InputError: another training has taken it over.
        """
        if self.claim is not None:
            self.claim.check()

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        if deterministic:
            # In deterministic mode, cuBLAS raises an error at every matrix product without it.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        return build_loader(dataloader, seed, diff_rank_seed)

    def _loader(self, loader: Any, place: str) -> Any:
        """Build a loader from its dict as mmengine's loops do; an error line names `place`, its dotted key."""
        check_loader_of(loader, place)
        if not isinstance(loader, dict):
            return loader
        try:
            return self.build_dataloader(loader, self.seed, self._randomness_cfg.get('diff_rank_seed', False))
        except InputError as error:
            raise InputError(f'{place}: {error}') from error

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        # Without a `type`, mmengine builds its own loops instead of OpenMix's.
        if isinstance(loop, dict) and 'by_epoch' in loop and 'type' not in loop:
            name = 'EpochBasedTrainLoop' if loop['by_epoch'] else 'IterBasedTrainLoop'
            loop = {'type': name, **{k: v for k, v in loop.items() if k != 'by_epoch'}}
        self._train_dataloader = self._loader(self._train_dataloader, 'train_dataloader')
        built: Any = super().build_train_loop(loop)
        try_smallest_batch(self.cfg, built.dataloader, self.world_size)
        algorithm_of(self.model).check_data(built.dataloader.dataset)
        refuse_together(self._refusal_of_images(built.dataloader.dataset) if is_main_process() else None)
        return self._with_data_on_device(built)

    def _refusal_of_images(self, dataset: Any) -> str | None:
        """Write the list of the training images; return the error line if that fails, else None."""
        try:
            self.check_claim()
            lists = list(lists_in(self.cfg.to_dict().get('train_dataloader')))
            write_chosen(dataset, Path(self.work_dir), self._resume, lists)
        except InputError as error:
            return str(error)
        return None

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        self._val_dataloader = self._loader(self._val_dataloader, 'val_dataloader')
        built: Any = super().build_val_loop(loop)
        if isinstance(self._train_loop, BaseLoop):
            trained = built_classes(self.train_dataloader.dataset)
            check_built(built.dataloader.dataset, trained, 'val_dataloader.dataset', 'the training data')
        return self._with_data_on_device(built)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        self._test_dataloader = self._loader(self._test_dataloader, 'test_dataloader')
        return super().build_test_loop(loop)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        built = super().build_model(model)
        if isinstance(built, Algorithm):
            limit_labels(built)
        return built

    def _with_data_on_device(self, loop: Any) -> BaseLoop:
        if self.cfg.get('data_on_device'):
            hold_on_device(loop.dataloader, get_device())
        return loop

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        self._allocate_memories(model)
        if not self.distributed:
            # mmengine replaces torch's SyncBatchNorm, and logs that even if the model has none.
            synced = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
            return super().wrap_model(model_wrapper_cfg, model) if synced else model.to(get_device())
        return data_parallel(model.to(get_device()), self.cfg)

    def _allocate_memories(self, model: nn.Module) -> None:
        """Allocate the `SampleMemory` modules of a model for the training images; not in a run without training."""
        memories, loader = list(memories_in(model)), self._train_dataloader
        if not memories or loader is None:
            return
        loader = self._train_dataloader = self._loader(loader, 'train_dataloader')
        for memory in memories:
            memory.allocate(images_in(loader.dataset, memory.pool))

    def _maybe_compile(self, target: str) -> None:
        # The last thing before the loop: a resumed run has its precision by now.
        settle_precision(self)
        # Only the backbone is compiled; mmengine would compile the whole step, including the policy.
        if (options := compile_options(self.cfg)) is not None:
            compile_backbone(algorithm_of(self.model), options)
            self.logger.info('The backbone is compiled; the first iterations take long')

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        match_learning_rate(self, optim_wrapper, auto_scale_lr)

    def _build_param_scheduler(self, scheduler: Any, optim_wrapper: OptimWrapper) -> list:
        schedules = scheduler if isinstance(scheduler, (list, tuple)) else [scheduler]
        per_epoch = len(self.train_dataloader)
        built: list = []
        for one in schedules:
            of = optim_wrapper
            if isinstance(one, dict):
                one, of = without_parts(with_end(one, self.planned_iters, per_epoch), optim_wrapper)
            built += super()._build_param_scheduler(one, of)
        return built

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint atomically on rank 0; do nothing on the other ranks.

        Raises:
            InputError: it cannot be written; the older checkpoints are unchanged.
        """
        if not is_main_process():
            return
        self.call_hook('read_back')
        path = Path(out_dir) / filename
        self._facts = self._facts or facts_of_run(self)
        meta = {**(kwargs.pop('meta', None) or {}), **self._facts}
        try:
            with appearing(path) as partial_path:
                super().save_checkpoint(out_dir, partial_path.name, *args, meta=meta, **kwargs)
                self.check_claim()  # checked last, because writing takes long
        except OSError as error:
            raise InputError(
                f"cannot write '{path}': {error.strerror}; older checkpoints are kept: "
                'make room and repeat the command with --resume'
            ) from error

    def load_or_resume(self) -> None:
        super().load_or_resume()
        if self.initial is not None and not self._resume:
            self.logger.info(self.initial.load(algorithm_of(self.model)))
        self.initial = None  # frees memory

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Load a model's weights, the moving average if there is one, and return the whole checkpoint, on the CPU.

        Raises:
            InputError: the file cannot be loaded safely, or belongs to another model.
        """
        checkpoint = self._take(filename)
        content = checkpoint.content
        model = algorithm_of(self.model)
        weights = checkpoint.weights if checkpoint.average is None else checkpoint.average
        weights = with_own_training_parts(model, weights)
        check_weights(model.state_dict(), weights, filename)
        content['state_dict'] = weights
        self.call_hook('after_load_checkpoint', checkpoint=content)
        model.load_state_dict(content['state_dict'])
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        self._compare_classes(content, filename)
        return content

    def _compare_classes(self, content: dict, filename: str) -> None:
        """Warn if a run starts from weights that were trained on other classes, because its head has them too."""
        if not isinstance(self._train_loop, BaseLoop):
            return
        theirs, own = trained_classes(content, filename), built_classes(self.train_dataloader.dataset)
        if theirs is not None and own is not None and theirs != own:
            how, _, _ = differing(own, theirs, filename).partition('; ')
            self.logger.warning(f'The head begins with the weights of other classes: {how}')

    def dump_config(self) -> None:
        # An evaluation in a run's folder must not replace the file of the recipe that was trained there.
        if self.cfg.get('train_cfg') is not None:
            # The launcher belongs to the command, and another command may read the file.
            launcher = self.cfg.pop('launcher', None)
            super().dump_config()
            self.cfg.launcher = launcher

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume from a checkpoint, see `openmix.engine.resume.restore`.

        Raises:
            InputError: the file cannot be loaded safely, or does not fit the run.
        """
        checkpoint = self._take(filename)
        restore(self, checkpoint)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        self.logger.info(f'Resumed after iteration {self.iter}, in epoch {self.epoch + 1}')

    def _take(self, filename: str) -> Checkpoint:
        """Return the chosen checkpoint if it has this name, and forget it; else load the file."""
        chosen, self.chosen = self.chosen, None
        return chosen if chosen is not None and str(chosen.path) == str(filename) else load_checkpoint(filename)
