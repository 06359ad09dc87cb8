"""Compare two CPU processes with one: same steps and metrics, bit for bit unless the order of sums differs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from processes import START_METHOD, all_end
from torch import nn
from torch.utils.data import DataLoader

from openmix.data.collate import identity_collate
from openmix.data.digits import Digits
from openmix.data.sampler import DefaultSampler
from openmix.engine.amp import AutocastOptimWrapper
from openmix.engine.buffers import RankZeroBuffersHook
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.data_parallel import data_parallel
from openmix.evaluation.accuracy import Accuracy
from openmix.mix import Mix
from openmix.mixups import MixPolicy, OneOf
from openmix.models.backbones import ThinResNet
from openmix.registry import MODELS

ROOT = Path(__file__).parent.parent.parent
BATCH, STEPS = 8, 3


class Learned(MixPolicy):
    """A policy that calls the model without and with gradient; the latter trains the policy's own parameter."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, z, context=None, pairs=None):
        with torch.no_grad():
            sure = context.network(context.x).softmax(1).amax(1)
        mix = Mix.pairs(torch.randperm(len(z)), sure * torch.rand(len(z)))
        return mix.blend(z), mix

    def own_losses(self, context):
        return {'loss_own': F.cross_entropy(context.network(context.x * (1 + self.gain)).float(), context.y)}


class Idle(MixPolicy):
    """A policy with a parameter that no step uses."""

    leaves_parameters_unused = True

    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, z, context=None, pairs=None):
        return z, Mix.none(len(z))


class FrozenNorm(ThinResNet):
    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class GroupNorm(ThinResNet):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.GroupNorm(2, child.num_features))


LEARNED = dict(type=Learned)
ONE_OF = dict(type=OneOf, policies=[LEARNED, dict(type='CutMix'), dict(type='Mixup', sites=('', 'layer2'))])
# name: (policy, backbone, recipe, kind of optimiser wrapper)
RUNS = {
    'learned, frozen norm': (LEARNED, FrozenNorm, {}, OptimWrapper),
    'learned, group norm': (LEARNED, GroupNorm, {}, OptimWrapper),
    'learned, batch norm': (LEARNED, ThinResNet, {}, OptimWrapper),
    'one of learned and static': (ONE_OF, ThinResNet, {}, OptimWrapper),
    'idle parameter': (dict(type=Idle), ThinResNet, {}, OptimWrapper),
    'bfloat16': (ONE_OF, ThinResNet, {}, AutocastOptimWrapper),
}


def classifier(policy, backbone):
    init_default_scope('openmix')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(type=backbone, depth=8, width=8),
            head=dict(type='LinearHead', num_classes=5, init_std=0.3),
            policy=policy,
            data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.2,) * 3),
        )
    ).train()


def slices(place, count=1):
    """Cut the training data into slices; the random draws of a step depend on the index of its first slice."""
    torch.manual_seed(place)
    rows = [torch.Generator().manual_seed(place + i) for i in range(count)]
    images = torch.cat([torch.rand(BATCH, 3, 16, 16, generator=row) for row in rows])
    return dict(inputs=images, labels=torch.arange(BATCH).repeat(count) % 5)


def trained(run, rank, world):
    """Return parameters after some steps: one slice per process, or the same slices accumulated by one process."""
    policy, backbone, recipe, wrapper_type = RUNS[run]
    model = classifier(policy, backbone)
    stepping = data_parallel(model, Config(recipe)) if world == 2 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    wrapper = wrapper_type(optimizer=optimizer, accumulative_counts=2 // world)
    wrapper.initialize_count_status(model, 0, STEPS * 2 // world)
    for place in range(rank, 2 * STEPS, world):
        stepping.train_step(slices(place), wrapper)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def trained_on_whole_batches(rank, world, accumulated):
    """Return the state after steps of 2 x `accumulated` slices, with synchronised batch norm."""
    model = classifier(dict(type='NoMix'), ThinResNet)
    stepping = data_parallel(model, Config(dict(sync_bn='naive'))) if world == 2 else model
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05), accumulative_counts=accumulated)
    wrapper.initialize_count_status(model, 0, STEPS * accumulated)
    for step in range(STEPS * accumulated):
        data = slices(2 * step + rank) if world == 2 else slices(2 * step, 2)
        stepping.train_step(data, wrapper)
    return model.state_dict()


def refused():
    """Return DDP's error message for an unused parameter that it does not expect."""
    stepping = data_parallel(classifier(dict(type=Idle), ThinResNet), Config(dict(find_unused_parameters=False)))
    wrapper = OptimWrapper(torch.optim.SGD(stepping.parameters(), lr=0.05))
    try:
        for place in range(2):
            stepping.train_step(slices(place), wrapper)
    except RuntimeError as error:
        return str(error)
    return ''


def metrics(rank, world, batch_size):
    """Of 7 samples, with logits that depend on nothing but the sample."""
    dataset = Digits(split='test')
    dataset.labels = dataset.labels[:7]
    sampler = DefaultSampler(dataset, shuffle=False, seed=0)
    assert (sampler.rank, sampler.world_size) == (rank, world)
    metric, sizes = Accuracy(topk=(1, 2, 5)), []
    table = torch.randn(7, 10, generator=torch.Generator().manual_seed(3))
    for data in DataLoader(dataset, batch_size, sampler=sampler, collate_fn=identity_collate):
        metric.process(None, [dict(logits=table[data['ids']], labels=data['labels'], ids=data['ids'])])
        sizes.append(len(data['ids']))
    return sizes, metric.evaluate(7)


def seen_by_one_only(rank):
    """Metrics where rank 0 got no sample that could be read."""
    metric = Accuracy(topk=(1, 9))
    if rank == 1:
        logits = torch.tensor([[0.0, 1.0, 2.0], [float('nan')] * 3])
        metric.process(None, [dict(logits=logits, labels=torch.tensor([2, 0]), ids=torch.tensor([0, 1]))])
    return {name: value for name, value in metric.evaluate(2).items() if 'top' in name}


class FakeRunner:
    def __init__(self, model):
        self.model = model


def buffers(rank):
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    model[0].running_mean.fill_(rank + 1.0)
    model[0].num_batches_tracked.fill_(rank + 5)
    RankZeroBuffersHook().before_val_epoch(FakeRunner(model))
    return {name: value.clone() for name, value in model.named_buffers()}


def one_rank(rank, world, folder):
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world)
    found = {run: trained(run, rank, world) for run in RUNS}
    found['whole'] = {n: trained_on_whole_batches(rank, world, n) for n in (1, 2)}
    found['metrics'] = {size: metrics(rank, world, size) for size in (1, 3, 7)}
    if world > 1:
        found['sparse'] = seen_by_one_only(rank)
        found['buffers'] = buffers(rank)
        found['refused'] = refused()
        dist.barrier()
        dist.destroy_process_group()
    torch.save(found, f'{folder}/{world}-{rank}.pt')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """Return the result of one process, and of each of two processes."""
    folder = tmp_path_factory.mktemp('ranks')
    for world in (1, 2):
        mp.start_processes(one_rank, (world, str(folder)), nprocs=world, daemon=True, start_method=START_METHOD)
    return [torch.load(folder / f'{name}.pt', weights_only=True) for name in ('1-0', '2-0', '2-1')]


@pytest.mark.slow
@pytest.mark.parametrize('run', RUNS)
def test_two_processes_are_one_that_accumulates_to_the_bit(ranks, run):
    """Whatever the policy asks of the model, and whichever parameters a step leaves out."""
    one, *two = (rank[run] for rank in ranks)
    start = dict(classifier(RUNS[run][0], RUNS[run][1]).named_parameters())
    moved = [name for name, value in one.items() if not torch.equal(value, start[name])]
    assert len(moved) >= len(one) - 1
    assert [name for name in one if 'gain' in name and name not in moved] == []
    for rank in two:
        assert rank.keys() == one.keys()
        for name, value in one.items():
            assert torch.equal(rank[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize('accumulated', [1, 2])
def test_batch_norm_over_two_processes_is_that_of_the_whole_batch(ranks, accumulated):
    """In float32: sums in another order, so to a tolerance; running statistics too."""
    one, *two = (rank['whole'][accumulated] for rank in ranks)
    for rank in two:
        torch.testing.assert_close(rank, one, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_unused_parameters_that_are_not_announced_stop_the_run(ranks):
    assert all('find_unused_parameters=True' in rank['refused'] for rank in ranks[1:])


@pytest.mark.slow
@pytest.mark.parametrize(('size', 'split'), [(1, [1] * 4), (3, [3, 1]), (7, [4])])
def test_gathered_metrics_are_exact(ranks, size, split):
    """7 samples on 2 ranks: the repeated one counts once, a last batch of one counts."""
    (_, one), *two = (rank['metrics'][size] for rank in ranks)
    assert one.keys() == {'accuracy/top1', 'accuracy/top2', 'accuracy/top5', 'accuracy/nll'}
    assert 0 < one['accuracy/top5'] < 100
    for sizes, found in two:
        assert sizes == split
        assert found == one


@pytest.mark.slow
def test_a_process_without_a_sample_reports_the_metrics_of_all(ranks):
    assert [rank['sparse'] for rank in ranks[1:]] == [{'accuracy/top1': 50.0, 'accuracy/top9': 50.0}] * 2


@pytest.mark.slow
def test_every_rank_gets_the_buffers_of_rank_0(ranks):
    for rank in ranks[1:]:
        assert rank['buffers']['0.running_mean'].tolist() == [1.0] * 3
        assert rank['buffers']['0.num_batches_tracked'] == 5


# The commands. Rank r of w takes the samples r, r + w, ... of the global batch: a policy that pairs and weighs
# by the place in the global batch does the same work split or whole.
MODULE = """
import os
from pathlib import Path
import torch
from mmengine.dist import get_rank, get_world_size
from openmix.mix import Mix
from openmix.mixups import MixPolicy, Mixup
from openmix.models.backbones import ThinResNet
from openmix.registry import MIXUPS, MODELS

@MIXUPS.register_module()
class Injected(MixPolicy):
    def forward(self, z, context=None, pairs=None):
        slices = 2 // get_world_size()
        n = torch.arange(len(z))
        place = n * get_world_size() + get_rank()
        lam = 0.05 + 0.9 * ((place * 7) % 11) / 11
        mix = Mix.pairs((n + slices) % len(z), lam)
        return mix.blend(z), mix

@MIXUPS.register_module()
class Recorded(Mixup):
    def forward(self, z, context=None, pairs=None):
        z, mix = super().forward(z, context, pairs)
        torch.save(mix.lam, Path(os.environ['RECORD']) / f'rank{get_rank()}.pt')
        return z, mix

@MODELS.register_module()
class FrozenNorm(ThinResNet):
    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return self
"""

RECIPE = """
_base_ = '{root}/configs/classification/digits/resnet20.py'
custom_imports = dict(imports=['two_process_parts'])
model = dict(
    data_preprocessor=dict(augment=[]),
    backbone=dict(_delete_=True, type='{backbone}', depth=8, width=8),
    policy=dict(type='{policy}'),
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
train_dataloader = dict(batch_size={batch})
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={iters}, val_interval={iters})
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={iters}), logger=dict(interval=1))
{extra}
"""


def launch(call: list[str], folder: Path, *options: str) -> subprocess.CompletedProcess:
    python_path = os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')])
    env = {**os.environ, 'PYTHONPATH': python_path, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable}
    env |= {'RECORD': str(folder), 'CUDA_VISIBLE_DEVICES': ''}
    work_dir = ['--work-dir', str(folder / 'run')]
    return subprocess.run([*call, *work_dir, *options], env=env, capture_output=True, text=True, timeout=300)


def write(folder: Path, policy: str, batch: int, iters: int, backbone: str = 'FrozenNorm', extra: str = '') -> Path:
    folder.mkdir()
    (folder / 'two_process_parts.py').write_text(MODULE)
    recipe = folder / 'recipe.py'
    fields = dict(root=ROOT, policy=policy, batch=batch, iters=iters, backbone=backbone, extra=extra)
    recipe.write_text(RECIPE.format(**fields))
    return recipe


def result(folder: Path) -> dict:
    return json.loads((folder / 'run/result.json').read_text())


@pytest.fixture
def train(nursery):
    """Return a function that trains in one or several processes, without a launcher, and returns the result."""

    def run(folder: Path, policy: str, processes: int, **how: Any) -> dict:
        words, log = ['train.py', write(folder, policy, **how), '--work-dir', folder / 'run'], folder / 'log'
        env = {'PYTHONPATH': str(folder), 'RECORD': str(folder), 'CUDA_VISIBLE_DEVICES': ''}
        all_end(nursery.ranks(processes, words, log, env) if processes > 1 else [nursery.start(words, log, env=env)], 0)
        return result(folder)

    return run


def weights(folder: Path) -> dict:
    (path,) = (folder / 'run').glob('iter_*.pth')
    return read_checkpoint(path)['state_dict']


@pytest.mark.slow
@pytest.mark.parametrize(('backbone', 'extra'), [('FrozenNorm', ''), ('ThinResNet', "sync_bn = 'naive'")])
def test_two_processes_take_the_step_of_one(tmp_path, train, backbone, extra):
    how = dict(backbone=backbone, extra=extra, iters=4)
    one = train(tmp_path / 'one', 'Injected', processes=1, batch=32, **how)
    two = train(tmp_path / 'two', 'Injected', processes=2, batch=16, **how)
    assert two['world_size'] == 2
    a, b = weights(tmp_path / 'one'), weights(tmp_path / 'two')
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-6, msg=lambda text, key=key: f'{key}: {text}')
    # 355 test images do not divide evenly over batches and ranks; repeats are counted once.
    assert one['metrics']['accuracy/top1'] == pytest.approx(two['metrics']['accuracy/top1'], abs=1e-9)
    assert one['metrics']['accuracy/nll'] == pytest.approx(two['metrics']['accuracy/nll'], rel=1e-4)


@pytest.mark.slow
def test_ranks_validate_the_model_that_is_saved(tmp_path):
    """With batch norm in training mode each rank has statistics of its own. By the launchers of the commands."""
    recipe = write(tmp_path / 'run', 'Mixup', batch=16, iters=3, backbone='ThinResNet')
    done = launch([str(ROOT / 'tools/dist_train.sh'), str(recipe), '2'], tmp_path / 'run')
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    trained = result(tmp_path / 'run')
    (checkpoint,) = (tmp_path / 'run/run').glob('iter_*.pth')
    tested = []
    for processes in ('1', '2'):
        call = [str(ROOT / 'tools/dist_test.sh'), str(recipe), str(checkpoint), processes]
        done = launch(call, tmp_path / 'run', '--out', str(tmp_path / f'{processes}.json'))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        tested.append(json.loads((tmp_path / f'{processes}.json').read_text())['metrics'])
    for metrics in tested:
        assert metrics['accuracy/top1'] == trained['metrics']['accuracy/top1']
        assert metrics['accuracy/nll'] == pytest.approx(trained['metrics']['accuracy/nll'], rel=1e-6)


@pytest.mark.slow
def test_ranks_draw_different_shares(tmp_path, train):
    train(tmp_path / 'run', 'Recorded', processes=2, batch=16, iters=1)
    lam = [torch.load(tmp_path / 'run' / f'rank{rank}.pt', weights_only=True) for rank in (0, 1)]
    assert not (lam[0] == lam[1]).any()
