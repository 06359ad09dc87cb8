"""SwAV: a scripted run with a queue against plain steps; crops; two processes; its optimiser by value."""

from math import log

import pytest
import torch
from torch import nn
from two_processes import in_two_processes, take_steps

from openmix.errors import InputError
from openmix.memory import training_keys
from openmix.models.selfsup.swav import swapped_cross_entropy
from openmix.registry import MODELS, OPTIMIZERS

N, K, P, QUEUE = 4, 6, 5, 8
BACKBONE = dict(type='ThinResNet', depth=8, width=4)


def built(**options):
    torch.manual_seed(0)
    small = dict(prototypes=K, width=P, hidden=8, queue=QUEUE, queue_epoch=1)
    model = MODELS.build(dict(type='SwAV', backbone=BACKBONE) | small | options).double()
    model.start()
    return model


def crops(seed=0, n=N, sizes=(16, 16, 8, 8)):
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, size, size, dtype=torch.float64, generator=draws) for size in sizes]


def unit(z):
    return z / z.norm(dim=-1, keepdim=True)


def slow_codes(z, queue, prototypes, epsilon=0.05):
    """Probabilities of [queue; batch] scaled in the order of the released code; the rows of the batch."""
    q = ((torch.cat([*queue, z]) if queue else z) @ prototypes.T / epsilon).exp().T
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(1, keepdim=True) / q.shape[0]
        q = q / q.sum(0, keepdim=True) / q.shape[1]
    return (q / q.sum(0, keepdim=True)).T[-len(z) :]


def slow_loss(scores, codes, temperature=0.1):
    total, count = 0.0, 0
    for i, code in enumerate(codes):
        for v, score in enumerate(scores):
            if v != i:
                count += 1
                for n in range(len(code)):
                    p = (score[n] / temperature).softmax(0)
                    total = total - sum(code[n, k] * p[k].log() for k in range(code.shape[1])) / len(code)
    return total / count


def test_a_scripted_run():
    """Loss, gradients and queue, step by step; the queue fills from epoch 1 on and counts once it is full."""
    model = built()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    queues, counted = [[], []], 0
    for step in range(6):
        model.before_epoch(step // 2)
        model.before_step(step, 6)
        x = crops(step)
        if step == 3:
            model.prototypes.weight.data *= 3  # they are normalised before they are used
        prototypes = nn.functional.normalize(model.prototypes.weight.detach(), dim=1).requires_grad_()
        # Batch norm has the crops of one size as a batch; that of the projector all of them.
        features = torch.cat([model.backbone(torch.cat(x[:2])), model.backbone(torch.cat(x[2:]))])
        z = unit(model.projector(features)).unflatten(0, (4, N))
        full = len(queues[0]) * N == QUEUE
        counted += full
        codes = [slow_codes(z[i].detach(), queues[i] if full else [], prototypes.detach()) for i in range(2)]
        wanted = slow_loss(z @ prototypes.T, codes)
        parameters = [*model.backbone.parameters(), *model.projector.parameters(), prototypes]
        grads = torch.autograd.grad(wanted, parameters)
        if step // 2 >= 1:
            for i in range(2):
                queues[i] = [z[i].detach(), *queues[i]][: QUEUE // N]
        losses = model.loss({'inputs': x})
        torch.testing.assert_close(losses['loss'], wanted)
        assert losses['chance_nats'].item() == pytest.approx(log(K))
        optimizer.zero_grad()
        losses['loss'].backward()
        for one, other in zip(model.parameters(), grads, strict=True):
            torch.testing.assert_close(one.grad, other)
        optimizer.step()
        rows = torch.stack([torch.cat([*queue, torch.zeros(QUEUE, P)])[:QUEUE] for queue in queues], 1)
        torch.testing.assert_close(model.queue, rows.to(model.queue.dtype))
        assert model.stored == len(queues[0]) * N
    assert counted == 2


def test_the_loss_against_loops():
    scores = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    codes = torch.rand(2, 4, 5, dtype=torch.float64).softmax(2)
    torch.testing.assert_close(swapped_cross_entropy(scores, codes, 0.1), slow_loss(scores, codes))
    assert torch.autograd.gradcheck(lambda s: swapped_cross_entropy(s, codes, 0.1), scores)


def test_frozen_prototypes_have_a_gradient_of_zero_until_their_step():
    model = built(frozen_steps=2)
    for step in (0, 1, 2):
        model.before_step(step, 3)
        model.zero_grad()
        model.loss({'inputs': crops()})['loss'].backward()
        assert bool(model.prototypes.weight.grad.any()) == (step == 2)
        assert model.projector[0].weight.grad.any()


def test_frozen_prototypes_stay_with_weight_decay_and_momentum():
    model = built(frozen_steps=3)
    optimizer = OPTIMIZERS.build(dict(type='Lars', params=model.parameters(), lr=0.6, momentum=0.9, weight_decay=1e-2))
    before = unit(model.prototypes.weight.detach().clone())
    for step in range(4):
        torch.testing.assert_close(unit(model.prototypes.weight.detach()), before)
        model.before_step(step, 4)
        optimizer.zero_grad()
        model.loss({'inputs': crops(step)})['loss'].backward()
        optimizer.step()
    assert not torch.allclose(unit(model.prototypes.weight.detach()), before)


def test_scores_stay_exact_under_autocast():
    """A cosine of .99 in bfloat16 is off by .002, and ten times as much after the temperature."""
    model = built().float().eval()
    x = [crop.float() for crop in crops()]
    with torch.autocast('cpu', torch.bfloat16):
        z = model.embed(x)
    assert z.dtype == torch.float32
    seen = {}
    with pytest.MonkeyPatch.context() as patch, torch.autocast('cpu', torch.bfloat16):
        patch.setattr(
            'openmix.models.selfsup.swav.swapped_cross_entropy', lambda s, c, t: seen.update(s=s, c=c) or s.sum()
        )
        model.loss({'inputs': x})
    prototypes = model.prototypes.weight.double()
    torch.testing.assert_close(seen['s'].double(), z.double() @ prototypes.T, rtol=0, atol=1e-5)
    wanted = torch.stack([slow_codes(one.double(), [], prototypes) for one in z[:2]])
    torch.testing.assert_close(seen['c'].double(), wanted, rtol=0, atol=1e-4)


def test_crops_of_one_size_come_as_one_tensor():
    x = crops(sizes=(16, 16))
    one, other = (built(queue=0).loss({'inputs': inputs})['loss'] for inputs in (x, torch.stack(x, 1)))
    assert torch.equal(one, other)


def test_the_backbone_alone_is_published():
    model = built()
    kept = model.state_dict().keys() - training_keys(model)
    assert {key for key in kept if not key.startswith('data_preprocessor.')} == {
        f'backbone.{key}' for key in model.backbone.state_dict()
    }


@pytest.mark.parametrize(
    ('options', 'inputs', 'said'),
    [
        (dict(), crops(n=3), 'SwAV: queue is 8, no multiple of a batch of 3 images; set model.queue to one, such as 9'),
        (dict(), crops(n=1), 'batch norm over 1 image'),
        (dict(large=3), crops(sizes=(16, 16)), 'at least 3 crops of every image, 3 of which are large'),
        (dict(), crops()[0], 'at least 2 crops'),
        (dict(large=1), crops(sizes=(16,)), 'at least 2 crops'),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(options, inputs, said):
    with pytest.raises(InputError, match=said):
        built(**options).loss({'inputs': inputs})


@pytest.mark.parametrize(
    ('options', 'said'), [(dict(epsilon=0.0), 'epsilon'), (dict(prototypes=1), 'prototypes'), (dict(large=0), 'large')]
)
def test_options_that_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        built(**options)


def test_a_queue_longer_than_the_data_is_refused():
    with pytest.raises(InputError, match='queue is 8, and there are 7 training images'):
        built().check_data(range(7))
    built().check_data(range(8))


def test_lars_against_plain_steps():
    """The gradient with weight decay is scaled by .001 |w| / (|g| + wd |w|), as by LARC without clipping."""
    rows = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, w, buffer = nn.Parameter(rows.clone()), rows.clone(), None
    options = dict(lr=0.6, momentum=0.9, weight_decay=1e-2, trust_coeff=0.001, always_adapt=True)
    optimizer = OPTIMIZERS.build(dict(type='Lars', params=[ours], **options))
    for step in range(4):
        grad = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step + 1))
        ours.grad = grad.clone()
        optimizer.step()
        rate = 0.001 * w.norm() / (grad.norm() + 1e-2 * w.norm() + 1e-8)
        scaled = rate * (grad + 1e-2 * w)
        buffer = scaled if buffer is None else 0.9 * buffer + scaled
        w = w - 0.6 * buffer
        torch.testing.assert_close(ours.detach(), w)


def steps_of(rows=slice(None), processes=1):
    model = built(queue_epoch=0).eval()  # batch norm by its running statistics
    return take_steps(model, lambda step: {'inputs': [crop[rows] for crop in crops(step)]}, processes)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path):
    """Codes are of the batch of both, and both queues hold the embeddings of both, in the order of their ranks."""
    one, two = in_two_processes(steps_of, N, tmp_path)
    for alone, first, second in zip(steps_of(), one, two, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        torch.testing.assert_close(alone, first, rtol=1e-9, atol=1e-12)
