"""A transform that never returns, like a read from a lost network folder."""

import time

import torch
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Stuck:
    def __call__(self, image):
        if torch.utils.data.get_worker_info() is not None:
            time.sleep(1000)
        return image
