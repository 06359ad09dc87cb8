"""Evaluate a checkpoint on a recipe's test data: tools/test.py CONFIG CHECKPOINT [options]."""

import argparse
import json
from functools import partial
from typing import Any

from openmix.arguments import CommandParser, check_out, is_integer, is_name
from openmix.config import load_config
from openmix.config_files import config_path, files_of, work_dir_of
from openmix.entry_point import command
from openmix.errors import InputError, number_from_environment
from openmix.options import check_said_once


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Evaluate a checkpoint.')
    parser.add_recipe()
    parser.add_argument('checkpoint', help='a file written by tools/train.py')
    parser.add_argument('--work-dir', '--work_dir', help='where the log goes')
    parser.add_argument('--out', help='write the metrics to this JSON file')
    parser.add_argument('--ema', action='store_true', help='the moving average of the weights, not the raw ones')
    help_text = 'average the softmax of ten crops: corners, centre, and their mirror images'
    parser.add_argument('--ten-crop', action='store_true', help=help_text)
    parser.add_argument('--attack', choices=('fgsm', 'pgd'), help='also measure the error under this attack')
    parser.add_argument('--eps', help='size of the attack for pixels in [0, 1], such as 8/255, the default')
    parser.add_argument('--attack-step', help='of pgd: size of a step (default: a quarter of --eps)')
    parser.add_argument('--attack-iterations', type=int, help='of pgd: number of steps (default: 10)')
    told = "also measure the errors on images with these corruptions; 'all': every kind"
    parser.add_list('--corruptions', is_name, metavar='KIND ...', help=told)
    told = 'of corruptions, from 1 to 5 (default: all)'
    parser.add_list('--severities', is_integer, type=int, metavar='N ...', help=told)
    parser.add_cfg_options()
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def corruptions_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Make the registry dict of the corruptions that were asked for; None: of none.

    Raises:
        InputError: severities are given without corruptions, or ten crops with them.
    """
    if args.corruptions is None:
        if args.severities is not None:
            raise InputError('--severities belongs to --corruptions; add that')
        return None
    if args.ten_crop:
        raise InputError('--corruptions and --ten-crop do not go together: no protocol corrupts ten crops')
    kinds = {} if args.corruptions == ['all'] else {'kinds': args.corruptions}
    return {'type': 'CorruptionHook', **kinds, **({'severities': args.severities} if args.severities else {})}


def attack_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Make the registry dict of the attack that was asked for; None: of none.

    Raises:
        InputError: an option is not of that attack.
    """
    given = {'--eps': args.eps, '--attack-step': args.attack_step, '--attack-iterations': args.attack_iterations}
    said = {option: value for option, value in given.items() if value is not None}
    taken = {'fgsm': ['--eps'], 'pgd': list(given)}.get(args.attack, [])
    for option in said:
        if option not in taken:
            raise InputError(f'{option} belongs to --attack {"fgsm or pgd" if option == "--eps" else "pgd"}; add that')
    if args.attack is None:
        return None
    if args.ten_crop:
        raise InputError('--attack and --ten-crop do not go together: no protocol attacks ten crops')
    names = {'--eps': 'eps', '--attack-step': 'step', '--attack-iterations': 'iterations'}
    hook = {'fgsm': 'FGSMHook', 'pgd': 'PGDHook'}[args.attack]
    return {'type': hook, **{names[option]: value for option, value in said.items()}}


@command
def main() -> None:
    args = parse_args()
    measured = [hook for hook in (attack_of(args), corruptions_of(args)) if hook is not None]
    said = {'work_dir': '--work-dir'} if args.work_dir else {}
    check_said_once(args.cfg_options, said | {'launcher': '--launcher'})
    cfg = load_config(args.config, args.cfg_options)
    if args.out:
        check_out('--out', args.out, *files_of(config_path(args.config)), args.checkpoint)
    from openmix.engine import launch
    from openmix.engine.answers import check_answers
    from openmix.evaluation.ten_crop import TenCrop, before_crop

    cfg = launch.prepare(cfg, args.launcher)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(work_dir_of(args.config))
    wrap, crops = None, 1
    if args.ten_crop:
        if cfg.get('test_dataloader') is None:
            raise InputError('the recipe has no test_dataloader')
        check_answers(cfg, {'logits'}, '', '--ten-crop')
        cfg.test_dataloader.dataset, size = before_crop(cfg.test_dataloader.dataset)
        wrap, crops = partial(TenCrop, size=size), TenCrop.crops
    metrics = launch.evaluate(cfg, args.checkpoint, args.ema, args.out, wrap, crops, measured)
    if args.launcher == 'none' or number_from_environment('RANK', 0) == 0:
        print(json.dumps(metrics))


if __name__ == '__main__':
    main()
    from openmix.engine.launch import end_process

    end_process()
