"""AMix-C and its kin: MoCo that knows classes, of the data or of a bank of clusters."""

import copy
from math import exp, log

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.memory import memories_in, training_keys
from openmix.registry import MODELS

N, SIDE, QUEUE, K, IMAGES = 6, 16, 12, 4, 20
BACKBONE = dict(type='ThinResNet', depth=8, width=4)
CE, PBCE = dict(type='mix_ce', of='labels'), dict(type='pair_bce', of='labels')
INFO_NCE = dict(type='info_nce', of='queue_of_other_labels')
BCE = dict(type='pair_bce', of='keys', temperature=0.2)
BANK = dict(type='ClusterBank', clusters=K, momentum=0.0, least=2)
CLUSTERS, GIVEN = dict(labels='clusters', bank=BANK), dict(labels='given', classes=K)
PARTNER, OTHER = torch.tensor([2, 0, 1, 5, 3, 4]), torch.tensor([1, 2, 3, 4, 5, 0])
IDS = torch.tensor([3, 19, 7, 0, 11, 5])
LABELS = torch.tensor([0, 0, 1, 2, 3, 1])


def built(mixer_losses, policy='AMix', views='cross', **options):
    torch.manual_seed(0)
    policy = dict(type=policy, mixer_losses=mixer_losses) if mixer_losses else dict(type=policy)
    model = MODELS.build(
        dict(type='MoCo', backbone=BACKBONE, width=5, queue=QUEUE, momentum=0.8, policy=policy, views=views) | options
    )
    for memory in memories_in(model):
        memory.allocate(IMAGES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if model.classes is not None and model.classes.bank is not None:
        model.classes.bank.fill(torch.randn(IMAGES, 5), torch.arange(IMAGES) % K)
    model.start()
    model.before_step(0, 10)
    return model.double()


def images(seed=0):
    return torch.randn(N, 2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def losses_of(model, x, ids=IDS):
    left = [PARTNER, OTHER]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('openmix.models.selfsup.moco.partners_of', lambda *_: left.pop(0))
        return model.loss({'inputs': x, 'labels': LABELS, 'ids': ids})


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


@pytest.mark.parametrize('options', [CLUSTERS, GIVEN], ids=['PL', 'L'])
@pytest.mark.parametrize('mixer_losses', [[CE], [PBCE], [CE, BCE], [INFO_NCE]], ids=['CE', 'pBCE', 'AMix-C', 'infoNCE'])
def test_each_loss_trains_its_own_part(options, mixer_losses):
    """Faults: the head's loss reaches the block; the mixer's loss trains the head; a class trains the encoder."""
    model = built(mixer_losses, **options)
    losses = losses_of(model, images())
    wanted = {'mixer_loss': 'policy.mixer.', 'mask_loss': 'policy.mixer.', 'class_loss': 'classes.head.'}
    wanted |= dict.fromkeys(('loss', 'mixed_loss'), ('backbone.', 'projector.'))
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad))
    for name, loss in losses.items():
        if 'loss' in name:
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
            taught = {one for one, slope in zip(names, slopes) if slope is not None and slope.any()}
            assert taught
            assert all(one.startswith(wanted[name]) for one in taught), name
    assert ('class_loss' in losses) == (options is CLUSTERS or mixer_losses != [INFO_NCE])
    assert all(not p.requires_grad for p in model.encoder.parameters())


def mixed_embeddings(model, x, partner):
    """Embeddings of mixed images in a copy of the momentum encoder, of any length."""
    encoder = copy.deepcopy(model.encoder)
    features = model.policy.feature_site(encoder.backbone, x[:, 0])
    mask = model.policy.mixer(features, features[partner], torch.full((N,), 0.3), (SIDE, SIDE))
    mixed = torch.stack([mask[n] * x[n, 0] + (1 - mask[n]) * x[partner[n], 0] for n in range(N)])
    return encoder(mixed, 'projector').detach()


@pytest.mark.parametrize('options', [CLUSTERS, GIVEN], ids=['PL', 'L'])
def test_the_losses_of_classes_are_those_of_single_images(options):
    """CE and pBCE of the head's logits; the labels are those before the step."""
    x = images()
    for mixer_losses in ([CE], [PBCE]):
        model = built(mixer_losses, **options).eval()
        model.policy = model.policy.holding(0.3)
        y = LABELS if options is GIVEN else model.classes.bank.read(IDS).clone()
        head, z = copy.deepcopy(model.classes.head), mixed_embeddings(model, x, OTHER)
        total = 0.0
        for n in range(N):
            i, j, logits = int(y[n]), int(y[OTHER[n]]), head(z[n]).tolist()
            rows = range(K) if mixer_losses == [CE] else (i, j)
            if mixer_losses == [PBCE] and i == j:
                continue
            sums = sum(exp(logits[c]) for c in rows)
            total -= 0.3 * log(exp(logits[i]) / sums) + 0.7 * log(exp(logits[j]) / sums)
        weight = torch.ones(K) if options is GIVEN else (torch.arange(IMAGES) % K).bincount() ** -0.5
        k = copy.deepcopy(model.encoder)(x[:, 1], 'projector')
        losses = losses_of(model, x)
        assert losses['mixer_loss'].item() == pytest.approx(total / N, rel=1e-5)
        logs = head(k).log_softmax(1)
        of_head = -sum(weight[y[n]] * logs[n, y[n]] for n in range(N)) / sum(weight[y[n]] for n in range(N))
        assert losses['class_loss'].item() == pytest.approx(of_head.item(), rel=1e-5)


def test_the_loss_of_a_new_head_is_the_logarithm_of_the_clusters():
    """Fault: divided by their number."""
    model = built([CE], labels='clusters', bank=BANK | dict(clusters=10, least=1))
    nn.init.zeros_(model.classes.head.weight)
    nn.init.zeros_(model.classes.head.bias)
    losses = losses_of(model, images())
    assert losses['class_loss'].item() == pytest.approx(log(10))
    assert losses['mixer_loss'].item() == pytest.approx(log(10), rel=1e-5)


def test_the_bank_takes_keys_of_clean_key_views_after_the_losses():
    model, x = built([CE, BCE], **CLUSTERS).eval(), images()
    keys, before = model.keys(x[:, 1]).clone(), model.classes.bank.features.rows.clone()
    centroids = model.classes.bank.centroids.clone()
    losses_of(model, x)
    bank = model.classes.bank
    torch.testing.assert_close(bank.features.rows[IDS], keys)
    torch.testing.assert_close(bank.read(IDS), (keys @ centroids.T).argmax(1))
    others = torch.ones(IMAGES, dtype=torch.bool)
    others[IDS] = False
    assert torch.equal(bank.features.rows[others], before[others])


@pytest.mark.parametrize('options', [CLUSTERS, GIVEN], ids=['PL', 'L'])
def test_keys_of_the_own_class_are_left_out(options):
    """infoNCE (L) and (PL) over three steps: each key has the class that its image had, later classes change none."""
    model = built([INFO_NCE], **options).eval()
    model.policy = model.policy.holding(0.3)
    classes = [-1] * QUEUE
    for step in range(3):
        x, ids = images(step), (IDS + step) % IMAGES
        y = (LABELS if options is GIVEN else model.classes.bank.read(ids)).tolist()
        z, own, queue = unit(mixed_embeddings(model, x, OTHER)), model.keys(x[:, 1]), model.queue.clone()
        total = 0.0
        for n in range(N):
            for source, share in ((n, 0.3), (int(OTHER[n]), 0.7)):
                kept = [key for key, other in zip(queue, classes) if other != y[source]]
                dots = [float(z[n] @ key) / 0.2 for key in (own[source], *kept)]
                total -= share * (dots[0] - log(sum(map(exp, dots))))
        found = losses_of(model, x, ids)['mixer_loss'].item()
        assert found == pytest.approx(total / N, rel=1e-5)
        places = [(step * N + n) % QUEUE for n in range(N)]
        for place, label in zip(places, y):
            classes[place] = label
        assert model.classes.queue.tolist() == classes


@pytest.mark.parametrize('views', ['cross', 'both'])
@pytest.mark.parametrize('name', ['PuzzleMix', 'InterIntra'])
def test_policies_of_labels_read_clusters(name, views):
    model = built(None, name, views, **CLUSTERS).float()
    losses = losses_of(model, images().float())
    assert losses['mixed_loss'].isfinite()
    losses['mixed_loss'].backward()
    assert all(p.grad is None for p in [*model.encoder.parameters(), *model.classes.parameters()])


def test_what_is_of_training_is_not_published():
    model = built([CE, BCE], **CLUSTERS)
    kept = model.state_dict().keys() - training_keys(model)
    assert {key.split('.')[0] for key in kept} == {'backbone'}
    assert {'classes.bank.centroids', 'classes.bank.labels.rows', 'classes.head.weight'} <= model.state_dict().keys()


@pytest.mark.parametrize(
    ('mixer_losses', 'options', 'line'),
    [
        ([CE], {}, "of 'labels', and there are no such targets"),
        ([CE], dict(labels='given'), 'set model.classes'),
        ([CE], dict(labels='clusters'), 'needs a bank'),
        ([CE], dict(labels='given', classes=K, bank=BANK), 'bank is for clusters'),
        ([CE], CLUSTERS | dict(classes=K), 'classes is the number of classes of the data'),
        ([BCE], dict(classes=K), "labels is 'none'"),
        ([INFO_NCE], CLUSTERS | dict(negatives='batch', weights=(0, 1)), "of 'queue_of_other_labels'"),
        ([CE], dict(labels='clusters', bank=BANK | dict(clusters=1)), 'clusters must be'),
    ],
)
def test_options_that_are_refused(mixer_losses, options, line):
    with pytest.raises(InputError, match=line):
        built(mixer_losses, **options)


def test_batches_and_data_that_are_refused():
    with pytest.raises(InputError, match='the images have none'):
        built([CE], **GIVEN).loss({'inputs': images(), 'ids': IDS})
    with pytest.raises(InputError, match='no ids'):
        built([CE], **CLUSTERS).loss({'inputs': images(), 'labels': LABELS})
    with pytest.raises(InputError, match='unaugmented'):
        built([CE], **CLUSTERS).check_data(range(IMAGES))
