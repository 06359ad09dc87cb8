"""Draw the features of test images in a plane by t-SNE: tools/tsne.py CONFIG CHECKPOINT [options]."""

import argparse
import csv
import io
from pathlib import Path

from openmix.arguments import CommandParser, check_out
from openmix.config import load_config
from openmix.config_files import work_dir_of
from openmix.csv_text import field
from openmix.entry_point import command
from openmix.errors import check_number
from openmix.files import write_text

_FILES = ('tsne.png', 'tsne.svg', 'tsne.csv')


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Draw the features of test images in a plane by t-SNE.')
    parser.add_recipe()
    parser.add_argument('checkpoint', help='a file written by tools/train.py')
    told = 'how many to show: test images, of all classes alike (default: all)'
    parser.add_argument('--count', type=int, metavar='N', help=told)
    told = 'about the number of neighbours of an image (default: 30)'
    parser.add_argument('--perplexity', type=float, default=30.0, metavar='P', help=told)
    parser.add_argument(
        '--seed', type=int, default=0, metavar='N', help='seed of the draws: those of t-SNE (default: 0)'
    )
    parser.add_ema()
    parser.add_argument('--out', type=Path, metavar='DIR', help='the folder of the files (default: tsne/ in the run)')
    parser.add_cfg_options()
    return parser.parse_args()


@command
def main() -> None:
    args = parse_args()
    if args.count is not None:
        check_number('--count', args.count, 3, 10**6)
    check_number('--perplexity', args.perplexity, 0.0, above=True)
    check_number('--seed', args.seed, 0, 2**32 - 1)
    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.get('work_dir') or work_dir_of(args.config)) / 'tsne'
    paths = [out / name for name in _FILES]
    for path in paths:
        check_out('--out', path)
    from openmix.engine import launch
    from openmix.evaluation.features_hook import FeaturesHook, draw_plane, in_plane
    from openmix.evaluation.some_images import of_some_images

    cfg = launch.prepare(cfg)
    cfg.work_dir = cfg.get('work_dir') or str(work_dir_of(args.config))
    cfg, classes = of_some_images(cfg, args.count, 'tsne')
    hook = FeaturesHook()
    launch.evaluate(cfg, args.checkpoint, args.ema, watch=[hook])
    places = in_plane(hook.features, args.perplexity, args.seed)
    out.mkdir(parents=True, exist_ok=True)
    draw_plane(places, hook.labels, classes, paths[:2])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['id', 'class', 'x', 'y'])
    for number, label, (x, y) in zip(hook.ids.tolist(), hook.labels.tolist(), places.tolist(), strict=True):
        writer.writerow([number, field(classes[label]), x, y])
    write_text(paths[2], text.getvalue())
    print(*paths, sep='\n')


if __name__ == '__main__':
    main()
    from openmix.engine.launch import end_process

    end_process()
