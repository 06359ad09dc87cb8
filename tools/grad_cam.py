"""Draw which places of test images raise the predicted class: tools/grad_cam.py CONFIG CHECKPOINT [options]."""

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

_FILES = ('grad_cam.png', 'grad_cam.svg', 'grad_cam.csv')


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Draw which places of test images raise the logit of the predicted class (Grad-CAM).')
    parser.add_recipe()
    parser.add_argument('checkpoint', help='a file written by tools/train.py')
    parser.add_argument(
        '--count',
        type=int,
        default=8,
        metavar='N',
        help='how many to show: test images, of all classes alike (default: 8)',
    )
    parser.add_argument(
        '--layer', metavar='NAME', help='a module of the backbone, such as layer3 (default: the last feature maps)'
    )
    parser.add_ema()
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='the folder of the files (default: grad_cam/ in the run)'
    )
    parser.add_cfg_options()
    return parser.parse_args()


@command
def main() -> None:
    args = parse_args()
    check_number('--count', args.count, 1, 64)
    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.get('work_dir') or work_dir_of(args.config)) / 'grad_cam'
    paths = [out / name for name in _FILES]
    for path in paths:
        check_out('--out', path)
    from openmix.engine import launch
    from openmix.evaluation.grad_cam import GradCAMHook, check_captum, draw_explained
    from openmix.evaluation.some_images import of_some_images

    check_captum('tools/grad_cam.py')
    cfg = launch.prepare(cfg)
    cfg.work_dir = cfg.get('work_dir') or str(work_dir_of(args.config))
    cfg, classes = of_some_images(cfg, args.count, 'grad_cam')
    hook = GradCAMHook(args.layer)
    launch.evaluate(cfg, args.checkpoint, args.ema, watch=[hook])
    found = sorted(hook.found, key=lambda one: one.id)[: args.count]
    classes += [f'class {i}' for i in range(len(classes), 1 + max(one.predicted for one in found))]
    out.mkdir(parents=True, exist_ok=True)
    draw_explained(found, classes, paths[:2])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['id', 'class', 'predicted', 'probability', 'row', 'column', 'value'])
    for one in found:
        facts = [one.id, field(classes[one.label]), field(classes[one.predicted]), one.probability]
        for row, values in enumerate(one.map.tolist()):
            writer.writerows([*facts, row, column, value] for column, value in enumerate(values))
    write_text(paths[2], text.getvalue())
    print(*paths, sep='\n')


if __name__ == '__main__':
    main()
    from openmix.engine.launch import end_process

    end_process()
