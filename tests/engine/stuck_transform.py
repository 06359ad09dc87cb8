"""A transform that keeps a loader's worker for ever, as a lost network folder would."""

import time

import torch
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Stuck:
    def __call__(self, image):
        if torch.utils.data.get_worker_info() is not None:
            time.sleep(1000)
        return image
