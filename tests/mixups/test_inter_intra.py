import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import InterIntra, MixContext
from openmix.ops.beta import draw_lam


def draws(kind, alpha, n, height, width):
    """Draw the random numbers of one kind of mixing for every pair: lam, and the centre of the box if it cuts."""
    lam = draw_lam(n, alpha)
    if kind == 'interpolate':
        return [(kind, lam[i].item(), 0, 0) for i in range(n)]
    rows, columns = torch.randint(height, (n,)), torch.randint(width, (n,))
    return [(kind, lam[i].item(), int(rows[i]), int(columns[i])) for i in range(n)]


def mix_pair(own, other, kind, lam, row, column):
    """Mix one pair; return it and the share of the sample, counted in pixels."""
    if kind == 'interpolate':
        return lam * own + (1 - lam) * other, lam
    height, width = own.shape[1:]
    ratio = (1 - torch.tensor(lam)).sqrt().item()  # in float32, where a lam of 1e-9 is none
    half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
    out, kept = own.clone(), 0
    for y in range(height):
        for x in range(width):
            if row - half_height <= y < row + half_height and column - half_width <= x < column + half_width:
                out[:, y, x] = other[:, y, x]
            else:
                kept += 1
    return out, kept / (height * width)


@pytest.mark.parametrize(('intra', 'inter'), [('interpolate', 'cut'), ('cut', 'interpolate'), ('cut', 'cut')])
@pytest.mark.parametrize(('height', 'width'), [(8, 8), (6, 10)])
@pytest.mark.parametrize('n', [1, 15])
def test_equals_the_switch_pair_by_pair(intra, inter, height, width, n):
    z, y = torch.rand(n, 3, height, width), torch.arange(n) % 3
    torch.manual_seed(1)
    mixed, mix = InterIntra(2.0, 0.2, intra, inter)(z, MixContext(z, y))
    torch.manual_seed(1)
    partner = torch.randperm(n)
    inside, between = draws(intra, 2.0, n, height, width), draws(inter, 0.2, n, height, width)
    assert torch.equal(mix.partner, partner)
    for i in range(n):
        drawn = inside[i] if y[i] == y[partner[i]] else between[i]
        wanted, share = mix_pair(z[i], z[partner[i]], *drawn)
        torch.testing.assert_close(mixed[i], wanted)
        assert mix.lam[i].item() == pytest.approx(share, abs=1e-6)


def test_the_default_interpolates_inside_a_class_and_cuts_between():
    torch.manual_seed(0)
    z, y = torch.rand(400, 1, 16, 16), torch.arange(400) % 2
    _, mix = InterIntra()(z, MixContext(z, y))
    same = y == y[mix.partner]
    assert 100 < same.sum() < 300
    constant = (mix.mask == mix.mask[:, :, :1, :1]).flatten(1).all(1)
    assert constant[same].all()
    assert ((mix.mask == 0) | (mix.mask == 1))[~same].all()
    # Beta(2, 2) has a variance of 1 / 20; Beta(0.2, 0.2) leaves a third of the boxes almost or quite empty.
    assert mix.lam[same].var().item() == pytest.approx(0.05, abs=0.02)
    assert (mix.lam[~same] > 0.98).float().mean() > 0.25


def test_probabilities_stand_for_their_largest_class():
    z, y = torch.rand(12, 3, 8, 8), torch.arange(12) % 3
    soft = torch.full((12, 3), 0.2).scatter_(1, y[:, None], 0.6)
    results = []
    for labels in (y, soft):
        torch.manual_seed(0)
        results.append(InterIntra()(z, MixContext(z, labels))[0])
    assert torch.equal(*results)


@pytest.mark.parametrize('context', [None, MixContext(torch.rand(4, 3, 8, 8))], ids=['no context', 'no labels'])
def test_no_labels_is_one_line(context):
    with pytest.raises(InputError, match='by their labels'):
        InterIntra()(torch.rand(4, 3, 8, 8), context)


def test_labels_of_another_batch_are_one_line():
    z = torch.rand(4, 3, 8, 8)
    with pytest.raises(InputError, match='3 labels'):
        InterIntra()(z, MixContext(z, torch.arange(3)))


@pytest.mark.parametrize('options', [{'intra_alpha': 0}, {'inter_alpha': -1.0}, {'intra': 'cutt'}, {'inter': 1}])
def test_bad_options_are_one_line(options):
    with pytest.raises(InputError, match=f'InterIntra: {next(iter(options))}'):
        InterIntra(**options)
