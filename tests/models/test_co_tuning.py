"""Co-Tuning: the relationship of classes by value, its loss against a loop, and what is refused."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope
from processes import START_METHOD

from openmix.data.base import ArrayDataset
from openmix.data.facts import Facts
from openmix.engine.sync_batch_norm import convert_sync_batch_norm
from openmix.errors import InputError
from openmix.mix import Mix
from openmix.models.transfer.co_tuning import CALIBRATIONS, CoTuning, source_cross_entropy
from openmix.models.transfer.relationship import by_regression, direct, fit, scale_of, split
from openmix.registry import MODELS

# Images of each source class (columns) and target class; neither rows nor columns have equal sums.
COUNTS = torch.tensor([[30, 5, 1, 4], [2, 20, 3, 5], [8, 15, 36, 1]])


def known(counts):
    """Images whose source class is sure, as many of each kind as counted."""
    y, source = counts.nonzero().repeat_interleave(counts[counts > 0], 0).unbind(1)
    return torch.eye(counts.shape[1], dtype=torch.float64)[source], y


@pytest.mark.parametrize('counts', [COUNTS, COUNTS[:2]], ids=['three classes', 'two classes'])
@pytest.mark.parametrize('kind', ['direct', 'regression'])
def test_a_known_relationship_is_found(kind, counts):
    """p(source | target) is the share of the source classes among the images of a target class."""
    p, y = known(counts)
    found = direct(p, y, len(counts)) if kind == 'direct' else by_regression(p, y, (p, y), len(counts))
    torch.testing.assert_close(found, counts.double() / counts.sum(1, keepdim=True), rtol=0.02, atol=0.01)
    torch.testing.assert_close(found.sum(1), torch.ones(len(counts), dtype=torch.float64))


@pytest.mark.parametrize('kind', ['direct', 'regression'])
def test_a_class_without_images_has_a_distribution(kind):
    p, y = known(COUNTS)
    found = direct(p, y, 4) if kind == 'direct' else by_regression(p, y, (p, y), 4)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(1), torch.ones(4, dtype=torch.float64))
    if kind == 'direct':
        torch.testing.assert_close(found[3], p.mean(0))


def test_the_regression_is_at_its_minimum():
    """The gradient of the penalised likelihood, computed by hand, is 0."""
    generator = torch.Generator().manual_seed(0)
    p, y = torch.rand(20, 5, dtype=torch.float64, generator=generator).softmax(1), torch.arange(20) % 3
    w = fit(p, y, torch.zeros(3, 5, dtype=torch.float64), 2.0)
    error = (p @ w.T).softmax(1) - torch.eye(3)[y]
    assert (2.0 * error.T @ p + w).abs().max() < 1e-4
    assert w.abs().max() > 1e-3


def test_the_best_of_the_released_penalties_is_taken():
    """The first of equal accuracy counts, from the weakest penalty on; here it is none of the powers of ten."""
    draw = torch.Generator().manual_seed(2)
    likely = torch.rand(6, 3, generator=draw, dtype=torch.float64) ** 3
    source = torch.randint(6, (330,), generator=draw)
    p = (4 * torch.eye(6)[source] + 0.7 * torch.randn(330, 6, generator=draw)).double().softmax(1)
    y = torch.multinomial(likely[source], 1, generator=draw)[:, 0]
    p, y, p_held, y_held = p[:240], y[:240], p[240:], y[240:]
    best = -1
    for strength in (1e4, 3e3, 1e3, 300, 100, 30, 10, 3, 1, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4):
        w = fit(p, y, torch.zeros(3, 6, dtype=torch.float64), strength)
        right = int(((p_held @ w.T).argmax(1) == y_held).sum())
        if right > best:
            best, chosen, coefficients = right, strength, w
    assert chosen in (3e3, 300, 30, 3, 0.3, 0.03)
    target_given_source = (scale_of(p_held @ coefficients.T, y_held) * coefficients).softmax(0)
    joint = target_given_source * torch.cat([p, p_held]).mean(0)
    wanted = joint / joint.sum(1, keepdim=True)
    torch.testing.assert_close(by_regression(p, y, (p_held, y_held), 3), wanted, atol=2e-5, rtol=0)


def test_the_scale_calibrates():
    """Labels drawn by softmax(logits) ask of logits / 3 a scale of 3."""
    logits = torch.randn(4000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.multinomial((2 * logits).softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    assert scale_of(2 * logits / 3, y) == pytest.approx(3, rel=0.1)


def test_images_are_held_out_of_every_class_that_has_two():
    y = torch.tensor([0] * 10 + [1] * 2 + [2])
    kept, held = split(y, 0.2)
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(13))
    assert torch.bincount(y[held], minlength=3).tolist() == [2, 1, 0]
    p = torch.full((3, 4), 0.25)
    with pytest.raises(InputError, match='no class has two'):
        by_regression(p, torch.arange(3), (p[:0], y[:0]), 3)


def test_the_source_loss_is_a_loops():
    generator = torch.Generator().manual_seed(0)
    logits, table = (torch.randn(n, 5, dtype=torch.float64, generator=generator) for n in (4, 3))
    table, y, lam, partner = table.softmax(1), torch.tensor([0, 2, 1, 2]), [0.25, 1.0, 0.5, 0.9], [1, 1, 3, 0]
    mix = Mix.pairs(torch.tensor(partner), torch.tensor(lam))
    expected = 0.0
    for n in range(4):
        for s in range(5):
            share = lam[n] * table[y[n], s] + (1 - lam[n]) * table[y[partner[n]], s]
            expected -= share * (logits[n, s] - logits[n].logsumexp(0)) / 4
    assert source_cross_entropy(logits, table, y, mix).item() == pytest.approx(expected.item(), rel=1e-6)


def test_its_losses_are_of_both_heads_for_the_mixed_images():
    model = co_tuning(policy=dict(type='Mixup'), weight=1.7).double().eval()
    model.policy = model.policy.holding(0.3)
    partner, y = [1, 2, 0], torch.tensor([0, 2, 1])
    model.policy.draw_pairs = lambda z, pairs: torch.tensor(partner)
    g = torch.Generator().manual_seed(0)
    model.relationship.copy_(torch.rand(3, 5, dtype=torch.float64, generator=g).softmax(1))
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=g)
    found = model.loss({'inputs': x, 'labels': y})
    features = model.backbone(torch.stack([0.3 * x[n] + 0.7 * x[partner[n]] for n in range(3)]))
    of_target, of_source = (head(features).log_softmax(1) for head in (model.head, model.source))
    target = source = 0.0
    for n in range(3):
        for share, c in ((0.3, y[n]), (0.7, y[partner[n]])):
            target -= share * of_target[n, c].item() / 3
            source -= sum(share * model.relationship[c, s].item() * of_source[n, s].item() for s in range(5)) / 3
    assert found['loss'].item() == pytest.approx(target, rel=1e-6)
    assert found['source_loss'].item() == pytest.approx(1.7 * source, rel=1e-6)
    assert model.parse_losses(found)[0].item() == pytest.approx(target + 1.7 * source, rel=1e-6)


def co_tuning(**options):
    init_default_scope('openmix')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='CoTuning',
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='LinearHead', num_classes=3),
            data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.5,) * 3),
            **{'source': dict(num_classes=5, pretrained=False), 'policy': dict(type='NoMix'), **options},
        )
    )


def images(labels=(0, 1, 2) * 4):
    facts = Facts('toy', ('a', 'b', 'c'), (0.5,) * 3, (0.5,) * 3, (8, 8))
    pixels = torch.randint(256, (len(labels), 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return ArrayDataset(facts, pixels, torch.tensor(labels), 'train')


def test_the_relationship_is_of_calibrated_source_predictions_and_is_saved():
    """In evaluation mode, and nothing of the model but the relationship changes."""
    model, data = co_tuning(relationship='direct', calibration='resnet50_imagenet1k_v1').train(), images()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.read_data(data)
    assert model.training
    model.eval()
    with torch.no_grad():
        x = (data.array.float() / 255 - 0.5) / 0.5
        p = (0.88405 * model.source(model.backbone(x))).softmax(1)
    expected = torch.stack([p[data.labels == label].mean(0) for label in range(3)])
    torch.testing.assert_close(model.relationship, expected)
    assert CALIBRATIONS == {'resnet50_imagenet1k_v1': 0.88405}
    after = model.state_dict()
    assert [key for key in after if not torch.equal(after[key], before[key])] == ['relationship']


def test_the_regression_reads_all_images():
    model = co_tuning().train()
    model.read_data(images())
    assert model.relationship.isfinite().all()
    torch.testing.assert_close(model.relationship.sum(1), torch.ones(3))
    assert (model.relationship - 0.2).abs().max() > 1e-4


def test_the_source_head_of_a_file_is_loaded(tmp_path):
    weight, bias = torch.randn(6, 16), torch.randn(6)
    torch.save({'state_dict': {'head.fc.weight': weight, 'head.fc.bias': bias}}, tmp_path / 'run.pth')
    model = co_tuning(source=dict(checkpoint=str(tmp_path / 'run.pth')))
    assert torch.equal(model.source.fc.weight, weight)
    assert model.relationship.shape == (3, 6)
    names = dict(name='torchvision/resnet18', pretrained=False)
    with pytest.raises(InputError, match='takes 512 features, and the backbone has 16'):
        co_tuning(source=names)
    torch.save({'backbone.conv.weight': weight}, tmp_path / 'none.pth')
    with pytest.raises(InputError, match='has no head of the source task'):
        co_tuning(source=dict(checkpoint=str(tmp_path / 'none.pth')))


PUBLISHED = 'resnet50_imagenet1k_v1'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(source={}), 'the head of the source task is not given'),
        (dict(relationship='guess'), 'relationship'),
        (dict(calibration='resnet'), 'calibration'),
        (dict(calibration=0.0), 'calibration'),
        (
            dict(calibration=PUBLISHED, source=dict(name='torchvision/resnet50')),
            "of .'torchvision/resnet50', None.; give a",
        ),
        (dict(calibration=PUBLISHED, source=dict(name='timm/resnet50')), "of .'timm/resnet50', None.; give a"),
        (dict(held_out=1.0), 'held_out'),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        co_tuning(**options)


def test_predictions_are_those_of_the_target_head():
    """Also where the source head has as many classes."""
    model, x = co_tuning(source=dict(num_classes=3, pretrained=False)).eval(), torch.randn(2, 3, 8, 8)
    answer = model.predict({'inputs': x})
    assert torch.equal(answer['logits'], model.head(model.backbone(x)))
    assert not answer['others']


def test_a_class_without_a_labelled_image_is_named():
    co_tuning().check_data(images())
    with pytest.raises(InputError, match=r'1 of 3 classes have no training image: b;'):
        co_tuning().check_data(images((0, 2, 2)))


def test_a_class_without_a_labelled_image_may_be_kept():
    model = co_tuning(absent='kept', relationship='direct')
    model.check_data(images((0, 2, 2)))
    model.read_data(images((0, 2, 2)))
    p, _ = model.source_probabilities(images((0, 2, 2)))
    torch.testing.assert_close(model.relationship[1], p.mean(0))
    with pytest.raises(InputError, match='absent'):
        co_tuning(absent='no')


def test_weights_that_would_not_be_taken_are_refused():
    with pytest.raises(InputError, match='weights are those of a name'):
        co_tuning(source=dict(num_classes=5, pretrained=False, weights='DEFAULT'))
    with pytest.raises(InputError, match="no package of weights 'DEFAULT'"):
        co_tuning(source=dict(name='timm/resnet18', pretrained=False, weights='DEFAULT'))


def head_of(classes, width=None, name='head.fc'):
    width = co_tuning().source.fc.in_features if width is None else width
    return {f'{name}.weight': torch.randn(classes, width), f'{name}.bias': torch.randn(classes)}


def test_the_source_head_is_that_of_the_weights_that_a_run_starts_from():
    model, head = co_tuning(source=dict(of_weights=True, num_classes=7)), head_of(7)
    assert model.source.awaited
    assert model.take_head(head, 'a.pth')
    assert torch.equal(model.source.fc.weight, head['head.fc.weight'])
    assert torch.equal(model.source.fc.bias, head['head.fc.bias'])
    assert not model.source.awaited
    other = co_tuning()
    before = other.source.fc.weight.clone()
    assert not other.take_head(head, 'a.pth')
    assert torch.equal(other.source.fc.weight, before)


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (dict, "'a.pth' has no head of the source task"),
        (lambda: head_of(6), r'has 6 classes of \d+ features, and source has 7 of \d+; set num_classes=6'),
        (lambda: head_of(7, 3), 'has 7 classes of 3 features'),
        (lambda: {**head_of(7), 'head.fc.bias': torch.full((7,), torch.nan)}, "'head.fc' in 'a.pth' is not finite"),
    ],
)
def test_a_head_that_is_no_source_head_is_refused(head, message):
    with pytest.raises(InputError, match=message):
        co_tuning(source=dict(of_weights=True, num_classes=7)).take_head(head(), 'a.pth')


def test_a_run_without_weights_has_no_source_head():
    model = co_tuning(source=dict(of_weights=True, num_classes=7))
    with pytest.raises(InputError, match='give --weights FILE'):
        model.read_data(None)
    with pytest.raises(InputError, match='give name or of_weights, not both'):
        co_tuning(source=dict(name='timm/resnet18', of_weights=True))


def steps_of(rows, partners, processes=1):
    """Learn the relationship and train three steps on rows of every batch; return all losses, gradients and buffers."""
    model = co_tuning(policy=dict(type='Mixup'))
    model.read_data(images())
    convert_sync_batch_norm(model.double().train())
    model.policy = model.policy.holding(0.3)
    model.policy.draw_pairs = lambda z, pairs: torch.tensor(partners)
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.3), [model.relationship.clone()]
    for step in range(3):
        g = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 3, 8, 8, generator=g, dtype=torch.float64), torch.randint(3, (8,), generator=g)
        losses = model.loss({'inputs': x[rows], 'labels': y[rows]})
        assert losses.keys() == {'loss', 'source_loss'}
        optimizer.zero_grad()
        sum(losses.values()).backward()
        values = [loss.detach() for loss in losses.values()] + [p.grad for p in model.parameters()]
        for value in values if processes > 1 else ():
            dist.all_reduce(value)  # the mean over processes, as DDP takes it of gradients
            value /= processes
        optimizer.step()
        found += [value.clone() for value in (*values, *model.buffers())]
    return found


def one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    if rank:
        # What a process finds otherwise does not count: all take the relationship of the first.
        CoTuning.source_probabilities = lambda *_: (torch.rand(12, 5).softmax(1), images().labels)
    torch.save(steps_of(slice(4 * rank, 4 * rank + 4), (1, 2, 3, 0), 2), f'{folder}/rank{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_take_the_steps_of_one(tmp_path):
    mp.start_processes(one_rank, (str(tmp_path),), nprocs=2, daemon=True, start_method=START_METHOD)
    alone = steps_of(slice(None), (1, 2, 3, 0, 5, 6, 7, 4))
    for rank in range(2):
        for one, other in zip(alone, torch.load(tmp_path / f'rank{rank}.pt'), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
