import copy
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch import nn

from openmix.errors import InputError
from openmix.mixups import MixContext, SuperMix
from openmix.mixups.super_mix import agrees, objective, settle, smooth
from openmix.models.classifier import MixClassifier
from openmix.models.teacher import Teacher

BACKBONE = dict(type='ThinResNet', depth=8, width=4)


def teacher(classes=5):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, classes),
    )  # fmt: skip


def slow_smooth(field, sigma):
    """A plane convolved with a Gaussian, place by place."""
    reach = int(2.5 * sigma)
    kernel = [math.exp(-0.5 * (at / sigma) ** 2) for at in range(-reach, reach + 1)]
    kernel = [v / sum(kernel) for v in kernel]
    height, width = field.shape
    out = torch.zeros_like(field)
    for row in range(height):
        for column in range(width):
            for i, down in enumerate(kernel):
                for j, across in enumerate(kernel):
                    y, x = row + i - reach, column + j - reach
                    if 0 <= y < height and 0 <= x < width:
                        out[row, column] += down * across * field[y, x]
    return out


def wanted_on_top(logits, classes):
    """Whether the best classes are those, as a set."""
    wanted = set(classes.tolist())
    return set(logits.topk(len(wanted)).indices.tolist()) == wanted


def slow_masks(net, images, classes, weight, size, sigma, sparsity, iterations):
    """One sample's masks, (K, H, W), step by step."""
    masks = torch.zeros(len(images), size, size, dtype=images.dtype)
    for step in range(iterations + 1):
        masks = masks.detach().requires_grad_()
        shown = F.interpolate(masks[None], images.shape[2:], mode='bilinear')[0].sigmoid()
        shown = shown / shown.sum(0)
        logits = net((shown[:, None] * images).sum(0)[None])[0]
        if step == iterations or (step and wanted_on_top(logits, classes)):
            return shown.detach(), step
        target = torch.zeros_like(logits)
        for label, share in zip(classes, weight):
            target[label] += share
        present = target > 0
        loss = (target * (target.log() - logits.log_softmax(0)))[present].sum()
        loss = loss + sparsity * (shown * (shown - 1)).abs().mean()
        (gradient,) = torch.autograd.grad(loss, masks)
        way = torch.stack([slow_smooth(plane, sigma) for plane in gradient])
        length = (loss.abs() / ((gradient * way).sum() + 1e-10)).clamp(1e-4, 2000)
        masks = masks - length * way
    raise AssertionError


@pytest.mark.parametrize(('k', 'height', 'width'), [(2, 16, 16), (3, 12, 20)])
def test_equals_a_loop_over_samples(k, height, width):
    net, n, iterations = teacher().eval(), 16, 5
    with torch.no_grad():
        net[-1].weight.mul_(30)
    torch.manual_seed(4)
    z = torch.randn(n, 3, 1, 1) + 0.5 * torch.randn(n, 3, height, width)
    policy = SuperMix(net, sources=k, mask_size=4, sigma=1.0, sparsity=2.0, iterations=iterations)
    torch.manual_seed(3)
    mixed, mix = policy(z)
    torch.manual_seed(3)
    source = torch.stack([torch.arange(n), *(torch.randperm(n) for _ in range(k - 1))], 1)
    weight = torch.distributions.Dirichlet(torch.full((n, k), 3.0)).sample()
    assert torch.equal(mix.source, source)
    assert torch.equal(mix.weight, weight)
    exact = copy.deepcopy(net).double()
    seen = exact(z.double()).argmax(1)
    taken = set()
    for i in range(n):
        images, classes = z[source[i]].double(), seen[source[i]]
        shown, steps = slow_masks(exact, images, classes, weight[i].double(), 4, 1.0, 2.0, iterations)
        taken.add(steps)
        found = mix.mask[i] if k > 2 else torch.cat([mix.mask[i], 1 - mix.mask[i]])
        torch.testing.assert_close(found.double(), shown, atol=1e-3, rtol=0)
        torch.testing.assert_close(mixed[i].double(), (shown[:, None] * images).sum(0), atol=2e-3, rtol=0)
    assert len(taken) > 1  # some samples stop earlier than others


@pytest.mark.parametrize('sigma', [0.5, 1.0, 2.0])
def test_smoothing_equals_a_loop(sigma):
    field = torch.randn(2, 2, 5, 7)
    wanted = torch.stack([torch.stack([slow_smooth(plane, sigma) for plane in each]) for each in field])
    torch.testing.assert_close(smooth(field, sigma), wanted)
    assert smooth(field, 0.0) is field


@pytest.mark.parametrize('k', [1, 2, 3])
def test_agreement_equals_sets(k):
    torch.manual_seed(0)
    logits, classes = torch.randn(400, 4), torch.randint(4, (400, k))
    found = agrees(logits, classes)
    assert found.tolist() == [wanted_on_top(*pair) for pair in zip(logits, classes)]
    assert 0 < found.sum() < 400


def test_objective_is_zero_at_the_target_with_hard_masks():
    target, hard = torch.tensor([[0.3, 0.7, 0.0]]), torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    logits = target.clamp_min(1e-30).log()
    torch.testing.assert_close(objective(logits, target, hard, 25.0), torch.zeros(1), atol=1e-6, rtol=0)
    half = torch.full_like(hard, 0.5)
    torch.testing.assert_close(objective(logits, target, half, 25.0), torch.tensor([6.25]))


def test_settled_masks_are_shares():
    shown = settle(torch.randn(3, 4, 5, 5) * 4, 12, 20)
    assert shown.shape == (3, 4, 12, 20)
    assert shown.min() >= 0
    torch.testing.assert_close(shown.sum(1), torch.ones(3, 12, 20))


def test_the_teacher_sees_both_classes_more_often_than_in_an_average():
    torch.manual_seed(0)
    n = 200
    # A class lights a quarter of its own, and the next one's a little less.
    y, strength = torch.arange(n)[:, None] % 4, 0.3 + 0.7 * torch.rand(n, 1)
    light = 0.1 * torch.rand(n, 4)
    light.scatter_(1, y, strength).scatter_(1, (y + 1) % 4, 0.7 * strength)
    z = light.view(n, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1).contiguous()
    quarters = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(12, 4, bias=False))
    with torch.no_grad():
        quarters[2].weight.copy_(10 * torch.eye(4).repeat(1, 3))
    assert torch.equal(quarters(z).argmax(1), y[:, 0])
    shares = {}
    for iterations in (1, 50):
        torch.manual_seed(0)
        mixed, mix = SuperMix(quarters, iterations=iterations)(z)
        shares[iterations] = agrees(quarters(mixed), y[mix.source, 0]).float().mean()
    plain = agrees(quarters((z + z[mix.partner]) / 2), y[mix.source, 0]).float().mean()
    assert plain < 0.8
    assert shares[50] > shares[1]
    assert shares[50] > 0.95


def test_the_teacher_stays_as_it_was():
    net = teacher().train()
    policy = SuperMix(net, iterations=2)
    state = copy.deepcopy(policy.teacher.state_dict())
    policy.train()
    z = torch.rand(5, 3, 16, 16)
    mixed, mix = policy(z, MixContext(z, torch.arange(5)))
    assert not mixed.requires_grad
    assert not mix.mask.requires_grad
    assert not any(module.training for module in policy.teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in policy.teacher.parameters())
    for name, value in policy.teacher.state_dict().items():
        assert torch.equal(value, state[name]), name
    # What was handed in is not touched either: it may be training elsewhere.
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_the_teacher_is_no_part_of_the_state_and_moves_along():
    policy = SuperMix(teacher(), iterations=1)
    assert not policy.state_dict()
    assert not any(parameter.requires_grad for parameter in policy.parameters())
    policy.load_state_dict({})
    assert not policy.train().teacher.module.training
    policy.double()
    assert next(policy.teacher.parameters()).dtype == torch.float64
    again = copy.deepcopy(policy)
    assert again.teacher is not policy.teacher


@pytest.mark.parametrize('n', [1, 7])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_any_batch_under_autocast(n, dtype):
    z = torch.rand(n, 3, 16, 24)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        mixed, mix = SuperMix(teacher(), iterations=3)(z)
    assert mixed.dtype == torch.float32
    assert mix.mask.dtype == torch.float32
    torch.testing.assert_close(mixed, mix.blend(z))


def test_a_teacher_that_overflows_leaves_the_masks_finite():
    class Overflowing(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)) * 1e30, -x.mean((1, 2, 3)) * 1e30], 1) ** 2

    z = torch.rand(4, 3, 8, 8)
    mixed, mix = SuperMix(Overflowing(), iterations=3)(z)
    assert mixed.isfinite().all()
    torch.testing.assert_close(mix.mask, torch.full_like(mix.mask, 0.5))


@pytest.fixture
def trained(tmp_path):
    """The file of a classifier, and its logits of some images."""
    init_default_scope('openmix')
    torch.manual_seed(1)
    head = dict(type='LinearHead', num_classes=5)
    preprocessor = dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.5,) * 3)
    model = MixClassifier(dict(BACKBONE), head, dict(type='Mixup'), preprocessor).eval()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'last.pth')
    z = torch.rand(4, 3, 16, 16)
    return str(tmp_path / 'last.pth'), z, model(z).detach()


def test_a_teacher_is_read_from_the_file_of_a_run(trained):
    file, z, logits = trained
    policy = SuperMix(dict(backbone=dict(BACKBONE), head=dict(type='LinearHead', num_classes=5), checkpoint=file))
    assert torch.equal(policy.teacher(z), logits)
    assert not policy.teacher.train().training


def test_a_recipe_trains_with_it_and_other_classes_are_one_line(trained):
    file = trained[0]
    of = dict(backbone=dict(BACKBONE), head=dict(type='LinearHead', num_classes=5), checkpoint=file)
    policy = dict(type='SuperMix', teacher=of, iterations=2)
    preprocessor = dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.5,) * 3)

    def build(classes):
        return MixClassifier(dict(BACKBONE), dict(type='LinearHead', num_classes=classes), policy, preprocessor)

    model = build(5)
    model.loss(dict(inputs=torch.rand(4, 3, 16, 16), labels=torch.arange(4)))['loss'].backward()
    assert not any('teacher' in name for name in model.state_dict())
    with pytest.raises(InputError, match='the teacher knows 5 classes, the model 7'):
        build(7)


HEAD = dict(type='LinearHead', num_classes=5)


@pytest.mark.parametrize(
    ('call', 'line'),
    [
        (lambda: SuperMix(), 'needs a teacher'),
        (lambda: SuperMix(teacher(), sources=1), 'SuperMix: sources'),
        (lambda: SuperMix(teacher(), iterations=0), 'SuperMix: iterations'),
        (lambda: SuperMix(teacher(), sources=3)(torch.rand(2, 3, 8, 8), pairs=torch.tensor([1, 0])), 'pairs are given'),
        (lambda: SuperMix(teacher())(torch.rand(2, 10)), 'SuperMix needs an'),
        (lambda: Teacher(), 'give backbone, head and'),
        (lambda: Teacher(dict(BACKBONE), HEAD), 'give backbone, head and'),
        (lambda: Teacher(dict(BACKBONE), HEAD, 'file.pth', name='timm/resnet18'), 'give backbone, head and'),
        (lambda: Teacher(dict(BACKBONE), HEAD, 'no_such_file.pth'), 'no_such_file'),
        (lambda: Teacher(dict(type='ThinResne'), HEAD, 'file.pth'), "did you mean 'ThinResNet'"),
        (lambda: Teacher(name='resnet34'), "'torchvision/NAME' or 'timm/NAME'"),
        (lambda: Teacher(name='torchvision/resnet35'), "did you mean 'resnet34'|did you mean 'resnet50'"),
        (lambda: Teacher(name='timm/resnet34_'), 'timm has no classifier'),
    ],
)
def test_bad_input_is_one_line(call, line):
    init_default_scope('openmix')
    with pytest.raises(InputError, match=line):
        call()


def test_a_head_of_other_classes_than_the_file_is_one_line(trained):
    with pytest.raises(InputError, match='other shapes'):
        Teacher(dict(BACKBONE), dict(type='LinearHead', num_classes=6), trained[0])


@pytest.mark.parametrize('name', ['torchvision/resnet18', 'timm/resnet18'])
def test_a_published_teacher_knows_its_classes(name):
    with torch.device('meta'):
        assert Teacher(name=name).num_classes == 1000
