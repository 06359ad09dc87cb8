"""A config and a checkpoint in OpenMixup's layout give the recipe of the same training, and the same logits."""

import re

import pytest
import torch
from openmixup_layout import PLAIN, WIDE, classifier, mixup_head, save, write_config, write_learned

import openmix
from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.integrations.openmixup.weights import weights_of
from openmix.mix import Mix
from openmix.registry import LOSSES, MODELS

COMMAND = 'convert_openmixup.py'


@pytest.fixture
def converted(call, tmp_path):
    """Return a function that converts a config and loads the recipe."""

    def run(*words, **changes):
        code, said, err = call(
            COMMAND, write_config(tmp_path / 'theirs', **changes), '--out', tmp_path / 'ours', *words
        )
        assert code == 0, err
        return load_config(tmp_path / 'ours/r18.py'), said

    return run


def test_a_config_becomes_the_recipe_of_the_same_training(converted):
    cfg, said = converted(clip='dict(max_norm=5.0)', data='CIFAR100', classes=100)
    assert cfg.model.type == 'MixClassifier'
    assert cfg.model.backbone == {'type': 'CIFARResNet', 'depth': 18}
    assert cfg.model.head == {'type': 'LinearHead', 'num_classes': 100, 'loss': {'type': 'mix_ce'}}
    assert cfg.model.policy == {'type': 'Mixup', 'alpha': 1.0, 'share': 'batch'}
    preprocessor = cfg.model.data_preprocessor
    assert (preprocessor.mean, preprocessor.std) == ((0.49, 0.48, 0.44), (0.2, 0.19, 0.21))
    assert preprocessor.augment == [
        {'type': 'BatchRandomCrop', 'padding': 4, 'mode': 'reflect'},
        {'type': 'BatchRandomFlip'},
    ]
    assert (cfg.train_dataloader.batch_size, cfg.val_dataloader.batch_size) == (50, 40)
    assert cfg.train_dataloader.dataset == {'type': 'CIFAR100', 'root': 'data/cifar100', 'split': 'train'}
    assert cfg.val_dataloader.dataset == cfg.test_dataloader.dataset
    assert cfg.val_dataloader.dataset.split == 'test'
    optimizer = {'type': 'SGD', 'lr': 0.3, 'momentum': 0.8, 'weight_decay': 0.0005}
    assert cfg.optim_wrapper == {'type': 'OptimWrapper', 'clip_grad': {'max_norm': 5.0}, 'optimizer': optimizer}
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.eta_min, schedule.convert_to_iter_based) == ('CosineAnnealingLR', 0.01, False)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (7, 2)
    assert (cfg.default_hooks.logger.interval, cfg.default_hooks.checkpoint.interval) == (25, 10)
    left_out = said.splitlines()[0].partition(': ')[2].split(', ')
    assert left_out == ['log_level', 'cudnn_benchmark', 'prefetch', 'log_config.hooks']
    prepare(cfg)


BATCH = {'share': 'batch'}
PUZZLE = {'transport': True, 'beta': 1.2, 'gamma': 0.5, 'eta': 0.2, 'neigh_size': 4, 'n_labels': 3, 't_eps': 0.8}
POLICIES = {
    'vanilla': ("'vanilla'", '', {'type': 'NoMix'}),
    'cutmix': ("'cutmix'", '', {'type': 'CutMix', 'alpha': 0.2, **BATCH}),
    'saliencymix': ("'saliencymix'", '', {'type': 'SaliencyMix', 'alpha': 0.2, 'detector_input': 'float', **BATCH}),
    'manifoldmix': (
        "'manifoldmix'",
        'manifoldmix=dict(layer=(0, 3))',
        {'type': 'Mixup', 'alpha': 0.2, 'sites': ['', 'layer1', 'layer2'], **BATCH},
    ),
    'fmix': (
        "'fmix'",
        'fmix=dict(decay_power=2.5, size=(32, 32), max_soft=0., reformulate=False)',
        {'type': 'FMix', 'alpha': 0.2, 'decay': 2.5, 'spectrum': 'two_harmonics', **BATCH},
    ),
    'resizemix by alpha': (
        "'resizemix'",
        'resizemix=dict(scope=(0.2, 0.7), use_alpha=True)',
        {'type': 'ResizeMix', 'alpha': 0.2, 'scope': (0.2, 0.7), 'redraw': 'uniform', **BATCH},
    ),
    'resizemix uniform': (
        "'resizemix'",
        'fmix=dict(decay_power=9)',
        {'type': 'ResizeMix', 'alpha': 1.0, 'scope': (0.1, 0.8), 'redraw': 'uniform', **BATCH},
    ),
    'puzzlemix': (
        "'puzzlemix'",
        'puzzlemix=dict(block_num=5, t_batch_size=None, t_size=4)',
        {'type': 'PuzzleMix', 'alpha': 0.2, 'block_nums': (2, 4, 8, 16), 't_size': 4, **PUZZLE, **BATCH},
    ),
}


@pytest.mark.parametrize('name', POLICIES)
def test_a_mode_becomes_a_policy(converted, name):
    mode, args, wanted = POLICIES[name]
    cfg, _ = converted(mode=mode, args=args, alpha=0.2)
    assert cfg.model.policy == wanted
    MODELS.build(cfg.model)


def test_several_modes_are_one_of_them(converted):
    cfg, _ = converted(mode="['mixup', 'cutmix']", alpha='[1, 0.5]', more='model["mix_prob"] = [0.25, 0.75]')
    assert cfg.model.policy.type == 'OneOf'
    assert [one.alpha for one in cfg.model.policy.policies] == [1.0, 0.5]
    assert cfg.model.policy.probs == [0.25, 0.75]


HEADS = {
    'soft': (mixup_head('use_soft=True, use_sigmoid=False'), {'type': 'mix_ce'}),
    'sigmoid': (mixup_head('use_soft=False, use_sigmoid=True'), {'type': 'mix_bce', 'labels': 'one'}),
    'two-hot': (mixup_head('use_sigmoid=True', two_hot=True), {'type': 'mix_bce', 'labels': 'two'}),
    'two-hot, rescaled': (
        mixup_head('use_sigmoid=True', two_hot=True, lam_scale_mode='pow', lam_thr=0.8, lam_idx=0.5),
        {'type': 'decoupled_bce', 't': 0.5, 'xi': 0.8},
    ),
    'smooth': (
        "type='ClsHead', with_avg_pool=True, loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')",
        {'type': 'mix_ce', 'smoothing': 0.1},
    ),
    'decoupled': (
        mixup_head('use_soft=True, use_mix_decouple=True', eta_weight=dict(eta=0.1, mode='both', thr=0.5)),
        {'type': 'decoupled_ce', 'eta': 0.1, 'scale': 'none', 'least_share': 0.001, 'skip_half': True},
    ),
    'decoupled by share': (
        mixup_head(
            'use_soft=True, use_mix_decouple=True',
            lam_scale_mode='pow',
            lam_thr=1,
            lam_idx=1,
            eta_weight=dict(eta=0.2, mode='both', thr=0.5),
        ),
        {'type': 'decoupled_ce', 'eta': 0.2, 'scale': 'share', 'least_share': 0.001, 'skip_half': True},
    ),
}


@pytest.mark.parametrize('name', HEADS)
def test_a_head_becomes_a_loss(converted, name):
    head, wanted = HEADS[name]
    cfg, _ = converted(head=head)
    assert cfg.model.head.loss == wanted


def theirs(name, logits, one, other, lam):
    """The loss of one λ for a batch, written from the documentation of OpenMixup's heads."""
    onehot = torch.nn.functional.one_hot
    y = lam * onehot(one, 10) + (1 - lam) * onehot(other, 10)
    log_p = logits.log_softmax(-1)
    if name == 'soft':
        return -(y * log_p).sum(1).mean()
    if name.startswith('decoupled'):
        weights = [0.1, 0.1] if name == 'decoupled' else [0.2 * lam, 0.2 * (1 - lam)]
        total = -(y * log_p).sum(1)
        for row, (i, j) in enumerate(zip(one.tolist(), other.tolist())):
            if i != j:
                for weight, own, left_out in ((weights[0], i, j), (weights[1], j, i)):
                    kept = [c for c in range(10) if c != left_out]
                    total[row] -= weight * logits[row, kept].log_softmax(-1)[kept.index(own)]
        return total.mean()
    if name != 'sigmoid':
        y = onehot(one, 10) + onehot(other, 10)
        if name == 'two-hot, rescaled':
            scaled = [1.0 if share >= 0.8 else (share / 0.8) ** 0.5 for share in (lam, 1 - lam)]
            y = scaled[0] * onehot(one, 10) + scaled[1] * onehot(other, 10)
    p = logits.sigmoid()
    return -(y * p.log() + (1 - y) * (1 - p).log()).sum(1).mean()


@pytest.mark.parametrize('name', ['soft', 'sigmoid', 'two-hot', 'two-hot, rescaled', 'decoupled', 'decoupled by share'])
def test_the_loss_is_theirs(name):
    torch.manual_seed(0)
    labels = torch.arange(6)
    logits, partner, lam = torch.randn(6, 10, dtype=torch.float64), torch.roll(torch.arange(6), 1), 0.3
    mix = Mix.pairs(partner, torch.full((6,), lam))
    found = LOSSES.build(dict(HEADS[name][1]))(logits, labels, mix)
    torch.testing.assert_close(found, theirs(name, logits, labels, labels[partner], lam), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'backbone'), [('resnet', None), ('wide', WIDE)])
def test_the_logits_of_a_checkpoint_are_theirs(nursery, tmp_path, kind, backbone):
    config = write_config(tmp_path / 'theirs', **({'backbone': backbone} if backbone else {}))
    model = classifier(kind)
    save(model, tmp_path / 'latest.pth', prefix='module.')
    words = [COMMAND, config, '--checkpoint', tmp_path / 'latest.pth', '--out', tmp_path / 'ours']
    done = nursery.run(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / 'ours').iterdir()) == ['latest.pth', 'r18.py']
    assert done.stdout.splitlines()[-2:] == [str(tmp_path / 'ours/r18.py'), str(tmp_path / 'ours/latest.pth')]
    pixels = torch.rand(3, 3, 32, 32)
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in ((0.49, 0.48, 0.44), (0.2, 0.19, 0.21)))
    ours = openmix.load_model(tmp_path / 'ours/latest.pth', device='cpu')
    assert ours.classes[0] == 'airplane'
    with torch.no_grad():
        wanted = model((pixels - mean) / std)
        torch.testing.assert_close(ours(pixels), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    known = torch.load(tmp_path / 'ours/latest.pth', weights_only=True)['meta']
    assert (known['epoch'], known['iter']) == (7, 7000)


def test_the_moving_average_is_taken_where_it_is_asked_for():
    raw, average = classifier('wide'), classifier('wide')
    average.head.fc.bias.data += 1
    state = {**raw.state_dict()}
    state |= {f'ema_{name.replace(".", "_")}': value for name, value in average.state_dict().items()}
    bias = {ema: weights_of(state, 'WideResNet', ema)['head.fc.bias'] for ema in (False, True)}
    assert torch.equal(bias[True], bias[False] + 1)
    assert 'backbone.layer2.0.shortcut.weight' in weights_of(state, 'WideResNet', True)
    with pytest.raises(openmix.errors.InputError, match='no moving average'):
        weights_of(raw.state_dict(), 'WideResNet', ema=True)


def test_the_data_may_be_a_recipes(converted):
    more = "data = dict(train=dict(data_source=dict(_delete_=True, type='ImageNet', list_file='a', root='b')))"
    more += "\ndata_root = 'b'"
    cfg, said = converted('--data', 'configs/_base_/datasets/tiny_imagenet.py', more=more, classes=200)
    assert cfg.train_dataloader.dataset.type == 'TinyImageNet'
    assert cfg.train_dataloader.batch_size == 50
    assert said.splitlines()[0].endswith('prefetch, data, data_root, log_config.hooks')


@pytest.mark.parametrize(
    ('more', 'kind'),
    [
        ('use_fp16 = True', 'AutocastOptimWrapper'),
        ('use_fp16 = True\nfp16 = None', 'AutocastOptimWrapper'),
        ("fp16 = dict(type='apex')", 'OptimWrapper'),
    ],
)
def test_the_precision_is_that_of_use_fp16(converted, more, kind):
    recipe, said = converted(more=more)
    assert recipe.optim_wrapper.type == kind
    assert ('float16 (use_fp16) became bfloat16' in said) == (kind == 'AutocastOptimWrapper')


REFUSED = {
    'another mode': (dict(mode="'gridmix'"), "model.mix_mode: 'gridmix' is not converted"),
    'an argument of the mode': (
        dict(mode="'fmix'", args='fmix=dict(max_soft=0.5)'),
        'model.mix_args.fmix.max_soft=0.5 has no counterpart',
    ),
    'an unknown argument': (
        dict(mode="'cutmix'", args='cutmix=dict(beta=2)'),
        'model.mix_args.cutmix.beta: not understood',
    ),
    'another backbone': (
        dict(backbone="type='DenseNet_CIFAR', arch='161'"),
        "model.backbone.type: openmix has no counterpart of 'DenseNet_CIFAR'",
    ),
    'other layers': (
        dict(backbone="type='ResNet_CIFAR', depth=18, style='caffe'"),
        "model.backbone.style='caffe' has no counterpart",
    ),
    'an unknown option of layers': (
        dict(backbone="type='ResNet_CIFAR', depth=18, dcn=1"),
        'not understood: model.backbone.dcn',
    ),
    'a loss': (dict(head=PLAIN.replace('CrossEntropyLoss', 'FocalLoss')), "no counterpart of 'FocalLoss'"),
    'a weight of the loss': (
        dict(head=PLAIN.replace('=1.0', '=2.0')),
        'model.head.loss.loss_weight=2.0 has no counterpart',
    ),
    'one class of a pair': (
        dict(head=mixup_head('use_soft=True, use_mix_decouple=True', eta_weight=dict(eta=1, mode='less', thr=0.5))),
        "model.head.eta_weight.mode: only 'both' has a counterpart",
    ),
    'a key at the top': (dict(more='addtional_scheduler = dict(a=1)'), 'not understood: addtional_scheduler'),
    'a hook': (dict(more="custom_hooks = [dict(type='EMAHook')]"), "custom_hooks.0: 'EMAHook' is not converted"),
    'a warm-up': (
        dict(more="lr_config = dict(policy='CosineAnnealing', warmup='linear')"),
        "lr_config.warmup='linear' has no counterpart",
    ),
    'rates of parameters': (
        dict(more='optimizer = dict(paramwise_options=dict())'),
        'optimizer.paramwise_options: rates of single parameters',
    ),
    'another algorithm': (dict(more="model = dict(type='AdAutoMix')"), "model.type: 'AdAutoMix' is not converted"),
    'other data': (
        dict(more="data = dict(val=dict(data_source=dict(type='ImageNet')))"),
        "data.val.data_source.type: 'ImageNet' is not converted",
    ),
    'another normalisation': (dict(more='img_norm_cfg = dict(mean=[0, 0, 0])'), 'img_norm_cfg is not what validation'),
    'an augmentation': (
        dict(more="data = dict(train=dict(pipeline=[dict(type='RandAugment')]))"),
        'data.train.pipeline.RandAugment is not converted',
    ),
    'a precision that is no bool': (dict(more="use_fp16 = 'O1'"), "use_fp16 must be True or False, got 'O1'"),
    'Python that fails': (dict(more='1 / 0'), 'ZeroDivisionError'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_has_no_counterpart_is_one_line_and_nothing_is_written(call, tmp_path, name):
    changes, line = REFUSED[name]
    code, said, err = call(COMMAND, write_config(tmp_path / 'theirs', **changes), '--out', tmp_path / 'ours')
    assert (code, said, len(err.splitlines())) == (2, '', 1), err
    assert line in err
    assert not (tmp_path / 'ours').exists()


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (dict(more={'mix_block.query.weight': torch.ones(1)}), "has 'mix_block.query.weight', which is of no backbone"),
        (dict(more={'backbone.layer9.weight': torch.ones(1)}), 'backbone.layer9.weight'),
        (dict(more={'head.fc.bias': torch.zeros(11)}), r"'head.fc.bias' is \(11,\), not \(10,\)"),
    ],
)
def test_weights_that_do_not_fit_are_one_line_and_are_not_written(call, tmp_path, change, line):
    save(classifier('wide'), tmp_path / 'latest.pth', **change)
    config = write_config(tmp_path / 'theirs', backbone=WIDE)
    code, _, err = call(COMMAND, config, '--checkpoint', tmp_path / 'latest.pth', '--out', tmp_path / 'ours')
    assert (code, len(err.splitlines())) == (2, 1), err
    assert re.search(line, err)
    assert not [*(tmp_path / 'ours').glob('*')]


def test_what_is_there_is_kept_and_names_end_no_docstring(call, tmp_path):
    config = write_config(tmp_path / 'theirs')
    odd = config.with_name('a"""b.py')
    config.rename(odd)
    words = (COMMAND, odd, '--out', tmp_path / 'ours')
    assert call(*words)[0] == 0
    before = (tmp_path / 'ours' / odd.name).read_text()
    code, _, err = call(*words)
    assert code == 2
    assert 'is there already; remove it, or give another folder' in err.splitlines()[-1]
    assert (tmp_path / 'ours' / odd.name).read_text() == before


def test_a_learned_policy_and_its_networks_are_converted(call, tmp_path):
    """The evaluated network, the trained one, both heads for clean images, and the block."""
    theirs = classifier('learned')
    save(theirs, tmp_path / 'latest.pth')
    config = write_learned(tmp_path / 'theirs')
    code, said, err = call(COMMAND, config, '--checkpoint', tmp_path / 'latest.pth', '--out', tmp_path / 'ours')
    assert code == 0, err
    assert 'custom_hooks.1' in said
    cfg = load_config(tmp_path / 'ours/automix.py')
    policy = {'type': 'AutoMix', 'alpha': 2.0, 'share': 'batch', 'site': 'layer3', 'momentum': 0.999}
    policy |= {'momentum_end': 0.999999, 'momentum_hold': 0.1, 'mask_weight': 0.1, 'mask_margin': 0.1}
    policy |= {'adjust_prob': 0.25, 'lam_margin': 0.08, 'heads': 'split', 'skips': 'mixer_loss'}
    assert cfg.model.policy == policy | {'mixer': {'lam_encoding': 'none'}}
    ours = openmix.load_model(tmp_path / 'ours/latest.pth', device='cpu')
    x = torch.randn(3, 3, 32, 32)
    theirs.requires_grad_(False)
    networks = ours.algorithm.networks()
    wanted = {'': theirs(x), 'online': theirs.head_mix_q(theirs.backbone_q(x))}
    wanted['online_clean'] = theirs.head_one_q(theirs.backbone_q(x))
    wanted['momentum_clean'] = theirs.head_one_k(theirs.backbone_k(x))
    assert networks.keys() == wanted.keys()
    for name, logits in wanted.items():
        torch.testing.assert_close(networks[name](x), logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
    own, partner, lam = torch.randn(2, 256, 4, 4), torch.randn(2, 256, 4, 4), torch.full((2,), 0.3)
    found = ours.algorithm.policy.mixer(partner, own, 1 - lam, (32, 32))
    torch.testing.assert_close(found, theirs.mix_block.partners_mask(own, partner, 32), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (dict(neck="dict(type='ConvNeck')"), "model.mix_block.value_neck_cfg={'type': 'ConvNeck'} has no counterpart"),
        (dict(weight=0.5), 'model.head_weights.head_one_k=0.5 has no counterpart'),
        (dict(warming='linear'), "custom_hooks.0.warming_up='linear' has no counterpart"),
        (dict(block='dropout=0.1'), 'not understood: model.mix_block.dropout'),
    ],
)
def test_another_learned_policy_is_one_line(call, tmp_path, change, line):
    code, _, err = call(COMMAND, write_learned(tmp_path / 'theirs', **change), '--out', tmp_path / 'ours')
    assert (code, len(err.splitlines())) == (2, 1), err
    assert line in err
