"""What `make gpu` runs first: every part on the GPU, or on the CPU where there is none.

Policies and losses run under CUDA's own detection of syncs; `test_every_policy.py` detects them without a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from registered import registered
from test_every_policy import CASES, build, classifier, draw_batch

from openmix.engine.amp import AutocastOptimWrapper
from openmix.mix import Mix
from openmix.mixups import MixContext
from openmix.ops.graph_cut import cut_grid, grid_energy
from openmix.registry import LOSSES, MIXUPS, MODELS

pytestmark = pytest.mark.cuda
ROOT = Path(__file__).parent.parent
ON_GPU = torch.cuda.is_available()
DEVICE = 'cuda' if ON_GPU else 'cpu'
PRECISIONS = ['float32', 'bfloat16', *(['float16'] if ON_GPU else [])]
# Of losses of pairs of labels; the others read embeddings or several views.
OF_LABELS = sorted(set(registered(LOSSES)) - {'info_nce', 'pair_bce', 'jensen_shannon'})


@contextmanager
def no_syncs() -> Iterator[None]:
    """Raise an error at a GPU sync; on the CPU do nothing."""
    if not ON_GPU:
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.parametrize(('name', 'case'), CASES)
def test_policies_mix_without_a_sync(name, case):
    policy = build(name, case).to(DEVICE)
    z = draw_batch(8).to(DEVICE)
    mean, std = torch.zeros(3, device=DEVICE), torch.ones(3, device=DEVICE)
    context = MixContext(z, torch.arange(8, device=DEVICE) % 5, mean=mean, std=std, network=classifier(z, case))
    torch.manual_seed(0)
    child, _ = policy.pick()  # which child and which site is drawn on the host, before
    child(z, context)  # kernels are loaded, and what is kept for a size of images is made
    with no_syncs():
        mixed, mix = child(z, context)
    assert {value.device.type for value in (mixed, mix.source, mix.weight)} == {DEVICE}
    assert mixed.isfinite().all()
    if case.label != 'own':
        torch.testing.assert_close(mix.weight.sum(1), torch.ones(len(mixed), device=DEVICE))


@pytest.mark.parametrize('name', OF_LABELS)
def test_losses_without_a_sync_equal_those_of_the_cpu(name):
    loss = LOSSES.get(name)
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(16, 7, generator=generator), torch.randint(7, (16,), generator=generator)
    partner, lam = torch.randperm(16, generator=generator), torch.rand(16, generator=generator)

    def run(device):
        z = logits.to(device).requires_grad_()
        labels, mix = y.to(device), Mix.pairs(partner.to(device), lam.to(device))
        with no_syncs() if device == DEVICE else torch.enable_grad():
            value = loss(z, labels, mix)
            value.backward()
        return value.detach().cpu(), z.grad.cpu()

    torch.testing.assert_close(run(DEVICE), run('cpu'), rtol=1e-4, atol=1e-5)


def test_cuts_reach_the_energy_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    unary, down, right = (torch.rand(shape, generator=generator) for shape in ((6, 3, 4, 4), (6, 3, 4), (6, 4, 3)))
    energies = []
    for device in ('cpu', DEVICE):
        costs = [cost.to(device) for cost in (unary, down, right)]
        cut_grid(*costs)
        with no_syncs() if device == DEVICE else torch.enable_grad():
            labels = cut_grid(*costs)
        energies.append(grid_energy(*costs, labels).cpu())
    torch.testing.assert_close(*energies, rtol=1e-3, atol=1e-3)


def model_of(policy, backbone=None):
    init_default_scope('openmix')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=backbone or dict(type='ThinResNet', depth=8, width=8),
            head=dict(type='LinearHead', num_classes=5, loss=dict(type='mix_ce')),
            policy=policy,
            data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.2,) * 3, channels_last=True),
        )
    ).to(DEVICE)


def train(model, precision, steps=3):
    """Take steps of a training as the engine does: precision, optimiser, and what a policy does after a step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    wrapper = AutocastOptimWrapper('float16' if precision == 'float16' else 'auto', optimizer=optimizer)
    if precision != 'float16':
        wrapper.settle(precision)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10, 3, 32, 32), generator=generator, dtype=torch.uint8).to(DEVICE)
    batch = dict(inputs=images, labels=torch.arange(10, device=DEVICE) % 5, ids=torch.arange(10, device=DEVICE))
    model.train()
    model.start()
    found = []
    for step in range(steps):
        torch.manual_seed(step)
        model.before_step(step, steps)
        with wrapper.optim_context(model):
            losses = model(**model.data_preprocessor(dict(batch), training=True), mode='loss')
        total, _ = model.parse_losses(losses)
        wrapper.update_params(total)
        model.after_step()
        found.append(float(total.detach()))
    return found


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('name', sorted(set(registered(MIXUPS)) - {'Views'}))
def test_every_policy_trains_in_every_precision(name, precision):
    case = {case.values[0]: case.values[1] for case in reversed(CASES)}[name]
    options = case.trained
    policy = {'type': name, **options} if 'teacher' not in options else {'type': 'NoMix'}
    model = model_of(policy, case.backbone(32))
    if 'teacher' in options:  # which is given as a module
        model.policy = MIXUPS.build({'type': name, **options}).to(DEVICE)
    losses = train(model, precision)
    assert all(0 < loss < 1000 for loss in losses)
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize('name', ['AutoMix', 'AMix', 'SAMix'])
def test_momentum_encoders_follow_on_the_device(name):
    model = model_of({'type': name})
    train(model, 'float32', steps=1)
    networks = model.networks()
    followed = {key: value.clone() for key, value in networks[''].state_dict().items() if value.is_floating_point()}
    train(model, 'float32', steps=2)
    moved = networks[''].state_dict()
    assert all(value.device.type == DEVICE for value in moved.values())
    assert any(not torch.equal(moved[key], value) for key, value in followed.items())
    assert any(not torch.equal(moved[key], value) for key, value in networks['online'].state_dict().items())


@pytest.mark.slow
def test_a_compiled_run_with_data_on_the_device_resumes(tmp_path):
    options = ['model.backbone.depth=8', 'model.backbone.width=8', 'train_dataloader.batch_size=240']
    options += ['data_on_device=True', 'model.policy.type=CutMix', 'vis_backends=[]']

    def run(epochs, *more):
        words = ['tools/train.py', 'classification/digits/resnet20.py', '--work-dir', str(tmp_path), '--amp', 'auto']
        words += ['--compile', *([] if ON_GPU else ['aot_eager']), *more]
        words += ['--cfg-options', *options, f'train_cfg.max_epochs={epochs}']
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return json.loads((tmp_path / 'result.json').read_text())

    first = run(1)
    assert ('gpu0' in first['environment']) is ON_GPU
    second = run(2, '--resume')
    assert [row['epoch'] for row in second['history']] == [1, 2]
    kept, trained = ({**found['history'][0], 'time_s': 0} for found in (second, first))
    assert kept == trained
    assert second['precision'] == first['precision']
