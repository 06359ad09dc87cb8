"""The recipes of semi-supervised learning have the published settings, for all nine methods alike."""

import pytest
import torch
from mmengine.registry import init_default_scope

from openmix.benchmark.length import values_of
from openmix.benchmark.shorten import shortened
from openmix.benchmark.table import load_table
from openmix.benchmark.variant import load_variant
from openmix.config import load_config
from openmix.engine.optim_groups import PartConstructor
from openmix.registry import MODELS, find

RATIO = dict.fromkeys(('pseudo_label', 'mixmatch', 'remixmatch', 'mixmatch_dm'), 1)
RATIO |= dict.fromkeys(('uda', 'fixmatch', 'flexmatch', 'fixmatch_mixup', 'fixmatch_dm'), 7)
DATA = {'cifar10': (5e-4, (125.3, 123.0, 113.9), 64), 'cifar100': (1e-3, (129.3, 124.1, 112.4), 64)}
DATA |= {'digits': (5e-4, None, 16)}
RECIPES = [(method, data, *DATA[data]) for data in DATA for method in RATIO]
FEWER_STEPS = (5e-4, (125.3, 123.0, 113.9), 8)
RECIPES += [(method, 'cifar10_resnet20', *FEWER_STEPS) for method in ('fixmatch', 'flexmatch', 'fixmatch_dm')]


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('openmix')


@pytest.mark.parametrize(('method', 'data', 'decay', 'mean', 'labelled'), RECIPES)
def test_batches_views_and_decay(method, data, decay, mean, labelled):
    cfg, ratio = load_config(f'semisup/{data}/{method}.py'), RATIO[method]
    loader, preprocessor = cfg.train_dataloader, cfg.model.data_preprocessor
    assert (loader.batch_size, loader.dataset.ratio) == (labelled * (1 + ratio), ratio)
    assert (loader.sampler.replacement, loader.dataset.get('keep_labelled', True)) == (True, True)
    assert loader.dataset.labelled.split_seed is None
    assert cfg.auto_scale_lr.base_batch_size == loader.batch_size
    assert len(preprocessor.augment.unlabelled) == len(find(MODELS, cfg.model.type).views)
    strong = [any('Augment' in step.type for step in view) for view in preprocessor.augment.unlabelled]
    assert strong == [view == 'strong' for view in find(MODELS, cfg.model.type).views]
    assert any('Flip' in step.type for step in preprocessor.augment.labelled) == (data != 'digits')
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.03, momentum=0.9, nesterov=True, weight_decay=decay)
    if mean:
        assert [255 * value for value in preprocessor.mean] == pytest.approx(mean)


def test_the_schedule_is_the_published_one():
    cfg = load_config('semisup/cifar100/flexmatch.py')
    assert cfg.train_cfg.max_iters == 1_048_576
    # Every 5,000 up to 0.8 of the steps, then every 1,000, and at the end.
    read = [*range(5000, 838_861, 5000), *range(839_000, 1_048_577, 1000), 1_048_576]
    assert values_of(cfg, 'accuracy/top1') == len(read) == 378
    (ema,) = [hook for hook in cfg.custom_hooks if hook.type == 'EMAHook']
    assert ema.momentum == pytest.approx(1 - 0.999)
    assert not ema.get('update_buffers')
    assert [dict(schedule) for schedule in cfg.param_scheduler] == [
        dict(type='CosineDecayLR', angle=7 / 16, by_epoch=False)
    ]


@pytest.mark.parametrize('name', ['digits_semisup', 'cifar10_semisup'])
def test_the_momenta_of_a_short_study_forget_the_start_alike_in_all_rows(name):
    """At the published 0.999, 14 % of the average and of batch-norm statistics are initial after 2,000 steps."""
    found = set()
    for cell in load_table(name).cells:
        cfg = cell.resolve()
        with torch.device('meta'):
            network = MODELS.build(cfg.model.backbone)
        norms = {part.momentum for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)}
        averages = [hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook']
        found.add((cfg.train_cfg.max_iters, *norms, *averages))
    ((steps, *momenta),) = found
    assert len(momenta) == 2
    assert all((1 - momentum) ** steps < 1e-6 for momentum in momenta)


def test_norms_and_biases_do_not_decay():
    """Published runs leave out what has 'bn' or 'bias' in its name."""
    cfg = load_config('semisup/cifar10/fixmatch.py')
    with torch.device('meta'):
        network = MODELS.build(cfg.model.backbone)
    constructor = PartConstructor({'type': 'OptimWrapper', 'optimizer': cfg.optim_wrapper.optimizer.to_dict()})
    constructor.decay_vectors = cfg.optim_wrapper.paramwise_cfg.decay_vectors
    spared = {id(p) for group in constructor.groups(network) if group.get('weight_decay') == 0 for p in group['params']}
    named = {name for name, parameter in network.named_parameters() if id(parameter) in spared}
    assert named == {name for name, _ in network.named_parameters() if 'bias' in name or 'bn' in name}


@pytest.mark.parametrize('data', DATA)
@pytest.mark.parametrize('method', ['fixmatch_dm', 'mixmatch_dm'])
def test_the_one_sided_term_has_a_constant_weight_in_both_variants(method, data):
    """By its share, at most 1/2 and at alpha 0.2 mostly near 0, it would hardly count."""
    for variant in ('corrected', 'published'):
        branch = load_variant(f'semisup/{data}/{method}.py', None, variant).model.branch
        said = {'scale': 'none', 'least_share': 0, 'skip_half': False, 'sides': 'own', 'eta': 0.1}
        assert dict(branch.loss) == {'type': 'decoupled_ce', **said}
        assert tuple(branch.lam) == (0, 0.5)


@pytest.mark.parametrize('data', DATA)
@pytest.mark.parametrize('method', ['fixmatch', 'mixmatch', 'remixmatch', 'pseudo_label'])
def test_views_are_no_keys_of_their_own(method, data):
    """A recipe that set such a key would change nothing but its hash."""
    assert not {'weak', 'strong', 'views'} & load_config(f'semisup/{data}/{method}.py').keys()


def test_steps_shorten_all_rows_alike():
    changes = [shortened(cell.resolve(), 10_000) for cell in load_table('decoupled_mixup/table7').cells]
    assert len(changes) == 45
    assert all(change == changes[0] for change in changes)
    assert changes[0] == {
        'train_cfg.max_iters': 10_000,
        'train_cfg.val_interval': 47,
        'train_cfg.dynamic_intervals': [[8000, 9]],
    }
