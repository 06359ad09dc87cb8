"""Tables of the recipe keys that the runner and the libraries read but that no signature shows."""

from __future__ import annotations

import inspect
import math

import mmengine.registry as mm
from mmcv.transforms import BaseTransform
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Transform

from openmix import registry

# Arguments of the runner that are built by a registry. Their own parts are found by their signatures.
SLOTS: dict[str, Registry] = {
    'model': registry.MODELS,
    'data_preprocessor': registry.MODELS,
    'optim_wrapper': registry.OPTIM_WRAPPERS,
    'param_scheduler': registry.PARAM_SCHEDULERS,
    'train_cfg': registry.LOOPS,
    'val_cfg': registry.LOOPS,
    'test_cfg': registry.LOOPS,
    'val_evaluator': registry.METRICS,
    'test_evaluator': registry.METRICS,
    'custom_hooks': registry.HOOKS,
    'visualizer': mm.VISUALIZERS,
    'vis_backends': mm.VISBACKENDS,
    'log_processor': mm.LOG_PROCESSORS,
    'model_wrapper_cfg': mm.MODEL_WRAPPERS,
}
# The arguments of them whose annotation has a `Built` mark with more information.
MARKED = {'data_preprocessor': registry.PreprocessorConfig}
LOADER_PARTS = {
    'dataset': registry.DATASETS,
    'sampler': registry.DATA_SAMPLERS,
    'batch_sampler': registry.DATA_SAMPLERS,
    'collate_fn': registry.FUNCTIONS,
    'worker_init_fn': registry.FUNCTIONS,
}
# Classes of libraries whose signatures do not say which registry builds an argument.
LIBRARY_PARTS: tuple[tuple[type, dict[str, Registry]], ...] = (
    (Visualizer, {'vis_backends': mm.VISBACKENDS}),
    (OptimWrapper, {'optimizer': registry.OPTIMIZERS}),
    (BaseTransform, {'transforms': registry.TRANSFORMS}),
    (Transform, {'transforms': registry.TRANSFORMS}),
)
# The class that mmengine builds where a recipe gives no type; evaluators and loops have further forms without one.
DEFAULT_TYPES = {
    'optim_wrapper': 'OptimWrapper',
    'visualizer': 'Visualizer',
    'log_processor': 'LogProcessor',
    'val_cfg': 'ValLoop',
    'test_cfg': 'TestLoop',
    'model_wrapper_cfg': 'MMDistributedDataParallel',
}
# Keys that a builder removes before it calls the constructor.
TAKEN_OUT = {
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based', 'parts'},
    'default_hooks': {'priority'},
    'custom_hooks': {'priority'},
}
# Arguments that mmengine passes to what it builds; those of our own parts are in the marks of their annotations.
GIVEN = frozenset(
    {
        *('self', 'runner', 'dataloader', 'evaluator', 'optimizer', 'model', 'module', 'params', 'dataset', 'sampler'),
        *('batch_size', 'save_dir', 'param_name'),
    }
)
# The arguments, by slot, that only the builder passes: a recipe's value would be ignored, or replace the builder's.
_OF_LOOP = frozenset({'runner', 'dataloader'})
HANDED: dict[str, frozenset[str]] = {
    'train_cfg': _OF_LOOP,
    **dict.fromkeys(('val_cfg', 'test_cfg'), _OF_LOOP | {'evaluator'}),
    'optimizer': frozenset({'params'}),
    'param_scheduler': frozenset({'optimizer'}),
    'sampler': frozenset({'dataset'}),
    'batch_sampler': frozenset({'sampler', 'batch_size'}),
    'loss': registry.CALLED_WITH,
}
# Slots of functions, which get further arguments when they are called.
CALLED = ('collate_fn', 'worker_init_fn')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
LOADER_KEYS = {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning'}
PARAMWISE = {
    *('lr_mult', 'decay_mult', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult'),
    *('dwconv_decay_mult', 'dcn_offset_lr_mult', 'custom_keys', 'bypass_duplicate'),
    *('parts', 'decay_vectors'),
}
# Dicts without a type, and their keys.
UNTYPED = {
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'compile': {'backend', 'mode', 'dynamic'},
    'weights': {'run', 'seed', 'data', 'file', 'taken'},
    'paramwise_cfg': PARAMWISE,
    'clip_grad': {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'},
    **dict.fromkeys(LOADERS, LOADER_KEYS),
}
MAX_EPOCHS, _MAX_ITERS = 10**6, 10**9
LOADER_BOUNDS = {
    'batch_size': (1, 2**20),
    'num_workers': (0, 512),
    'prefetch_factor': (1, 2**10),
    'timeout': (0, 2**20),
    'num_batch_per_epoch': (1, _MAX_ITERS),
}
# Bounds of numbers that mmengine and torch do not check, and that would make them fail later or run forever.
BOUNDS: dict[str, dict[str, tuple[int, int]]] = {
    'train_cfg': {
        'max_epochs': (1, MAX_EPOCHS),
        'max_iters': (1, _MAX_ITERS),
        'val_interval': (1, _MAX_ITERS),
        'val_begin': (0, _MAX_ITERS),
    },
    'param_scheduler': {
        'begin': (0, _MAX_ITERS),
        'end': (1, _MAX_ITERS),
        'T_max': (1, _MAX_ITERS),
        'step_size': (1, _MAX_ITERS),
    },
    'randomness': {'seed': (0, 2**32 - 1)},
    'weights': {'seed': (0, 2**32 - 1)},
    'sampler': {'seed': (0, 2**32 - 1)},
    'optim_wrapper': {'accumulative_counts': (1, _MAX_ITERS)},
    'auto_scale_lr': {'base_batch_size': (1, 2**31)},
    'env_cfg': {'resource_limit': (1, 2**20)},
    'mp_cfg': {'opencv_num_threads': (0, 512)},
    **dict.fromkeys(LOADERS, LOADER_BOUNDS),
}
# Bounds of factors: torch and mmengine accept negative ones, which would reverse the update.
_MULT = (0.0, math.inf)
RATES: dict[str, dict[str, tuple[float, float]]] = {
    'paramwise_cfg': {key: _MULT for key in sorted(PARAMWISE) if key.endswith('_mult')},
    'custom_keys': dict.fromkeys(('lr_mult', 'decay_mult'), _MULT),
    'param_scheduler': dict.fromkeys(
        ('gamma', 'end_factor', 'eta_min', 'eta_min_ratio', 'eta_max', 'min_value'), _MULT
    ),
}
# Numbers > 0; infinity is allowed, for no limit and for the maximum norm.
POSITIVE: dict[str, tuple[str, ...]] = {
    'clip_grad': ('max_norm', 'norm_type', 'clip_value'),
    # Factors that a schedule divides by.
    'param_scheduler': ('factor', 'start_factor'),
}
OPTIONAL = ('seed', 'prefetch_factor', 'val_begin', 'T_max')
SWITCHES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LOADERS, ('pin_memory', 'drop_last', 'shuffle', 'persistent_workers', 'in_order')),
    'randomness': ('diff_rank_seed', 'deterministic'),
    'env_cfg': ('cudnn_benchmark',),
    'auto_scale_lr': ('enable',),
    'compile': ('dynamic',),
    'param_scheduler': ('convert_to_iter_based',),
}
RUNNER = {name: p for name, p in inspect.signature(Runner.__init__).parameters.items() if name not in ('self', 'cfg')}
LEVELS = ('CRITICAL', 'FATAL', 'ERROR', 'WARN', 'WARNING', 'INFO', 'DEBUG', 'NOTSET')
# Keys of mmengine and of its predecessor that are not read here, and the setting to use instead.
ELSEWHERE = {
    # mmengine's version updates batch-norm statistics twice, and copies of the model would run the original's blocks.
    **dict.fromkeys(('activation_checkpointing', 'grad_checkpointing'), 'give model=dict(grad_checkpointing=True)'),
    # mmengine ignores it if the model has one, and commands that export or draw build only the model.
    'data_preprocessor': 'give model=dict(data_preprocessor=dict(...))',
    **dict.fromkeys(('runner_type', 'strategy'), 'leave it out; tools/dist_train.sh trains in many processes'),
    'optimizer': 'give optim_wrapper=dict(optimizer=dict(...))',
    'lr_config': 'give param_scheduler=[dict(...)]',
    'optimizer_config': 'give optim_wrapper=dict(clip_grad=dict(...), accumulative_counts=...)',
    'checkpoint_config': 'give default_hooks=dict(checkpoint=dict(...))',
    'log_config': 'give default_hooks=dict(logger=dict(...)), vis_backends=[dict(...)]',
    **dict.fromkeys(('runner', 'total_epochs'), 'give train_cfg=dict(max_epochs=...)'),
    'evaluation': 'give val_evaluator=dict(...), train_cfg=dict(val_interval=...)',
    'fp16': "give optim_wrapper=dict(type='AutocastOptimWrapper')",
}
TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
