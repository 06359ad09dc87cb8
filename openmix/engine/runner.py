"""mmengine's Runner, with atomic checkpoints and gloo where there is no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_distributed, is_main_process
from mmengine.runner import Runner as MMRunner

from openmix.files import appearing


class Runner(MMRunner):
    """Stock training, two things apart: see the module."""

    def setup_env(self, env_cfg: dict) -> None:
        # mmengine's own start-up selects a CUDA device even for gloo.
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        if is_main_process():
            with appearing(Path(out_dir) / filename) as partial:
                super().save_checkpoint(out_dir, partial.name, *args, **kwargs)
