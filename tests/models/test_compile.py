"""A compiled backbone has the same losses, gradients and keys as the plain one, also with mixing at hidden layers."""

import json

import pytest
import torch
from torch import nn

from openmix.check import check_recipe
from openmix.config import load_config
from openmix.engine import launch
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.compiling import compile_backbone, compile_options
from openmix.errors import InputError
from openmix.registry import MODELS

POLICIES = {
    'hidden sites': dict(type='Mixup', sites=('', 'layer1', 'layer2')),
    'a site inside a block': dict(type='Mixup', sites=('layer2.conv',)),
    'learned at times': dict(type='AMix', site='layer2', train_prob=0.5),
    'saliency': dict(type='PuzzleMix', block_nums=(4,)),
    'saliency that is trained on': dict(type='CoMixup', part=4, clean_weight=1.0),
}
EAGER = dict(backend='eager')


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return x + self.norm(self.conv(x)).relu()


class Small(nn.Module):
    """A small backbone that is fast to trace."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.layer1, self.layer2 = Block(8), Block(8)

    def forward(self, x):
        return self.layer2(self.layer1(self.stem(x))).mean((2, 3))


@pytest.fixture(autouse=True)
def forgotten():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def classifier(policy, **options):
    torch.manual_seed(0)
    backbone = dict(type=Small)
    head = dict(type='LinearHead', num_classes=5, init_std=0.3)
    return MODELS.build(dict(type='MixClassifier', backbone=backbone, head=head, policy=policy, **options)).train()


def compiled(policy, backend, **options):
    model = classifier(policy, **options)
    compile_backbone(model, dict(backend=backend))
    return model


def trained(model, steps=3):
    """Train some steps; return losses, gradients and state."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = {}
    for step in range(steps):
        torch.manual_seed(step)
        losses = model(torch.randn(8, 3, 16, 16), torch.randint(5, (8,)), mode='loss')
        optimizer.zero_grad()
        sum(losses.values()).backward()
        found |= {f'{step} {name}': loss.detach() for name, loss in losses.items()}
        found |= {f'{step} {name}': p.grad for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        model.after_step()
    return found | dict(model.state_dict())


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in other:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.slow
@pytest.mark.parametrize('name', POLICIES)
def test_learns_the_same_to_the_bit(name):
    model = compiled(POLICIES[name], 'eager')
    found = trained(model)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 0
    assert_same(found, trained(classifier(POLICIES[name])))


@pytest.mark.slow
@pytest.mark.parametrize('options', [{}, {'grad_checkpointing': ['layer1', 'layer2']}], ids=['kept', 'checkpointed'])
def test_a_backward_pass_that_is_traced_too(options):
    policy = POLICIES['hidden sites']
    found, plain = trained(compiled(policy, 'aot_eager', **options)), trained(classifier(policy))
    for name in plain:
        torch.testing.assert_close(found[name], plain[name])


def test_keys_and_copies_are_those_of_the_plain_model():
    model = compiled(POLICIES['learned at times'], 'eager')
    assert model.state_dict().keys() == classifier(POLICIES['learned at times']).state_dict().keys()
    assert model.backbone._compiled_call_impl is not None
    model.start()
    assert model.policy.encoder.backbone._compiled_call_impl is None


def run(work_dir, compile, resume=None):
    """Train on digits with a moving average of the weights; return the last checkpoint."""
    hooks = load_config('classification/digits/resnet20.py').custom_hooks
    changed = {
        'model.backbone': dict(_delete_=True, type='Small'),
        'model.policy': dict(_delete_=True, type='Mixup', sites=('layer1',)),
        'train_cfg': dict(_delete_=True, type='IterBasedTrainLoop', max_iters=6, val_interval=6),
        'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=3),
        'custom_hooks': [*hooks, dict(type='EMAHook', momentum=0.1)],
        'compile': compile,
    }
    cfg = launch.prepare(load_config('classification/digits/resnet20.py', changed))
    cfg.work_dir = str(work_dir)
    if resume:
        launch.resume_from(cfg, str(resume))
    launch.train(cfg)
    return read_checkpoint(work_dir / 'iter_6.pth')


@pytest.mark.slow
def test_a_run_and_its_resume_are_those_of_the_plain_model(tmp_path, monkeypatch):
    """Validation of the moving average included; a checkpoint does not tell which of the two made it."""
    monkeypatch.setitem(MODELS.module_dict, 'Small', Small)
    plain = run(tmp_path / 'plain', False)
    compiled = run(tmp_path / 'compiled', EAGER, tmp_path / 'plain/iter_2.pth')
    back = run(tmp_path / 'back', False, tmp_path / 'compiled/iter_4.pth')
    for other in (compiled, back):
        assert_same(other['state_dict'], plain['state_dict'])
        assert_same(other['ema_state_dict'], plain['ema_state_dict'])
    lines = [(tmp_path / name / 'metrics.jsonl').read_text().splitlines() for name in ('plain', 'compiled')]
    last = [{key: value for key, value in json.loads(of_run[-1]).items() if key != 'time_s'} for of_run in lines]
    assert last[0] == last[1]
    assert 'accuracy/top1' in last[0]


@pytest.mark.parametrize(
    ('compile', 'message'),
    [
        ('yes', 'compile must be True or False or a dict'),
        (dict(bakend='eager'), "compile has no 'bakend'; did you mean 'backend'"),
        (dict(dynamic=1), 'compile: dynamic must be True or False, got 1'),
    ],
)
def test_mistyped_keys_are_one_line(compile, message):
    with pytest.raises(InputError, match=message):
        check_recipe(load_config('classification/digits/resnet20.py', {'compile': compile}))


@pytest.mark.parametrize('key', ['activation_checkpointing', 'grad_checkpointing'])
def test_blocks_to_run_twice_are_the_models(key):
    with pytest.raises(InputError, match=r'give model=dict\(grad_checkpointing=True\)'):
        check_recipe(load_config('classification/digits/resnet20.py', {key: ['layer1']}))


@pytest.mark.parametrize(
    ('compile', 'message'),
    [
        (dict(backend='indoctor'), "did you mean 'inductor'"),
        (dict(mode='fast'), "compile: mode must be 'default' or 'reduce-overhead'"),
        (dict(backend='eager', mode='default'), "mode is an option of backend 'inductor', not of 'eager'"),
        (dict(backend='eager'), "backend 'eager' does not go with grad_checkpointing"),
    ],
)
def test_bad_options_are_one_line(compile, message):
    with pytest.raises(InputError, match=message):
        compile_options(dict(compile=compile, model=dict(grad_checkpointing=True)))


def test_off_and_on():
    assert compile_options({}) is compile_options(dict(compile=False)) is None
    assert compile_options(dict(compile=True)) == compile_options(dict(compile={})) == {}
    assert compile_options(dict(compile=dict(mode='reduce-overhead'))) == dict(mode='reduce-overhead')


@pytest.mark.slow
def test_a_machine_without_a_compiler_is_one_line(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, 'cxx', ('there-is-no-compiler',))
    with pytest.raises(InputError, match='there is no C\\+\\+ compiler; install g'):
        compile_backbone(classifier(POLICIES['saliency']), {})
