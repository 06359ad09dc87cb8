"""BSS against numpy's singular values, its gradient, and one value whatever the number of processes."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope
from processes import START_METHOD

from openmix.errors import InputError
from openmix.models.transfer.bss import rows_of_all, spectral_shrinkage
from openmix.registry import MODELS


def features(rows, columns, dtype=torch.float64):
    return torch.randn(rows, columns, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('shape', [(6, 20), (20, 6), (7, 7)])
def test_the_smallest_singular_values_are_numpys(shape, count):
    """More images than features (B > D), fewer, and as many."""
    x = features(*shape)
    expected = np.sum(np.sort(np.linalg.svd(x.numpy(), compute_uv=False))[:count] ** 2)
    assert expected > 1e-6
    assert spectral_shrinkage(x, count).item() == pytest.approx(expected, rel=1e-9)
    assert spectral_shrinkage(x.float(), count).item() == pytest.approx(expected, rel=1e-3)


def test_it_is_computed_in_float32_under_autocast_too():
    x = features(6, 20, torch.float32).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        found = spectral_shrinkage(x)
    assert found.dtype == torch.float32
    expected = np.linalg.svd(x.double().numpy(), compute_uv=False).min() ** 2
    assert found.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize('shape', [(3, 5), (5, 3)])
def test_the_gradient(shape):
    assert torch.autograd.gradcheck(lambda x: spectral_shrinkage(x, 2), features(*shape).requires_grad_())


def test_more_values_than_there_are_is_refused():
    with pytest.raises(InputError, match='have 3 singular values, and count is 4'):
        spectral_shrinkage(features(3, 8), 4)


def classifier(**options):
    init_default_scope('openmix')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='LinearHead', num_classes=5),
            policy=dict(type='NoMix'),
            **options,
        )
    )


def test_it_is_added_to_the_loss_of_the_classifier():
    batch = {'inputs': features(6, 3 * 64, torch.float32).view(6, 3, 8, 8), 'labels': torch.arange(6) % 5}
    model, plain = classifier(type='BSS', weight=0.5), classifier(type='MixClassifier')
    found = model.loss(batch)
    assert torch.equal(found['loss'], plain.loss(batch)['loss'])
    rows = plain.backbone(batch['inputs']).detach().double().numpy()
    expected = 0.5 * np.linalg.svd(rows, compute_uv=False).min() ** 2
    assert found['shrinkage_loss'].item() == pytest.approx(expected, rel=1e-2, abs=1e-6)
    sum(found.values()).backward()


def penalty_of(rows):
    """Return the penalty of a classifier for some of 8 images; in evaluation mode batch norm reads no other image."""
    model = classifier(type='BSS', weight=0.5).eval().double()
    found = model.loss({'inputs': features(8, 3 * 64).view(8, 3, 8, 8)[rows], 'labels': torch.arange(8)[rows] % 5})
    return found['shrinkage_loss'].item()


def gradient_of(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    own = features(8, 5)[(slice(0, 5), slice(5, 8))[rank]].requires_grad_()
    value = spectral_shrinkage(rows_of_all(own), 2)
    (gradient,) = torch.autograd.grad(value, own)
    # DDP takes the mean over processes of the gradients of weights.
    torch.save(
        (value.item(), gradient / 2, penalty_of(slice(5) if rank == 0 else slice(5, 8))), f'{folder}/rank{rank}.pt'
    )
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.timeout(300)
def test_the_whole_batch_of_two_processes_counts(tmp_path):
    """Of unequal parts, as they are where a data set skips unreadable images."""
    mp.start_processes(gradient_of, (str(tmp_path),), nprocs=2, daemon=True, start_method=START_METHOD)
    values, gradients, penalties = zip(*(torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2)))
    whole = features(8, 5).requires_grad_()
    value = spectral_shrinkage(whole, 2)
    (gradient,) = torch.autograd.grad(value, whole)
    assert values == pytest.approx([value.item()] * 2)
    assert penalties == pytest.approx([penalty_of(slice(8))] * 2)
    assert penalty_of(slice(5)) != pytest.approx(penalties[0], rel=0.1)
    torch.testing.assert_close(torch.cat(gradients), gradient)
    halves = [spectral_shrinkage(half, 2).item() for half in features(8, 5).split((5, 3))]
    assert abs(sum(halves) / 2 - value.item()) > 0.01
