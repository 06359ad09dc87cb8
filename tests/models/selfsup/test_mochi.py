"""MoCHi: negatives of each query against a loop that mixes and normalises vectors."""

from math import log

import pytest
import torch
import torch.nn.functional as F

from openmix.errors import InputError
from openmix.losses.info_nce import info_nce
from openmix.mix import Mix
from openmix.models.selfsup.mochi import hard_dots
from openmix.registry import MODELS

N, SIDE, QUEUE, P = 4, 16, 16, 5
BACKBONE = dict(type='ThinResNet', depth=8, width=4)
OTHER_LABELS = dict(type='AMix', mixer_losses=[dict(type='info_nce', of='queue_of_other_labels')])
HARD = dict(hardest=6, of_keys=7, of_query=3, warmup_epochs=2)


def built(**options):
    torch.manual_seed(0)
    model = MODELS.build(dict(type='MoCHi', backbone=BACKBONE, width=P, queue=QUEUE, momentum=0.8) | HARD | options)
    model.start()
    return model.double()


def images(seed=0):
    return torch.randn(N, 2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit_rows(n, seed):
    rows = torch.randn(n, P, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=1)


def slow(z, queue, hardest, of_keys, of_query):
    """Mix vectors, normalise them, and take dot products, query by query, with the draws of `hard_dots`."""
    draws = [torch.randint(hardest, (len(z), of_keys)) for _ in range(2)]
    alpha = torch.empty(len(z), of_keys, dtype=z.dtype).uniform_()
    thirds, beta = torch.randint(hardest, (len(z), of_query)), torch.empty(len(z), of_query, dtype=z.dtype)
    beta.uniform_(0, 0.5)
    keys, own = [], []
    for n, query in enumerate(z):
        hard = sorted(queue, key=lambda key, query=query: -float(query @ key))[:hardest]
        made = [a * hard[i] + (1 - a) * hard[j] for a, i, j in zip(alpha[n], draws[0][n], draws[1][n])]
        keys.append(torch.stack([query @ (h / h.norm()) for h in made]))
        made = [b * query.detach() + (1 - b) * hard[i] for b, i in zip(beta[n], thirds[n])]
        own.append(torch.stack([query @ (h / h.norm()) for h in made]))
    return torch.stack(keys), torch.stack(own)


def test_dot_products_are_those_of_mixed_vectors():
    """By value and by gradient: a negative is a constant, that of the query too."""
    z, queue = unit_rows(N, 1).requires_grad_(), unit_rows(QUEUE, 2)
    torch.manual_seed(3)
    wanted = slow(z, queue, 6, 7, 3)
    torch.manual_seed(3)
    found = hard_dots(z, z @ queue.T, queue, 6, 7, 3)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)
        weights = torch.randn_like(one)
        grads = [torch.autograd.grad((dots * weights).sum(), z, retain_graph=True)[0] for dots in (one, other)]
        torch.testing.assert_close(*grads)


def test_the_negatives_of_a_query_are_its_own():
    """They do not move with another query, and are closer to it than the others of the queue are."""
    z, queue = unit_rows(N, 1), unit_rows(QUEUE, 2)
    changed = torch.cat([z[:1], unit_rows(N - 1, 9)])
    results = []
    for rows in (z, changed):
        torch.manual_seed(3)
        results.append(torch.cat(hard_dots(rows, rows @ queue.T, queue, 6, 7, 3), 1))
    assert torch.equal(results[0][0], results[1][0])
    assert (results[0][1:] != results[1][1:]).all()
    # A mixture of hardest keys is no farther from the query than the least of them.
    least = (z @ queue.T).topk(6, 1)[0][:, -1:]
    assert (results[0] >= least.clamp(max=0) - 1e-9).all()


def test_the_loss_has_them_beside_the_queue_from_their_epoch_on():
    model = built().eval()
    x = images()
    z = F.normalize(model.projector(model.backbone(x[:, 0])), dim=1)
    k = model.keys(x[:, 1])
    own, queue = (z * k).sum(1, keepdim=True), model.queue.clone()
    for epoch, active in ((0, False), (1, False), (2, True)):
        model.queue = queue.clone()
        model.before_epoch(epoch)
        torch.manual_seed(5)
        losses = model.loss({'inputs': x})
        torch.manual_seed(5)
        hard = slow(z, queue, 6, 7, 3) if active else ()
        dots = torch.cat([own, *hard, z @ queue.T], 1)
        wanted = F.cross_entropy(dots / 0.2, torch.zeros(N, dtype=torch.int64))
        torch.testing.assert_close(losses['loss'], wanted)
        assert losses['chance_nats'].item() == pytest.approx(log(1 + QUEUE + 10 * active))
        hits = (own[:, 0] >= (z @ queue.T).amax(1)).double().mean()
        assert losses['hit_rate'].item() == pytest.approx(hits.item())
        torch.testing.assert_close(model.queue[int(model.position) - N :][:N], k)  # nothing mixed is queued


def test_mixed_images_have_their_own():
    """The embedding of a mixed image has hard negatives, too, and its two positives are none."""
    model = built(policy=dict(type='Mixup'), weights=(0, 1)).eval()
    z, k = unit_rows(N, 1), unit_rows(N, 4)
    torch.manual_seed(3)
    dots, columns, first = model.dots(z, k)
    torch.manual_seed(3)
    hard = slow(z, model.queue, 6, 7, 3)
    torch.testing.assert_close(dots, torch.cat([z @ k.T, *hard, z @ model.queue.T], 1))
    mix = Mix.pairs(torch.tensor([1, 2, 3, 0]), torch.full((N,), 0.3))
    wanted = 0.0
    for n in range(N):
        for weight, place in ((0.3, n), (0.7, (n + 1) % N)):
            row = torch.cat([dots[n, place : place + 1], *(one[n] for one in hard), z[n] @ model.queue.T]) / 0.2
            wanted -= weight * row.log_softmax(0)[0] / N
    torch.testing.assert_close(info_nce(dots, columns, mix, 0.2, first), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(hardest=QUEUE + 1), 'hardest is 17, and the queue has 16 keys; set model.hardest to at most 16'),
        (dict(of_keys=0, of_query=0), 'take MoCo'),
        (dict(of_query=-1), 'of_query'),
        (dict(warmup_epochs=-1), 'warmup_epochs'),
        (dict(policy=OTHER_LABELS, labels='given', classes=3), "take of='queue', or MoCo"),
    ],
)
def test_options_that_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        built(**options)
