"""Bad input of every kind, through the commands: one line on stderr, exit code 2, no traceback.

Each row has one fault and a text that the line must contain; add rows freely.
"""

import runpy
import shlex
import sys
import warnings
from pathlib import Path

import pytest
import torch
from algorithm_cases import write_boxes
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer
from PIL import Image

TOOLS = Path(__file__).parent.parent / 'tools'
DIGITS = 'classification/digits/resnet20.py'
CIFAR = 'classification/cifar10/resnet18.py'
TINY = 'classification/tiny_imagenet/resnet18.py'
FOLDER = 'classification/image_folder/resnet18.py'
MEMORY = 'classification/cifar10/resnet20_small.py'
PLAIN = 'semisup/digits/fixmatch.py'
MIXED = 'semisup/digits/fixmatch_dm.py'
SMALL = 'model.backbone.depth=8 model.backbone.width=4'


def run(capsys, tool, *args):
    """Run a command in this process; return its exit code, stdout and stderr."""
    argv, sys.argv = sys.argv, [tool, *map(str, args)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
        code = 0
    except SystemExit as exit_:
        code = exit_.code
    finally:
        sys.argv = argv
        for manager in (MMLogger, MessageHub, Visualizer):
            manager._instance_dict.clear()
    return code, *capsys.readouterr()


def check(capsys, args, *told):
    code, _, said = run(capsys, *args)
    assert code == 2, said
    assert 'Traceback' not in said
    (line,) = said.strip().splitlines()
    for text in told:
        assert text in line, line


# What is planted by --cfg-options on the digits recipe, and what the line must contain.
OPTIONS = [
    # Names: the nearest, and what set it.
    (
        'model.backbone.depht=8',
        ["ThinResNet has no 'depht'; did you mean 'depth'", '--cfg-options model.backbone.depht'],
    ),
    ('model.polcy.type=CutMix', ["option 'model.polcy.type': 'polcy' is not in model; did you mean 'policy'"]),
    ('model.policy.type=CutMx', ["unknown mixup 'CutMx'; did you mean 'CutMix'", '--cfg-options model.policy.type']),
    ('model.head.loss.type=mix_ec', ["did you mean 'mix_ce'"]),
    ('model.head.loss.eta=0.1', ["mix_ce has no 'eta'", '--cfg-options model.head.loss.eta']),
    ('model.backbone.type=ThinResnt', ["did you mean 'ThinResNet'"]),
    ('model.policy.sites=(layer9,)', ["ThinResNet has no site 'layer9'; did you mean 'layer3'"]),
    ('optim_wrapper.optimizer.lrr=1', ["SGD has no 'lrr'; did you mean 'lr'"]),
    ('param_scheduler.0.etamin=0', ["CosineAnnealingLR has no 'etamin'; did you mean 'eta_min'"]),
    ('default_hooks.checkpoint.save_bst=x', ["CheckpointHook has no 'save_bst'; did you mean 'save_best'"]),
    ('vis_backends.0.type=LocalBackend', ['vis_backends.0', "did you mean 'LocalVisBackend'"]),
    ('visualizer.vis_backend=x', ["did you mean 'vis_backends'"]),
    ('auto_scale_lr.base_batchsize=64', ["did you mean 'base_batch_size'"]),
    ('randomness.sed=1', ["did you mean 'seed'"]),
    (
        'randomness.diff_rank_seed=True',
        ['would give every process its own split', '--cfg-options randomness.diff_rank_seed'],
    ),
    ('resum=True', ["'resum', which nothing reads; did you mean 'resume'"]),
    ('model.data_preprocessor.augment.0.pad=1', ["BatchRandomCrop has no 'pad'; did you mean 'padding'"]),
    (
        'default_hooks.checkpoint.save_best=accuracy/tp1',
        ["nothing measures 'accuracy/tp1'; did you mean 'accuracy/top1'"],
    ),
    # Values: class, argument, what is allowed, what was given.
    ('model.backbone.depth=21', ['ThinResNet: depth must be 6n + 2', 'got 21']),
    ('model.backbone.depth=x', ["ThinResNet: depth must be an integer, got 'x'"]),
    ('model.backbone.width=0', ['ThinResNet: width must be in [1, 4096], got 0', '--cfg-options model.backbone.width']),
    ('model.backbone.width=1000000000', ['ThinResNet: width must be in [1, 4096]']),
    (
        'model.policy.type=Mixup model.policy.alpha=-1',
        ['Mixup: alpha must be > 0, got -1', '--cfg-options model.policy.alpha'],
    ),
    ('model.policy.type=Mixup model.policy.alpha=nan', ['Mixup: alpha must be finite, got nan']),
    ('model.policy.type=Mixup model.policy.alpha=None', ['Mixup: alpha must be a number, got None']),
    (
        'model.policy.type=Mixup model.policy.share=bach',
        ["share must be 'sample' or 'batch', got 'bach'; did you mean 'batch'"],
    ),
    ('model.policy.type=Mixup model.policy.lam_range=(0.9,0.1)', ['lam_range must be two numbers, lowest first']),
    ('model.policy.type=Mixup model.policy.sites=layer1', ["Mixup: sites must be a list of strings, got 'layer1'"]),
    ('model.policy=Mixup', ['MixClassifier: policy must be a dict', "'Mixup'"]),
    ('model.head.loss.smoothing=1.5', ['mix_ce: smoothing must be in [0, 1), got 1.5']),
    ('model.head.loss.smoothing=a', ["mix_ce: smoothing must be a number, got 'a'"]),
    ('model.head.num_classes=1', ['num_classes is 1', 'have 10 classes']),
    ('model.head.num_classes=7', ['num_classes is 7', 'have 10 classes']),
    ('model.data_preprocessor.augment.0.padding=16', ['padding 16 must be smaller than the image, 16x16']),
    ('model.data_preprocessor.augment.0.padding=-1', ['BatchRandomCrop: padding must be >= 0, got -1']),
    ('model.data_preprocessor.augment.0.mode=mirror', ["mode must be 'reflect' or 'zero', got 'mirror'"]),
    ('model.data_preprocessor.mean=(0.5,0.5)', ['needs one mean and one std']),
    ('model.data_preprocessor.std=(0,1,1)', ['every number of std must be > 0']),
    ('train_dataloader.batch_size=0', ['batch_size must be in [1, ', 'got 0']),
    ('train_dataloader.batch_size=64.0', ['batch_size must be an integer']),
    (
        'train_dataloader.batch_size=2000 train_dataloader.drop_last=True',
        ['a batch of 2000', '1442 images', 'drop_last'],
    ),
    ('train_dataloader.num_workers=-1', ['num_workers must be in [0, 512], got -1']),
    ('train_dataloader.num_workers=1000000', ['num_workers must be in [0, 512]']),
    ('train_dataloader.prefetch_factor=2', ['train_dataloader', 'prefetch_factor']),
    ('train_dataloader.persistent_workers=True', ['persistent_workers', 'num_workers']),
    ('train_dataloader.sampler.type=InfiniteSampler', ['InfiniteSampler never ends an epoch']),
    ('train_dataloader.dataset.split=trian', ["Digits has no split 'trian'; did you mean 'train'"]),
    ('train_dataloader.dataset.subset=0', ['subset must be >= 1, got 0', 'got 0']),
    ('train_dataloader.dataset.val_fraction=1', ['val_fraction must be in [0, 1), got 1']),
    ('train_dataloader=None', ['the recipe has train_cfg and optim_wrapper but no train_dataloader']),
    ('val_dataloader=None', ['val_cfg and val_evaluator but no val_dataloader']),
    ('val_evaluator.topk=(0,)', ['Accuracy: topk must be >= 1, got 0']),
    ('train_cfg.max_epochs=0', ['train_cfg: max_epochs must be in [1, ', 'got 0']),
    ('train_cfg.max_epochs=ten', ["max_epochs must be an integer, got 'ten'"]),
    ('train_cfg.val_interval=0', ['val_interval must be in [1, ', 'got 0']),
    ('train_cfg.type=TestLoop', ['train_cfg']),
    ('optim_wrapper.optimizer.lr=-0.1', ['optim_wrapper', 'SGD', 'Invalid learning rate: -0.1']),
    ('optim_wrapper.optimizer.lr=fast', ['SGD: lr must be a number', "got 'fast'"]),
    ('optim_wrapper.optimizer.lr=1e999', ["option 'optim_wrapper.optimizer.lr': '1e999' is too large a number"]),
    ('optim_wrapper.optimizer.momentum=None', ['SGD: momentum must be a number, got None']),
    ('optim_wrapper.paramwise_cfg=[1]', ['optim_wrapper.paramwise_cfg: must be a dict, got [1]']),
    ('optim_wrapper.accumulative_counts=0', ['accumulative_counts must be in [1, ']),
    (
        'optim_wrapper.type=AutocastOptimWrapper optim_wrapper.dtype=int8',
        ["dtype must be 'auto' or 'bfloat16' or 'float16', got 'int8'"],
    ),
    ('param_scheduler.0.T_max=0', ['param_scheduler.0: T_max must be in [1, 1000000000], got 0']),
    ('param_scheduler.0.begin=-1', ['param_scheduler.0', 'begin']),
    ('default_hooks.logger.interval=often', ["LoggerHook: interval must be an integer, got 'often'"]),
    ('custom_hooks=ResultHook', ['custom_hooks must be a list']),
    ('auto_scale_lr.base_batch_size=0', ['auto_scale_lr: base_batch_size must be in [1, ']),
    ('randomness.seed=-1', ['seed must be in [0, 4294967295], got -1']),
    ('randomness.seed=one', ["seed must be an integer in [0, 4294967295], got 'one'"]),
    ('default_hooks.timer=soon', ['default_hooks.timer: a hook must be a dict with a type', "'soon'"]),
    ('custom_hooks.0=soon', ['custom_hooks.0: must be a dict with a type', "'soon'"]),
    ('env_cfg.mp_cfg=None', ['env_cfg: mp_cfg must be a dict, got None']),
    ('env_cfg.dist_cfg=5', ['env_cfg: dist_cfg must be a dict, got 5']),
    ('log_level=LOUD', ['log_level must be one of', "'LOUD'"]),
    ('default_scope=mmpretrain', ["default_scope must be 'openmix'"]),
    # What would be accepted and not applied.
    ('optim_wrapper.optimizer.params=[]', ["SGD has no 'params'"]),
    ('train_dataloader.shuffle=False', ['the sampler decides', 'train_dataloader.sampler.shuffle']),
    ('train_cfg.runner=None', ["EpochBasedTrainLoop has no 'runner'"]),
    ('val_cfg.evaluator=None', ["ValLoop has no 'evaluator'"]),
    ('param_scheduler.0.optimizer=None', ["has no 'optimizer'"]),
    ('train_dataloader.sampler.dataset=None', ["has no 'dataset'"]),
    ('val_cfg.type=TestLoop', ['TestLoop does not belong in val_cfg']),
    ('test_cfg.type=ValLoop', ['ValLoop does not belong in test_cfg']),
    ('sync_bn=naiv', ["sync_bn must be 'torch' or 'naive' or 'equal' or None, got 'naiv'"]),
    ("val_evaluator.prefix=''", ["prefix must be a name, or None for 'accuracy', got ''"]),
    ('train_cfg.dynamic_intervals=[[1,0]]', ['train_cfg.dynamic_intervals', 'pairs of whole numbers', 'got [[1, 0]]']),
    ('train_cfg.dynamic_intervals=[[5,1],[2,1]]', ['follow one another']),
    ('param_scheduler.0.eta_min=-1', ['eta_min must be >= 0, got -1']),
    ('val_dataloader.batch_size=8 val_dataloader=None', ["option 'val_dataloader.batch_size' is lost"]),
    ('model.policy._delete_=True', ['a replacement is written in a recipe']),
    ('model.backbon.depth=8', ["'backbon' is not in model; did you mean 'backbone'"]),
]


@pytest.mark.parametrize(('planted', 'told'), OPTIONS, ids=[planted for planted, _ in OPTIONS])
def test_option(planted, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(capsys, ['train.py', DIGITS, '--cfg-options', *shlex.split(planted, posix=False)], *told)
    assert not list(tmp_path.rglob('result.json'))


POOLS = 'train_dataloader.dataset'
CUT = 'branch: policy: {} cannot keep the share of an image in a range'
# What is planted on a semi-supervised recipe, with a mixed branch or without one.
SEMI_SUPERVISED = [
    (MIXED, 'model.branch.loss.type=decoupled_cee', ["unknown loss 'decoupled_cee'; did you mean 'decoupled_ce'"]),
    (MIXED, 'model.branch.weight=-1', ['branch: weight must be >= 0, got -1', '--cfg-options model.branch.weight']),
    (MIXED, 'model.branch.weight=big', ["weight must be a number, got 'big'"]),
    (MIXED, 'model.branch.lam=0.5', ['lam must be a list of 2 numbers or None, got 0.5']),
    (MIXED, 'model.branch.lam=(0.5,0)', ['branch: lam must be two numbers, lowest first, got (0.5, 0)']),
    (MIXED, 'model.branch.policy.type=Mixap', ["unknown mixup 'Mixap'; did you mean 'Mixup'"]),
    (MIXED, 'model.branch.policy.type=CutMix', [CUT.format('CutMix'), "asked for by lam and sides='own' of loss"]),
    (MIXED, 'model.branch.policy.type=ResizeMix', [CUT.format('ResizeMix'), "asked for by lam and sides='own'"]),
    (MIXED, 'model.branch.policy.type=CutMix model.branch.lam=None', ["a range is asked for by sides='own' of loss"]),
    (
        PLAIN,
        'model.branch.policy.type=Mixup',
        ["'branch' is not in model; ", "given whole: 'model.branch={policy: {type: Mixup}}'"],
    ),
    (PLAIN, 'model.branch.lam=(0,0.5)', ["given whole: 'model.branch={lam: ...}'"]),
    (PLAIN, 'model.branch=Mixup', ["branch must be a dict or None, got 'Mixup'"]),
    (PLAIN, 'model.branch={lam: [0, 0.5]}', ["model.branch: MixedBranch needs 'policy'"]),
    (
        PLAIN,
        'model.labelled_branch={policy: {type: Mixup}, ramp: 2}',
        ['model: labelled_branch: ramp must be in [0, 1], got 2'],
    ),
    (PLAIN, 'train_dataloader.batch_size=2000', ['a batch of 2000 is larger than the 1648 images that a pass gives']),
    (PLAIN, 'model.threshold=1.5', ['FixMatch: threshold must be in [0, 1], got 1.5']),
    (PLAIN, 'model.threshold=-0.1', ['FixMatch: threshold must be in [0, 1], got -0.1']),
    (PLAIN, f'{POOLS}.labelled.subset=5', ['5 labelled images are not equally many of each of the 10 classes']),
    (PLAIN, f'{POOLS}.labelled.subset=25', ['not equally many of each of the 10 classes; take 20 or 30']),
    (PLAIN, f'{POOLS}.labelled.subset=1440', ["the class '8' has 140 labelled images, and each needs 144"]),
    (PLAIN, f'{POOLS}.labelled.subset=none.txt', ['none.txt is missing; subset takes a number of images']),
    (PLAIN, f'{POOLS}.labelled.subset=rows.txt', ['rows.txt:2: there is no row 5000, rows are 0 to 1441']),
    (PLAIN, f'{POOLS}.labelled.subset=few.txt', ["the class '1' has no labelled image, and it needs 1"]),
    (
        PLAIN,
        f'{POOLS}.keep_labelled=False {POOLS}.balanced=False {POOLS}.labelled.subset=1442',
        ['keep_labelled=False leaves no unlabelled image'],
    ),
    (PLAIN, f'{POOLS}.unlabelled={{type: ImageFolder, root: none}}', ['ImageFolder: root none is missing']),
    (
        PLAIN,
        f'{POOLS}.unlabelled={{type: ImageFolder, root: large, size: 32}}',
        [
            'the size of the labelled images, (3, 16, 16), and view 0 of',
            "'unlabelled' has (3, 32, 32); give both pools",
        ],
    ),
    (
        PLAIN,
        f'{POOLS}.unlabelled={{type: Digits, split: test}}',
        [f"{POOLS}.unlabelled: it holds images of val_dataloader.dataset: both read the split 'test'; "],
    ),
    (PLAIN, f'{POOLS}.transductive=True', ['transductive=True, and it holds no image of val_dataloader.dataset']),
]


@pytest.mark.parametrize(('recipe', 'planted', 'told'), SEMI_SUPERVISED, ids=[row[1] for row in SEMI_SUPERVISED])
def test_option_of_a_semi_supervised_recipe(recipe, planted, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'rows.txt').write_text('0\n5000\n')
    (tmp_path / 'few.txt').write_text('0\n')
    if 'large' in planted:
        for digit in range(10):
            (tmp_path / f'large/train/{digit}').mkdir(parents=True)
            Image.new('RGB', (32, 32)).save(tmp_path / f'large/train/{digit}/0.png')
    given = [planted] if '{' in planted else planted.split()
    check(capsys, ['train.py', recipe, '--cfg-options', *given], *told)
    assert not list(tmp_path.rglob('result.json'))


def test_a_list_of_training_images_without_a_class(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'few.txt').write_text('0\n')
    option = 'train_dataloader.dataset.subset=few.txt'
    check(capsys, ['train.py', DIGITS, '--cfg-options', option], '9 of 10 classes have no training image: 1, 2, 3')
    assert not list(tmp_path.rglob('result.json'))


# What a recipe of one's own says beside `_base_ = DIGITS`, and what the line must contain.
RECIPES = [
    ('model = dict(backbone=dict(depht=8))', ["ThinResNet has no 'depht'", '(in mine.py)']),
    ("model = dict(policy=dict(type='CutMx'))", ["did you mean 'CutMix'", '(in mine.py)']),
    ('model = dict(policy=dict(_delete_=True, alpha=1.0))', ['model.policy: a type is missing', '(in mine.py)']),
    ("optim_wraper = dict(type='SGD')", ["did you mean 'optim_wrapper'", '(in mine.py)']),
    (
        "model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='resnet81'))",
        ["timm has no model 'resnet81'"],
    ),
    (
        "model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='resnet18', drop_rat=0.1))",
        ["TimmBackbone 'resnet18': wrong option", 'drop_rat', '(in mine.py)'],
    ),
    ("model = dict(backbone=dict(_delete_=True, type='TimmBackbone'))", ['model.backbone', "needs 'name'"]),
    (
        "model = dict(backbone=dict(_delete_=True, type='TorchvisionBackbone', name='resnet18', wdth=1))",
        ["TorchvisionBackbone 'resnet18': wrong option", 'wdth'],
    ),
    (
        "model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='vit_tiny_patch16_224'))",
        ['model.backbone', 'on images of 16x16'],
    ),
    (
        "model = dict(policy=dict(_delete_=True, type='OneOf', policies=[dict(type='Mixup')], probs=[0.5]))",
        ['OneOf: 1 policies need as many probs'],
    ),
    (
        "model = dict(policy=dict(_delete_=True, type='OneOf', policies=[3]))",
        ['OneOf: policies must be a list', 'got [3]'],
    ),
    (
        "model = dict(backbone=dict(_delete_=True, type='TimmBackbone', name='test_resnet'), "
        "policy=dict(_delete_=True, type='CutMix', sites=('global_pool.flatten',)))",
        ['model.policy: CutMix needs an (N, C, H, W) tensor', 'choose sites that put out feature maps'],
    ),
    (
        "model = dict(backbone=dict(_delete_=True, type='TorchvisionBackbone', name='swin_t'), "
        "policy=dict(_delete_=True, type='Mixup', sites=('permute.x',)))",
        ["has no site 'permute.x'"],
    ),
    (
        "model = dict(policy=dict(_delete_=True, type='SaliencyMix', detector_input='int8'))",
        ["detector_input must be 'uint8'"],
    ),
    (
        "custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy/tpo1')]",
        ["nothing measures 'accuracy/tpo1'; did you mean 'accuracy/top1'"],
    ),
    ("custom_hooks = [dict(typ='ResultHook')]", ['custom_hooks.0: a type is missing', '(in mine.py)']),
    ("custom_hooks = [dict(type='EMAHook', momentm=0.1)]", ["EMAHook has no 'momentm'; did you mean 'momentum'"]),
    ("custom_hooks = [dict(type='EMAHook', momentum=2.0)]", ['custom_hooks.0', 'momentum must be', '2.0']),
    ("custom_hooks = [dict(type='EMAHook', begin_epoch=99)]", ['EMAHook begins after the last epoch']),
    ("custom_hooks = [dict(type='EMAHook', ema_type='Exponential')]", ["did you mean 'ExponentialMovingAverage'"]),
    ("custom_hooks = [dict(type='StepSeedHook', priority='HIGHER')]", ['custom_hooks.0', 'HIGHER']),
    (
        "optim_wrapper = dict(paramwise_cfg=dict(parts={'head': dict(lr=0.1)}))",
        ["set optim_wrapper.constructor='PartConstructor'"],
    ),
    ('optim_wrapper = dict(paramwise_cfg=dict(decay_vectors=False))', ['decay_vectors: only the PartConstructor']),
    # Written out, mmengine's own constructor reads them as little as by default.
    *(
        (f'optim_wrapper = dict(constructor={name!r}, paramwise_cfg=dict({options}))', ['only the PartConstructor'])
        for name in ('DefaultOptimWrapperConstructor', 'mmengine.DefaultOptimWrapperConstructor')
        for options in ("parts={'head': dict(lr=0.2)}", 'decay_vectors=False')
    ),
    *(
        (
            "optim_wrapper = dict(constructor='PartConstructor', "
            f"paramwise_cfg=dict(parts={{'head': dict(lr_end=0.01)}})){schedule}",
            ['paramwise_cfg.parts.head.lr_end', 'only a PartCosineAnnealingLR ends there'],
        )
        for schedule in ('', '\nparam_scheduler = None', "\nparam_scheduler = [dict(type='StepLR', step_size=1)]")
    ),
    # Under the key of a default hook another one would turn it off.
    *(
        (f"default_hooks = dict({key}=dict(_delete_=True, type='EmptyCacheHook'))", [f'the place of the {kind}', told])
        for key, kind, told in (
            ('param_scheduler', 'ParamSchedulerHook', 'a key of its own'),
            ('logger', 'LoggerHook', 'logger=None if you want no LoggerHook'),
            ('timer', 'IterTimerHook', 'a key of its own'),
            ('checkpoint', 'CheckpointHook', 'checkpoint=None'),
            ('sampler_seed', 'DistSamplerSeedHook', 'a key of its own'),
        )
    ),
    ("default_hooks = dict(runtime_info=dict(type='EmptyCacheHook'))", ['the place of the RuntimeInfoHook']),
    ("custom_hooks = [dict(type='EMAHook', priority='LOWEST')]", ['EMAHook: priority must come before VERY_LOW']),
    # What mmengine or the engine before it reads, and nothing here.
    ("data_preprocessor = dict(type='ImagePreprocessor', channels_last=True)", ['model=dict(data_preprocessor=']),
    ("runner_type = 'FlexibleRunner'", ['runner_type is not read here']),
    ("strategy = dict(type='DDPStrategy')", ['strategy is not read here']),
    ("lr_config = dict(policy='step', step=[1])", ['lr_config is not read here; give param_scheduler']),
    ("optimizer = dict(type='SGD', lr=0.3)", ['optimizer is not read here; give optim_wrapper=dict(optimizer=']),
    ("evaluation = dict(interval=2, metric='accuracy')", ['evaluation is not read here; give val_evaluator']),
    ("runner = dict(type='EpochBasedRunner', max_epochs=9)", ['runner is not read here; give train_cfg']),
    ("fp16 = dict(loss_scale='dynamic')", ['fp16 is not read here; give optim_wrapper=dict(type=']),
    ('optimizer_config = dict(grad_clip=None)', ['give optim_wrapper=dict(clip_grad=']),
    # Parts of a loader that would be of no use, or fail on the first batch.
    *(
        (f'train_dataloader = dict(batch_sampler=dict(type={name!r}))', [f'{name} draws single samples', 'as sampler'])
        for name in ('DefaultSampler', 'RepeatedAugSampler', 'InfiniteSampler')
    ),
    *(
        (f'{loader} = dict(collate_fn=dict(type={name!r}))', [f'{loader}.collate_fn: Digits answers whole batches'])
        for loader, name in (('train_dataloader', 'pseudo_collate'), ('val_dataloader', 'default_collate'))
    ),
    ('optim_wrapper = dict(paramwise_cfg=dict(parts=1))', ['optim_wrapper.paramwise_cfg.parts: must be a dict, got 1']),
    ('optim_wrapper = dict(paramwise_cfg=dict(norm_decay=0))', ["did you mean 'norm_decay_mult'"]),
    # What would turn training around, end it in the middle, or do nothing.
    ('optim_wrapper = dict(clip_grad=dict(max_norm=-1))', ['optim_wrapper.clip_grad: max_norm must be > 0, got -1']),
    ("optim_wrapper = dict(clip_grad=dict(type='value', clip_value=-1))", ['clip_value must be > 0, got -1']),
    ('optim_wrapper = dict(clip_grad=dict(max_norm=1, norm_type=0))', ['norm_type must be > 0, got 0']),
    (
        "optim_wrapper = dict(constructor='PartConstructor', "
        "paramwise_cfg=dict(parts={'head': dict(clip_grad=dict(max_norm=-1))}))",
        ['max_norm must be > 0, got -1'],
    ),
    (
        "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'layr1': dict(lr_mult=0)}))",
        ["no trainable parameter has 'layr1'", '(in mine.py)'],
    ),
    (
        "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'layer1': dict(lr_mult=-1)}))",
        ['layer1: lr_mult must be >= 0, got -1'],
    ),
    (
        "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'layer1': dict(lr_mult='a')}))",
        ["lr_mult must be a number >= 0, got 'a'"],
    ),
    ('optim_wrapper = dict(paramwise_cfg=dict(bias_lr_mult=-1))', ['bias_lr_mult must be >= 0, got -1']),
    ("param_scheduler = [dict(type='StepLR', step_size=1, gamma=-1)]", ['gamma must be >= 0, got -1']),
    ("param_scheduler = [dict(type='LinearLR', start_factor=0)]", ['start_factor must be > 0, got 0']),
    ("param_scheduler = [dict(type='ConstantLR', factor=0)]", ['factor must be > 0, got 0']),
    (
        "param_scheduler = [dict(type='OneCycleLR', eta_max=0.1, total_steps=3)]",
        ['OneCycleLR: total_steps must be >= 15', 'got 3'],
    ),
    ("custom_hooks = [dict(type='EMAHook', interval=0)]", ['EMAHook: interval must be >= 1, got 0']),
    ("optim_wrapper = dict(paramwise_cfg=dict(bias_lr_mult='x'))", ["bias_lr_mult must be a number >= 0, got 'x'"]),
    ('optim_wrapper = dict(clip_grad=dict(maxnorm=1))', ["did you mean 'max_norm'"]),
    ("optim_wrapper = dict(clip_grad=dict(max_norm='a'))", ['optim_wrapper: SGD: ']),
    (
        "optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', betas=(0.9, 2.0)))",
        ['AdamW: Invalid beta parameter'],
    ),
    ("optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdmW'))", ["did you mean 'AdamW'"]),
    ("param_scheduler = [dict(type='MultiStepLR', milestones=3)]", ['MultiStepLR: milestones must be a list of']),
    ("param_scheduler = [dict(type='StepLR')]", ["StepLR needs 'step_size'"]),
    ('log_processor = dict(window_size=20)', ['log_processor', 'the LoggerHook decides what is logged']),
    ('model_wrapper_cfg = dict(broadcast_bufers=True)', ["did you mean 'broadcast_buffers'"]),
    ("env_cfg = dict(mp_cfg=dict(mp_start='fork'))", ["did you mean 'mp_start_method'"]),
    ("env_cfg = dict(mp_cfg=dict(mp_start_method='thread'))", ["mp_start_method must be 'fork'"]),
    ("vis_backends = [dict(type='LocalVisBackend', save=1)]", ["LocalVisBackend has no 'save'"]),
    ("visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])", ['differ; set vis_backends alone']),
    ("val_dataloader = dict(dataset=dict(_delete_=True, split='test'))", ['val_dataloader.dataset: a type is missing']),
    (
        'train_dataloader = dict(dataset='
        "dict(_delete_=True, type='RepeatDataset', dataset=dict(type='Digits'), times=2))",
        ["train_dataloader.dataset: RepeatDataset wraps mmengine's own data sets"],
    ),
    ("_base_ = 'nothing.py'", ['mine.py', 'nothing.py']),
    ('model = dict(', ['mine.py', 'SyntaxError']),
    ('train_cfg = dict(max_epochs=1 / 0)', ['mine.py', 'ZeroDivisionError']),
]


@pytest.mark.parametrize(('planted', 'told'), RECIPES, ids=[planted[:120] for planted, _ in RECIPES])
def test_recipe(planted, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = '' if '_base_' in planted else f'_base_ = {str(TOOLS.parent / "configs" / DIGITS)!r}\n'
    Path('mine.py').write_text(f'{base}{planted}\n')
    check(capsys, ['train.py', 'mine.py'], *told)


def image(path, size=(40, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (200, 100, 50)).save(path)


def folders(root, classes=('cat', 'dog'), count=2):
    for split in ('train', 'val', 'test'):
        for name in classes:
            for i in range(count):
                image(root / split / name / f'{i}.png')


BOXES = 'detection/bccd/faster_rcnn_resnet18_c4_narrow.py'
OBJECT = '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object>'
SIZE = '<size><width>48</width><height>40</height></size>'


def annotated(*objects, head=''):
    return f'{head}<annotation>{SIZE}{"".join(OBJECT.format(*one) for one in objects)}</annotation>'


# What is written as the annotation of an image, and what the line must contain beside its file.
ANNOTATIONS = {
    'a box outside the image': (
        annotated(('cat', 2, 49)),
        ['(cat, 2, 2, 49, 9) is outside the image of 40x48'],
    ),
    'a box of no area': (annotated(('cat', 2, 9), ('dog', 5, 5)), ['object 2 (dog, 5, 2, 5, 9) is of no area']),
    'an unknown class': (annotated(('cow', 2, 9)), ["object 1 is of class 'cow'; valid: cat, dog"]),
    'no XML': ('<annotation><size>', ['is not XML that can be read: no element found']),
    'entities': (
        annotated(head='<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;&b;">]>'),
        ['declares a document type, which may expand entities'],
    ),
}


def boxes(tmp_path):
    write_boxes(tmp_path / 'pets')
    options = ['root=pets', "classes=['cat','dog']", 'bad_boxes=error']
    return [f'{part}_dataloader.dataset.{option}' for part in ('train', 'val', 'test') for option in options]


@pytest.mark.parametrize('planted', ANNOTATIONS)
def test_a_bad_annotation(planted, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = boxes(tmp_path)
    text, told = ANNOTATIONS[planted]
    Path('pets/Annotations/trainval_2.xml').write_text(text)
    check(capsys, ['train.py', BOXES, '--cfg-options', *options], 'pets/Annotations/trainval_2.xml', *told)


def test_a_missing_image_with_boxes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = boxes(tmp_path)
    Path('pets/JPEGImages/trainval_2.png').unlink()
    told = 'pets/JPEGImages/trainval_2.jpg of 10 images missing'
    check(capsys, ['train.py', BOXES, '--cfg-options', *options], told)


def test_classes_that_differ_between_lists(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [option for option in boxes(tmp_path) if 'classes' not in option]
    path = Path('pets/Annotations/test_1.xml')
    path.write_text(path.read_text().replace('dog', 'cow'))
    told = "val_dataloader.dataset: class 1 is 'cow' here and 'dog' in the training data"
    for other in Path('pets/Annotations').glob('test_*.xml'):
        other.write_text(other.read_text().replace('dog', 'cow'))
    check(capsys, ['train.py', BOXES, '--cfg-options', *options], told)


@pytest.mark.slow
def test_a_bad_annotation_ends_a_process(tmp_path, nursery):
    """As a user sees it: one line, exit code 2, and no folder of a run."""
    options = boxes(tmp_path)
    (tmp_path / 'pets/Annotations/test_0.xml').write_text(ANNOTATIONS['entities'][0])
    done = nursery.run(['train.py', BOXES, '--cfg-options', *options], tmp_path)
    assert done.returncode == 2
    (line,) = [one for one in done.stderr.splitlines() if one.startswith('error: ')]
    assert 'pets/Annotations/test_0.xml declares a document type' in line
    assert 'Traceback' not in done.stderr


def corrupt(root):
    folders(root)
    (root / 'train/dog/1.png').write_bytes(b'not an image')


def empty_class(root):
    folders(root)
    (root / 'train/emu').mkdir()


def unknown_class(root):
    folders(root)
    image(root / 'test/dogs/0.png')


def nothing(root):
    """Write no data."""


def truncated_cifar(root):
    for name in (
        'data_batch_1',
        'data_batch_2',
        'data_batch_3',
        'data_batch_4',
        'data_batch_5',
        'test_batch',
        'batches.meta',
    ):
        path = root / 'cifar-10-batches-py' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'half')


def half_cifar(root):
    truncated_cifar(root)
    (root / 'cifar-10-batches-py/data_batch_3').unlink()


def classless_tiny(root):
    root.mkdir()
    (root / 'wnids.txt').write_text('n01\nn02\n')


# What lies in the data's folder, the recipe and its options, and what the line must contain.
DATA = [
    (nothing, CIFAR, '', ['CIFAR10', 'data_batch_1 is missing', 'cifar-10-python.tar.gz', 'download=True']),
    (half_cifar, CIFAR, '', ['data_batch_3 is missing']),
    (truncated_cifar, CIFAR, '', ['CIFAR10', 'is damaged; delete that folder']),
    (nothing, TINY, '', ['TinyImageNet', 'wnids.txt is missing', 'tiny-imagenet-200.zip']),
    (classless_tiny, TINY, '', ['no *.JPEG under', 'n01']),
    (nothing, MEMORY, SMALL, ['ImageFolder: root', 'is missing']),
    (
        corrupt,
        MEMORY,
        SMALL + ' train_dataloader.dataset.subset=3',
        ['train/dog/1.png is not a readable image', 'skip_corrupt=True'],
    ),
    (empty_class, MEMORY, SMALL, ['no images under', 'emu']),
    (
        unknown_class,
        MEMORY,
        SMALL + ' train_dataloader.dataset.subset=3 val_dataloader.dataset.subset=2',
        ["did you mean 'dog'"],
    ),
    (folders, MEMORY, SMALL + ' train_dataloader.dataset.split=tran', ["has no split 'tran'; did you mean 'train'"]),
    (folders, MEMORY, SMALL, ['subset must be between 1 and the 4 images of the split, got 10000']),
    (
        corrupt,
        FOLDER,
        'train_dataloader.batch_size=4',
        ['train/dog/1.png is not a readable image', 'skip_corrupt=True'],
    ),
    (
        folders,
        FOLDER,
        'train_dataloader.dataset.pipeline.0.type=torchvision/RandomCrop train_dataloader.dataset.pipeline.0.pading=1',
        ['pipeline.0: RandomCrop has no', 'interpolation'],
    ),
    (
        folders,
        FOLDER,
        'train_dataloader.dataset.pipeline.0.type=torchvision/RandomCrop train_dataloader.dataset.pipeline.0.size=64',
        ["RandomCrop has no 'interpolation'"],
    ),
    (
        folders,
        FOLDER,
        'train_dataloader.dataset.pipeline.1.type=torchvision/RandomCrop train_dataloader.dataset.pipeline.1.size=300',
        ['pipeline: RandomCrop fails on an image of', 'Required crop size (300, 300)'],
    ),
    (
        folders,
        FOLDER,
        'train_dataloader.dataset.pipeline.1.type=torchvision/RandomGrayscale '
        'train_dataloader.dataset.pipeline.0.type=torchvision/RandomHorizontalFlip',
        ["RandomHorizontalFlip has no 'size'"],
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('plant', 'recipe', 'options', 'told'), DATA, ids=[f'{row[0].__name__} {row[1]}' for row in DATA]
)
def test_data(plant, recipe, options, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plant(tmp_path / 'data')
    given = ['work_dir=run']
    given += [f'{part}_dataloader.dataset.root={tmp_path / "data"}' for part in ('train', 'val', 'test')]
    if recipe == FOLDER:
        given += ['model.backbone.name=test_resnet', 'train_cfg.max_epochs=1']
        given += [
            f'{part}_dataloader.{key}'
            for part in ('train', 'val', 'test')
            for key in ('num_workers=0', 'persistent_workers=False')
        ]
    kept = tmp_path / 'run/result.json'
    kept.parent.mkdir()
    kept.write_text('{}')
    check(capsys, ['train.py', recipe, '--cfg-options', *given, *shlex.split(options, posix=False)], *told)
    if recipe != FOLDER:
        assert kept.read_text() == '{}', 'what an earlier run left is lost'


# Commands that say no without a recipe being wrong.
COMMANDS = [
    (['train.py', 'classification/digits/resnet02.py'], ["did you mean 'classification/digits/resnet20.py'"]),
    (['train.py', DIGITS, '--resume'], ['nothing to resume']),
    (['train.py', DIGITS, '--dry-run', '0'], ['at least 1']),
    (['train.py', DIGITS, '--out', 'cost.json'], ['--out is where --dry-run writes the cost']),
    (['train.py', DIGITS, '--dry-run', '2', '--out', '.'], ['--out', 'it is a folder']),
    (['test.py', DIGITS, 'none.pth'], ["no checkpoint 'none.pth'"]),
    (['show_mix.py', DIGITS, '--policy', 'Mxup'], ["did you mean 'Mixup'"]),
    (['show_mix.py', DIGITS, '--count', '0'], ['at least 1']),
    (['show_mix.py', DIGITS, '--policy', 'ResizeMix', '--strip'], ['draws lam', 'ResizeMix']),
    (['train.py', DIGITS, '--dry-run', '5000'], ['--dry-run 5000', 'the run has 345 iterations']),
    (['train.py', DIGITS, '--dry-run', '1', '--cfg-options', 'load_from=/nope.pth'], ['/nope.pth']),
    (['show_mix.py', DIGITS, '--policy', 'OneOf'], ['OneOf', "'policies'"]),
    (
        ['train.py', DIGITS, '--cfg-options', 'model.backbone.depth'],
        ['--cfg-options takes KEY=VALUE', "got 'model.backbone.depth'"],
    ),
    (['train.py', DIGITS, '--cfg-options', 'model.policy.sites=[a,(b]'], ['brackets or quotes in it do not close']),
    (['train.py', DIGITS, '--seed', '-1'], ['Seed must be between']),
    (['train.py', DIGITS, '--work-dir', '/dev/null/x'], ['/dev/null/x']),
    (['train.py', str(TOOLS)], ['no config file']),
    (['train.py', str(TOOLS / 'slurm_train.sh')], ['slurm_train.sh']),
    (['print_config.py', 'digits'], ['no config file']),
    (['verify_dataset.py', '--type', 'CIFAR11', '--root', '.'], ["did you mean 'CIFAR10'"]),
]


@pytest.mark.parametrize(('args', 'told'), COMMANDS, ids=[' '.join(args) for args, _ in COMMANDS])
def test_command(args, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(capsys, args, *told)


class Exploit:
    def __reduce__(self):
        return eval, ('print("executed")',)


# What a file holds that is given as a checkpoint, and what the line must contain.
CHECKPOINTS = [
    (b'hello', ['is not a checkpoint']),
    (Exploit(), ['is no safe checkpoint', 'eval']),
    ([1, 2], ['holds a list']),
    ({'state_dict': {'w': 1}}, ["is not a checkpoint: it holds a int under 'w' of its state_dict"]),
]
OTHER_MODEL = {'state_dict': {'w': torch.ones(1)}}


@pytest.mark.parametrize(('content', 'told'), CHECKPOINTS, ids=['text', 'code', 'list', 'no weights'])
@pytest.mark.parametrize('tool', ['test.py', 'train.py'])
def test_checkpoint(tool, content, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'given.pth'
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    check(capsys, [tool, DIGITS, *(['--resume'] if tool == 'train.py' else []), str(path)], 'given.pth', *told)


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['test.py', DIGITS, 'given.pth'], "another model: missing 'backbone."),
        (['train.py', DIGITS, '--cfg-options', 'load_from=given.pth'], "another model: missing 'backbone."),
        (['train.py', DIGITS, '--resume', 'given.pth'], "holds no 'meta': it can be loaded (load_from), not resumed"),
    ],
)
def test_weights_of_another_model(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(OTHER_MODEL, tmp_path / 'given.pth')
    check(capsys, words, 'given.pth', told)


def test_what_is_allowed(capsys, tmp_path, monkeypatch):
    """Fewer classes than the head has, top-5 of two classes, and one batch larger than the data."""
    monkeypatch.chdir(tmp_path)
    folders(tmp_path / 'data')
    given = [f'{part}_dataloader.dataset.root={tmp_path / "data"}' for part in ('train', 'val', 'test')]
    given += [f'{part}_dataloader.dataset.subset=2' for part in ('train', 'val', 'test')]
    given += ['model.head.num_classes=9', 'train_cfg.max_epochs=1', *SMALL.split()]
    code, _, said = run(capsys, 'train.py', MEMORY, '--work-dir', 'run', '--cfg-options', *given)
    assert code == 0, said
