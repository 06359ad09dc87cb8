"""Compare the loss of AdAutoMix's block with loops over its terms, and test in which direction it trains what."""

import math

import pytest
import torch

from openmix.errors import InputError
from openmix.mix import Mix
from openmix.mixups import MixContext
from openmix.mixups.ad_auto_mix import similarity
from openmix.registry import MIXUPS, MODELS

CLASSES = 5


def classifier(seed=0, **policy):
    """Make a classifier in float64 whose momentum encoder differs from it, without anything that is drawn or moves."""
    torch.manual_seed(seed)
    model = MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='LinearHead', num_classes=CLASSES),
            policy=dict(type='AdAutoMix', **policy),
        )
    )
    for parameter in [*model.policy.encoder.parameters(), *model.policy.mixer.parameters()]:
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double()


def batch(n=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 8, 8, generator=g).double(), torch.randint(CLASSES, (n,), generator=g)


def cross_entropy(logits, y, partner, lam):
    """Compute the mean over the batch of sum_k lam_k CE(logits, y_k), in loops."""
    total = 0.0
    for n, row in enumerate(logits.tolist()):
        log_sum = math.log(sum(math.exp(v) for v in row))
        total -= lam[n] * (row[y[n]] - log_sum) + (1 - lam[n]) * (row[y[partner[n]]] - log_sum)
    return total / len(logits)


def cosine(a, b):
    return sum(p * q for p, q in zip(a, b)) / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))


def likeness(logits, clean, partner, lam):
    rows, clean = logits.tolist(), clean.tolist()
    found = [
        lam[n] * cosine(row, clean[n]) + (1 - lam[n]) * cosine(row, clean[partner[n]]) for n, row in enumerate(rows)
    ]
    return sum(found) / len(found)


def terms(model, x, y, seed=3):
    """Mix with the block as the generation task does, and compute the three terms of its loss."""
    policy = model.policy
    torch.manual_seed(seed)
    partner = torch.randperm(len(x))
    lam = policy.draw_lam(len(x), x.device)
    features = policy.features(x, None)
    with torch.no_grad():
        mask = policy.mixer(features, features[partner], lam, (8, 8))
        mixed = torch.stack([mask[n] * x[n] + (1 - mask[n]) * x[partner[n]] for n in range(len(x))])
        online, encoder = model.head(model.backbone(mixed)), policy.encoder(mixed)
        args = partner.tolist(), lam.double().tolist()
        return (
            cross_entropy(online, y.tolist(), *args),
            cross_entropy(encoder, y.tolist(), *args),
            likeness(encoder, policy.encoder(x), *args),
        )


def block_loss(model, x, y, seed=3):
    torch.manual_seed(seed)
    return model.policy.generation_losses(x, y, model.context(x, y))['mixer_loss']


@pytest.mark.parametrize(
    ('options', 'step', 'weights'),
    [
        ({}, 0, (-1, 0.3, -0.7)),
        ({'beta': 1.0}, 5, (-1, 1, 0)),
        ({'beta': 0.0}, 5, (-1, 0, -1)),
        ({'against': 'encoder', 'interval': 2, 'beta': 0.1}, 4, (0, -0.1, 0.9)),
        ({'against': 'encoder', 'interval': 2}, 5, (0, 1, 0)),
        ({'interval': 3}, 6, (-1, 0.3, -0.7)),
        ({'interval': 3}, 7, (0, 1, 0)),
    ],
)
def test_the_loss_is_the_sum_of_the_terms_with_their_signs(options, step, weights):
    model = classifier(**options).eval()
    model.before_step(step, 10)
    x, y = batch()
    of_terms = terms(model, x, y)
    assert len({round(term, 3) for term in of_terms}) == 3
    wanted = sum(weight * term for weight, term in zip(weights, of_terms))
    assert block_loss(model, x, y).item() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize('options', [{}, {'against': 'encoder'}])
def test_the_gradient_of_the_block_is_the_slope_of_its_loss(options):
    model = classifier(**options).eval()
    x, y = batch()
    block_loss(model, x, y).backward()
    weight = model.policy.mixer.content.weight
    slope, step = weight.grad.flatten()[:3].clone(), 1e-3
    for place in range(3):
        values = []
        for sign in (1, -1):
            weight.data.view(-1)[place] += sign * step
            values.append(block_loss(model, x, y).item())
            weight.data.view(-1)[place] -= sign * step
        assert slope[place].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.02, abs=1e-6)
    assert slope.abs().max() > 1e-4


@pytest.mark.parametrize(('options', 'raised'), [({'beta': 0.0}, 0), ({'against': 'encoder', 'beta': 1.0}, 1)])
def test_a_step_of_the_block_makes_the_images_harder_for_the_network_that_it_works_against(options, raised):
    model = classifier(**options).eval()
    x, y = batch()
    before = terms(model, x, y)[raised]
    optimizer = torch.optim.SGD(model.policy.mixer.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        block_loss(model, x, y).backward()
        optimizer.step()
    assert terms(model, x, y)[raised] > before + 1e-4


def test_the_block_works_against_the_classifier_and_leaves_it_as_it_is():
    model = classifier()
    x, y = batch()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    block_loss(model, x, y).backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, p in model.named_parameters() if name.startswith('policy.mixer.')}
    kept = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert kept >= {key for key in before if not key.startswith('policy.encoder.')}


def test_the_classifier_never_trains_the_block():
    model = classifier()
    x, y = batch()
    mixed, mix = model.policy(x, model.context(x, y))
    model.head.loss(model.head(model.backbone(mixed)), y, mix).backward()
    assert all(p.grad is None for p in model.policy.parameters())
    assert model.backbone.conv1.weight.grad.any()


def test_similarity_is_that_of_the_sources_by_their_shares():
    g = torch.Generator().manual_seed(0)
    logits, clean = torch.randn(3, 4, generator=g), torch.randn(3, 4, generator=g)
    partner, lam = torch.tensor([2, 0, 1]), torch.tensor([0.25, 1.0, 0.6])
    found = similarity(logits, torch.zeros(3, dtype=torch.int64), Mix.pairs(partner, lam), clean)
    assert found.item() == pytest.approx(likeness(logits, clean, partner.tolist(), lam.tolist()), abs=1e-6)
    alike = similarity(clean, torch.zeros(3, dtype=torch.int64), Mix.pairs(torch.arange(3), lam), clean)
    assert alike.item() == pytest.approx(1, abs=1e-6)


def test_published_options_of_the_released_code():
    policy = MIXUPS.build(dict(type='AdAutoMix', **MIXUPS.get('AdAutoMix').published))
    assert (policy.share, policy.heads, policy.lam_margin, policy.mask_weight) == ('batch', 'split', 0.03, 0.0)
    policy.before_step(2, 9)
    assert policy.weights_now() == (0, -0.3, 0.7)
    policy.before_step(3, 9)
    assert policy.weights_now() == (0, 1, 0)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'beta': 1.1}, 'AdAutoMix: beta must be in'),
        ({'against': 'both'}, "AdAutoMix: against must be 'classifier' or 'encoder'"),
        ({'interval': 0}, 'AdAutoMix: interval must be >= 1'),
        ({'interval': 1.5}, 'AdAutoMix: interval must be an integer >= 1'),
        ({'mixer_losses': [dict(type='mix_ce')]}, 'leave mixer_losses out'),
        ({'mixer': dict(normalization='none')}, 'MixBlock: normalization must be'),
    ],
)
def test_wrong_options_are_one_line(options, line):
    with pytest.raises(InputError, match=line):
        classifier(**options)


def test_it_needs_a_classifier_and_its_network():
    model = classifier()
    x, y = batch()
    with pytest.raises(InputError, match='it needs the network: MixContext'):
        model.policy.own_losses(MixContext(x, y))
    with pytest.raises(InputError, match='this algorithm trains none'):
        MIXUPS.build(dict(type='AdAutoMix')).attach(model.online(), model.policy.encoder)
