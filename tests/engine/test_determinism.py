"""Test the tolerances that docs/determinism.md promises, and that the tests that it names exist."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from openmix.models.classifier import MixClassifier

ROOT = Path(__file__).resolve().parent.parent.parent


def gradient(threads: int = 1, channels_last: bool = False) -> torch.Tensor:
    init_default_scope('openmix')
    torch.manual_seed(0)
    model = MixClassifier(
        backbone=dict(type='ThinResNet', depth=8, width=16),
        head=dict(type='LinearHead', num_classes=10, loss=dict(type='decoupled_ce')),
        policy=dict(type='CutMix'),
    ).train()
    x, y = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    if channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model.loss(dict(inputs=x, labels=y))['loss'].backward()
    finally:
        torch.set_num_threads(usual)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize('change', [{'threads': 2}, {'channels_last': True}])
def test_threads_and_memory_layout(change):
    wanted, got = gradient(), gradient(**change)
    assert (got - wanted).norm() < 1e-3 * wanted.norm()


def test_every_promise_names_its_test():
    page = (ROOT / 'docs/determinism.md').read_text()
    tests = '\n'.join(path.read_text() for path in (ROOT / 'tests').rglob('test_*.py'))
    named = re.findall(r'`(test_\w+)`', page)
    assert len(named) > 10
    assert [name for name in named if f'def {name}(' not in tests] == []
    for file in re.findall(r'`(test_\w+\.py)`', page):
        assert list((ROOT / 'tests').rglob(file))
