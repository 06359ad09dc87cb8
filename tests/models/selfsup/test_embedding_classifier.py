"""A classifier whose Mix Block learns from keys, a queue of keys, or clusters: Automatic Mixup, Table 1, supervised."""

import copy
from math import exp, log

import pytest
import torch
from torch.nn import functional

from openmix.errors import InputError
from openmix.memory import memories_in
from openmix.registry import MODELS

N, SIDE, QUEUE, K, IMAGES, WIDTH, CLASSES = 6, 16, 12, 4, 20, 16, 5
CE, BCE = dict(type='mix_ce', of='labels'), dict(type='pair_bce', of='keys', temperature=0.2)
NCE, OTHER = dict(type='info_nce', of='queue'), dict(type='info_nce', of='queue_of_other_labels')
PL = dict(labels='clusters', bank=dict(type='ClusterBank', clusters=K, momentum=0.0, least=2))
LABELS, IDS = torch.tensor([0, 0, 1, 2, 3, 1]), torch.tensor([3, 19, 7, 0, 11, 5])
PARTNER = torch.tensor([1, 2, 3, 4, 5, 0])
ROWS = {
    'CE (PL)': ([CE], PL),
    'BCE': ([BCE], {}),
    'infoNCE': ([NCE], dict(queue=QUEUE)),
    'infoNCE (PL)': ([OTHER], dict(queue=QUEUE) | PL),
    'infoNCE (L)': ([OTHER], dict(queue=QUEUE)),
}


def built(mixer_losses, policy='AMix', **options):
    torch.manual_seed(0)
    policy = dict(type=policy, mixer_losses=mixer_losses) if mixer_losses else dict(type=policy)
    model = MODELS.build(
        dict(
            type='EmbeddingMixClassifier',
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='LinearHead', num_classes=CLASSES, loss=dict(type='mix_ce')),
            policy=policy,
        )
        | options
    )
    for memory in memories_in(model):
        memory.allocate(IMAGES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.start()
    if 'bank' in options:
        model.classes.bank.fill(torch.randn(IMAGES, WIDTH), torch.arange(IMAGES) % K)
    model.before_step(0, 10)
    return model.double()


def losses_of(model, x, ids=IDS):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('openmix.mixups.base.PairPolicy.draw_pairs', lambda *_: PARTNER)
        return model.loss({'inputs': x, 'labels': LABELS, 'ids': ids})


def images(seed=0):
    return torch.randn(N, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('row', ROWS)
def test_the_loss_of_the_block_against_loops(row):
    """Two steps, of which the second has keys of the first in its queue, with the classes that these images had."""
    mixer_losses, options = ROWS[row]
    model = built(mixer_losses, **options).eval()
    model.policy = model.policy.holding(0.3)
    known = [-1] * QUEUE
    for step in range(2):
        x, ids = images(step), (IDS + step) % IMAGES
        backbone = copy.deepcopy(model.policy.encoder.backbone)
        site = model.policy.feature_site(backbone, x)
        mask = model.policy.mixer(site, site[PARTNER], torch.full((N,), 0.3), (SIDE, SIDE))
        mixed = torch.stack([mask[n] * x[n] + (1 - mask[n]) * x[PARTNER[n]] for n in range(N)])
        features, keys = backbone(mixed).detach(), functional.normalize(backbone(x), dim=1).detach()
        z, queue = functional.normalize(features, dim=1), model.queue
        y = (model.classes.bank.read(ids).clone() if 'PL' in row else LABELS).tolist()
        total = 0.0
        for n in range(N):
            pair = int(PARTNER[n])
            if row == 'BCE':
                gap = float(z[n] @ keys[n] - z[n] @ keys[pair]) / 0.2
                total += 0.3 * log(1 + exp(-gap)) + 0.7 * log(1 + exp(gap))
                continue
            for source, share in ((n, 0.3), (pair, 0.7)):
                if row == 'CE (PL)':
                    total -= share * model.classes.head(features[n]).log_softmax(0)[y[source]].item()
                    continue
                kept = [key for key, of in zip(queue, known) if row == 'infoNCE' or of != y[source]]
                dots = [float(z[n] @ key) / 0.2 for key in (keys[source], *kept)]
                total -= share * (dots[0] - log(sum(map(exp, dots))))
        losses = losses_of(model, x, ids)
        assert losses['mixer_loss'].item() == pytest.approx(total / N, rel=1e-5)
        if queue is not None:
            places = [(step * N + n) % QUEUE for n in range(N)]
            torch.testing.assert_close(model.queue[places], keys.to(model.queue.dtype))
            for place, label in zip(places, y):
                known[place] = label
        if 'PL' in row:
            torch.testing.assert_close(model.classes.bank.features.rows[ids].double(), keys, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('row', ROWS)
def test_each_loss_trains_its_own_part(row):
    """The losses of the block train it alone, the clusters' head learns beside it, and the classifier from labels."""
    mixer_losses, options = ROWS[row]
    model = built(mixer_losses, **options)
    losses = losses_of(model, images())
    wanted = {'mixer_loss': 'policy.mixer.', 'mask_loss': 'policy.mixer.', 'class_loss': 'classes.head.'}
    wanted |= dict.fromkeys(('loss', 'clean_loss'), ('backbone.', 'head.'))
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad))
    assert ('class_loss' in losses) == ('PL' in row)
    for name, loss in losses.items():
        if 'loss' in name:
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
            taught = {one for one, slope in zip(names, slopes) if slope is not None and slope.any()}
            assert taught
            assert all(one.startswith(wanted[name]) for one in taught), name


def test_labels_of_the_data_are_those_of_the_classifier():
    """With the loss of labels alone it is `MixClassifier`, where batch norm has no part in the difference."""
    x, model = images(), built([CE]).eval()
    plain = MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='LinearHead', num_classes=CLASSES, loss=dict(type='mix_ce')),
            policy=dict(type='AMix', mixer_losses=[CE]),
        )
    )
    state = {key: value for key, value in model.state_dict().items() if key in plain.state_dict()}
    plain = plain.double().eval()
    plain.load_state_dict(state)
    plain.before_step(0, 10)
    found = []
    for one in (model, plain):
        torch.manual_seed(1)
        found.append(losses_of(one, x))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ('mixer_losses', 'options', 'line'),
    [
        (None, dict(policy='Mixup'), 'Mixup has no Mix Block to train; take MixClassifier'),
        ([NCE], {}, 'mixer_losses are of a queue, and there is none; set model.queue'),
        ([BCE], dict(queue=8), 'queue is 8, and no loss of mixer_losses is of it; leave it out'),
        ([BCE], PL, "labels='clusters', and no loss of mixer_losses is of labels; leave it out"),
        ([CE], dict(labels='clusters'), "labels='clusters' needs a bank"),
        ([CE], dict(bank=PL['bank']), "bank is for clusters, and labels is 'given'; leave it out"),
        ([dict(BCE, of='extrapolated_keys')], {}, "mixer_losses are of 'extrapolated_keys', and the targets are: keys"),
        ([CE], dict(labels='none'), 'labels must be'),
    ],
)
def test_options_that_are_refused(mixer_losses, options, line):
    with pytest.raises(InputError, match=f'^EmbeddingMixClassifier: .*{line}'):
        built(mixer_losses, **options)


def test_batches_and_data_that_are_refused():
    model = built([NCE], queue=QUEUE)
    with pytest.raises(InputError, match='EmbeddingMixClassifier learns from labels, and the batch has none'):
        model.loss({'inputs': images()})
    with pytest.raises(InputError, match='queue is 12, no multiple of a batch of 5 images'):
        model.loss({'inputs': images()[:5], 'labels': LABELS[:5], 'ids': IDS[:5]})
    with pytest.raises(InputError, match='queue is 12, and there are 11 training images'):
        model.check_data(range(11))
