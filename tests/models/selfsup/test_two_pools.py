"""MoCo on a labelled and an unlabelled pool: all images are contrasted, the losses of classes are of labelled ones."""

import copy
import re
from math import exp, log

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups.base import PairPolicy
from openmix.registry import MODELS

OWN, OTHERS, SIDE, QUEUE, K = 3, 6, 16, 18, 4
N = OWN + OTHERS
BACKBONE = dict(type='ThinResNet', depth=8, width=4)
CE, PBCE = dict(type='mix_ce', of='labels'), dict(type='pair_bce', of='labels')
INFO_NCE = dict(type='info_nce', of='queue_of_other_labels')
LABELS = torch.tensor([0, 2, 1])
# Of all images for the network, of the labelled ones for the block.
PARTNER, OF_LABELLED = torch.tensor([4, 2, 0, 7, 8, 1, 3, 5, 6]), torch.tensor([1, 2, 0])


def built(mixer_losses, views='cross', **options):
    torch.manual_seed(0)
    policy = dict(type='AMix', mixer_losses=mixer_losses)
    model = MODELS.build(
        dict(type='MoCo', backbone=BACKBONE, width=5, queue=QUEUE, momentum=0.8, policy=policy, views=views)
        | dict(labels='given', classes=K)
        | options
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.start()
    model.before_step(0, 10)
    if isinstance(model.policy, PairPolicy):
        model.policy = model.policy.holding(0.3)
    return model.double().eval()  # batch norm by its running statistics, so that images can be passed one by one


def images(seed=0):
    return torch.randn(N, 2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pools(x, y=LABELS):
    unlabelled = {'inputs': x[OWN:], 'true_labels': torch.zeros(len(x) - OWN, dtype=torch.int64)}
    return {'labelled': {'inputs': x[:OWN], 'labels': y}, 'unlabelled': unlabelled}


def losses_of(model, batch):
    """Losses with the partners above, which are asked for by the number of images that are mixed."""
    asked = {N: PARTNER, OWN: OF_LABELLED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('openmix.models.selfsup.moco.partners_of', lambda kind, n, device: asked[n])
        return model.loss(batch)


def unit(z):
    return z / z.norm(dim=-1, keepdim=True)


def mixed(model, x, views):
    """Embeddings, of any length, of the mixed labelled images in the momentum encoder."""
    encoder = copy.deepcopy(model.encoder)
    own, partner = x[:OWN, 0], x[OF_LABELLED, 1 if views == 'both' else 0]
    features = model.policy.feature_site(encoder.backbone, torch.cat([own, partner]))
    mask = model.policy.mixer(features[:OWN], features[OWN:], torch.full((OWN,), 0.3), (SIDE, SIDE))
    blended = torch.stack([mask[n] * own[n] + (1 - mask[n]) * partner[n] for n in range(OWN)])
    return encoder(blended, 'projector').detach()


@pytest.mark.parametrize('views', ['cross', 'both'])
@pytest.mark.parametrize('mixer_losses', [[CE], [PBCE]], ids=['CE', 'pBCE'])
def test_losses_of_the_head_are_those_of_the_labelled_images(mixer_losses, views):
    model, x = built(mixer_losses, views), images()
    head, z, total = copy.deepcopy(model.classes.head), mixed(model, x, views), 0.0
    for n in range(OWN):
        i, j, logits = int(LABELS[n]), int(LABELS[OF_LABELLED[n]]), head(z[n]).tolist()
        every = range(K) if mixer_losses == [CE] else (i, j)
        sums = sum(exp(logits[c]) for c in every)
        total -= 0.3 * log(exp(logits[i]) / sums) + 0.7 * log(exp(logits[j]) / sums)
    logs = head(copy.deepcopy(model.encoder)(x[:OWN, 1], 'projector')).log_softmax(1)
    losses = losses_of(model, pools(x))
    assert losses['mixer_loss'].item() == pytest.approx(total / OWN, rel=1e-5)
    assert losses['class_loss'].item() == pytest.approx(-logs[range(OWN), LABELS].mean().item(), rel=1e-6)


@pytest.mark.parametrize('views', ['cross', 'both'])
def test_keys_of_unlabelled_images_are_negatives_of_every_class(views):
    """infoNCE (L) over three steps: of the queue, keys of the class of a source are left out, where it is known."""
    model, classes, left_out = built([INFO_NCE], views), [-1] * QUEUE, 0
    for step in range(3):
        x, y = images(step), LABELS.roll(step)
        z, queue = unit(mixed(model, x, views)), model.queue.clone()
        of_key, of_query = model.keys(x[:, 1]), model.keys(x[:, 0])
        total = 0.0
        for n in range(OWN):
            partner = int(OF_LABELLED[n])
            # The positive of a view is the key of the other one.
            for source, positive, share in (
                (n, of_key[n], 0.3),
                (partner, (of_query if views == 'both' else of_key)[partner], 0.7),
            ):
                kept = [key for key, other in zip(queue, classes) if other != y[source]]
                left_out += QUEUE - len(kept)
                dots = [float(z[n] @ key) / 0.2 for key in (positive, *kept)]
                total -= share * (dots[0] - log(sum(map(exp, dots))))
        assert losses_of(model, pools(x, y))['mixer_loss'].item() == pytest.approx(total / OWN, rel=1e-5)
        for n, label in enumerate([*y.tolist(), *[-1] * OTHERS]):
            classes[(step * N + n) % QUEUE] = label
        assert model.classes.queue.tolist() == classes
    assert left_out > 0


def test_all_images_are_contrasted_and_mixed():
    """The encoder's losses are those of one pool with the images of both, whose classes it does not read."""
    x = images()
    batch = {'inputs': x, 'labels': torch.cat([LABELS, torch.full((OTHERS,), 3)])}
    one, two = (losses_of(built([CE]), given) for given in (batch, pools(x)))
    for name in ('loss', 'mixed_loss', 'hit_rate', 'chance_nats'):
        assert torch.equal(one[name], two[name]), name
    assert not torch.equal(one['mixer_loss'], two['mixer_loss'])


@pytest.mark.parametrize('mixer_losses', [[CE], [PBCE], [INFO_NCE]], ids=['CE', 'pBCE', 'infoNCE'])
def test_pixels_of_unlabelled_images_and_their_known_labels_move_nothing_of_the_mixer(mixer_losses):
    x, found = images(), []
    for change in (0.0, 1.0):
        moved = x.clone()
        moved[OWN:] += change
        model, batch = built(mixer_losses), pools(moved)
        batch['unlabelled']['true_labels'] += int(change)
        losses = losses_of(model, batch)
        mixer = [p for p in model.policy.mixer.parameters() if p.requires_grad]
        taught = losses['mixer_loss'] + losses['mask_loss']
        slopes = torch.autograd.grad(taught, mixer, allow_unused=True, retain_graph=True)
        of_head = [losses['class_loss']] if 'class_loss' in losses else []
        found.append([losses['mixer_loss'], *of_head, *(slope for slope in slopes if slope is not None)])
        assert any(slope is not None and slope.any() for slope in slopes)
        found.append([losses['loss']])
    assert all(torch.equal(one, other) for one, other in zip(found[0], found[2], strict=True))
    assert not torch.equal(found[1][0], found[3][0])


def test_a_policy_that_reads_the_labels_of_all_images_is_refused():
    for policy in (dict(type='InterIntra'), dict(type='AMix', mixer_losses=[CE], same_labels='interpolate')):
        with pytest.raises(InputError, match=r'by their labels|needs labels'):
            losses_of(built([CE], policy=policy), pools(images()))


@pytest.mark.parametrize(
    ('options', 'batch', 'said'),
    [
        (dict(labels='none', classes=None), {}, "labels='none' reads images of one pool, and the batch has two"),
        ({}, dict(labelled={'inputs': images()[:OWN]}), "images of the pool 'labelled' have none"),
        ({}, dict(unlabelled={'inputs': images()[..., :8]}), 'of both pools must be of one size'),
        ({}, dict(labelled={'inputs': images()[:1], 'labels': LABELS[:1]}), 'has 1 of them; raise'),
        ({}, dict(more={'inputs': images()}), "'labelled' and 'unlabelled', got labelled, unlabelled, more"),
    ],
)
def test_batches_that_are_refused(options, batch, said):
    mixer_losses = [CE] if not options else [dict(type='pair_bce', of='keys')]
    with pytest.raises(InputError, match=re.escape(said)):
        built(mixer_losses, **options).loss(pools(images()) | batch)


class Sized:
    ratio = 2

    def __init__(self, *sizes):
        self.sizes = sizes

    def __len__(self):
        return sum(self.sizes)


def test_a_queue_with_more_keys_of_a_pool_than_it_has_images_is_refused():
    """18 keys are 6 of labelled and 12 of unlabelled images."""
    model = built([CE])
    model.check_data(Sized(6, 12))
    with pytest.raises(InputError, match=r"6 keys are of the pool 'labelled', and it has 5 .* at most 15"):
        model.check_data(Sized(5, 20))
    with pytest.raises(InputError, match=r"12 keys are of the pool 'unlabelled', and it has 11 .* at most 16"):
        model.check_data(Sized(20, 11))
