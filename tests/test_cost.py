"""Test the cost of a table: FLOPs against hand counts, and the assignment of runs to GPUs."""

from pathlib import Path

import pytest
from mmengine.config import Config

from benchmarks.cost import Training, images_trained, makespan
from benchmarks.flops import recipe_flops
from openmix.config import load_config

ROOT = Path(__file__).parent.parent
DATA = dict(dataset=dict(type='CIFAR10', root='nowhere', split='train'), batch_size=100)


def recipe(policy):
    head = dict(type='LinearHead', num_classes=10, loss=dict(type='mix_ce'))
    backbone = dict(type='ThinResNet', depth=8, width=4)
    preprocessor = dict(type='ImagePreprocessor')
    model = dict(type='MixClassifier', backbone=backbone, head=head, policy=policy, data_preprocessor=preprocessor)
    loaders = dict(train_dataloader=DATA, val_dataloader=DATA, test_dataloader=DATA)
    return Config(dict(model=model, train_cfg=dict(max_epochs=3), **loaders))


def test_a_step_is_a_forward_and_two_backward_passes():
    # 3x3 convolutions of 3 stages with 4, 8 and 16 channels at 32, 16 and 8 px, and the linear head.
    stem = 3 * 4 * 9 * 32 * 32
    stages = [
        (4 * 4 * 9 * 2) * 32 * 32,
        (4 * 8 * 9 + 8 * 8 * 9) * 16 * 16,
        (8 * 16 * 9 + 16 * 16 * 9) * 8 * 8,
    ]
    multiply_adds = 3 * (stem + sum(stages) + 16 * 10) - stem  # nobody asks for the gradient of the images
    assert recipe_flops(recipe(dict(type='NoMix'))) == 2 * multiply_adds


def test_attention_is_counted_forward_and_backward():
    """Two blocks of 12 N d^2 in the linear layers and 2 N^2 d in attention, N = 5 tokens of width d = 24."""
    cfg, n, d = recipe(dict(type='NoMix')), 5, 24
    cfg.model.backbone = dict(type='TimmBackbone', name='vit_tiny_patch16_224', img_size=32, embed_dim=d, depth=2)
    stem = 4 * 3 * 16 * 16 * d
    multiply_adds = 3 * (stem + 2 * (12 * n * d * d + 2 * n * n * d) + d * 10) - stem
    assert recipe_flops(cfg) == 2 * multiply_adds


def test_policies_cost_their_passes():
    vanilla = recipe_flops(recipe(dict(type='NoMix')))
    assert recipe_flops(recipe(dict(type='Mixup'))) == vanilla
    # A forward pass more, and a backward pass to the images alone.
    assert 1.6 < recipe_flops(recipe(dict(type='PuzzleMix'))) / vanilla < 1.72


def test_what_is_drawn_is_averaged():
    flops = [recipe_flops(recipe(dict(type='AutoMix', site='layer2', train_prob=p))) for p in (0.0, 0.4, 1.0)]
    never, at_times, always = flops
    assert 0.2 < (at_times - never) / (always - never) < 0.6


def test_clusters_and_pairs_of_views_are_counted_by_their_passes():
    """The queue, the bank and the heads are small beside the passes: AMix-C makes 9.75 where MoCo v2 makes 4."""
    plain, clusters = (recipe_flops(load_config(f'selfsup/digits/{name}.py')) for name in ('moco_v2', 'amix_c_paper'))
    assert 2.2 < clusters / plain < 2.7


def test_views_are_trained_too():
    views = dict(type='StackViews', transforms=[dict(type='torchvision/AugMix')])
    cfg = recipe(dict(type='Views'))
    cfg.train_dataloader.dataset = dict(
        type='ImageNet', pipeline=[dict(type='torchvision/Resize', size=(32, 32)), views]
    )
    vanilla = recipe(dict(type='NoMix'))
    assert recipe_flops(cfg) == pytest.approx(3 * recipe_flops(vanilla), rel=0.01)


def semi_supervised(name, ratio, views, **more):
    """Return a recipe of two pools with so many views of an unlabelled image."""
    cfg = recipe(dict(type='NoMix'))
    model = {key: value for key, value in cfg.model.to_dict().items() if key != 'policy'}
    augment = dict(labelled=[], unlabelled=[[]] * views)
    cfg.model = dict(model, type=name, data_preprocessor=dict(type='ImagePreprocessor', augment=augment), **more)
    labelled = dict(type='CIFAR10', root='nowhere', split='train', subset=40)
    cfg.train_dataloader = dict(dataset=dict(type='Pools', labelled=labelled, ratio=ratio), batch_size=64 * (1 + ratio))
    cfg.train_cfg = dict(max_iters=1000)
    return cfg


def test_two_pools_cost_their_views():
    """An image is one that is drawn; of a group of 8, FixMatch trains on 15 views, one more if a branch mixes."""
    vanilla = recipe_flops(recipe(dict(type='NoMix')))
    assert recipe_flops(semi_supervised('FixMatch', 7, 2)) == pytest.approx(vanilla * 15 / 8)
    branch = dict(policy=dict(type='Mixup'))
    assert recipe_flops(semi_supervised('FixMatch', 7, 2, branch=branch)) == pytest.approx(vanilla * 16 / 8)
    # Two views in a forward pass, a third of a step, and three images that are trained on.
    assert recipe_flops(semi_supervised('MixMatch', 1, 2)) == pytest.approx(vanilla * (2 / 3 + 3) / 2, rel=0.02)
    assert recipe_flops(semi_supervised('FlexMatch', 7, 2)) == pytest.approx(vanilla * 15 / 8)
    assert images_trained(semi_supervised('FixMatch', 7, 2)) == 1000 * 64 * 8


def test_images_trained():
    assert images_trained(recipe(dict(type='NoMix'))) == 150_000
    own = recipe(dict(type='NoMix'))
    own.train_dataloader.dataset = dict(type='ImageFolder', root='images', split='train')
    assert images_trained(own) is None


@pytest.mark.parametrize(('gpus', 'hours'), [(1, 4 + 3 + 3), (2, 3 + 4 / 2), (4, 3.0), (8, 3.0)])
def test_runs_on_gpus(gpus, hours):
    """One run of 4 hours that two GPUs can share, and two of 3 hours that cannot be shared; the widest first."""
    wide, narrow = Training('wide', '', 4 * 3600e12, 128, 1), Training('narrow', '', 3 * 3600e12, 100, 2)
    assert makespan([wide, narrow], gpus, 1e12, 64) == pytest.approx(hours)


@pytest.mark.parametrize(
    ('args', 'line'),
    [
        (['cifar10_nothing'], "no table 'cifar10_nothing'"),
        (['cifar10_small'], 'has no training whose data set has an official size'),
        (['quickstart', '--tflops', '0'], '--tflops'),
    ],
)
def test_bad_input_is_one_line(call, args, line):
    code, said, err = call(ROOT / 'benchmarks/cost.py', *args)
    assert (code, said) == (2, '')
    assert line in err.splitlines()[-1]
