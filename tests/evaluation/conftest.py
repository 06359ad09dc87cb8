"""A checkpoint of a small network on digits, which no training has to make."""

import pytest
import torch

from openmix.config import load_config
from openmix.engine import launch
from openmix.registry import MODELS


@pytest.fixture
def digits_checkpoint(tmp_path):
    """Return a checkpoint with initial weights, and the options of its recipe."""
    small = {'model.backbone.depth': 8, 'model.backbone.width': 4}
    torch.manual_seed(0)
    model = MODELS.build(launch.prepare(load_config('classification/digits/resnet20.py', small)).model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'model.pth')
    options = [f'{key}={value}' for key, value in small.items()]
    return tmp_path / 'model.pth', [*options, f'work_dir={tmp_path / "log"}', 'test_dataloader.batch_size=16']
