"""Every registered policy in MoCo: whose key is the positive of a mixed image is seen by changing pixels."""

import pytest
import torch
from registered import registered
from test_every_policy import POLICIES

from openmix.errors import InputError
from openmix.memory import memories_in
from openmix.registry import MIXUPS, MODELS

N, SIDE, QUEUE, IMAGES = 6, 16, 12, 20
PARTNER = torch.tensor([3, 4, 5, 0, 1, 2])
TEACHER = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 5))
LEARNS = dict(mixer_losses=[dict(type='pair_bce', of='keys')])
SHARES = dict(lam_range=(0.3, 0.7))
# Of each policy, or of each of its settings in Automatic Mixup's Tables 4 and 5: its options.
MIXED = {
    'Mixup': SHARES,
    'Mixup at layer1': SHARES | dict(sites=('layer1',)),  # ManifoldMix
    'CutMix': SHARES,
    'SaliencyMix': SHARES,
    'FMix': SHARES,
    'ResizeMix': {},
    'GridMix': SHARES,
    'SmoothMix': {},
    'PatchUp': {},
    'AlignMix': dict(sites=('layer3',), iterations=5),
    'AttentiveMix': dict(teacher=TEACHER, site='0', size=None, top_k=3),
    'SuperMix': dict(teacher=TEACHER, iterations=2),
    'AutoMix': LEARNS | SHARES,
    'AMix': LEARNS | SHARES,
    'SAMix': LEARNS | SHARES | dict(heads='shared', momentum_end=1.0, momentum_hold=0.0),
    'InterIntra': {},
    'PuzzleMix': {},
    'SnapMix': dict(site='layer3'),
    'SKMixup': {},
    'TransMix': {},
    'MixPro': {},
    'SMMix': {},
    'TokenMix': {},
    'Until': dict(policy=dict(type='CutMix', **SHARES), epoch=1),
    'OneOf': dict(policies=[dict(type='Mixup', share='batch'), dict(type='CutMix', share='batch')]),  # Un-Mix
}
REFUSED = {
    'NoMix': 'mixes nothing',
    'Views': 'mixes nothing',
    'RegMixup': 'labels of clean images',
    'CoMixup': 'labels of clean images',
    'GuidedMixup': 'chooses the partners',
    'PairedBy': 'chooses the partners',
}
WANTED = {
    'cross': {(0, 0): (1, 0, 0), (0, 1): (0, 1, 0), (3, 0): (1, 0, 0), (3, 1): (0, 0, 1)},
    'both': {(0, 0): (1, 0, 0), (0, 1): (0, 1, 0), (3, 0): (0, 0, 1), (3, 1): (1, 0, 0)},
    'same': {(0, 0): (1, 1, 0), (0, 1): (0, 0, 0), (3, 0): (1, 0, 1), (3, 1): (0, 0, 0)},
}
OTHERS = sorted(registered(MIXUPS).keys() - {name.split()[0] for name in MIXED} - REFUSED.keys())


def built(name, views='cross'):
    kind = name.split()[0]
    case = POLICIES[kind][0]
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='MoCo',
            backbone=case.backbone(SIDE) or dict(type='ThinResNet', depth=8, width=4),
            width=5,
            queue=QUEUE,
            policy=dict(type=kind, **MIXED.get(name, case.trained)),
            views=views,
            labels='clusters',  # for the policies that read some
            bank=dict(type='ClusterBank', clusters=4, momentum=0.0, least=2),
        )
    )
    for memory in memories_in(model):
        memory.allocate(IMAGES)
    model.classes.bank.fill(torch.randn(IMAGES, 5), torch.arange(IMAGES) % 4)
    model.start()
    if name == 'SKMixup':  # its shares follow the distances of all pairs
        model.policy = model.policy.holding(0.3)
    return model.eval()  # an image changes nothing but what is made of it


def changes(model, monkeypatch):
    """Tell for both views of an image, 0, and of its partner, 3, what their pixels change.

    That is the embedding of the mixed image, and the positives of its two sources.
    """
    x = torch.randn(N, 2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    stored, inner, partner_row = {}, model.dots, N + 3 if model.views == 'both' else 3
    monkeypatch.setattr('openmix.models.selfsup.moco.partners_of', lambda *_: PARTNER)
    monkeypatch.setattr(model, 'dots', lambda z, k: stored.update(z=z.detach(), k=k.detach()) or inner(z, k))

    def recorded(x):
        torch.manual_seed(1)
        y = model.classes.read({'ids': torch.arange(N)})
        model.mixed_losses(model.policy, x[:, 0], x[:, 1], model.keys(x[:, 1]), y)
        return stored['z'][0], stored['k'][0], stored['k'][partner_row]

    clean, seen = recorded(x), {}
    for image, view in ((0, 0), (0, 1), (3, 0), (3, 1)):
        changed = x.clone()
        changed[image, view] = -changed[image, view] + 0.5
        seen[image, view] = tuple(int(not torch.equal(*both)) for both in zip(recorded(changed), clean))
    return seen


@pytest.mark.parametrize('name', REFUSED)
def test_it_is_refused(name):
    with pytest.raises(InputError, match=REFUSED[name]):
        built(name)


def result(name, views, monkeypatch):
    """Return what `changes` tells, or the line by which the policy is refused."""
    try:
        return changes(built(name, views), monkeypatch)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize('views', WANTED)
def test_other_policies_mix_as_these_or_are_refused_by_name(views, monkeypatch):
    for name in OTHERS:
        found = result(name, views, monkeypatch)
        assert found == WANTED[views] or name in found or 'MoCo: ' in found, (name, found)


@pytest.mark.parametrize('views', WANTED)
@pytest.mark.parametrize('name', MIXED)
def test_a_mixed_image_and_its_positives(name, views, monkeypatch):
    """A positive is the key of a view that the mixed image has no pixel of, but for 'same'."""
    assert changes(built(name, views), monkeypatch) == WANTED[views]
