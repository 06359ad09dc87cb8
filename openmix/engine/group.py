"""Join the group of processes that train together."""

from __future__ import annotations

import torch
from mmengine.dist import init_dist, is_distributed
from mmengine.utils.dl_utils import set_multi_processing


def join_group(launcher: str, env_cfg: dict) -> None:
    """Join the process group of a launch; do nothing for a single process, or if the group exists."""
    if launcher == 'none' or is_distributed():
        return
    set_multi_processing(**env_cfg.get('mp_cfg', {}), distributed=True)
    # mmengine's function selects a CUDA device even for gloo.
    if not torch.cuda.is_available():
        torch.distributed.init_process_group('gloo')
    else:
        init_dist(launcher, **env_cfg.get('dist_cfg', {}))
