"""Compare two CPU processes with one, for a learned policy with given pairs and shares."""

import json
import math
from pathlib import Path

import pytest
import torch
from nursery import Nursery
from processes import ROOT, all_end

from openmix.engine.checkpoint import read_checkpoint

# Rank r of w takes the samples r, r + w, ... of the global batch: a policy that pairs and weighs by the
# place in the global batch does the same work split or whole.
MODULE = """
import torch
from mmengine.dist import get_rank, get_world_size
from openmix.mixups.learned_mix import LearnedMix
from openmix.models.backbones import ThinResNet
from openmix.registry import MIXUPS, MODELS

@MIXUPS.register_module()
class Placed(LearnedMix):
    turn = 0

    def draw_pairs(self, z, pairs):
        self.turn = 1 - self.turn  # the two tasks draw by turns
        return (torch.arange(len(z)) + (1 + self.turn) * 2 // get_world_size()) % len(z)

    def draw_lam(self, n, device):
        place = torch.arange(n) * get_world_size() + get_rank()
        return 0.05 + 0.9 * ((place * 7 + 3 * self.turn) % 11) / 11

@MODELS.register_module()
class FrozenNorm(ThinResNet):
    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return self
"""

RECIPE = """
_base_ = '{root}/configs/classification/digits/resnet20.py'
custom_imports = dict(imports=['two_process_parts'])
model = dict(
    data_preprocessor=dict(augment=[]),
    backbone=dict(_delete_=True, type='FrozenNorm', depth=8, width=8),
    policy=dict(type='Placed', momentum=0.9, heads='split', variance_weight=1.0),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.05),
    constructor='PartConstructor',
    paramwise_cfg=dict(parts={{'policy.mixer': dict(lr=0.5, lr_end=0.1, clip_grad=dict(max_norm=1.0))}}),
)
param_scheduler = [dict(type='PartCosineAnnealingLR', by_epoch=False, T_max=4, eta_min=0.01, _delete_=True)]
train_dataloader = dict(batch_size={batch})
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=4, val_interval=4)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4), logger=dict(interval=1))
"""


def train(nursery: Nursery, folder: Path, processes: int, batch: int) -> tuple[dict, dict]:
    """Train; return the run's metrics and its checkpoint."""
    folder.mkdir()
    (folder / 'two_process_parts.py').write_text(MODULE)
    recipe = folder / 'recipe.py'
    recipe.write_text(RECIPE.format(root=ROOT, batch=batch))
    words, log = ['train.py', recipe, '--work-dir', folder / 'run'], folder / 'log'
    env = {'PYTHONPATH': str(folder), 'CUDA_VISIBLE_DEVICES': ''}
    all_end(nursery.ranks(processes, words, log, env) if processes > 1 else [nursery.start(words, log, env=env)], 0)
    (path,) = (folder / 'run').glob('iter_*.pth')
    return json.loads((folder / 'run/result.json').read_text())['metrics'], read_checkpoint(path)


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path, nursery):
    (one, a), (two, b) = train(nursery, tmp_path / 'one', 1, 32), train(nursery, tmp_path / 'two', 2, 16)
    assert a['state_dict'].keys() == b['state_dict'].keys()
    assert any(key.startswith('policy.mixer.') for key in a['state_dict'])
    for key, value in a['state_dict'].items():
        other = b['state_dict'][key]
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-6, msg=lambda text, key=key: f'{key}: {text}')
    for name in ('accuracy/top1', 'accuracy/online/top1', 'accuracy/momentum_clean/top1'):
        assert one[name] == pytest.approx(two[name], abs=1e-9)
    # The rates of the last step, each three quarters of the way to its own end.
    rates = [group['lr'] for group in a['optimizer']['param_groups']]
    left = (1 + math.cos(3 * math.pi / 4)) / 2
    assert rates == pytest.approx([0.01 + 0.04 * left, 0.1 + 0.4 * left])
    moved = a['state_dict']['policy.encoder.heads.head.fc.weight'] - a['state_dict']['head.fc.weight']
    assert moved.abs().max() > 0
