"""An OpenMixup config for supervised classification as a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openmix.errors import InputError
from openmix.integrations.openmixup.backbones import backbone_of
from openmix.integrations.openmixup.keys import Keys
from openmix.integrations.openmixup.learned import learned_policy_of, momentum_of
from openmix.integrations.openmixup.losses import head_of
from openmix.integrations.openmixup.policies import clean, policy_of

# What says how a machine trains and what is printed, not what is trained.
_OF_MACHINE = (
    *('log_level', 'dist_params', 'cudnn_benchmark', 'workflow', 'persistent_workers', 'find_unused_parameters'),
    *(
        'opencv_num_threads',
        'mp_start_method',
        'work_dir',
        'gpu_ids',
        'gpus',
        'seed',
        'train_cfg',
        'test_cfg',
        'prefetch',
    ),
)
# Helper variables of the config files, which the settings have been made of.
_VARIABLES = ('data_source_cfg', 'dataset_type', 'train_pipeline', 'test_pipeline')
_MODELS = ('Classification', 'MixUpClassification', 'AutoMixup')
_DATA = {'CIFAR10': 'cifar10', 'CIFAR100': 'cifar100'}
_PADDING = {'constant': 'zero', 'reflect': 'reflect'}


def recipe_of(config: Mapping[str, Any], base: str | None = None) -> tuple[dict[str, Any], list[str], list[str]]:
    """Convert a config.

    Args:
        config: the whole config, with what it inherits.
        base: a recipe with the data set, its augmentation and its validation, in place of the config's `data`, of which
            only the batch size is converted; None: the config's.

    Returns:
        the settings of a recipe; the files below `configs/` that it inherits from; the dotted keys without a
        counterpart, none of which changes what is trained.

    Raises:
        InputError: a key that changes what is trained is not understood, or has a value without a counterpart.
    """
    keys = Keys(config)
    for key in _VARIABLES:
        keys.take(key, None)
    left_out = [key for key in _OF_MACHINE if keys.take(key, None) is not None]
    for key in ('load_from', 'resume_from'):
        keys.expect(key, None)
    norm = keys.take('img_norm_cfg', None)
    hooks, momentum = _custom_hooks(keys)
    recipe: dict[str, Any] = {'model': _model(keys.inner('model'), momentum)}
    if base is None:
        base, loaders, preprocessor = _data(keys, norm)
        recipe['model']['data_preprocessor'] = preprocessor
        recipe |= loaders
    else:
        recipe['train_dataloader'] = {'batch_size': Keys(keys.take('data'), 'data').take('imgs_per_gpu')}
        left_out += ['data', *(key for key in list(keys) if key.startswith('data_') and keys.take(key) is not None)]
    interval = _evaluation(keys, recipe)
    recipe |= _optimizer(keys)
    recipe['param_scheduler'] = _schedule(keys.inner('lr_config'))
    runner = keys.inner('runner')
    runner.expect('type', 'EpochBasedRunner')
    recipe['train_cfg'] = {'max_epochs': runner.take('max_epochs'), 'val_interval': interval}
    recipe['default_hooks'] = _default_hooks(keys, hooks)
    if unknown := sorted(keys.left()):
        few = ', '.join(unknown[:8]) + (f' and {len(unknown) - 8} more' if len(unknown) > 8 else '')
        raise InputError(f'not understood: {few}; take out of the config what does not change the training')
    schedules = ['configs/_base_/schedules/sgd_cosine.py', 'configs/_base_/runtime.py']
    return recipe, [base, *schedules], left_out + hooks


def _model(model: Keys, momentum: dict[str, float]) -> dict[str, Any]:
    kind = model.take('type')
    if kind not in _MODELS:
        raise InputError(f"model.type: '{kind}' is not converted; {' and '.join(_MODELS)} are")
    part = model.inner('backbone')
    stages = part.take('out_indices', None) if kind == 'AutoMixup' else None
    backbone = backbone_of(part)
    for key in ('pretrained', 'pretrained_k', 'backbone_k', 'init_cfg'):
        model.expect(key, None)
    for key in ('save', 'save_name'):
        model.take(key, None)  # of pictures
    model.expect('with_sobel', False)
    if kind == 'AutoMixup':
        policy, head = learned_policy_of(model, momentum)
        mixed_by = int(policy['site'].removeprefix('layer')) - 1
        if stages is None or tuple(stages) not in ((mixed_by, 2), (mixed_by, 3)):
            raise InputError(f'model.backbone.out_indices={stages} does not fit mask_layer={mixed_by}')
    else:
        if momentum:
            raise InputError('custom_hooks: CosineScheduleHook is of AutoMixup')
        model.expect('mix_block', None)
        for key in ('debug_mode', 'momentum_k', 'cosine_update'):
            model.take(key, None)  # of pictures, and of a second network that is not there
        policy = policy_of(model) if kind == 'MixUpClassification' else clean()
        head = head_of(model.inner('head'))
    return {'type': 'MixClassifier', 'backbone': backbone, 'head': head, 'policy': policy}


def _data(keys: Keys, norm: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Take `data`; return the recipe of the data set, the loaders and the preprocessor.

    `norm` is what prefetched training images are normalised by, None if the config does not say.
    """
    data = keys.inner('data')
    for key in ('workers_per_gpu', 'drop_last', 'persistent_workers', 'test'):
        data.take(key, None)
    batch = data.take('imgs_per_gpu')
    source, train, steps = _images(data.inner('train'))
    other, val, val_steps = _images(data.inner('val'))
    if source != other:
        raise InputError(f'data.val: {other} is validated, and {source} trained on')
    normalize = _normalize(val_steps, 'data.val.pipeline')
    # Where batches are prefetched, the loader normalises.
    own = any(step.get('type') == 'Normalize' for step in steps)
    if own and _normalize(steps, 'data.train.pipeline') != normalize:
        raise InputError('data: training and validation images are normalised otherwise; openmix has one way for both')
    if val_steps:
        raise InputError(f"data.val.pipeline: '{val_steps[0].get('type')}' of images of {source} has no counterpart")
    loaders = {'train_dataloader': {'batch_size': batch, 'dataset': train}, 'val_dataloader': {'dataset': val}}
    if norm is not None and {key: tuple(norm[key]) for key in ('mean', 'std')} != normalize:
        raise InputError('img_norm_cfg is not what validation images are normalised by; openmix has one way for both')
    augment = [_augmentation(step) for step in steps if step['type'] != 'ToTensor']
    base = f'configs/_base_/datasets/{_DATA[source]}.py'
    return base, loaders, {'type': 'ImagePreprocessor', 'augment': augment, **normalize}


def _images(part: Keys) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    part.expect('type', 'ClassificationDataset')
    part.take('prefetch', None)
    source = part.inner('data_source')
    kind = source.take('type')
    if kind not in _DATA:
        raise InputError(
            f"{source.named('type')}: '{kind}' is not converted, {' and '.join(_DATA)} are; name a recipe of the data "
            'with --data, such as configs/_base_/datasets/tiny_imagenet.py'
        )
    dataset = {'type': kind, 'root': source.take('root').rstrip('/'), 'split': source.take('split')}
    return kind, dataset, [dict(step) for step in part.take('pipeline')]


def _normalize(steps: list[dict[str, Any]], place: str) -> dict[str, Any]:
    """Take `ToTensor` and `Normalize` off the end of a pipeline; return mean and std."""
    if [step.get('type') for step in steps[-2:]] != ['ToTensor', 'Normalize']:
        raise InputError(f'{place} does not end with ToTensor and Normalize')
    step = Keys(steps.pop(), f'{place}.Normalize')
    steps.pop()
    return {'mean': tuple(step.take('mean')), 'std': tuple(step.take('std'))}


def _augmentation(step: dict[str, Any]) -> dict[str, Any]:
    keys = Keys(step, f'data.train.pipeline.{step.get("type")}')
    kind = keys.take('type')
    if kind == 'RandomHorizontalFlip':
        keys.expect('p', 0.5)
        found: dict[str, Any] = {'type': 'BatchRandomFlip'}
    elif kind == 'RandomCrop':
        keys.expect('size', 32, (32, 32), [32, 32])
        mode = keys.take('padding_mode', 'constant')
        if mode not in _PADDING:
            raise InputError(f'{keys.named("padding_mode")}={mode!r} has no counterpart')
        found = {'type': 'BatchRandomCrop', 'padding': keys.take('padding'), 'mode': _PADDING[mode]}
    else:
        raise InputError(f'{keys.place} is not converted; RandomCrop and RandomHorizontalFlip are')
    if unknown := list(keys.left()):
        raise InputError(f'not understood: {", ".join(unknown)}')
    return found


def _evaluation(keys: Keys, recipe: dict[str, Any]) -> int:
    """Take `evaluation`, and set the metrics and the batch of validation; return its interval in epochs."""
    evaluation = keys.inner('evaluation', {})
    evaluation.take('initial', None)
    evaluation.take('workers_per_gpu', None)
    topk = evaluation.inner('eval_param', {}).take('topk', (1, 5))
    batch = evaluation.take('imgs_per_gpu', recipe['train_dataloader']['batch_size'])
    recipe.setdefault('val_dataloader', {})['batch_size'] = batch
    recipe['test_dataloader'] = recipe['val_dataloader']
    recipe['val_evaluator'] = recipe['test_evaluator'] = {'type': 'Accuracy', 'topk': tuple(topk)}
    return evaluation.take('interval', 1)


def _optimizer(keys: Keys) -> dict[str, Any]:
    optimizer = dict(keys.take('optimizer'))
    if 'paramwise_options' in optimizer or 'paramwise_cfg' in optimizer:
        raise InputError('optimizer.paramwise_options: rates of single parameters are not converted')
    options = keys.inner('optimizer_config', {})
    options.expect('type', 'OptimizerHook', 'DistOptimizerHook')
    for key in ('coalesce', 'bucket_size_mb', 'cumulative_iters'):
        options.take(key, None)
    half = keys.take('use_fp16', False)
    if not isinstance(half, bool):
        raise InputError(f'use_fp16 must be True or False, got {half!r}')
    # `fp16` says how gradients are scaled, which bfloat16 does not need; without `use_fp16` it does nothing.
    keys.take('fp16', None)
    wrapper: dict[str, Any] = {'type': 'AutocastOptimWrapper' if half else 'OptimWrapper'}
    if (clip := options.take('grad_clip', None)) is not None:
        wrapper['clip_grad'] = dict(clip)
    if (every := options.take('update_interval', 1)) != 1:
        wrapper['accumulative_counts'] = every
    return {'optim_wrapper': {**wrapper, 'optimizer': optimizer}}


def _schedule(schedule: Keys) -> list[dict[str, Any]]:
    kind = schedule.take('policy')
    by_epoch = schedule.take('by_epoch', True)
    schedule.expect('warmup', None)
    if kind == 'CosineAnnealing':
        # By epoch: an epoch keeps the rate of its start. By iteration: a step of the schedule an iteration.
        return [
            {
                'type': 'CosineAnnealingLR',
                'eta_min': schedule.take('min_lr', 0.0),
                'by_epoch': True,
                'convert_to_iter_based': not by_epoch,
            }
        ]
    if kind == 'step' and by_epoch:
        steps = schedule.take('step')
        if not isinstance(steps, (list, tuple)):
            raise InputError(f'{schedule.named("step")}: only a list of epochs is converted')
        return [
            {'type': 'MultiStepLR', 'milestones': list(steps), 'gamma': schedule.take('gamma', 0.1), 'by_epoch': True}
        ]
    if kind == 'fixed':
        return []
    raise InputError(f"{schedule.named('policy')}: '{kind}' is not converted; CosineAnnealing, step and fixed are")


def _default_hooks(keys: Keys, left_out: list[str]) -> dict[str, Any]:
    """Take the settings of logs and checkpoints; add the key that is left out."""
    log = keys.inner('log_config', {})
    checkpoint = keys.inner('checkpoint_config', {})
    if log.take('hooks', None):
        left_out.append('log_config.hooks')
    every = {'interval': checkpoint.take('interval', 1), 'max_keep_ckpts': checkpoint.take('max_keep_ckpts', 1)}
    return {'logger': {'interval': log.take('interval', 50)}, 'checkpoint': every}


def _custom_hooks(keys: Keys) -> tuple[list[str], dict[str, float]]:
    """Take the hooks; return the keys that are left out, and what moves the momentum of a learned policy."""
    left_out, momentum = [], {}
    for number, hook in enumerate(keys.take('custom_hooks', None) or []):
        place = f'custom_hooks.{number}'
        kind = hook.get('type') if isinstance(hook, Mapping) else None
        if kind == 'SAVEHook':  # it draws mixed images
            left_out.append(place)
        elif kind == 'CosineScheduleHook':
            found = Keys(hook, place)
            momentum = momentum_of(found)
            if unknown := list(found.left()):
                raise InputError(f'not understood: {", ".join(unknown)}')
        else:
            raise InputError(f"{place}: '{kind}' is not converted; add the hook to the recipe")
    return left_out, momentum
