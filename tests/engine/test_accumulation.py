"""Compare accumulated gradients with those of the larger batch, with frozen batch norm."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from torch import nn

from openmix.engine.amp import AutocastOptimWrapper
from openmix.mix import Mix
from openmix.mixups import MixPolicy
from openmix.models.backbones import ThinResNet
from openmix.registry import MODELS

SLICE, SLICES = 4, 5  # the last window of two is incomplete
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 is scaled on GPUs only')


class InSlices(MixPolicy):
    """Mix every slice of 4 separately, so that one batch of 8 is mixed like two batches of 4."""

    def forward(self, z, context=None, pairs=None):
        n = torch.arange(len(z), device=z.device)
        mix = Mix.pairs(n // SLICE * SLICE + (n + 1) % SLICE, 0.1 + 0.2 * (n % SLICE))
        return mix.blend(z), mix


class FrozenNorm(ThinResNet):
    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def trained(accumulated, wrapper_type=OptimWrapper, dtype=torch.float64, device='cpu', **kwargs):
    """Train on 5 slices; return parameters before and after, number of steps, and gradient norms before clipping."""
    init_default_scope('openmix')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(type=FrozenNorm, depth=8, width=8),
            head=dict(type='LinearHead', num_classes=5, init_std=0.3),
            policy=dict(type=InSlices),
            data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.2,) * 3),
        )
    ).to(device, dtype)
    model.train()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    wrapper = wrapper_type(optimizer=optimizer, accumulative_counts=accumulated, **kwargs)
    images = torch.rand(SLICE * SLICES, 3, 16, 16, dtype=torch.float64).to(device, dtype)
    labels = (torch.arange(len(images)) % 5).to(device)
    steps, norms = [], []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    batches = range(0, len(images), SLICE if accumulated > 1 else 2 * SLICE)
    wrapper.initialize_count_status(model, 0, len(batches))
    for start in batches:
        rows = slice(start, start + (SLICE if accumulated > 1 else 2 * SLICE))
        done = len(steps)
        model.train_step(dict(inputs=images[rows], labels=labels[rows]), wrapper)
        if kwargs.get('clip_grad') is not None and len(steps) > done:
            norms.append(MessageHub.get_current_instance().get_scalar('train/grad_norm').current())
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    return before, after, len(steps), norms


@pytest.mark.parametrize('max_norm', [None, 0.5])
def test_two_slices_make_the_step_of_both(max_norm):
    """In float64, to 1e-12; with clipping it is the accumulated gradient that is cut."""

    def clip():
        return None if max_norm is None else dict(max_norm=max_norm)

    before, whole, steps, norms = trained(1, clip_grad=clip())
    _, sliced, sliced_steps, sliced_norms = trained(2, clip_grad=clip())
    assert steps == sliced_steps == 3
    assert (whole - before).norm() > 0.05
    torch.testing.assert_close(sliced, whole, rtol=0, atol=1e-12)
    assert sliced_norms == pytest.approx(norms, rel=1e-9)
    if max_norm is not None:
        assert min(norms) > max_norm  # else nothing was cut
        assert (trained(2)[1] - sliced).norm() > 0.01


def distance(dtype, device):
    """Return the distance between accumulation under autocast and the larger batch, relative to the whole update."""

    def build(**kwargs):
        wrapper = AutocastOptimWrapper(dtype, **kwargs)
        # Low enough that no step is left out.
        wrapper.scaler = torch.amp.GradScaler(device, init_scale=256.0, enabled=dtype == 'float16')
        return wrapper

    def run(accumulated):
        return trained(accumulated, build, torch.float32, device, clip_grad=dict(max_norm=0.5))

    (before, whole, steps, _), (_, sliced, sliced_steps, _) = run(1), run(2)
    assert steps == sliced_steps == 3
    return ((sliced - whole).norm() / (whole - before).norm()).item()


def test_bfloat16_rounds_but_does_not_drift():
    """Gradients are rounded to 8 bits a slice, so the two agree to 2 %."""
    assert distance('bfloat16', 'cpu') < 0.02


@needs_gpu
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_scaled_gradients_accumulate(dtype):
    assert distance(dtype, 'cuda') < 0.02
