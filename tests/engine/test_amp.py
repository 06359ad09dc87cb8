"""Test mixed precision: tensors that stay float32, every policy and loss under autocast, and the gradient scaler."""

import copy
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from registered import registered
from torch import nn

from openmix.engine.amp import AutocastOptimWrapper
from openmix.registry import LOSSES, MODELS

ROOT = Path(__file__).parent.parent.parent
DEVICES = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 is scaled on GPUs only')


def rows_of_every_policy():
    """Return the settings of all policies from `tests/test_every_policy.py`."""
    spec = importlib.util.spec_from_file_location('every_policy_rows', ROOT / 'tests/test_every_policy.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return [(name, case) for name, cases in module.POLICIES.items() for case in cases]


ROWS = list(enumerate(rows_of_every_policy()))
PARTS = [pytest.param({'type': n, **case.trained}, case.backbone(32), id=f'{n}-{i}') for i, (n, case) in ROWS]
LOSSES.import_from_location()


@pytest.fixture
def tool(nursery, tmp_path):
    """Run a command of `tools/` in an empty folder, on the CPU."""

    def run(name, *args, code=0):
        done = nursery.run([name, *args], tmp_path, {'CUDA_VISIBLE_DEVICES': ''})
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
        return done

    return run


def classifier(policy, loss=None, device='cpu', backbone=None):
    init_default_scope('openmix')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=backbone or dict(type='ThinResNet', depth=8, width=8),
            head=dict(type='LinearHead', num_classes=5, loss=loss or dict(type='mix_ce')),
            policy=policy,
            data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.2,) * 3),
        )
    ).to(device)


def batch(device='cpu'):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (6, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return dict(inputs=images.to(device), labels=torch.arange(6, device=device) % 5)


def forward(model, context):
    torch.manual_seed(1)
    with context:
        data = model.data_preprocessor(batch(model.head.fc.weight.device), training=True)
        return model(**data, mode='loss')


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def check_step(policy, loss, device, backbone=None, dtype='bfloat16'):
    model = classifier(policy, loss, device, backbone)
    wrapper = AutocastOptimWrapper(dtype=dtype, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    wrapper.scaler = torch.amp.GradScaler(device, init_scale=256.0, enabled=dtype == 'float16')
    before = [p.detach().clone() for p in model.parameters()]
    losses = forward(model, wrapper.optim_context(model))
    for value in losses.values():
        assert value.dtype == torch.float32
        assert value.isfinite()
    wrapper.backward(sum(losses.values()))
    for name, grad in gradients(model).items():
        assert grad.dtype == torch.float32, name
        assert grad.isfinite().all(), name
    wrapper.step()
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    assert not all(torch.equal(p, b) for p, b in zip(model.parameters(), before))
    full = classifier(policy, loss, device, backbone)
    sum(forward(full, torch.autocast(device, enabled=False)).values()).backward()
    assert gradients(model).keys() == gradients(full).keys()
    return model


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('policy', 'backbone'), PARTS)
def test_every_policy_steps_in_bfloat16(policy, backbone, device):
    check_step(policy, None, device, backbone)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('loss', sorted(registered(LOSSES)))
def test_every_loss_steps_in_bfloat16(loss, device):
    model = check_step(dict(type='Mixup', alpha=1.0), dict(type=loss), device)
    logits = model(model.data_preprocessor(batch(device))['inputs'])
    assert logits.dtype == torch.float32  # evaluation stands outside the context


@pytest.mark.parametrize('device', DEVICES)
def test_a_forward_pass_without_gradient_does_not_cut_the_next_ones(device):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).to(device)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    x = torch.ones(2, 3, 8, 8, device=device)
    with wrapper.optim_context(model):
        assert torch.is_autocast_cache_enabled() is False
        with torch.no_grad():
            model(x)
        out = model(x)
    out.float().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize('accumulative_counts', [1, 2])
def test_bfloat16_gradients_are_not_scaled(accumulative_counts):
    model = nn.Linear(4, 2)
    wrapper = AutocastOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0), accumulative_counts=accumulative_counts
    )
    before = model.bias.detach().clone()
    for _ in range(accumulative_counts):
        with wrapper.optim_context(model):
            loss = model(torch.ones(3, 4)).float().mean()
        wrapper.update_params(loss)
    torch.testing.assert_close(model.bias.detach(), before - 0.5)


@pytest.mark.slow
def test_evaluation_of_a_bfloat16_run_is_float32(tool, tmp_path):
    small = ['--cfg-options', 'model.backbone.depth=8', 'train_dataloader.batch_size=240', 'train_cfg.max_epochs=1']
    recipe = 'classification/digits/resnet20.py'
    tool('train.py', recipe, '--amp', '--work-dir', 'run', *small)
    tool('test.py', recipe, 'run/epoch_1.pth', '--out', 'test.json', *small)
    trained = json.loads((tmp_path / 'run/result.json').read_text())['metrics']
    tested = json.loads((tmp_path / 'test.json').read_text())['metrics']
    assert tested['accuracy/nll'] == pytest.approx(trained['accuracy/nll'], rel=1e-6)


@pytest.mark.slow
def test_float16_without_a_gpu_is_one_line_and_exit_code_2(tool):
    options = ['optim_wrapper.type=AutocastOptimWrapper', 'optim_wrapper.dtype=float16']
    done = tool('train.py', 'classification/digits/resnet20.py', '--cfg-options', *options, code=2)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert "float16 needs a GPU; use dtype='bfloat16'" in said
    assert 'Traceback' not in done.stdout + done.stderr


def float16_wrapper(**kwargs):
    model = nn.Linear(4, 2).cuda()
    return model, AutocastOptimWrapper(
        dtype='float16', optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **kwargs
    )


def float16_step(model, wrapper, factor=1.0):
    with wrapper.optim_context(model):
        loss = model(torch.ones(3, 4, device='cuda')).float().mean() * factor
    wrapper.update_params(loss)


@needs_gpu
def test_float16_gradients_that_overflow_leave_the_step_out_and_halve_the_scale():
    model, wrapper = float16_wrapper(clip_grad=dict(max_norm=1e9))
    float16_step(model, wrapper)
    before, scale = [p.detach().clone() for p in model.parameters()], wrapper.scaler.get_scale()
    steps = []
    wrapper.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    float16_step(model, wrapper, factor=float('inf'))
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before))
    assert wrapper.scaler.get_scale() == scale / 2
    assert steps == []  # so a policy's momentum encoder stays too
    float16_step(model, wrapper)
    assert steps == [1]
    assert all(p.isfinite().all() for p in model.parameters())


@needs_gpu
def test_float16_steps_are_those_of_float32():
    model, wrapper = float16_wrapper(clip_grad=dict(max_norm=0.1), accumulative_counts=2)
    before = model.bias.detach().clone()
    float16_step(model, wrapper)
    float16_step(model, wrapper)
    # The gradient of the mean is 0.5 in 2 biases and in 8 weights, cut to a norm of 0.1.
    moved = 0.1 * 0.5 * 0.1 / (10 * 0.25) ** 0.5
    torch.testing.assert_close(model.bias.detach(), before - moved, rtol=1e-3, atol=1e-6)


@needs_gpu
def test_the_scaler_resumes():
    model, wrapper = float16_wrapper()
    float16_step(model, wrapper)
    float16_step(model, wrapper, factor=float('inf'))
    float16_step(model, wrapper)
    state = copy.deepcopy(wrapper.state_dict())
    other, resumed = float16_wrapper()
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(state)
    assert resumed.scaler.state_dict() == wrapper.scaler.state_dict()
    float16_step(model, wrapper)
    float16_step(other, resumed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))


@needs_gpu
@pytest.mark.parametrize(('policy', 'backbone'), PARTS)
def test_every_policy_steps_in_float16(policy, backbone):
    check_step(policy, None, 'cuda', backbone, 'float16')
