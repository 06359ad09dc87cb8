"""MixMatch and ReMixMatch: targets, mixing and losses by value, against loops over the papers' formulas."""

import copy
from math import log

import pytest
import torch
from toys import CLASSES, SIDE, B, U, batch, logits_of, mean, method, nll, softmax, total_of

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.models.semisup import mixmatch, remixmatch
from openmix.models.semisup.pool_mix import draw_mix, interleaving, logits_in_parts
from openmix.models.semisup.remixmatch import rotated
from openmix.models.semisup.targets import sharpen


def slow_sharpen(p, temperature):
    powers = [v ** (1 / temperature) for v in p]
    return [power / sum(powers) for power in powers]


def one_hot(c):
    return [float(i == c) for i in range(CLASSES)]


def interleaved(rows, size):
    """Exchange parts as the published code does, with lists."""
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    groups = [size // len(parts)] * len(parts)
    for i in range(size - sum(groups)):
        groups[-i - 1] += 1
    cut = [sum(groups[:i]) for i in range(len(groups) + 1)]
    parts = [[part[cut[i] : cut[i + 1]] for i in range(len(groups))] for part in parts]
    for i in range(1, len(parts)):
        parts[0][i], parts[i][i] = parts[i][i], parts[0][i]
    return [row for part in parts for group in part for row in group]


@pytest.mark.parametrize(('n', 'size'), [(12, 4), (15, 5), (20, 4), (21, 7), (30, 3), (4, 4), (64 * 15, 64)])
def test_interleaving_is_that_of_the_published_code_and_its_own_inverse(n, size):
    order = interleaving(n, size)
    assert order.tolist() == interleaved(list(range(n)), size)
    assert torch.equal(order[order], torch.arange(n))


def test_images_that_make_no_whole_sub_batches_are_refused():
    with pytest.raises(InputError, match='11 labelled and unlabelled images make no whole sub-batches of the 4'):
        interleaving(11, 4)


def test_the_first_sub_batch_alone_moves_statistics_and_each_is_normalised_by_itself():
    model, x = method('MixMatch'), torch.randn(20, 3, SIDE, SIDE, dtype=torch.float64)
    wanted, before = [], copy.deepcopy(model)
    for i in range(0, 20, 4):
        wanted += logits_of(model, torch.stack(interleaved(list(x), 4)[i : i + 4]))[0]
    found = logits_in_parts(model.online(), x, 4)
    torch.testing.assert_close(found, torch.tensor(interleaved(wanted, 4), dtype=torch.float64))
    before.online()(torch.stack(interleaved(list(x), 4)[:4]))
    for (name, a), (_, b) in zip(model.named_buffers(), before.named_buffers()):
        assert torch.equal(a, b), name
    found.sum().backward()


def test_shares_are_folded():
    torch.manual_seed(0)
    shares = [draw_mix(6, 0.5, 'batch', 'cpu').lam for _ in range(60)]
    assert all(lam.unique().numel() == 1 and lam[0] >= 0.5 for lam in shares)
    lam = torch.stack(shares)[:, 0]
    # The mean of max(lam, 1 - lam) for Beta(1/2, 1/2) is 1/2 + 1/pi.
    assert lam.mean().item() == pytest.approx(0.818, abs=0.06)
    own = draw_mix(50, 0.5, 'sample', 'cpu')
    assert own.lam.unique().numel() > 40
    assert own.lam.min() >= 0.5
    assert sorted(own.partner.tolist()) == list(range(50))


def test_sharpening_at_a_low_temperature_underflows_nothing():
    """Also where a power of every probability is 0, and where a probability is 0."""
    p = torch.full((1, 100), 0.0099)
    p[0, 3] += 0.01
    assert sharpen(p, 0.02)[0, 3] == 1
    assert sharpen(torch.tensor([[1.0, 0.0, 0.0]]), 0.5).tolist() == [[1, 0, 0]]


def test_sharpening():
    p = [0.5, 0.3, 0.2]
    assert sharpen(torch.tensor([p]), 0.5)[0].tolist() == pytest.approx(slow_sharpen(p, 0.5))


def fixed(monkeypatch, module, n):
    """Let a method mix n images in shares and with partners that are known; return both."""
    g = torch.Generator().manual_seed(5)
    partner, lam = torch.randperm(n, generator=g), 0.5 + torch.randint(1, 31, (n,), generator=g) / 64
    monkeypatch.setattr(module, 'draw_mix', lambda *_: Mix.pairs(partner, lam))
    return partner.tolist(), lam.tolist()


def mixed_logits(model, images, targets, partner, lam):
    """Mix in loops; return the logits and targets of every mixed image."""
    mixed = [a * images[i] + (1 - a) * images[j] for i, (j, a) in enumerate(zip(partner, lam))]
    soft = [[a * u + (1 - a) * v for u, v in zip(targets[i], targets[j])] for i, (j, a) in enumerate(zip(partner, lam))]
    order, found = interleaved(mixed, B), []
    for i in range(0, len(order), B):
        found += logits_of(model, torch.stack(order[i : i + B]))[0]
    return interleaved(found, B), soft


def soft_nll(z, target):
    return -sum(q * log(v) for q, v in zip(target, softmax(z)))


def test_mixmatch_is_that_of_the_paper(monkeypatch):
    model, data = method('MixMatch', temperature=0.5, weight=70.0), batch(2)
    x, y, views = (
        data['labelled']['inputs'],
        data['labelled']['labels'].tolist(),
        data['unlabelled']['inputs'].unbind(1),
    )
    predictions = [[softmax(z) for z in logits_of(model, view)[0]] for view in views]
    q = [slow_sharpen([(a + b) / 2 for a, b in zip(p, other)], 0.5) for p, other in zip(*predictions)]
    partner, lam = fixed(monkeypatch, mixmatch, B + 2 * U)
    z, soft = mixed_logits(model, [*x, *views[0], *views[1]], [*map(one_hot, y), *q, *q], partner, lam)
    model.before_step(10, 100)
    found = model.loss(data)
    labelled = mean(soft_nll(row, target) for row, target in zip(z[:B], soft[:B]))
    squares = [(p - t) ** 2 for row, target in zip(z[B:], soft[B:]) for p, t in zip(softmax(row), target)]
    assert len(squares) == 2 * U * CLASSES
    assert found['labelled_loss'].item() == pytest.approx(labelled, rel=1e-10)
    assert found['unlabelled_loss'].item() == pytest.approx(0.25 * 70 * mean(squares), rel=1e-10)
    guesses, truth = [row.index(max(row)) for row in q], data['unlabelled']['true_labels'].tolist()
    assert found['pseudo_label_accuracy'].item() == pytest.approx(mean(a == b for a, b in zip(guesses, truth)))
    assert 'mask_rate' not in found
    assert total_of(model, found).item() == pytest.approx(labelled + 0.25 * 70 * mean(squares), rel=1e-10)


def test_remixmatch_is_that_of_the_paper(monkeypatch):
    shares = [0.125, 0.25, 0.125, 0.25, 0.25]
    model, data = method('ReMixMatch', label_distribution=shares, momentum=0.9), batch(3)
    x, y = data['labelled']['inputs'], data['labelled']['labels'].tolist()
    weak, strong, other = data['unlabelled']['inputs'].unbind(1)
    running = None
    for step in (0, 1, 2):
        if step:
            weak = weak + 0.3 * torch.randn_like(weak)
            data['unlabelled']['inputs'] = torch.stack([weak, strong, other], 1)
        model.before_step(step, 256)  # the ramp over 1/64 of it is 4 steps
        p = [softmax(z) for z in logits_of(model, weak)[0]]
        of_batch = [mean(row[c] for row in p) for c in range(CLASSES)]
        # The running mean of this step has this batch in it, and the first one is the first batch's.
        running = of_batch if running is None else [0.9 * old + 0.1 * new for old, new in zip(running, of_batch)]
        q = []
        for row in p:
            aligned = [v * share / r for v, share, r in zip(row, shares, running)]
            q.append(slow_sharpen([v / sum(aligned) for v in aligned], 0.5))
        partner, lam = fixed(monkeypatch, remixmatch, B + 3 * U)
        z, soft = mixed_logits(model, [*x, *strong, *other, *weak], [*map(one_hot, y), *q, *q, *q], partner, lam)
        rotation, before = copy.deepcopy(model.rotation_head), copy.deepcopy(model.backbone)
        of_strong = logits_of(model, strong)[0]
        found = model.loss(data)
        assert model.running_mean.tolist() == pytest.approx(running, rel=1e-9)
        rise = step / 4
        assert found['labelled_loss'].item() == pytest.approx(
            mean(soft_nll(row, t) for row, t in zip(z[:B], soft[:B])), rel=1e-9
        )
        match = mean(soft_nll(row, t) for row, t in zip(z[B:], soft[B:]))
        assert found['match_loss'].item() == pytest.approx(1.5 * rise * match, rel=1e-9)
        view = mean(soft_nll(row, t) for row, t in zip(of_strong, q))
        assert found['view_loss'].item() == pytest.approx(0.5 * rise * view, rel=1e-9)
        last = model.backbone.seen[-1]
        turns = [[k for k in range(4) if torch.equal(image.rot90(k, (1, 2)), row)] for image, row in zip(strong, last)]
        assert all(len(k) == 1 for k in turns)
        told = rotation(before(last)).tolist()
        assert found['rotation_loss'].item() == pytest.approx(0.5 * mean(nll(a, k) for a, (k,) in zip(told, turns)))
        assert int(model.backbone.norm.num_batches_tracked) == step + 1, 'one pass of many moves them'
        total_of(model, found).backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert len({k for (k,) in turns}) > 1


def test_without_a_label_distribution_it_is_uniform():
    model = method('ReMixMatch')
    assert model.label_distribution.tolist() == pytest.approx([1 / CLASSES] * CLASSES)
    assert {'running_mean', 'started'} <= model.state_dict().keys()


def test_rotations_are_quarter_turns():
    x = torch.arange(2 * 3 * 4.0 * 4).view(2, 3, 4, 4)
    for k in range(4):
        assert torch.equal(rotated(x, torch.tensor([k, 0])), torch.stack([x[0].rot90(k, (1, 2)), x[1]]))


@pytest.mark.parametrize(
    ('name', 'options', 'line'),
    [
        ('MixMatch', dict(temperature=0), 'MixMatch: temperature must be > 0'),
        ('MixMatch', dict(share='row'), "MixMatch: share must be 'batch' or 'sample'"),
        ('MixMatch', dict(ramp=1.5), 'MixMatch: ramp must be in'),
        ('PseudoLabel', dict(threshold=2), 'PseudoLabel: threshold must be in'),
        ('PseudoLabel', dict(ramp=-1), 'PseudoLabel: ramp must be in'),
        ('UDA', dict(threshold=95), 'UDA: threshold must be in'),
        ('UDA', dict(temperature=0), 'UDA: temperature must be > 0'),
        ('FlexMatch', dict(threshold=-1), 'FlexMatch: threshold must be in'),
        ('ReMixMatch', dict(alpha=0), 'ReMixMatch: alpha must be > 0'),
        ('ReMixMatch', dict(momentum=1.0), 'ReMixMatch: momentum must be in'),
        ('ReMixMatch', dict(rotation_weight=-1), 'ReMixMatch: rotation_weight must be >= 0'),
        ('ReMixMatch', dict(label_distribution=[0.5, 0.5]), 'label_distribution must be 5 shares that sum to 1'),
        ('ReMixMatch', dict(label_distribution='unifrom'), "did you mean 'uniform'"),
        ('ReMixMatch', dict(label_distribution=[0.3] * 5), 'label_distribution must be 5 shares that sum to 1'),
        ('ReMixMatch', dict(label_distribution=[1.0, 0, 0, 0, 0]), 'every number of label_distribution must be'),
    ],
)
def test_an_option_out_of_range_is_refused(name, options, line):
    with pytest.raises(InputError, match=line):
        method(name, **options)


def test_images_that_are_not_square_are_refused():
    data = batch(3)
    for pool in data.values():
        pool['inputs'] = pool['inputs'][..., :2]
    with pytest.raises(InputError, match='rotates images by quarter turns, and these are 4x2, not square'):
        method('ReMixMatch').loss(data)
