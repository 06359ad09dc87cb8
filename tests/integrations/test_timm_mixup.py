"""`TimmMixup`: timm's arguments and result, the native path's losses, and the distribution of timm's own class."""

import native
import numpy as np
import pytest
import timm.data
import timm.loss
import torch

from openmix.errors import InputError
from openmix.integrations.timm_mixup import TimmMixup
from openmix.losses import mix_ce
from openmix.mixups import OneOf
from openmix.registry import MIXUPS

MODES = pytest.mark.parametrize('mode', ['batch', 'pair', 'elem'])


def test_twenty_steps_are_those_of_the_native_loop():
    ours = TimmMixup(0.8, 1.0, num_classes=native.CLASSES, prob=0.9, mode='elem')
    network, criterion, found = native.model(), timm.loss.SoftTargetCrossEntropy(), []
    steps = native.optimizer(network)
    torch.manual_seed(0)
    for images, labels in native.batches():
        mixed, target = ours(images, labels)
        loss = criterion(network(mixed), target)
        steps.zero_grad()
        loss.backward()
        steps.step()
        found.append(loss.item())
    children = [{'type': 'NoMix'}, {'type': 'Mixup', 'alpha': 0.8}, {'type': 'CutMix'}]
    policy = OneOf([MIXUPS.build(child) for child in children], [0.1, 0.45, 0.45], 'sample')

    def mixing(images):
        return policy(images, None, torch.arange(len(images)).flip(0))

    torch.manual_seed(0)
    wanted = native.losses(mixing=mixing, loss=lambda z, y, mix: mix_ce(z, y, mix, smoothing=0.1))
    assert found == pytest.approx(wanted, rel=1e-5)


def lams(mixup, images, labels, rounds):
    """Return the share of the sample's own class in `rounds` batches, without smoothing."""
    found = []
    for _ in range(rounds):
        _, target = mixup(images.clone(), labels)
        found.append(target.gather(1, labels[:, None])[:, 0])
    return torch.stack(found).double()


@MODES
@pytest.mark.parametrize(
    'options',
    [
        {'mixup_alpha': 0.8},
        {'mixup_alpha': 0.0, 'cutmix_alpha': 1.0},
        {'mixup_alpha': 0.8, 'cutmix_alpha': 1.0, 'prob': 0.7, 'switch_prob': 0.3},
        {'mixup_alpha': 0.0, 'cutmix_minmax': (0.25, 0.75)},
    ],
    ids=['mixup', 'cutmix', 'both', 'minmax'],
)
def test_its_shares_are_distributed_as_timms(mode, options):
    images, labels = torch.rand(8, 1, 32, 32), torch.arange(8)
    torch.manual_seed(0)
    np.random.seed(0)
    known = {**options, 'mode': mode, 'label_smoothing': 0.0, 'num_classes': 8}
    rounds = 120
    ours, theirs = (
        lams(TimmMixup(**known), images, labels, rounds),
        lams(timm.data.Mixup(**known), images, labels, rounds),
    )
    quantiles = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64)
    # A box of an odd side is a pixel smaller, so the share of the sample is up to 2 / 32 larger.
    difference = ours.flatten().quantile(quantiles) - theirs.flatten().quantile(quantiles)
    assert difference.abs().max() < 0.2
    assert (ours.mean() - theirs.mean()).abs() < 0.08
    alike = {one: bool((all_[:, 0] == all_[:, one]).all()) for all_ in (ours,) for one in (3, 7)}
    assert alike == {3: mode == 'batch', 7: mode in ('batch', 'pair')}


@MODES
@pytest.mark.parametrize('n', [1, 5, 6])
@pytest.mark.parametrize('minmax', [None, (0.2, 0.8)])
def test_images_and_targets_hold_the_same_shares(mode, n, minmax):
    """Of batches of any size; images of one colour tell the shares."""
    images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, 16, 16).contiguous()
    before, labels = images.clone(), torch.arange(n)
    mixup = TimmMixup(0.8, 1.0, minmax, mode=mode, num_classes=n + 1, label_smoothing=0.0)
    for _ in range(6):
        mixed, target = mixup(images, labels)
        colour = (target[:, :n] * torch.arange(n).float()).sum(1)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), colour, rtol=0, atol=1e-4)
        assert (target[torch.arange(n), labels.flip(0)] > 0).all() or n == 1 or mixup.mix.lam.max() == 1
    assert torch.equal(images, before)


def test_it_is_switched_off_and_smooths_as_timm():
    images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 2, 1, 1])
    ours, theirs = TimmMixup(num_classes=5), timm.data.Mixup(num_classes=5)
    ours.mixup_enabled = theirs.mixup_enabled = False
    (mixed, target), (_, wanted) = ours(images, labels), theirs(images.clone(), labels)
    assert torch.equal(mixed, images)
    torch.testing.assert_close(target, wanted)
    several = (torch.rand(4, 5) > 0.5).float()
    known = {'num_classes': 5, 'multi_label': True, 'label_smoothing': 0.2}
    ours, theirs = TimmMixup(**known), timm.data.Mixup(**known)
    ours.mixup_enabled = theirs.mixup_enabled = False
    torch.testing.assert_close(ours(images, several)[1], theirs(images.clone(), several)[1])
    with pytest.raises(InputError, match=r'needs targets \(N, 5\)'):
        ours(images, labels)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'mixup_alpha': 0.0}, 'set mixup_alpha or cutmix_alpha above 0'),
        ({'mode': 'half'}, "'batch' or 'pair' or 'elem'"),
        ({'prob': 1.5}, r'prob must be in \[0, 1\]'),
        ({'cutmix_minmax': (0.8, 0.2)}, 'lowest first'),
    ],
)
def test_bad_arguments_are_one_line(options, line):
    with pytest.raises(InputError, match=line):
        TimmMixup(**options)
