"""Two CPU processes against one: the same step with an injected `Mix`; different draws without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from openmix.engine.checkpoint import read_checkpoint

ROOT = Path(__file__).parent.parent.parent

# Rank r of w takes the samples r, r + w, ... of the global batch: a policy that pairs and weighs by the
# place in the global batch does the same work split or whole.
MODULE = """
import os
from pathlib import Path
import torch
from mmengine.dist import get_rank, get_world_size
from openmix.mix import Mix
from openmix.mixups import MixPolicy, Mixup
from openmix.models.backbones import ThinResNet
from openmix.registry import MIXUPS, MODELS

@MIXUPS.register_module()
class Injected(MixPolicy):
    def forward(self, z, probe=None, pairs=None):
        slices = 2 // get_world_size()
        n = torch.arange(len(z))
        place = n * get_world_size() + get_rank()
        lam = 0.05 + 0.9 * ((place * 7) % 11) / 11
        mix = Mix.pairs((n + slices) % len(z), lam)
        return mix.blend(z), mix

@MIXUPS.register_module()
class Recorded(Mixup):
    def forward(self, z, probe=None, pairs=None):
        z, mix = super().forward(z, probe, pairs)
        torch.save(mix.lam, Path(os.environ['RECORD']) / f'rank{get_rank()}.pt')
        return z, mix

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
    backbone=dict(_delete_=True, type='{backbone}', depth=8, width=8),
    policy=dict(type='{policy}'),
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
train_dataloader = dict(batch_size={batch})
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={iters}, val_interval={iters})
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={iters}), logger=dict(interval=1))
"""


def launch(call: list[str], folder: Path, *options: str) -> subprocess.CompletedProcess:
    env = {**os.environ, 'PYTHONPATH': str(folder), 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable}
    env |= {'RECORD': str(folder), 'CUDA_VISIBLE_DEVICES': ''}
    work_dir = ['--work-dir', str(folder / 'run')]
    return subprocess.run([*call, *work_dir, *options], env=env, capture_output=True, text=True, timeout=300)


def train(folder: Path, policy: str, processes: int, batch: int, iters: int, backbone: str = 'FrozenNorm') -> dict:
    folder.mkdir()
    (folder / 'two_process_parts.py').write_text(MODULE)
    recipe = folder / 'recipe.py'
    recipe.write_text(RECIPE.format(root=ROOT, policy=policy, batch=batch, iters=iters, backbone=backbone))
    if processes > 1:
        call = [str(ROOT / 'tools/dist_train.sh'), str(recipe), str(processes)]
    else:
        call = [sys.executable, str(ROOT / 'tools/train.py'), str(recipe)]
    done = launch(call, folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / 'run/result.json').read_text())


def weights(folder: Path) -> dict:
    (path,) = (folder / 'run').glob('iter_*.pth')
    return read_checkpoint(path)['state_dict']


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path):
    one = train(tmp_path / 'one', 'Injected', processes=1, batch=32, iters=4)
    two = train(tmp_path / 'two', 'Injected', processes=2, batch=16, iters=4)
    assert two['world_size'] == 2
    a, b = weights(tmp_path / 'one'), weights(tmp_path / 'two')
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-6, msg=lambda text, key=key: f'{key}: {text}')
    # 355 test images do not divide evenly over batches and ranks; repeats are counted once.
    assert one['metrics']['accuracy/top1'] == pytest.approx(two['metrics']['accuracy/top1'], abs=1e-9)
    assert one['metrics']['accuracy/nll'] == pytest.approx(two['metrics']['accuracy/nll'], rel=1e-4)


@pytest.mark.slow
def test_ranks_validate_the_model_that_is_saved(tmp_path):
    """With batch norm in training mode each rank has statistics of its own."""
    trained = train(tmp_path / 'run', 'Mixup', processes=2, batch=16, iters=3, backbone='ThinResNet')
    (checkpoint,) = (tmp_path / 'run/run').glob('iter_*.pth')
    tested = []
    for processes in ('1', '2'):
        call = [str(ROOT / 'tools/dist_test.sh'), str(tmp_path / 'run/recipe.py'), str(checkpoint), processes]
        done = launch(call, tmp_path / 'run', '--out', str(tmp_path / f'{processes}.json'))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        tested.append(json.loads((tmp_path / f'{processes}.json').read_text())['metrics'])
    for metrics in tested:
        assert metrics['accuracy/top1'] == trained['metrics']['accuracy/top1']
        assert metrics['accuracy/nll'] == pytest.approx(trained['metrics']['accuracy/nll'], rel=1e-6)


@pytest.mark.slow
def test_ranks_draw_different_shares(tmp_path):
    train(tmp_path / 'run', 'Recorded', processes=2, batch=16, iters=1)
    lam = [torch.load(tmp_path / 'run' / f'rank{rank}.pt', weights_only=True) for rank in (0, 1)]
    assert not (lam[0] == lam[1]).any()
