"""Draw what classifiers predict between two images: tools/mixed_predictions.py CONFIG CHECKPOINT ... [options]."""

import argparse
import copy
import csv
import io
from pathlib import Path

from openmix.arguments import CommandParser, check_out, is_setting
from openmix.config import load_config
from openmix.config_files import work_dir_of
from openmix.csv_text import field
from openmix.entry_point import command
from openmix.errors import InputError, check_number
from openmix.files import write_text


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Draw what classifiers predict between two test images, over the share of the first.')
    parser.add_recipe()
    parser.add_argument(
        'checkpoints', nargs='+', metavar='checkpoint', help='a file written by tools/train.py; one or more'
    )
    told = 'a name for each, in their order (default: the path of the checkpoint)'
    parser.add_list('--names', lambda word: not is_setting(word), metavar='NAME ...', help=told)
    parser.add_argument(
        '--shares', type=int, default=19, metavar='N', help='number of shares between 0 and 1 (default: 19)'
    )
    parser.add_ema()
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='the folder of the files (default: between/ in the run)'
    )
    parser.add_cfg_options()
    return parser.parse_args()


@command
def main() -> None:
    args = parse_args()
    names = args.names or args.checkpoints
    if len(names) != len(args.checkpoints) or len(set(names)) != len(names):
        raise InputError(f'{len(args.checkpoints)} checkpoints need as many different --names, got {len(set(names))}')
    check_number('--shares', args.shares, 1, 999)
    for path in args.checkpoints:
        if not Path(path).is_file():
            raise InputError(f"no checkpoint '{path}'")
    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.get('work_dir') or work_dir_of(args.config)) / 'between'
    paths = [out / f'between.{kind}' for kind in ('png', 'svg', 'csv')]
    for path in paths:
        check_out('--out', path)
    from openmix.engine import launch
    from openmix.engine.answers import check_answers
    from openmix.evaluation.mixed_predictions import NAMES, by_share, draw_between

    cfg = launch.prepare(cfg)
    cfg.work_dir = cfg.get('work_dir') or str(work_dir_of(args.config))
    if cfg.get('test_dataloader') is None:
        raise InputError('the recipe has no test_dataloader, which says what to mix')
    check_answers(cfg, {'logits'}, '', 'mixed_predictions')
    # Folders list their images class by class, and partners are drawn within a batch.
    cfg.test_dataloader.sampler = dict(type='DefaultSampler', shuffle=True, seed=0)
    hook = {'type': 'MixedPredictionsHook', 'count': args.shares}
    curves = {}
    for name, path in zip(names, args.checkpoints, strict=True):
        curves[name] = by_share(launch.evaluate(copy.deepcopy(cfg), path, args.ema, hooks=[hook]))
    out.mkdir(parents=True, exist_ok=True)
    draw_between(curves, paths[:2])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['name', 'lam', *NAMES])
    for name, curve in curves.items():
        writer.writerows([field(name), lam, *(values[key] for key in NAMES)] for lam, values in curve.items())
    write_text(paths[2], text.getvalue())
    print(*paths, sep='\n')


if __name__ == '__main__':
    main()
    from openmix.engine.launch import end_process

    end_process()
