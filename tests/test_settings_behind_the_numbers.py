"""The settings of the runs behind the printed numbers, one test for each difference in docs/differences.md.

Each looks at a resolved cell: the published form has the setting, with its value, and the corrected one has not.
"""

import inspect
import math
from pathlib import Path

import mmengine.registry as mm
import pytest
import torch
import yaml
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from openmix.benchmark.cell import _recipe as load_recipe
from openmix.benchmark.table import load_table, table_names
from openmix.check import check_recipe
from openmix.config import load_config
from openmix.mix import Mix
from openmix.recipe_published import published_of
from openmix.registry import LOSSES, MODELS, OPTIMIZERS
from openmix.shipped import configs_dir

DM, AM = 'decoupled_mixup/table', 'automatic_mixup/table'
PAGE = (Path(__file__).parent.parent / 'docs' / 'differences.md').read_text()
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('openmix')


def both(table, row, column):
    """Resolve a cell as published and as corrected."""
    cell = load_table(table).cell(row, column)
    return cell.as_variant('published').resolve(), cell.as_variant('corrected').resolve()


def loaders(cfg):
    return [cfg[f'{part}_dataloader'].dataset.pipeline for part in ('train', 'val', 'test')]


def test_wide_resnet_has_the_form_of_semi_supervised_learning():
    ran, right = both(f'{DM}1', 'Mixup', 'CIFAR-100 / WRN-28-8 / MCE')
    assert right.model.backbone == {'type': 'WideResNet', 'depth': 28, 'widen_factor': 8}
    form = dict(bias=True, negative_slope=0.1, norm_eps=1e-3, norm_momentum=1e-3, transition='raw_shortcut')
    assert ran.model.backbone == {**right.model.backbone, **form}
    with torch.device('meta'):
        sizes = [sum(p.numel() for p in MODELS.build(cfg.model.backbone).parameters()) for cfg in (ran, right)]
    assert sizes[0] - sizes[1] == 8080
    assert '8,080 of 23 million parameters' in PAGE


@pytest.mark.parametrize(
    ('table', 'row', 'column'),
    [
        (f'{DM}1', 'Mixup', 'CIFAR-100 / R-18 / MCE'),
        (f'{DM}1', 'AutoMix', 'Tiny-ImageNet / RX-50 / DM(CE)'),
        (f'{DM}2', 'CutMix', 'R-18 / MCE'),
        (f'{AM}1', 'Mixup', 'STL-10 / SL'),
        ('openmixup/cifar10_resnet18', 'Vanilla', '200 epochs'),
    ],
)
def test_residual_blocks_start_as_their_shortcuts(table, row, column):
    for cfg, at_zero in zip(both(table, row, column), (True, False)):
        block = MODELS.build(cfg.model.backbone).layer1[-1]
        x = torch.randn(2, block.conv1.in_channels, 8, 8).relu()
        assert torch.equal(block(x), x) == at_zero


def test_blocks_of_trained_networks_and_of_wide_resnets_do_not():
    for table, column in ((f'{DM}5', 'CUB-200 / R-18 / MCE'), (f'{DM}1', 'CIFAR-100 / WRN-28-8 / MCE')):
        ran, _ = both(table, 'Mixup', column)
        assert not {'zero_init_residual', 'zero_init_last'} & set(ran.model.backbone)
    ran = load_config('classification/imagenet/resnext101_100ep.py', published=True)
    assert (ran.model.backbone.type, ran.model.backbone.zero_init_last) == ('TimmBackbone', True)


def slow_dm(z, i, j, lam, eta):
    """Return MCE, and the term with the weights and bounds of the released code."""
    p = [math.exp(value) / sum(map(math.exp, z)) for value in z]
    loss = -lam * math.log(p[i]) - (1 - lam) * math.log(p[j])
    if min(lam, 1 - lam) > 1e-3 and lam != 0.5:
        loss -= eta * (lam * math.log(p[i] / (1 - p[j])) + (1 - lam) * math.log(p[j] / (1 - p[i])))
    return loss


def test_the_decoupled_term_is_weighed_by_the_shares_and_dropped_at_their_bounds():
    ran, right = both(f'{DM}1', 'Mixup', 'CIFAR-100 / R-18 / DM(CE)')
    assert right.model.head.loss == {'type': 'decoupled_ce', 'eta': 0.1}
    released = dict(scale='share', least_share=1e-3, skip_half=True)
    assert ran.model.head.loss == {**right.model.head.loss, **released}
    z = [0.3, -0.2, 0.1, 0.5]
    loss = LOSSES.build(ran.model.head.loss)
    for lam in (0.3, 0.7, 0.0009, 0.5):
        mix = Mix(torch.tensor([[0, 1]]), torch.tensor([[lam, 1 - lam]]))
        found = loss(torch.tensor([z], dtype=torch.float64), torch.tensor([2, 1]), mix).item()
        assert found == pytest.approx(slow_dm(z, 2, 1, lam, 0.1), abs=1e-6), lam


def beta_below(alpha, x):
    """Return P(λ <= x) for λ ~ Beta(alpha, alpha), by the midpoint rule in u = λ ** alpha."""
    n, top = 20_000, x**alpha
    area = sum((1 - ((k + 0.5) * top / n) ** (1 / alpha)) ** (alpha - 1) for k in range(n)) * top / n / alpha
    return area * math.exp(math.lgamma(2 * alpha) - 2 * math.lgamma(alpha))


@pytest.mark.parametrize(
    ('share', 'said'),
    [
        (2 * beta_below(0.2, 1e-3), '26 % of the draws at α = 0.2'),
        (2 * beta_below(0.1, 1e-3), '51 % at 0.1'),
        (2 * beta_below(0.5, 1e-3), '4 % at 0.5'),
        (2 * beta_below(2.0, 0.08), '3.6 % of the draws at α = 2'),
        (1 - (beta_below(0.2, 0.8) - beta_below(0.2, 0.1)), '73 % of the draws'),
    ],
)
def test_shares_of_draws_on_the_page(share, said):
    assert said in ' '.join(PAGE.split())
    digits = len(said.split()[0].partition('.')[2])
    assert round(100 * share, digits) == float(said.split()[0])


def test_cutmix_at_a_small_alpha_leaves_out_mainly_empty_boxes():
    """As on the page: 17 %, at 32 px nearly all of them empty."""
    torch.manual_seed(0)
    from openmix.mixups import CutMix

    share = CutMix(alpha=0.2)(torch.zeros(40_000, 1, 32, 32))[1].weight.amin(1)
    assert (share <= 1e-3).double().mean().item() == pytest.approx(0.173, abs=0.006)
    assert (share == 0).sum() > 0.99 * (share <= 1e-3).sum()


@pytest.mark.parametrize(('table', 'column'), [(f'{DM}1', 'CIFAR-100 / R-18 / MCE'), (f'{AM}2', 'CUB-200 / R-18')])
def test_learned_policies_interpolate_below_a_margin(table, column):
    ran, right = both(table, 'AutoMix', column)
    assert ran.model.policy.lam_margin == 0.08
    assert 'lam_margin' not in right.model.policy


@pytest.mark.parametrize('column', ['DeiT-S / MCE', 'Swin-T / DM(CE)'])
@pytest.mark.parametrize('row', ['AutoMix', 'SAMix'])
def test_steps_without_the_block_keep_the_mask_loss(row, column):
    ran, right = both(f'{DM}4', row, column)
    assert (ran.model.policy.train_prob, ran.model.policy.skips) == (0.8, 'mixer_loss')
    assert 'skips' not in right.model.policy


def test_resize_mix_redraws_uniformly():
    ran, right = both(f'{DM}1', 'ResizeMix', 'CIFAR-100 / R-18 / DM(CE)')
    assert (ran.model.policy.alpha, ran.model.policy.redraw) == (0.2, 'uniform')
    assert 'redraw' not in right.model.policy


@pytest.mark.parametrize(
    ('table', 'row', 'column', 'mode'),
    [
        (f'{DM}5', 'Mixup', 'CUB-200 / R-18 / MCE', 'bilinear'),
        (f'{AM}2', 'AMix', 'FGVC-Aircraft / RX-50', 'bilinear'),
        (f'{DM}2', 'Mixup', 'R-50 / DM(CE)', 'bilinear'),
        (f'{AM}3', 'AMix', 'ImageNet-1k / R-101', 'bilinear'),
        (f'{DM}3', 'Mixup', 'MBCE(one)', 'bicubic'),
        (f'{DM}4', 'Mixup', 'DeiT-S / MCE', 'bicubic'),
        (f'{DM}4', 'Mixup', 'Swin-T / MCE', 'bicubic'),
    ],
)
def test_interpolation_of_image_files(table, row, column, mode):
    ran, right = both(table, row, column)
    for cfg, expected in ((ran, mode), (right, 'bicubic')):
        for pipeline in loaders(cfg):
            named = [step.interpolation for step in pipeline if 'interpolation' in step]
            assert named
            assert set(named) == {expected}


@pytest.mark.parametrize(
    ('table', 'column'), [(f'{DM}1', 'Tiny-ImageNet / R-18 / MCE'), (f'{AM}3', 'Tiny ImageNet / RX-50')]
)
def test_interpolation_of_tiny_imagenet(table, column):
    modes = [cfg.model.data_preprocessor.augment[0].interpolation for cfg in both(table, 'CutMix', column)]
    assert modes == ['bilinear', 'bicubic']


@pytest.mark.parametrize(
    ('table', 'column', 'statistics'),
    [
        (f'{DM}1', 'CIFAR-100 / RX-50 / MCE', CIFAR10),
        (f'{DM}1', 'CIFAR-100 / WRN-28-8 / MCE', CIFAR10),
        (f'{DM}8', 'Tiny-ImageNet / Acc / MCE', IMAGENET),
        (f'{DM}5', 'CUB-200 / RX-50 / MCE', CIFAR10),
        (f'{DM}5', 'FGVC-Aircraft / R-18 / MCE', CIFAR10),
        (f'{DM}2', 'R-18 / MCE', None),
        ('openmixup/cifar10_resnet18', '200 epochs', None),
    ],
)
def test_statistics_of_another_set(table, column, statistics):
    ran, right = both(table, 'CutMix', column)
    assert not {'mean', 'std'} & set(right.model.data_preprocessor)
    found = ran.model.data_preprocessor
    assert (tuple(found.mean), tuple(found.std)) == statistics if statistics else 'mean' not in found


def rates(cfg, per_epoch):
    """Return a function of the iteration that gives the learning rate, as the training loop steps its schedules."""
    model = nn.Linear(1, 1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optim = build_optim_wrapper(model, {'type': 'OptimWrapper', 'optimizer': cfg.optim_wrapper.optimizer})
    schedulers = []
    for scheduler in cfg.param_scheduler:
        given = dict(optimizer=optim, epoch_length=per_epoch)
        whole = {**scheduler, 'end': scheduler.get('end', cfg.train_cfg.max_epochs)}
        if not scheduler.get('convert_to_iter_based'):
            whole.pop('convert_to_iter_based', None)
            given = dict(optimizer=optim)
        schedulers.append(mm.PARAM_SCHEDULERS.build(whole, default_args=given))
    found = []
    for step in range(cfg.train_cfg.max_epochs * per_epoch):
        found.append(optim.param_groups[0]['lr'])
        optim.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (step + 1) % per_epoch == 0:
                scheduler.step()
    return found


def cosine(top, end, share):
    return end + (top - end) * (1 + math.cos(math.pi * share)) / 2


SGD_CELLS = [
    (f'{DM}1', 'Mixup', 'CIFAR-100 / R-18 / MCE', 0.1, 0.0, 800),
    (f'{DM}1', 'SAMix', 'CIFAR-100 / WRN-28-8 / MCE', 0.03, 1e-3, 400),
    (f'{DM}1', 'AutoMix', 'Tiny-ImageNet / RX-50 / MCE', 0.2, 0.05, 400),
    (f'{DM}2', 'CutMix', 'R-50 / MCE', 0.1, 0.0, 100),
    (f'{DM}5', 'Mixup', 'CUB-200 / R-18 / MCE', 1e-3, 0.0, 200),
    (f'{AM}2', 'AMix', 'FGVC-Aircraft / R-18', 1e-3, 0.0, 200),
    (f'{AM}1', 'Mixup', 'STL-10 / SL', 0.1, 0.0, 400),
    ('openmixup/cifar10_resnet18', 'AutoMix', '200 epochs', 0.1, 0.05, 200),
]


@pytest.mark.parametrize(('table', 'row', 'column', 'top', 'end', 'epochs'), SGD_CELLS)
def test_the_learning_rate_steps_once_an_epoch(table, row, column, top, end, epochs):
    ran, right = both(table, row, column)
    assert (ran.train_cfg.max_epochs, right.param_scheduler[0].convert_to_iter_based) == (epochs, True)
    # A cosine's form does not depend on its length, which no schedule states.
    assert not any('end' in scheduler for cfg in (ran, right) for scheduler in cfg.param_scheduler)
    epochs = ran.train_cfg.max_epochs = right.train_cfg.max_epochs = 10
    stepped, smooth = rates(ran, 4), rates(right, 4)
    for epoch in (0, epochs // 2, epochs - 1):
        of_epoch = stepped[4 * epoch : 4 * epoch + 4]
        assert len(set(of_epoch)) == 1
        assert of_epoch[0] == pytest.approx(cosine(top, end, epoch / epochs))
        for step in range(4 * epoch, 4 * epoch + 4):
            assert smooth[step] == pytest.approx(cosine(top, end, step / (4 * epochs)), rel=1e-6)
    assert len(set(smooth[-4:])) == 4


@pytest.mark.parametrize('row', ['Mixup', 'AutoMix'])
def test_transformers_step_by_iteration(row):
    for cfg in both(f'{DM}4', row, 'DeiT-S / MCE'):
        assert all(scheduler.convert_to_iter_based for scheduler in cfg.param_scheduler)


def test_rates_on_the_page():
    text = ' '.join(PAGE.split())
    for epochs, batches, said in ((800, 500, 0.12), (400, 500, 0.25), (200, 374, 0.50), (100, 5005, 1.00)):
        assert f'+{said:.2f} % at {epochs}' in text
        mean = [sum(cosine(1, 0, k / n) for k in range(n)) / n for n in (epochs, epochs * batches)]
        assert 100 * (mean[0] / mean[1] - 1) == pytest.approx(said, abs=0.006)
    last = sum(cosine(1, 0, (99 + k / 1000) / 100) for k in range(1000)) / 1000
    assert cosine(1, 0, 0.99) / last == pytest.approx(3.0, abs=0.01)


def test_rsb_a3_as_it_ran():
    ran, right = both(f'{DM}3', 'RSB', 'MBCE(one)')
    assert [pipeline[0].size for pipeline in loaders(ran)[1:]] == [236, 236]
    assert [pipeline[0].size for pipeline in loaders(right)[1:]] == [235, 235]
    assert (ran.sync_bn, 'sync_bn' in right) == ('naive', False)
    limit = inspect.signature(OPTIMIZERS.get(ran.optim_wrapper.optimizer.type)).parameters['max_grad_norm']
    assert limit.default == 1.0
    n, top, end = 20, 8e-3, 1e-6
    # An optimiser without parts: only its learning rate is looked at.
    for cfg in (ran, right):
        cfg.optim_wrapper.optimizer = dict(type='SGD', lr=top)
    stepped, smooth = rates(ran, n), rates(right, n)
    assert stepped[0] == pytest.approx(1e-5 * top)
    assert smooth[0] == pytest.approx(1e-4 * top)
    # The factor of the warm-up reaches 1 one iteration before the fifth epoch ends.
    step = 3 * n + 7
    assert stepped[step] == pytest.approx(cosine(top, end, 0.03) * (1e-5 + (1 - 1e-5) * step / (5 * n - 1)), rel=1e-4)
    for epoch in (5, 50, 99):
        of_epoch = stepped[n * epoch : n * epoch + n]
        assert max(of_epoch) == min(of_epoch) == pytest.approx(cosine(top, end, epoch / 100), rel=1e-3)
    assert smooth[50 * n] == pytest.approx(cosine(top, end, 45 / 95), rel=1e-3)
    assert sum(stepped) / sum(smooth) - 1 == pytest.approx(-0.04, abs=0.001)


def test_table_10_stays_as_printed():
    name = 'classification/imagenet/resnet50_rsb_a3_table10.py'
    assert published_of(load_config(name)) == {}


@pytest.mark.parametrize(
    'column', ['CIFAR-100 / WRN-28-8 / MCE', 'CIFAR-100 / WRN-28-8 / DM(CE)', 'CIFAR-100 / R-18 / MCE']
)
def test_manifold_mixup_has_three_sites_on_every_network(column):
    for cfg in both(f'{DM}1', 'ManifoldMix', column):
        assert cfg.model.policy.sites == ['', 'layer1', 'layer2']


@pytest.mark.parametrize(
    ('figure', 'column', 'of_table'),
    [('figure2', 'Left / Top-1', 'MCE'), ('figure7', 'MCE', 'MCE'), ('figure7', 'DM(CE)', 'DM(CE)')],
)
def test_automix_of_figures_is_that_of_table_2(figure, column, of_table):
    for drawn, printed in zip(
        both(f'decoupled_mixup/{figure}', 'AutoMix', column), both(f'{DM}2', 'AutoMix', f'R-50 / {of_table}')
    ):
        for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_dataloader', 'train_cfg'):
            assert drawn[key] == printed[key]


@pytest.mark.parametrize(
    ('table', 'row', 'column', 'momentum'),
    [
        *((f'{DM}2', row, f'{net} / {loss}', momentum)
          for row in ('AutoMix', 'SAMix') for loss in ('MCE', 'DM(CE)')
          for net, momentum in (('R-18', 0.9), ('R-34', 0.9), ('R-50', 0.0))),
        *((f'{AM}3', 'AutoMix', f'ImageNet-1k / {net}', 0.9) for net in ('R-18', 'R-34', 'R-50', 'R-101')),
        ('decoupled_mixup/figure6', 'AutoMix', 'Left / η = 1', 0.9),
        ('automatic_mixup/figure5', 'AutoMix', 'ImageNet-1k / R-50', 0.0),
    ],
)  # fmt: skip
def test_momentum_of_the_mix_block(table, row, column, momentum):
    for cfg in both(table, row, column):
        part = cfg.optim_wrapper.paramwise_cfg.parts['policy.mixer']
        assert part.get('momentum', cfg.optim_wrapper.optimizer.momentum) == momentum
        assert part.lr_end == 1e-3


@pytest.mark.parametrize(
    ('row', 'column', 'end', 'variance'),
    [
        ('AutoMix', 'FGVC-Aircraft / R-18 / MCE', 0.99999, None),
        ('AutoMix', 'FGVC-Aircraft / RX-50 / DM(CE)', 0.99999, 2.0),
        ('AutoMix', 'CUB-200 / RX-50 / MCE', 0.99999, 2.0),
        ('SAMix', 'FGVC-Aircraft / R-18 / DM(CE)', 0.99996, None),
        ('SAMix', 'CUB-200 / RX-50 / DM(CE)', 0.99999, None),
    ],
)
def test_fine_grained_settings_as_released_in_2023(row, column, end, variance):
    ran, right = both(f'{DM}5', row, column)
    assert ran.model.policy.momentum_end == right.model.policy.momentum_end == end
    assert ran.model.policy.get('variance_weight') == variance
    assert 'variance_weight' not in right.model.policy
    for dataset in ('CUB-200', 'FGVC-Aircraft'):
        ran, right = both(f'{AM}2', 'AutoMix', f'{dataset} / RX-50')
        assert (ran.model.policy.variance_weight, ran.model.policy.momentum_end) == (2.0, 0.99999)
        assert 'variance_weight' not in right.model.policy


def test_dm_trains_transformers_without_label_smoothing():
    for net in ('DeiT-S', 'Swin-T'):
        ran, right = both(f'{DM}4', 'CutMix', f'{net} / DM(CE)')
        assert (ran.model.head.loss.smoothing, right.model.head.loss.smoothing) == (0.0, 0.1)
        for cfg in both(f'{DM}4', 'CutMix', f'{net} / MCE'):
            assert cfg.model.head.loss.smoothing == 0.1


def test_tables_say_how_many_gpus_trained_them():
    for name, count in ((f'{DM}1', 2), (f'{DM}2', 4), (f'{AM}3', 4)):
        notes = yaml.safe_load((configs_dir() / 'tables' / f'{name}.yaml').read_text())['notes']
        assert any(
            f'GPUs with {50 if count == 2 else 64} images each' in note and '--gpus-per-run' in note for note in notes
        )


def test_self_tuning_has_its_own_settings_and_those_of_the_authors_of_the_tables():
    text, own = ' '.join(PAGE.split()), both('decoupled_mixup/table6', 'Self-Tuning', 'CUB-200 / 15%')
    theirs = both('decoupled_mixup/table9', '+MCE', '15%')
    for published, corrected in (own, theirs):
        assert (published.model.moves, published.model.query_passes) == ('pass', 2)
        assert 'moves' not in corrected.model
        decay = [cfg.optim_wrapper.optimizer.weight_decay for cfg in (published, corrected)]
        assert decay == [1e-4, 5e-4]
    momentum = own[0].model.momentum
    half_lives = [math.log(0.5) / math.log(value) for value in (momentum, momentum**2)]
    assert 'from {:.0f} steps to {:.0f}'.format(*half_lives) in text
    steps, (cosine,), (falling,) = theirs[0].train_cfg.max_iters, *(cfg.param_scheduler for cfg in theirs)
    assert cosine.type == 'CosineAnnealingLR'
    rates = [falling.gamma ** sum(step >= one for one in falling.milestones) for step in range(steps)]
    assert f'{0.5 / (sum(rates) / steps):.2f} times that of the four steps' in text
    heads = [cfg.optim_wrapper.paramwise_cfg.parts.head.lr / cfg.optim_wrapper.optimizer.lr for cfg in theirs]
    assert heads == pytest.approx([1, 10])
    assert tuple(theirs[0].model.data_preprocessor.mean) == CIFAR10[0]
    assert theirs[0].model.labelled_branch.policy.share == 'batch'
    assert 'labelled_branch' not in theirs[1].model


def test_every_cell_has_what_its_recipe_has_as_published():
    """Or it states another value by the same key; a dict or list that it replaces loses none without a word."""
    found = 0
    for name in table_names():
        table = load_table(name).as_variant('published')
        for cell in table.cells if table.declared_variant == 'published' else ():
            if cell.implemented and (had := published_of(load_recipe(cell.config))):
                cfg, own = cell.resolve(), cell.own_settings
                for key, value in had.items():
                    found += 1
                    assert key in own or at(cfg, key) == value, (name, cell.name, key)
    assert found > 1000


def at(cfg, key):
    """Return the value at a dotted key, None if it is missing."""
    node = cfg._cfg_dict
    for part in key.split('.'):
        node = node[int(part)] if isinstance(node, list) else node.get(part, {})
    return node


RECIPES = [
    path.relative_to(configs_dir()).as_posix() for path in sorted((configs_dir() / 'classification').rglob('*.py'))
]


def test_every_published_form_of_a_recipe_is_valid():
    found = 0
    for recipe in RECIPES:
        cfg = load_config(recipe, published=True)
        if published_of(cfg):
            check_recipe(cfg)
            found += 1
    assert found >= 15
