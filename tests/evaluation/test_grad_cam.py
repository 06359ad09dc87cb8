"""Test Grad-CAM by value, the layer it takes, and the command."""

import csv

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.evaluation.grad_cam import GradCAMHook, grad_cam, layer_of

captum = pytest.importorskip('captum', reason='needs captum: the extra [explain]')
RECIPE = 'classification/digits/resnet20.py'


class Small(nn.Module):
    """Two convolutions, a mean over all places, and a linear head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1),
            nn.Tanh(),
            nn.Conv2d(4, 5, 3, 1, 1),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.backbone(x)).square()


def slow(model, x, label):
    """Compute one map by central differences of the logit at every value of the feature maps."""
    first, last = model.backbone[:4], model.backbone[4:]
    maps = first(x[None])[0].detach()
    weights = torch.zeros(len(maps), dtype=torch.float64)
    for k in range(len(maps)):
        for place in torch.cartesian_prod(*map(torch.arange, maps.shape[1:])).tolist():
            step = torch.zeros_like(maps)
            step[(k, *place)] = 1e-6
            above, below = (model.head(last((maps + d)[None])).square()[0, label] for d in (step, -step))
            weights[k] += (above - below).item() / 2e-6
    weights /= maps[0].numel()
    return (weights[:, None, None] * maps).sum(0).clamp(min=0)


def test_maps_are_those_of_the_paper():
    torch.manual_seed(0)
    model = Small().double()
    x, y = torch.rand(2, 3, 6, 6, dtype=torch.float64), torch.tensor([2, 0])
    found = grad_cam(model, model.backbone[3], x, y)
    assert found.shape == (2, 3, 3)
    assert not found.requires_grad
    wanted = torch.stack([slow(model, image, label) for image, label in zip(x, y.tolist())])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)
    assert (wanted > 0).any()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_layer_is_the_last_with_places():
    model, x = Small(), torch.rand(1, 3, 6, 6)
    assert layer_of(model.backbone, x)[0] == '3'
    assert layer_of(model.backbone, x, '0')[1] is model.backbone[0]
    with pytest.raises(InputError, match="layer '4' puts out no feature maps"):
        layer_of(model.backbone, x, '4')
    with pytest.raises(InputError, match="layer 'layer3' is no module of the backbone"):
        layer_of(model.backbone, x, 'layer3')
    with pytest.raises(InputError, match='Flatten puts out no feature maps'):
        layer_of(nn.Flatten(), x)


def test_without_captum_there_is_one_line(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(InputError, match=r'GradCAMHook needs captum: pip install .*\[explain\]'):
        GradCAMHook()


@pytest.mark.slow
def test_the_command(call, digits_checkpoint, tmp_path):
    checkpoint, options = digits_checkpoint
    out = tmp_path / 'out'
    words = ['grad_cam.py', RECIPE, checkpoint, '--count', 10, '--out', out]
    code, _, err = call(*words, '--cfg-options', *options)
    assert code == 0, err
    assert (out / 'grad_cam.png').read_bytes()[:4] == b'\x89PNG'
    assert '<svg' in (out / 'grad_cam.svg').read_text()
    with (out / 'grad_cam.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len({row['id'] for row in rows}) == 10
    assert len(rows) == 10 * 4 * 4
    assert min(float(row['value']) for row in rows) >= 0
    code, _, err = call(*words, '--layer', 'layer9', '--cfg-options', *options)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: layer 'layer9' is no module of the backbone")
