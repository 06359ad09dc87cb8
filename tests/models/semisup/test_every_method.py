"""What holds for every semi-supervised method: labels are not leaked, statistics, precision, compilation."""

import copy
import inspect
import re
from pathlib import Path

import pytest
import torch
from toys import SIDE, BranchOf, Flat, batch_for, method, total_of, trained_in

import openmix
from openmix.memory import memories_in
from openmix.models.semisup.base import SemiSupervised
from openmix.registry import MODELS

MODELS.import_from_location()
METHODS = sorted(
    name
    for name, cls in MODELS.module_dict.items()
    if isinstance(cls, type) and issubclass(cls, SemiSupervised) and cls.__module__.startswith('openmix.')
)
every_method = pytest.mark.parametrize('name', METHODS)
# Those that pass queries and keys one after another have tests of their own.
of_one_pass = [name for name in METHODS if len(MODELS.get(name).labelled_views) == 1]
# All losses have a weight above zero: the ramps are over.
STEP, STEPS = 99, 100


def built(name, **options):
    if 'threshold' in MODELS.get(name).__init__.__annotations__:
        options = {'threshold': 0.3, **options}
    model = method(name, **options)
    for memory in memories_in(model):
        memory.allocate(20)
    model.before_step(STEP, STEPS)
    return model


class Unseen(Flat):
    def forward(self, x):
        return self.norm(self.linear(x.flatten(1)))


def test_all_of_them_are_here():
    assert {'FixMatch', 'FlexMatch', 'MixMatch', 'PseudoLabel', 'ReMixMatch', 'UDA'} <= set(METHODS)


def test_each_is_named_in_files_of_methods_alone():
    own = {Path(inspect.getfile(MODELS.get(name))).resolve() for name in METHODS}
    named = re.compile(rf'\b({"|".join(METHODS)})\b')
    others = set(Path(openmix.__file__).parent.rglob('*.py')) - own
    assert len(others) > 100
    assert [str(path) for path in others if named.search(path.read_text())] == []


@every_method
def test_true_labels_are_only_measured_with(name):
    """Nonsense in their place, or nothing, gives the same losses, gradients and state to the bit."""

    def trained(change):
        model = built(name, branch=BranchOf.asymmetric)
        data = batch_for(model)
        change(data['unlabelled'])
        torch.manual_seed(3)
        found = model(**data, mode='loss')
        total_of(model, found).backward()
        accuracy = found.pop('pseudo_label_accuracy', None)
        return accuracy, [*found.values(), *(p.grad for p in trained_in(model)), *model.buffers()]

    rate, plain = trained(lambda pool: None)
    wrong, nonsense = trained(lambda pool: pool['true_labels'].add_(7))
    none, absent = trained(lambda pool: pool.pop('true_labels'))
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(plain, nonsense, absent, strict=True))
    assert 0 <= rate <= 1
    assert wrong == 0
    assert none is None


@pytest.mark.parametrize('name', of_one_pass)
def test_one_pass_a_step_moves_statistics(name):
    """The backward pass through the others runs: their buffers are exchanged, and not written back."""
    model = built(name)
    for step in (1, 2):
        total_of(model, model.loss(batch_for(model, seed=step))).backward()
        assert int(model.backbone.norm.num_batches_tracked) == step
    assert all(p.grad.any() and p.grad.isfinite().all() for p in model.parameters())


@every_method
def test_what_is_recorded_is_not_minimised(name):
    model = built(name, branch=BranchOf.asymmetric)
    found = model.loss(batch_for(model))
    losses = {key: value for key, value in found.items() if 'loss' in key}
    assert 'branch_loss' in losses
    assert 'loss' not in losses, 'it would hide the total in the log'
    assert found.keys() - losses.keys() <= {'mask_rate', 'pseudo_label_accuracy'}
    assert 'pseudo_label_accuracy' in found
    assert all(value.requires_grad == (key in losses) for key, value in found.items())
    total, log = model.parse_losses(found)
    assert total.item() == pytest.approx(sum(value.item() for value in losses.values()))
    assert found.keys() <= log.keys()


@every_method
def test_it_learns_in_mixed_precision(name):
    model = built(name, branch=BranchOf.asymmetric).float()
    data = batch_for(model)
    for pool in data.values():
        pool['inputs'] = pool['inputs'].float()
    with torch.autocast('cpu', torch.bfloat16):
        found = model.loss(data)
    assert all(value.dtype == torch.float32 for value in found.values())
    total_of(model, found).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in trained_in(model))


@every_method
def test_the_branch_follows_the_ramp_of_its_method(name):
    """Unless it has its own: at the first step its weight is that of the method's unlabelled images."""
    model = built(name, branch=BranchOf.asymmetric)
    model.before_step(0, STEPS)
    assert (model.loss(batch_for(model))['branch_loss'] == 0) == (model.ramp > 0)
    model = built(name, branch={**BranchOf.asymmetric, 'ramp': 0.0})
    model.before_step(0, STEPS)
    assert model.loss(batch_for(model))['branch_loss'] > 0


@every_method
def test_predictions_are_those_of_the_head_of_clean_images(name):
    """Projectors and heads of further losses read the same features, and a branch may have as many classes."""
    model = built(name, branch={**BranchOf.asymmetric, 'head': dict(type='LinearHead', init_std=1.0)}).eval()
    with torch.no_grad():
        model.backbone.linear.weight.mul_(1.5)  # it is no copy of a momentum encoder any more
    x = torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64)
    answer = model.predict({'inputs': x})
    assert torch.equal(answer['logits'], model.head(model.backbone(x)))
    assert torch.equal(answer['others'].pop('branch'), model.branch.head(model.backbone(x)))
    assert not answer['others']


@pytest.mark.parametrize('name', ['FixMatch', 'MixMatch'])
def test_compiled_it_trains_alike(name):
    """Passes that move statistics and passes that keep them run through one compiled backbone."""
    plain = built(name, backbone=dict(type=Unseen), branch=BranchOf.asymmetric)
    compiled = copy.deepcopy(plain)
    torch._dynamo.reset()
    compiled.backbone.compile(backend='aot_eager')
    data = batch_for(plain)
    for step in range(2):
        totals = []
        for model in (plain, compiled):
            torch.manual_seed(step)
            total = total_of(model, model.loss(data))
            total.backward()
            totals.append(total.detach())
        torch.testing.assert_close(*totals)
    for (key, a), (_, b) in zip(plain.named_buffers(), compiled.named_buffers()):
        torch.testing.assert_close(a, b, msg=key)
    for (key, a), (_, b) in zip(plain.named_parameters(), compiled.named_parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=key)


@pytest.mark.parametrize('name', ['PseudoLabel', 'ReMixMatch'])
def test_recomputed_blocks_give_the_same_gradients_and_statistics(name):
    """Also in the passes that keep statistics, where a block is recomputed after its own buffers are back."""
    found = []
    for recomputed in (False, True):
        thin = dict(type='ThinResNet', depth=8, width=2)
        model = built(name, backbone=thin, grad_checkpointing=['layer1.0'] if recomputed else False)
        data = batch_for(model)
        torch.manual_seed(0)
        total_of(model, model.loss(data)).backward()
        found.append([*(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
