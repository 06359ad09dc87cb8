"""Train a recipe: tools/train.py CONFIG [options]."""

import argparse
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from openmix.arguments import CommandParser, check_out, is_name, is_no_recipe
from openmix.benchmark.times import clock
from openmix.benchmark.variant import VARIANTS, load_variant
from openmix.config_files import work_dir_of
from openmix.entry_point import command
from openmix.errors import InputError, check_choice, number_from_environment
from openmix.files import write_text
from openmix.options import check_said_once, sets
from openmix.overrides import apply_overrides

# The environment variable in which a launcher gives the number of processes.
_PROCESSES = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS'}
# The dtype of each word of --amp.
_PRECISIONS = {'bf16': 'bfloat16', 'fp16': 'float16', 'auto': 'auto', 'off': ''}
# The setting of the recipe that each argument replaces.
_SAYS = {
    '--work-dir': 'work_dir',
    '--seed': 'randomness.seed',
    '--deterministic': 'randomness.deterministic',
    '--amp': 'optim_wrapper.type',
    '--auto-scale-lr': 'auto_scale_lr.enable',
}


def _wrapper_of(cfg: Config, precision: str) -> dict[str, Any]:
    """Return the overrides of `--amp`; the other options of the wrapper stay.

    Raises:
        InputError: there is no such precision.
    """
    check_choice('--amp', precision, _PRECISIONS)
    kept = {key: value for key, value in cfg.optim_wrapper.to_dict().items() if key not in ('type', 'dtype')}
    if precision == 'off':
        return {'optim_wrapper': {'type': 'OptimWrapper', **kept, '_delete_': True}}
    # bfloat16 is the wrapper's default: where it is not stated, the recipe is that of older runs.
    states = precision != 'bf16' or 'dtype' in cfg.optim_wrapper
    dtype = {'optim_wrapper.dtype': _PRECISIONS[precision]} if states else {}
    return {'optim_wrapper.type': 'AutocastOptimWrapper', **dtype}


def _is_given(args: argparse.Namespace, name: str) -> bool:
    value = vars(args)[name.strip('-').replace('-', '_')]
    return value is not None and value is not False  # 0 is a seed


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Train a recipe.')
    parser.add_recipe()
    parser.add_argument(
        '--work-dir',
        '--work_dir',
        metavar='DIR',
        help='the work folder: of the run (default: work_dirs/ mirrors configs/)',
    )
    help_text = 'go on from a checkpoint (default: the newest)'
    parser.add_optional('--resume', is_no_recipe, 'auto', metavar='FILE', help=help_text)
    help_text = "a checkpoint or state dict that the backbone starts from; the head's weights are left"
    parser.add_argument('--weights', metavar='FILE', help=help_text)
    help_text = 'mixed precision: bf16 (default), fp16 on a GPU, auto: bf16 where it is measured to be faster, or off'
    parser.add_optional('--amp', _PRECISIONS.__contains__, 'bf16', metavar='KIND', help=help_text)
    help_text = 'compile the backbone (default: by inductor)'
    parser.add_optional('--compile', is_name, '', metavar='BACKEND', help=help_text)
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the global batch')
    parser.add_argument('--split-batch', action='store_true', help="processes share the recipe's batch size")
    parser.add_argument('--seed', type=int, metavar='N', help="seed of the draws (default: the recipe's)")
    parser.add_argument('--deterministic', action='store_true', help='deterministic kernels only')
    parser.add_cfg_options()
    help_text = 'as the printed runs were done, or as the papers mean it (default: corrected)'
    parser.add_argument('--variant', choices=VARIANTS, help=help_text)
    parser.add_launcher()
    parser.add_argument('--dry-run', type=int, metavar='N', help='train N iterations, keep nothing, print the cost')
    parser.add_argument('--out', metavar='FILE', help='the file: of --dry-run, the cost as JSON')
    return parser.parse_args()


@command
def main() -> None:
    args = parse_args()
    said = {place: name for name, place in _SAYS.items() if _is_given(args, name)}
    check_said_once(args.cfg_options, said | ({} if args.amp is None else {'optim_wrapper.dtype': '--amp'}))
    if args.dry_run is not None and args.resume is not None:
        raise InputError('--dry-run trains anew in a folder of its own; leave out --resume')
    if args.out is not None:
        if args.dry_run is None:
            raise InputError('--out is where --dry-run writes the cost; a training writes into --work-dir')
        check_out('--out', args.out, args.config)
    cfg = load_variant(args.config, args.cfg_options, args.variant)
    if not any(cfg.get(key) for key in ('train_dataloader', 'train_cfg', 'optim_wrapper')):
        raise InputError('the recipe trains nothing: it has no train_dataloader, train_cfg and optim_wrapper')
    # Imported late, because torch takes seconds to load.
    from openmix.engine import launch
    from openmix.engine.dry_run import dry_run
    from openmix.engine.global_batch import enable_scaling, split_batch
    from openmix.engine.initial_weights import InitialWeights

    if args.auto_scale_lr:
        enable_scaling(cfg)
    if args.amp is not None:
        cfg = apply_overrides(cfg, _wrapper_of(cfg, args.amp), '--amp')
    if args.compile is not None:
        asked = {'backend': args.compile} if args.compile else cfg.get('compile') or True
        cfg = apply_overrides(cfg, {'compile': asked}, '--compile')
    launch.check_launcher(cfg, args.launcher)
    weights = None
    if args.weights is not None:
        weights = InitialWeights.read(args.weights)
        weights.put_into(cfg, (cfg.get('randomness') or {}).get('seed') if args.seed is None else args.seed)
    cfg = launch.prepare(cfg, args.launcher)
    if args.split_batch:
        split_batch(cfg, number_from_environment(_PROCESSES.get(args.launcher, ''), 1))
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(work_dir_of(args.config))
    seed = cfg.randomness.seed if sets(args.cfg_options, 'randomness.seed') else args.seed
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True
        cfg.env_cfg.cudnn_benchmark = False
    first = args.launcher == 'none' or number_from_environment('RANK', 0) == 0
    if args.dry_run is not None:
        cost = dry_run(cfg, args.dry_run, weights)
        hours = f'{cost["hours"]:.2f}' if cost['hours'] >= 1 else f'{cost["hours"]:.5f}'
        print(
            f'dry run: {cost["seconds_per_iteration"]:.3f} s an iteration, about {hours} h for the whole schedule '
            f'({clock(3600 * cost["hours"])}), peak GPU memory {cost["gpu_mib"]:.0f} MiB'
        )
        if args.out is not None and first:
            out = Path(args.out)
            out.parent.mkdir(parents=True, exist_ok=True)
            write_text(out, json.dumps(cost, indent=1) + '\n')
        return
    result = launch.train(cfg, args.resume, seed, weights)
    if first:
        print(result)


if __name__ == '__main__':
    main()
    from openmix.engine.launch import end_process

    end_process()
