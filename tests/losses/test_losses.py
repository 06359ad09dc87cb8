"""Compare every loss with a slow float64 reference that follows the paper's formulas."""

from math import exp, log

import pytest
import torch
from torch import Tensor

from openmix.errors import InputError
from openmix.losses import decoupled_bce, decoupled_ce, mix_bce, mix_ce
from openmix.losses.decoupled import rescale
from openmix.mix import Mix
from openmix.registry import LOSSES


def batch(n: int = 16, classes: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Mix]:
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, classes, generator=g, dtype=torch.float64)
    y = torch.randint(classes, (n,), generator=g)
    # Shares with few bits are the same number in float32, which a Mix holds, and float64.
    lam = torch.randint(1, 64, (n,), generator=g) / 64
    return logits, y, Mix.pairs(torch.randperm(n, generator=g), lam)


def softmax(z: list[float]) -> list[float]:
    total = sum(exp(v) for v in z)
    return [exp(v) / total for v in z]


def slow(logits: Tensor, y: Tensor, mix: Mix, per_sample) -> float:
    """Compute the mean of `per_sample(logits, i, j, lam)` over samples."""
    values = []
    for n in range(len(logits)):
        i, j = int(y[mix.source[n, 0]]), int(y[mix.source[n, 1]])
        values.append(per_sample(logits[n].tolist(), i, j, float(mix.weight[n, 0])))
    return sum(values) / len(values)


def slow_mce(z, i, j, lam):
    p = softmax(z)
    return -lam * log(p[i]) - (1 - lam) * log(p[j])


def slow_dm(eta, sides='both', scale='none', least_share=0.0, skip_half=False):
    def loss(z, i, j, lam):
        if i == j or min(lam, 1 - lam) <= least_share or (skip_half and lam == 0.5):
            return slow_mce(z, i, j, lam)
        p = softmax(z)
        phi_ij, phi_ji = p[i] / (1 - p[j]), p[j] / (1 - p[i])
        own, other = (eta * lam, eta * (1 - lam)) if scale == 'share' else (eta, eta)
        term = -own * log(phi_ij) - (other * log(phi_ji) if sides == 'both' else 0)
        return slow_mce(z, i, j, lam) + term

    return loss


def slow_bce(target_of):
    def loss(z, i, j, lam):
        total = 0.0
        for c, v in enumerate(z):
            p = 1 / (1 + exp(-v))
            share = lam * (c == i) + (1 - lam) * (c == j)
            t = target_of(share)
            total -= t * log(p) + (1 - t) * log(1 - p)
        return total

    return loss


def dm(**options):
    return (lambda *a: decoupled_ce(*a, eta=0.7, **options)), slow_dm(0.7, **options)


CASES = {
    'mix_ce': (mix_ce, slow_mce),
    'dm_both': dm(),
    'dm_own': dm(sides='own'),
    'dm_share': dm(scale='share'),
    'dm_share_own': dm(scale='share', sides='own'),
    # 1/8 is a share of some pairs, so that the bound itself is tested.
    'dm_released': dm(scale='share', least_share=1 / 8, skip_half=True),
    'dm_least_own': dm(least_share=1 / 8, sides='own'),
    'bce_one': (mix_bce, slow_bce(lambda s: s)),
    'bce_two': (lambda *a: mix_bce(*a, labels='two'), slow_bce(lambda s: float(s > 0))),
    'dm_bce': (lambda *a: decoupled_bce(*a, t=1, xi=0.8), slow_bce(lambda s: min(1, s / 0.8))),
    'dm_bce_sqrt': (lambda *a: decoupled_bce(*a, t=0.5, xi=1), slow_bce(lambda s: s**0.5)),
}


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('classes', [2, 7])
def test_equals_slow_reference(name, classes):
    fast, reference = CASES[name]
    logits, y, mix = batch(classes=classes)
    assert (y == y[mix.partner]).any()  # same-class pairs are among them
    assert fast(logits, y, mix).item() == pytest.approx(slow(logits, y, mix, reference), rel=1e-6)


@pytest.mark.parametrize('name', CASES)
def test_gradient_by_finite_differences(name):
    loss = CASES[name][0]
    logits, y, mix = batch(n=6)
    assert torch.autograd.gradcheck(lambda z: loss(z, y, mix), logits.requires_grad_(), eps=1e-6, atol=1e-7)


def test_proposition_1_mce_regresses_lam():
    logits, y, mix = batch()
    logits.requires_grad_()
    (grad,) = torch.autograd.grad(mix_ce(logits, y, mix) * len(y), logits)
    for n in range(len(y)):
        i, j, lam = int(y[n]), int(y[mix.partner[n]]), float(mix.lam[n])
        expected = torch.tensor(softmax(logits[n].tolist()), dtype=torch.float64)
        expected[i] -= lam
        expected[j] -= 1 - lam
        torch.testing.assert_close(grad[n], expected)


def test_proposition_2_decoupled_gradient_is_free_of_lam():
    logits, y, mix = batch()
    logits.requires_grad_()
    (with_dm,) = torch.autograd.grad(decoupled_ce(logits, y, mix, eta=1.0) * len(y), logits)
    (without,) = torch.autograd.grad(mix_ce(logits, y, mix) * len(y), logits)
    for n in range(len(y)):
        i, j = int(y[n]), int(y[mix.partner[n]])
        p = softmax(logits[n].tolist())
        expected = torch.zeros(len(p), dtype=torch.float64)
        if i != j:
            for c in range(len(p)):
                expected[c] = p[c] / (1 - p[j]) + p[c] / (1 - p[i])
            expected[i] = p[i] / (1 - p[j]) - 1
            expected[j] = p[j] / (1 - p[i]) - 1
        torch.testing.assert_close((with_dm - without)[n], expected, atol=1e-9, rtol=1e-6)


def test_decoupled_gradient_raises_both_classes():
    """With the print's sign it would lower them."""
    z = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    mix = Mix.pairs(torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    y = torch.tensor([0, 1])
    decoupled_ce(z, y, mix, eta=1.0).backward()
    plain = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    mix_ce(plain, y, mix).backward()
    extra = z.grad - plain.grad
    assert (extra[0, :2] < 0).all()
    assert (extra[0, 2:] > 0).all()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize('name', CASES)
def test_finite_at_large_gaps(dtype, name):
    n, classes = 64, 10
    g = torch.Generator().manual_seed(1)
    logits = torch.zeros(n, classes)
    logits[torch.arange(n), torch.randint(classes, (n,), generator=g)] = 60.0
    y = torch.randint(classes, (n,), generator=g)
    mix = Mix.pairs(torch.randperm(n, generator=g), torch.rand(n, generator=g))
    z = logits.to(dtype).requires_grad_()
    loss = CASES[name][0](z, y, mix)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert z.grad.isfinite().all()


def test_same_class_pairs_fall_back_to_mce():
    logits, _, mix = batch()
    y = torch.full((16,), 3)
    logits.requires_grad_()
    (dm,) = torch.autograd.grad(decoupled_ce(logits, y, mix, eta=5.0), logits)
    (mce,) = torch.autograd.grad(mix_ce(logits, y, mix), logits)
    assert torch.equal(dm, mce)


@pytest.mark.parametrize('lam', [0.0, 1.0])
def test_extreme_shares_fall_back_to_mce(lam):
    logits, y, mix = batch()
    mix = Mix.pairs(mix.partner, torch.full((16,), lam))
    assert torch.equal(decoupled_ce(logits, y, mix, eta=5.0), mix_ce(logits, y, mix))


def test_the_weight_of_the_term_decides_the_gradient_at_a_small_share():
    """1000 classes, half of the probability at the partner's class, and 0.2 % of the sample in the mixed image."""
    y, mix = torch.tensor([0, 1]), Mix(torch.tensor([[0, 1]]), torch.tensor([[0.002, 0.998]]))

    def pull(**options):
        z = torch.tensor([[0.0, log(999), *[0.0] * 998]], dtype=torch.float64, requires_grad=True)
        decoupled_ce(z, y, mix, eta=1.0, **options).backward()
        return z.grad[0, 0].item()

    assert pull() == pytest.approx(-1.00, abs=0.005)
    assert pull(scale='share') == pytest.approx(-0.0035, abs=0.00005)
    # Were the two weights swapped, the sample's class alone would be pulled as hard as by constant ones.
    assert pull(scale='share', sides='own') == pytest.approx(-0.0035, abs=0.00005)


@pytest.mark.parametrize('scale', ['none', 'share'])
def test_each_term_belongs_to_its_own_side(scale):
    """A pair and the same pair the other way round, with 1 - lam, have the same loss."""
    logits, y, mix = batch()
    other = Mix(mix.source.flip(1), mix.weight.flip(1))
    torch.testing.assert_close(
        decoupled_ce(logits, y, mix, eta=1.0, scale=scale), decoupled_ce(logits, y, other, eta=1.0, scale=scale)
    )


@pytest.mark.parametrize(
    ('lam', 'options', 'kept'),
    [
        (0.001, {'least_share': 0.001}, False),
        (0.00101, {'least_share': 0.001}, True),
        (0.99901, {'least_share': 0.001}, False),
        (0.5, {'least_share': 0.001}, True),
        (0.5, {'skip_half': True}, False),
        (0.5001, {'skip_half': True}, True),
        (1e-7, {}, True),
    ],
)
def test_pairs_without_a_term(lam, options, kept):
    y, mix = torch.tensor([0, 1]), Mix(torch.tensor([[0, 1]]), torch.tensor([[lam, 1 - lam]]))
    z = torch.tensor([[0.3, -0.2, 0.1, 0.5]], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(decoupled_ce(z, y, mix, eta=1.0, **options), z)
    (mce,) = torch.autograd.grad(mix_ce(z, y, mix), z)
    assert ((found - mce).abs().max() > 0.1) == kept
    assert kept or torch.equal(found, mce)


def test_two_classes_have_no_third_to_decouple_from():
    logits, y, mix = batch(classes=2)
    torch.testing.assert_close(decoupled_ce(logits, y, mix, eta=5.0), mix_ce(logits, y, mix))


@pytest.mark.parametrize('name', CASES)
def test_unmixed_batch_is_the_plain_loss(name):
    logits, y, _ = batch()
    mix = Mix.none(16)
    if 'bce' in name:
        one_hot = torch.nn.functional.one_hot(y, 7).double()
        plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, one_hot, reduction='none').sum(1).mean()
    else:
        plain = torch.nn.functional.cross_entropy(logits, y)
    torch.testing.assert_close(CASES[name][0](logits, y, mix), plain)


def test_order_of_samples_does_not_matter():
    logits, y, mix = batch()
    perm = torch.randperm(16)
    inverse = perm.argsort()
    shuffled = Mix.pairs(inverse[mix.partner[perm]], mix.lam[perm])
    torch.testing.assert_close(decoupled_ce(logits, y, mix), decoupled_ce(logits[perm], y[perm], shuffled))


def test_rescaled_targets_stay_in_range():
    share = torch.linspace(0, 1, 101)
    for t in (0.0, 0.3, 0.5, 1.0, 2.0):
        for xi in (0.0, 0.7, 0.8, 1.0):
            r = rescale(share, t, xi)
            assert r.min() == 0  # an absent class has target 0
            assert r.max() <= 1
    assert torch.equal(rescale(share, 0.0, 0.0), (share > 0).float())
    torch.testing.assert_close(rescale(share, 1.0, 1.0), share)


def test_dm_bce_same_class_target_is_one():
    y = torch.tensor([2, 2])
    mix = Mix.pairs(torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    z = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    decoupled_bce(z, y, mix, t=2.0, xi=0.8).backward()
    # d/dz of BCE at z = 0 is 0.5 - target, averaged over two samples.
    torch.testing.assert_close(z.grad[0, 2], torch.tensor(-0.25, dtype=torch.float64))


def test_soft_labels_equal_hard_ones():
    logits, y, mix = batch()
    one_hot = torch.nn.functional.one_hot(y, 7).double()
    torch.testing.assert_close(mix_ce(logits, one_hot, mix), mix_ce(logits, y, mix))
    torch.testing.assert_close(mix_bce(logits, one_hot, mix), mix_bce(logits, y, mix))


def test_smoothing_is_torchs():
    logits, y, mix = batch()
    own = torch.nn.functional.cross_entropy(logits, y, reduction='none', label_smoothing=0.1)
    other = torch.nn.functional.cross_entropy(logits, y[mix.partner], reduction='none', label_smoothing=0.1)
    torch.testing.assert_close(mix_ce(logits, y, mix, smoothing=0.1), (mix.lam * own + (1 - mix.lam) * other).mean())


def test_three_sources():
    logits, y, _ = batch(n=6)
    source = torch.stack([torch.arange(6), torch.randperm(6), torch.randperm(6)], 1)
    weight = torch.tensor([[0.5, 0.25, 0.25]]).expand(6, 3)
    log_p = logits.log_softmax(1)
    expected = -sum(weight[:, k] * log_p[torch.arange(6), y[source[:, k]]] for k in range(3)).mean()
    torch.testing.assert_close(mix_ce(logits, y, Mix(source, weight)), expected)
    with pytest.raises(InputError, match='pairs'):
        decoupled_ce(logits, y, Mix(source, weight))


def test_labels_of_a_longer_pool():
    logits, y, mix = batch()
    short = Mix(mix.source[:5], mix.weight[:5])
    torch.testing.assert_close(
        mix_ce(logits[:5], y, short),
        torch.tensor(slow(logits[:5], y, short, slow_mce), dtype=torch.float64),
    )


@pytest.mark.parametrize(
    ('cfg', 'line'),
    [
        (dict(type='decoupled_ec'), "did you mean 'decoupled_ce'"),
        (dict(type='decoupled_ce', et=1), "did you mean 'eta'"),
    ],
)
def test_unknown_names_are_one_line(cfg, line):
    with pytest.raises(InputError, match=line):
        LOSSES.build(cfg)


@pytest.mark.parametrize('kwargs', [dict(t=-1.0), dict(xi=1.5)])
def test_dm_bce_range(kwargs):
    with pytest.raises(InputError, match='decoupled_bce'):
        decoupled_bce(*batch(), **kwargs)


def test_bad_options_are_one_line():
    with pytest.raises(InputError, match='sides'):
        decoupled_ce(*batch(), sides='left')
    with pytest.raises(InputError, match="scale must be 'none' or 'share'"):
        decoupled_ce(*batch(), scale='lam')
    with pytest.raises(InputError, match='least_share'):
        decoupled_ce(*batch(), least_share=0.5)
    with pytest.raises(InputError, match='labels'):
        mix_bce(*batch(), labels='three')
    logits, y, mix = batch()
    with pytest.raises(InputError, match='class indices'):
        decoupled_ce(logits, torch.nn.functional.one_hot(y, 7).float(), mix)


@pytest.mark.parametrize('loss', [mix_ce, mix_bce, decoupled_ce, decoupled_bce])
def test_weights_of_rows_divide_by_all_of_them(loss):
    logits, y, mix = batch()
    rows = (torch.rand(len(logits), generator=torch.Generator().manual_seed(1)) < 0.5).float()
    assert 0 < rows.sum() < len(rows)
    each = [loss(logits[n : n + 1], y, Mix(mix.source[n : n + 1], mix.weight[n : n + 1])) for n in range(len(logits))]
    wanted = sum(row * one for row, one in zip(rows.tolist(), each)) / len(logits)
    assert loss(logits, y, mix, rows=rows).item() == pytest.approx(wanted.item(), rel=1e-10)
    assert torch.equal(loss(logits, y, mix, rows=torch.ones(len(logits))), loss(logits, y, mix))
    assert loss(logits, y, mix, rows=torch.zeros(len(logits))).item() == 0
    with pytest.raises(InputError, match=r'rows must be \(16,\), one weight a sample, got a float32 tensor of \(3,\)'):
        loss(logits, y, mix, rows=torch.ones(3))


def test_weights_of_rows_are_no_option_of_a_recipe():
    with pytest.raises(InputError, match="loss 'mix_ce' has no option 'rows'"):
        LOSSES.build(dict(type='mix_ce', rows=[1]))
