"""Evaluate a checkpoint on a recipe's test data: tools/test.py CONFIG CHECKPOINT [options]."""

import argparse
import json
from functools import partial

from openmix.arguments import CommandParser, check_out
from openmix.config import load_config
from openmix.config_files import config_path, files_of, work_dir_of
from openmix.entry_point import command
from openmix.errors import InputError, number_from_environment
from openmix.measurements import add_measurements, corrupted_files_of, hooks_of, measurements_of, with_metrics
from openmix.options import check_said_once


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Evaluate a checkpoint.')
    parser.add_recipe()
    parser.add_argument('checkpoint', help='a file written by tools/train.py')
    parser.add_argument('--work-dir', '--work_dir', metavar='DIR', help='the work folder: of the log')
    parser.add_argument('--out', metavar='FILE', help='the file: the metrics as JSON')
    parser.add_ema()
    help_text = 'average the softmax of ten crops: corners, centre, and their mirror images'
    parser.add_argument('--ten-crop', action='store_true', help=help_text)
    add_measurements(parser)
    parser.add_cfg_options()
    parser.add_launcher()
    return parser.parse_args()


def check_crops(args: argparse.Namespace) -> None:
    """Check that ten crops do not meet what changes whole images.

    Raises:
        InputError: they do.
    """
    verbs = {'attack': 'attacks', 'corruptions': 'corrupts', 'occlusion': 'occludes', 'mixed_accuracy': 'mixes'}
    for option, verb in verbs.items():
        if args.ten_crop and vars(args)[option] not in (None, False):
            name = option.replace('_', '-')
            raise InputError(f'--{name} and --ten-crop do not go together: no protocol {verb} ten crops')


@command
def main() -> None:
    args = parse_args()
    measured = measurements_of(args)
    check_crops(args)
    said = {'work_dir': '--work-dir'} if args.work_dir else {}
    check_said_once(args.cfg_options, said | {'launcher': '--launcher'})
    cfg = load_config(args.config, args.cfg_options)
    if args.out:
        check_out('--out', args.out, *files_of(config_path(args.config)), args.checkpoint)
    from openmix.engine import launch
    from openmix.engine.answers import check_answers
    from openmix.evaluation.ten_crop import TenCrop, before_crop

    if cfg.get('test_evaluator') is not None:
        cfg.test_evaluator = with_metrics(cfg.test_evaluator, measured)
    cfg = launch.prepare(cfg, args.launcher)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(work_dir_of(args.config))
    wrap, crops = None, 1
    if args.ten_crop:
        if cfg.get('test_dataloader') is None:
            raise InputError('the recipe has no test_dataloader')
        check_answers(cfg, {'logits'}, '', '--ten-crop')
        cfg.test_dataloader.dataset, size = before_crop(cfg.test_dataloader.dataset)
        wrap, crops = partial(TenCrop, size=size), TenCrop.crops
    also = {}
    if files := corrupted_files_of(measured):
        from openmix.evaluation.corrupted_files import corrupted_tests

        also = corrupted_tests(cfg.test_dataloader.dataset.to_dict(), **files)._asdict()
    metrics = launch.evaluate(cfg, args.checkpoint, args.ema, args.out, wrap, crops, hooks_of(measured), **also)
    for one in measured:
        if not one.of_it(metrics):
            raise InputError(f'{one.options[0]}: {args.config} has none, {one.none_if}; leave it out')
    if args.launcher == 'none' or number_from_environment('RANK', 0) == 0:
        print(json.dumps(metrics))


if __name__ == '__main__':
    main()
    from openmix.engine.launch import end_process

    end_process()
