"""The presets of the settings that Automatic Mixup's authors released: every option by value, rates by step."""

import math

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from openmix.config import load_config
from openmix.engine.part_schedules import without_parts
from openmix.engine.schedules import with_end
from openmix.registry import DATASETS, MODELS, PARAM_SCHEDULERS, find
from openmix.shipped import configs_dir

STEPS = 3  # of an epoch
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BLOCK, HEAD = 'policy.mixer', 'classes.head'
# Of each: the rate of the Mix Block and of the head of clusters, its schedule, the margin in which pairs are
# interpolated, the smoothing of masks, the margin of their adjustment (None: none are adjusted), the weight of their
# mean, the dropout of the block, and the site that it reads.
PRESETS = {
    'stl10/amix_i_authors_cosine': (0.005, 'cosine', 0.08, None, None, 1.0, 0.0, 'layer3'),
    'stl10/amix_i_authors_cyclic': (0.0005, 'cyclic', 0.05, None, None, 0.0, 0.0, 'layer3'),
    'stl10/amix_c_authors_cosine': (0.005, 'cosine', 0.08, None, None, 1.0, 0.0, 'layer3'),
    'stl10/amix_c_authors_cyclic': (0.0005, 'cyclic', 0.05, None, None, 0.0, 0.0, 'layer3'),
    'imagenet/amix_i_authors_cosine': (0.01, 'cosine', 0.1, (0.5, 6.0), 0.05, 1.0, 0.1, 'layer4'),
    'imagenet/amix_c_authors_cosine': (0.05, 'cosine', 0.1, (0.5, 5.0), 0.05, 1.0, 0.1, 'layer3'),
    'imagenet/amix_c_authors_cyclic': (0.005, 'cyclic', 0.1, (0.5, 5.0), 0.05, 1.0, 0.1, 'layer3'),
}


def built(name):
    init_default_scope('openmix')
    cfg = load_config(f'selfsup/{name}.py')
    dataset = dict(cfg.train_dataloader.dataset)
    facts = find(DATASETS, dataset.pop('type')).facts(**dataset)
    find(MODELS, cfg.model.type).complete(cfg.model, facts)
    with torch.device('meta'):
        return cfg, MODELS.build(cfg.model)


def test_every_preset_is_listed():
    found = {f'{path.parent.name}/{path.stem}' for path in (configs_dir() / 'selfsup').glob('*/*_authors_c*.py')}
    assert found == PRESETS.keys()


@pytest.mark.parametrize('name', PRESETS)
def test_options(name):
    _, _, lam_margin, smoothing, adjust_margin, mean_weight, dropout, site = PRESETS[name]
    cfg, model = built(name)
    policy, of_clusters = model.policy, 'amix_c' in name
    given = cfg.model.data_preprocessor
    assert (tuple(given.mean), tuple(given.std)) == IMAGENET
    assert model.views == 'both'
    assert (policy.alpha, policy.share, policy.site_name) == (2.0, 'batch', site)
    settling = policy.settling
    assert (settling.smoothing, settling.lam_margin) == (smoothing, lam_margin)
    assert settling.adjust_prob == (0.0 if adjust_margin is None else 1.0)
    assert settling.adjust_margin == (adjust_margin or 0.0)
    assert (policy.mask_form, policy.mask_weight, policy.mask_margin) == ('squared', 0.1, 0.1)
    assert (policy.mean_weight, policy.variance_weight) == (mean_weight, 2.0)
    policy.before_step(1, 2)
    assert policy.mask_weight_now() == pytest.approx(0.05)
    assert (policy.mixer.gamma, policy.mixer.lam_rescale) == (1.0, 1.0)
    assert [part.p for part in policy.mixer.modules() if isinstance(part, torch.nn.Dropout)] == [dropout]
    main, auxiliary = policy.losses_of_mixer
    assert main.target == ('labels' if of_clusters else 'queue')
    assert auxiliary.target == ('interpolated_keys' if of_clusters else 'extrapolated_keys')
    assert [one.weight_at(0.5) for one in (main, auxiliary)] == pytest.approx([1.0, 0.5])
    if name.startswith('imagenet'):
        assert model.backbone.fc.__class__ is torch.nn.Identity
        assert cfg.model.backbone == dict(type='TorchvisionBackbone', name='resnet18', zero_init_residual=True)
    if of_clusters:
        bank = model.classes.bank
        assert (len(bank.centroids), bank.least) == ((500, 800) if name.startswith('imagenet') else (200, 100))
        assert (bank.momentum, bank.centroids_every, bank.small_every) == (0.0, 250, 50)


def released_rate(kind, base, step, epochs):
    """The Mix Block's rate by the authors' code, which computes it anew in each step; a cosine steps once an epoch.

    Their warm-up of W steps is over after W; that of LinearLR, which is taken here, after W - 1.
    """
    steps, warm = epochs * STEPS, 10 * STEPS - 1
    if kind == 'cosine':
        rate = 1e-4 + 0.5 * (base - 1e-4) * (math.cos(math.pi * (step // STEPS) / epochs) + 1)
    else:
        length = steps // 2
        at, up = step % length, int(0.4 * length)
        start, end, share = (1, 100, at / up) if at < up else (100, 1, (at - up) / (length - up))
        rate = base * (end + 0.5 * (start - end) * (math.cos(math.pi * share) + 1))
    return rate * (1 - (1 - min(step, warm) / warm) * (1 - 1e-5))


@pytest.mark.parametrize('name', PRESETS)
def test_rates(name):
    base, kind = PRESETS[name][:2]
    cfg, model = built(name)
    epochs = cfg.train_cfg.max_epochs
    assert epochs == (400 if name.startswith('stl10') else 200)
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    schedules = []
    for one in cfg.param_scheduler:
        plain, of = without_parts(with_end(one, epochs * STEPS, STEPS), optim)
        by_step = not plain.get('by_epoch', True) or plain.get('convert_to_iter_based', False)
        schedules.append((by_step, PARAM_SCHEDULERS.build(plain, default_args=dict(optimizer=of, epoch_length=STEPS))))
    groups = {group['part']: group for group in optim.optimizer.param_groups}
    assert groups.keys() == {'', BLOCK} | ({HEAD} if 'amix_c' in name else set())
    assert groups[BLOCK]['momentum'] == 0.9
    assert HEAD not in groups or groups[HEAD]['momentum'] == 0.0
    seen = []
    for step in range(epochs * STEPS):
        seen.append([groups[part]['lr'] for part in groups])
        for by_step, one in schedules:
            if by_step or (step + 1) % STEPS == 0:
                one.step()
    for step, rates in enumerate(seen):
        rest = 0.03 * (math.cos(math.pi * (step // STEPS) / epochs) + 1) / 2
        wanted = released_rate(kind, base, step, epochs)
        assert rates == pytest.approx([wanted if part else rest for part in groups], rel=1e-3, abs=1e-12)
    assert max(rates[1] for rates in seen) > (0.9 if kind == 'cosine' else 95) * base
