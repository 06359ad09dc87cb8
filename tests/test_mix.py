import pytest
import torch
import torch.nn.functional as F

from openmix.errors import InputError
from openmix.mix import Mix


def shares(n, k, *grid):
    return torch.softmax(torch.randn(n, k, *grid), 1)


def test_unmixed():
    z = torch.rand(5, 3, 4, 4)
    mix = Mix.none(5)
    assert mix.source.tolist() == [[0], [1], [2], [3], [4]]
    assert mix.weight.tolist() == [[1.0]] * 5
    assert mix.mask is None
    assert torch.equal(mix.blend(z), z)
    assert torch.equal(mix.lam, torch.ones(5))
    assert torch.equal(mix.partner, torch.arange(5))


def test_unmixed_head_of_a_longer_pool():
    z = torch.rand(7, 2)
    assert torch.equal(Mix.none(4).blend(z), z[:4])


def test_pairs_name_their_parts():
    partner, lam = torch.tensor([2, 0, 1]), torch.tensor([0.25, 1.0, 0.0], dtype=torch.float64)
    mix = Mix.pairs(partner, lam)
    assert mix.source.tolist() == [[0, 2], [1, 0], [2, 1]]
    assert mix.weight.tolist() == [[0.25, 0.75], [1.0, 0.0], [0.0, 1.0]]
    assert mix.weight.dtype == torch.float32
    assert torch.equal(mix.partner, partner)
    assert torch.equal(mix.lam, lam.float())


@pytest.mark.parametrize('shape', [(6, 5), (6, 4, 5), (6, 3, 4, 5)])
def test_pairs_blend_by_weight(shape):
    torch.manual_seed(0)
    z, lam, partner = torch.rand(shape), torch.rand(6), torch.randperm(6)
    out = Mix.pairs(partner, lam).blend(z)
    for n in range(6):
        torch.testing.assert_close(out[n], lam[n] * z[n] + (1 - lam[n]) * z[partner[n]])


def test_pairs_blend_by_mask_whatever_the_weight():
    torch.manual_seed(0)
    z, mask, partner = torch.rand(6, 3, 4, 5), torch.rand(6, 1, 4, 5), torch.randperm(6)
    out = Mix.pairs(partner, torch.rand(6), mask).blend(z)
    for n in range(6):
        torch.testing.assert_close(out[n], mask[n] * z[n] + (1 - mask[n]) * z[partner[n]])


def test_pairs_from_a_longer_pool():
    torch.manual_seed(0)
    z, lam, partner = torch.rand(9, 3), torch.rand(4), torch.tensor([8, 5, 0, 4])
    torch.testing.assert_close(Mix.pairs(partner, lam).blend(z), lam[:, None] * z[:4] + (1 - lam[:, None]) * z[partner])


@pytest.mark.parametrize('masked', [False, True])
def test_three_blend_by_weight_or_mask(masked):
    torch.manual_seed(0)
    z, source = torch.rand(7, 2, 4, 5), torch.randint(7, (6, 3))
    weight, mask = shares(6, 3), shares(6, 3, 4, 5) if masked else None
    out = Mix(source, weight, mask).blend(z)
    for n in range(6):
        wanted = sum((mask[n, k] if masked else weight[n, k]) * z[source[n, k]] for k in range(3))
        torch.testing.assert_close(out[n], wanted)


def test_parts_replace_the_partners():
    torch.manual_seed(0)
    z, partner, lam = torch.rand(5, 3, 4, 4), torch.randperm(5), torch.rand(5)
    pair_parts = torch.rand(5, 3, 4, 4)
    share = lam.view(-1, 1, 1, 1)
    torch.testing.assert_close(Mix.pairs(partner, lam).blend(z, pair_parts), share * z + (1 - share) * pair_parts)
    weight, parts = shares(5, 3), torch.rand(5, 3, 3, 4, 4)
    out = Mix(torch.randint(5, (5, 3)), weight).blend(z, parts)
    torch.testing.assert_close(out, torch.einsum('nk,nkchw->nchw', weight, parts))


@pytest.mark.parametrize('k', [2, 3])
@pytest.mark.parametrize('masked', [False, True])
def test_channels_last_stays_and_changes_no_value(k, masked):
    torch.manual_seed(0)
    z, source = torch.rand(6, 3, 8, 8), torch.randint(6, (6, k))
    source[:, 0] = torch.arange(6)
    mask = shares(6, k, 8, 8)[:, : 1 if k == 2 else k] if masked else None
    mix = Mix(source, shares(6, k), mask)
    last = mix.blend(z.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, mix.blend(z))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize('k', [1, 2, 3])
def test_keeps_the_dtype(dtype, k):
    torch.manual_seed(0)
    z, source = torch.rand(4, 3, 5, 5), torch.arange(4)[:, None].repeat(1, k)
    out = Mix(source, shares(4, k)).blend(z.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), z, rtol=0, atol=0.02)


@pytest.mark.parametrize('k', [2, 3])
def test_a_share_of_one_is_exact_and_the_result_is_new_memory(k):
    z = torch.rand(3, 2, 4, 4)
    before, weight = z.clone(), torch.zeros(3, k)
    weight[:, 0] = 1
    out = Mix(torch.arange(3)[:, None].repeat(1, k), weight).blend(z)
    assert torch.equal(out, z)
    out.zero_()
    assert torch.equal(z, before)


def test_is_frozen():
    with pytest.raises(AttributeError):
        Mix.none(2).weight = torch.zeros(2, 1)


def focal(logits, y):
    """Compute the focal loss of each sample (Lin et al., ICCV 2017), gamma = 2."""
    ce = F.cross_entropy(logits, y, reduction='none')
    return (1 - torch.exp(-ce)) ** 2 * ce


def weighted(logits, y):
    return F.cross_entropy(logits, y, weight=torch.tensor([1.0, 2.0, 0.5, 3.0]), reduction='none')


def binary(logits, y):
    return F.binary_cross_entropy_with_logits(logits, y, reduction='none')


@pytest.mark.parametrize(
    ('criterion', 'y'),
    [
        (focal, torch.tensor([3, 0, 1, 2, 0])),
        (weighted, torch.tensor([3, 0, 1, 2, 0])),
        (binary, torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]])),
    ],
    ids=['focal', 'weighted', 'multi-label'],
)
@pytest.mark.parametrize('k', [1, 2, 3])
def test_any_loss_is_interpolated(criterion, y, k):
    torch.manual_seed(0)
    logits, source = torch.randn(3, 4, requires_grad=True), torch.randint(5, (3, k))
    mix = Mix(source, torch.rand(3, k).softmax(1))
    wanted = []
    for n in range(3):
        values = [mix.weight[n, i] * criterion(logits[n : n + 1], y[source[n, i]][None])[0] for i in range(k)]
        wanted.append(sum(values[1:], values[0]))
    torch.testing.assert_close(mix.interpolate(criterion, logits, y, 'none'), torch.stack(wanted))
    loss = mix.interpolate(criterion, logits, y)
    torch.testing.assert_close(loss, torch.stack(wanted).mean())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().sum() > 0


def test_an_interpolated_loss_is_of_samples():
    mix, logits, y = Mix.pairs(torch.tensor([1, 0]), torch.tensor([0.3, 0.6])), torch.randn(2, 4), torch.tensor([0, 1])
    with pytest.raises(InputError, match="reduction='none'"):
        mix.interpolate(F.cross_entropy, logits, y)
    with pytest.raises(InputError, match='the mix is of 2 samples'):
        mix.interpolate(focal, logits[:1], y)
    with pytest.raises(InputError, match="must be 'mean' or 'none'"):
        mix.interpolate(focal, logits, y, 'sum')


def test_targets_are_mixed_by_their_shares():
    mix = Mix(torch.tensor([[0, 2], [1, 1]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert mix.soft_labels(torch.tensor([2, 0, 1]), 4).tolist() == [[0, 0.75, 0.25, 0], [1, 0, 0, 0]]
    assert mix.soft_labels(torch.tensor([4.0, 7.0, 8.0])).tolist() == [7.0, 7.0]
    several = torch.tensor([[1.0, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.float64)
    found = mix.soft_labels(several)
    assert found.dtype == torch.float64
    assert found.tolist() == [[0.25, 0.25, 0.75], [0, 1, 1]]
    places = torch.arange(12.0).view(3, 2, 2)
    torch.testing.assert_close(mix.soft_labels(places)[0], 0.25 * places[0] + 0.75 * places[2])
    with pytest.raises(InputError, match='need num_classes'):
        mix.soft_labels(torch.tensor([2, 0, 1]))
    with pytest.raises(InputError, match='label'):
        mix.soft_labels(torch.tensor([2, 0, 9]), 4)
    with pytest.raises(InputError, match='no 4 classes'):
        mix.soft_labels(several, 4)


def test_a_mix_moves_and_says_what_it_is():
    mix = Mix.pairs(torch.tensor([1, 0]), torch.tensor([0.3, 0.6]), torch.rand(2, 1, 4, 4))
    assert repr(mix) == 'Mix(2 samples of 2 sources, mask (2, 1, 4, 4), cpu)'
    assert repr(Mix.none(3)) == 'Mix(3 samples of 1 source, cpu)'
    moved = mix.to('meta')
    assert {moved.source.device.type, moved.weight.device.type, moved.mask.device.type} == {'meta'}
    assert Mix.none(3).to('meta').mask is None
