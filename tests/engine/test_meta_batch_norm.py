"""Batch norm in the preflight has the shapes of torch's own, and torch has its own back afterwards."""

import pytest
import torch
from torch import nn

from openmix.engine.preflight import meta_batch_norm
from openmix.engine.preflight.meta_batch_norm import quick_batch_norm


def told(x):
    return x.device.type, x.shape, x.dtype, x.stride(), x.requires_grad


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('options', [{}, {'affine': False}, {'track_running_stats': False}], ids=str)
@pytest.mark.parametrize(
    ('kind', 'shape', 'laid_out'),
    [
        (nn.BatchNorm1d, (4, 6), torch.contiguous_format),
        (nn.BatchNorm1d, (4, 6, 5), torch.contiguous_format),
        (nn.BatchNorm2d, (4, 6, 5, 3), torch.contiguous_format),
        (nn.BatchNorm2d, (4, 6, 5, 3), torch.channels_last),
        (nn.BatchNorm3d, (4, 6, 5, 3, 2), torch.contiguous_format),
        (nn.InstanceNorm2d, (4, 6, 5, 3), torch.contiguous_format),
    ],
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_as_of_torch(kind, shape, laid_out, options, training, dtype):
    def step():
        with torch.device('meta'):
            norm = kind(6, **options).to(dtype).train(training)
            x = torch.empty(shape, dtype=dtype).to(memory_format=laid_out).requires_grad_()
        out = norm(x)
        out.sum().backward()
        return [told(out), *(told(one.grad) for one in (x, *norm.parameters()))]

    expected = step()
    with quick_batch_norm():
        found = step()
    assert found == expected


def test_a_module_calls_it(monkeypatch):
    """Else all that is compared here would be torch's own with itself."""
    called, shapes = [], meta_batch_norm._shapes
    monkeypatch.setattr(meta_batch_norm, '_shapes', lambda *given: called.append(given) or shapes(*given))
    with torch.device('meta'), quick_batch_norm():
        for norm in (nn.BatchNorm2d(6), nn.BatchNorm2d(6).eval()):
            norm(torch.empty(4, 6, 5, 3))
    assert len(called) == 2


def test_other_sizes_are_refused_as_by_torch():
    with torch.device('meta'):
        norm, x = nn.BatchNorm2d(7), torch.empty(4, 8, 5, 5)
        with quick_batch_norm(), pytest.raises(RuntimeError, match='running_mean should contain 8 elements not 7'):
            norm(x)
        with quick_batch_norm(), pytest.raises(ValueError, match='Expected more than 1 value per channel'):
            nn.BatchNorm1d(8)(torch.empty(1, 8))


def test_torch_has_its_own_back():
    """Its own refuses to multiply by 5 weights, which only the function that it is called by looks for."""
    x, weight = torch.empty(4, 8, 5, 5, device='meta'), torch.empty(5, device='meta')

    def norm():
        return torch.native_batch_norm(x, weight, None, None, None, True, 0.1, 1e-5)[0].shape

    for _ in range(2):
        with quick_batch_norm():
            assert norm() == x.shape
        with pytest.raises(RuntimeError):
            norm()


def test_values_of_other_devices_are_computed():
    x = torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = nn.BatchNorm2d(8)(x)
    with quick_batch_norm():
        assert torch.equal(nn.BatchNorm2d(8)(x), expected)
