"""The mixed branch: which images are mixed in which shares, its loss by value, and what it refuses."""

import copy
from math import log

import pytest
import torch
from torch import nn
from toys import CLASSES, B, U, batch, batch_for, logits_of, method, softmax, total_of

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.memory import training_keys
from openmix.mixups.mixup import Mixup
from openmix.models.semisup.branch import MixedBranch
from openmix.registry import MODELS

# With the paper's alpha of 0.2 some shares are so near to 0 or 1 that an image does not tell its partner.
AS = dict(policy=dict(type='Mixup', alpha=1.0), lam=(0, 0.5), loss=dict(type='decoupled_ce', sides='own', eta=0.1))


def pairs_of(model, data, view=0):
    """Find what the last pass of the backbone mixed: per row the share of its labelled image, and the other's row."""
    x, others, mixed = data['labelled']['inputs'], data['unlabelled']['inputs'][:, view], model.backbone.seen[-1]
    assert len(mixed) == len(x)
    found = []
    for row, own in zip(mixed, x):
        nearest = []
        for place, other in enumerate(others):
            lam = ((row - other) * (own - other)).sum() / (own - other).square().sum()
            nearest.append(((other + lam * (own - other) - row).abs().max().item(), lam.item(), place))
        far, lam, place = min(nearest)
        assert far < 1e-6, 'each row is a labelled image with one unlabelled image'
        found.append((lam, place))
    return found


def trained(model, data, seed=0):
    model.backbone.seen.clear()
    torch.manual_seed(seed)
    return model.loss(data)


def slow(model, data, pairs, threshold, eta, sides):
    """Compute the branch's loss from its pairs, by Eq. 1 and Proposition 2 of Decoupled Mixup."""
    x, others = data['labelled']['inputs'], data['unlabelled']['inputs'].unbind(1)
    _, weak, _ = logits_of(model, x, *others)
    mixed = torch.stack([lam * a + (1 - lam) * others[0][j] for a, (lam, j) in zip(x, pairs)])
    (z,) = logits_of(model, mixed)
    total = 0.0
    for row, a, (lam, j) in zip(z, data['labelled']['labels'].tolist(), pairs):
        guess = softmax(weak[j])
        if max(guess) < threshold:
            continue
        b, p = guess.index(max(guess)), softmax(row)
        total += -lam * log(p[a]) - (1 - lam) * log(p[b])
        if a != b:
            total -= eta * log(p[a] / (1 - p[b])) + (eta * log(p[b] / (1 - p[a])) if sides == 'both' else 0)
    return total / len(x)


@pytest.mark.parametrize(
    ('branch', 'eta', 'sides', 'low', 'high'),
    [
        (AS, 0.1, 'own', 0, 0.5),
        ({**AS, 'lam': (0.5, 1)}, 0.1, 'own', 0.5, 1),
        ({**AS, 'lam': None}, 0.1, 'own', 0, 1),
        ({**AS, 'loss': dict(type='decoupled_ce', eta=0.7)}, 0.7, 'both', 0, 0.5),
        (dict(policy=dict(type='Mixup')), 0, 'own', 0, 1),
    ],
    ids=['asymmetric', 'larger share', 'unconstrained', 'two sides', 'mixup'],
)
def test_its_loss_is_that_of_the_paper(branch, eta, sides, low, high):
    model, data = method('FixMatch', threshold=0.6, branch={**branch, 'weight': 3.0}), batch(2)
    shares, masked = [], 0
    for seed in range(12):
        found = trained(model, data, seed)
        pairs = pairs_of(model, data)
        wanted = slow(model, data, pairs, 0.6, eta, sides)
        # Shares are float32, and the pairs are found from the images.
        assert found['branch_loss'].item() == pytest.approx(3 * wanted, rel=1e-4, abs=1e-6)
        shares += [lam for lam, _ in pairs]
        masked += wanted == 0
    assert low - 1e-6 <= min(shares) < max(shares) <= high + 1e-6
    if (low, high) == (0, 0.5):
        assert max(shares) < 0.5, 'the labelled image has the smaller share in every draw'
    else:
        assert max(shares) > 0.5
    assert masked < 12
    assert total_of(model, found).item() == pytest.approx(sum(v.item() for k, v in found.items() if 'loss' in k))


def test_partners_are_drawn_from_all_unlabelled_images_without_repetition():
    model, data = method('FixMatch', branch=AS), batch(2)
    drawn = set()
    for seed in range(8):
        trained(model, data, seed)
        places = [place for _, place in pairs_of(model, data)]
        assert len(set(places)) == B
        drawn |= set(places)
    assert drawn == set(range(U))


def gradients(branch, y, eta):
    """Return d loss / d z of mixed logits, for labels of two rows and two partners, shares of 0.3."""
    built = MODELS.build(dict(type='MixedBranch', **{**branch, 'loss': {**branch['loss'], 'eta': eta}}))
    x = torch.randn(4, 3, 2, 2)
    _, mix = built.policy.holding(0.3)(x, pairs=torch.tensor([2, 3]))
    g = torch.Generator().manual_seed(1)
    z = torch.randn(2, CLASSES, dtype=torch.float64, generator=g).requires_grad_()
    (found,) = torch.autograd.grad(built.loss(z, y, mix, None), z)
    return found


def test_the_labelled_class_alone_is_decoupled_from_the_pseudo_label():
    """The one-sided term does not move the logit of the pseudo-label; a pair of one class has no term."""
    y = torch.tensor([1, 4, 3, 4])  # rows (1, 3) and (4, 4)
    own = gradients(AS, y, 1.0) - gradients(AS, y, 0.0)
    assert own[0, 3].abs() < 1e-15
    assert own[0, 1] < -1e-3
    assert not own[1].any()
    both = {**AS, 'loss': dict(type='decoupled_ce')}
    assert (gradients(both, y, 1.0) - gradients(both, y, 0.0))[0, 3] < -1e-3


def test_with_two_classes_a_one_sided_term_is_zero():
    """So that tests of it need three."""
    built = MODELS.build(dict(type='MixedBranch', **{**AS, 'loss': dict(type='decoupled_ce', sides='own', eta=9.0)}))
    plain = MODELS.build(dict(type='MixedBranch', policy=AS['policy']))
    _, mix = built.policy.holding(0.3)(torch.randn(2, 3, 2, 2), pairs=torch.tensor([1]))
    z, y = torch.randn(1, 2), torch.tensor([0, 1])
    assert torch.equal(built.loss(z, y, mix, None), plain.loss(z, y, mix, None))


@pytest.mark.parametrize(('statistics', 'passes'), [('moved', 2), ('kept', 1)])
def test_its_pass_moves_statistics_or_keeps_them(statistics, passes):
    model = method('FixMatch', threshold=0.2, branch={**AS, 'statistics': statistics})
    other = method('FixMatch', threshold=0.2, branch=AS)
    found, wanted = trained(model, batch(2)), trained(other, batch(2))
    assert int(model.backbone.norm.num_batches_tracked) == passes
    assert torch.equal(found['branch_loss'], wanted['branch_loss']), 'it is normalised by its batch either way'
    total_of(model, found).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_its_weight_rises_over_its_share_of_the_training():
    model = method('FixMatch', threshold=0.2, branch={**AS, 'ramp': 0.4})
    plain = trained(method('FixMatch', threshold=0.2, branch=AS), batch(2))['branch_loss']
    for step, factor in ((0, 0), (10, 0.25), (20, 0.5), (40, 1), (99, 1)):
        model.before_step(step, 100)
        assert torch.allclose(trained(model, batch(2))['branch_loss'], factor * plain), step


def test_another_view_can_be_mixed():
    model, data = method('FixMatch', threshold=0.2, branch={**AS, 'view': 1}), batch(2)
    trained(model, data)
    pairs_of(model, data, view=1)


def test_a_second_head_answers_for_mixed_images_alone():
    model = method('FixMatch', threshold=0.2, branch={**AS, 'head': dict(type='LinearHead')})
    assert model.networks().keys() == {'', 'branch'}
    found = trained(model, batch(2))
    found['branch_loss'].backward()
    assert model.branch.head.fc.weight.grad.any()
    assert model.head.fc.weight.grad is None
    answer = model.eval().predict(dict(inputs=batch(2)['labelled']['inputs'], labels=None, ids=None))
    assert answer['others']['branch'].shape == answer['logits'].shape


def test_the_second_head_is_published_because_it_is_evaluated():
    """Without it an evaluation of published weights would measure a head that nobody trained."""
    model = method('FixMatch', branch={**AS, 'head': dict(type='LinearHead')})
    published = {id(value) for key, value in model.named_parameters() if key not in training_keys(model)}
    assert {id(value) for network in model.networks().values() for value in network.parameters()} == published


def test_hidden_sites_and_several_policies_are_mixed_too():
    """A labelled and an unlabelled image: their features are interpolated, or a box of one lies on the other."""
    policies = [dict(type='Mixup', sites=('norm',)), dict(type='CutMix')]
    model, data = method('FixMatch', threshold=0.2, branch=dict(policy=dict(type='OneOf', policies=policies))), batch(2)
    x, others, features = data['labelled']['inputs'], data['unlabelled']['inputs'][:, 0], []
    model.head.register_forward_pre_hook(lambda head, given: features.append(given[0].detach()))
    at_norm, at_input = model.ways()
    with at_norm:
        trained(model, data)
    clean = model.backbone.seen[-1]
    assert torch.equal(clean[:B], x)
    assert all((row == others).flatten(1).all(1).any() for row in clean[B:])
    own, partner = copy.deepcopy(model.backbone)(clean).detach().split(B)
    lam = ((features[-1] - partner) * (own - partner)).sum(1) / (own - partner).square().sum(1)
    assert ((lam > 0) & (lam < 1)).all()
    assert torch.allclose(features[-1], partner + lam[:, None] * (own - partner), atol=1e-6)
    with at_input:
        trained(model, data)
    mixed, cut = model.backbone.seen[-1], 0
    assert len(mixed) == B
    for row, image in zip(mixed, x):
        is_own = (row == image).all(0)
        assert ((row == others).all(1) == ~is_own).flatten(1).all(1).any()
        cut += 0 < int(is_own.sum()) < is_own.numel()
    assert cut


@pytest.mark.parametrize(
    ('branch', 'line'),
    [
        ({**AS, 'policy': dict(type='CutMix')}, 'branch: policy: CutMix cannot keep the share of an image in a range'),
        ({**AS, 'policy': dict(type='ResizeMix')}, 'branch: policy: ResizeMix cannot keep the share'),
        ({**AS, 'policy': dict(type='CutMix'), 'lam': None}, 'CutMix cannot keep'),
        ({**AS, 'policy': dict(type='ResizeMix'), 'lam': None}, 'ResizeMix cannot keep'),
        (dict(policy=dict(type='CutMix', lam_range=(0, 0.5))), 'CutMix cannot keep'),
        (dict(policy=dict(type='CutMix', fold=True)), 'CutMix cannot keep'),
        ({**AS, 'policy': dict(type='Mixup', fold=True)}, r'fold=True draws no lam in \[0, 0.5\]'),
        ({**AS, 'policy': dict(type='Mixup', lam_range=(0.5, 1))}, r'draws no lam in \[0, 0.5\]'),
        ({**AS, 'lam': (0.5, 0)}, 'branch: lam must be two numbers, lowest first'),
        ({**AS, 'lam': (0, 1.5)}, 'branch: lam: both numbers must be in'),
        (dict(policy=dict(type='OneOf', policies=[dict(type='CutMix', lam_range=(0, 0.5))])), 'CutMix cannot keep'),
        ({**AS, 'policy': dict(type='OneOf', policies=[AS['policy'], dict(type='CutMix')])}, 'CutMix cannot keep'),
        (dict(policy=dict(type='NoMix')), 'branch: policy: NoMix mixes no images'),
        (dict(policy=dict(type='OneOf', policies=[dict(type='Views')])), 'branch: policy: Views mixes no images'),
        (
            dict(policy=dict(type='PairedBy', by='same_class', policy=AS['policy'])),
            'PairedBy chooses the partners',
        ),
        (dict(policy=dict(type='GuidedMixup')), 'branch: policy: GuidedMixup chooses the partners of images'),
        (dict(policy=dict(type='RecursiveMix')), 'branch: policy: RecursiveMix adds losses of the mixed images'),
        (dict(policy=dict(type='PuzzleMix', block_nums=(2,), clean_weight=1.0)), 'PuzzleMix has clean_weight=1.0'),
        (dict(policy=dict(type='CoMixup')), 'branch: policy: CoMixup has clean_weight=1.0'),
        (dict(policy=dict(type='AutoMix', site='norm')), 'branch: policy: AutoMix has clean_weight=1.0'),
        (dict(policy=AS['policy'], loss=dict(type='jensen_shannon')), "jensen_shannon has no argument 'rows'"),
        ({**AS, 'head': dict(type='DMHead', eta=5.0)}, 'branch: head: its loss has no effect'),
        ({**AS, 'head': dict(type='LinearHead', loss=dict(type='mix_ce', smoothing=0.1))}, 'branch: head: its loss'),
        (dict(type='LinearHead', in_features=3, num_classes=5), 'branch: LinearHead is no mixed branch'),
        ({**AS, 'weight': -1.0}, 'branch: weight must be >= 0'),
        ({**AS, 'ramp': 2.0}, 'branch: ramp must be in'),
        ({**AS, 'statistics': 'frozen'}, "branch: statistics must be 'moved' or 'kept'"),
        ({**AS, 'view': 2}, r'branch: view is 2, and FixMatch has 0 \(weak\), 1 \(strong\)'),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(branch, line):
    with pytest.raises(InputError, match=line) as error:
        method('FixMatch', branch=branch)
    assert '\n' not in str(error.value)


class Trained(Mixup):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))


def test_a_policy_that_is_trained_is_refused():
    with pytest.raises(InputError, match='branch: policy: Trained trains parameters of its own'):
        method('FixMatch', branch=dict(policy=dict(type=Trained)))


def test_a_narrower_range_of_the_policy_itself_is_kept():
    built = MixedBranch(dict(type='Mixup', lam_range=(0.001, 0.7)), lam=(0, 0.5))
    assert built.policy.lam_range == (0.001, 0.5)


def test_a_range_holds_for_each_of_several_policies():
    policies = [dict(type='Mixup'), dict(type='Mixup', lam_range=(0.2, 1), sites=('norm',))]
    built = MixedBranch(dict(type='OneOf', policies=policies, probs=[0.3, 0.7]), lam=(0, 0.5))
    assert [one.lam_range for one in built.policy.choices()] == [(0, 0.5), (0.2, 0.5)]
    assert (built.policy.probs, built.policy.all_sites()) == ([0.3, 0.7], {'', 'norm'})


def test_a_policy_is_told_of_every_step():
    model, heard = method('FixMatch', branch=AS), []
    for name in ('start', 'before_step', 'after_step'):
        setattr(model.branch.policy, name, lambda *given, name=name: heard.append((name, *map(type, given))))
    model.start()
    model.before_step(3, 9)
    model.after_step()
    assert heard == [('start', Network), ('before_step', int, int), ('after_step', Network)]


def test_fewer_unlabelled_images_are_drawn_more_than_once():
    model, data = method('FixMatch', threshold=0.2, branch=AS), batch(2, labelled=6, unlabelled=4)
    trained(model, data)
    assert {place for _, place in pairs_of(model, data)} <= set(range(4))


@pytest.mark.parametrize('view', [0, 1])
def test_labelled_images_are_mixed_with_one_another(view):
    """By value, beside the other branch: a permutation of the batch, or of its other view, and no mask."""
    labelled = dict(
        policy=dict(type='Mixup', alpha=1.0), loss=dict(type='decoupled_ce', eta=0.7), weight=3.0, view=view
    )
    model = method('SelfTuning', projector_width=3, queue=U, branch=AS, labelled_branch=labelled)
    data, drawn, mixed = batch_for(model), set(), []
    own, others = (data['labelled']['inputs'][:, place] for place in (0, view))
    model.labelled_branch.policy.register_forward_hook(lambda _, given, put_out: mixed.append((given[0], put_out[1])))
    for seed in range(8):
        found = trained(model, data, seed)
        images, mix = mixed[-1]
        assert torch.equal(images[mix.source[:, 0]], own)
        places, wanted = (mix.source[:, 1] % B).tolist(), 0.0
        assert sorted(places) == list(range(B))
        assert torch.equal(images[mix.source[:, 1]], others[places])
        lam = mix.weight[:, 0].double()
        (z,) = logits_of(model, torch.stack([s * a + (1 - s) * others[j] for s, a, j in zip(lam, own, places)]))
        y = data['labelled']['labels'].tolist()
        for row, a, j, share in zip(z, y, places, lam.tolist()):
            b, p = y[j], softmax(row)
            wanted += -share * log(p[a]) - (1 - share) * log(p[b])
            if a != b:
                wanted -= 0.7 * (log(p[a] / (1 - p[b])) + log(p[b] / (1 - p[a])))
        assert found['labelled_branch_loss'].item() == pytest.approx(3 * wanted / B, rel=1e-4)
        drawn |= set(enumerate(places))
    assert len(drawn) > B, 'the permutation is drawn anew'
    assert found.keys() >= {'branch_loss', 'labelled_branch_loss'}
    total_of(model, found).backward()


def test_both_branches_have_their_heads_sites_ways_and_weights():
    second = dict(policy=dict(type='Mixup', sites=('norm',)), head=dict(type='LinearHead'), ramp=0.5)
    model = method('FixMatch', threshold=0.2, branch=dict(policy=AS['policy']), labelled_branch=second)
    assert model.networks().keys() == {'', 'labelled_branch'}
    assert len(list(model.ways())) == 2
    model.before_step(1, 4)
    torch.manual_seed(0)
    half = model.loss(batch(2))
    model.before_step(2, 4)
    torch.manual_seed(0)
    whole = model.loss(batch(2))
    assert torch.allclose(2 * half['labelled_branch_loss'], whole['labelled_branch_loss'])
    assert torch.equal(half['branch_loss'], whole['branch_loss'])
    whole['labelled_branch_loss'].backward()
    assert model.labelled_branch.head.fc.weight.grad.any()


@pytest.mark.parametrize(
    ('branch', 'line'),
    [
        ({**AS, 'weight': -1.0}, 'weight must be >= 0'),
        ({**AS, 'loss': dict(type='mix_cee')}, 'unknown loss'),
        ({**AS, 'policy': dict(type='CutMix')}, 'policy: CutMix cannot keep the share'),
        ({**AS, 'head': dict(type='DMHead', eta=5.0)}, 'head: its loss has no effect'),
        (dict(policy=dict(type=Trained)), 'policy: Trained trains parameters of its own'),
    ],
)
@pytest.mark.parametrize('name', ['branch', 'labelled_branch'])
def test_a_line_begins_with_the_branch_that_it_is_about(name, branch, line):
    with pytest.raises(InputError, match=f'^{name}: {line}'):
        method('FixMatch', **{name: branch})


def test_a_labelled_branch_has_the_views_of_labelled_images():
    with pytest.raises(InputError, match=r'labelled_branch: view is 1, and FixMatch has 0 \(weak\)'):
        method('FixMatch', labelled_branch=dict(policy=AS['policy'], view=1))
