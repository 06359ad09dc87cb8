"""Predict the classes of images: tools/predict.py CHECKPOINT IMAGE... [options]."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from openmix.arguments import CommandParser, check_out
from openmix.csv_text import field
from openmix.entry_point import command
from openmix.errors import InputError, check_number, printable
from openmix.files import write_text

if TYPE_CHECKING:
    from openmix.inference import Prediction

_SUFFIXES = ('.json', '.csv')


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Predict the classes of images, prepared as the recipe prepares validation images.')
    told = (
        'a file written by tools/train.py, or by tools/publish_model.py, the folder of a run, or the name of a recipe'
    )
    parser.add_argument('checkpoint', help=told)
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='an image, or a folder of images')
    parser.add_argument('--topk', type=int, default=5, metavar='N', help='classes of each image (default: 5)')
    parser.add_argument('--batch-size', type=int, default=64, metavar='N', help='images at once (default: 64)')
    parser.add_argument('--workers', type=int, default=0, metavar='N', help='processes that read files (default: 0)')
    parser.add_argument('--device', help='cpu, cuda or cuda:N (default: the GPU if there is one)')
    parser.add_argument('--config', metavar='RECIPE', help='the recipe of the checkpoint, if it does not hold its own')
    parser.add_ema()
    parser.add_argument('--skip-corrupt', action='store_true', help='leave out files that are no readable images')
    parser.add_argument('--out', type=Path, metavar='FILE', help='the file: .json or .csv, with all predictions')
    parser.add_cfg_options()
    return parser.parse_args()


def written(found: Sequence[Prediction], suffix: str) -> str:
    """Return the text of a .json or .csv file; a line of the latter is one class of one image."""
    if suffix == '.json':
        return json.dumps([asdict(one) for one in found], indent=1) + '\n'
    text = io.StringIO()
    rows = csv.writer(text, lineterminator='\n')
    rows.writerow(['image', 'rank', 'label', 'class', 'probability'])
    for one in found:
        for rank, line in enumerate(zip(one.labels, one.classes, one.probabilities), 1):
            rows.writerow(map(field, [one.image, rank, *line]))
    return text.getvalue()


@command
def main() -> None:
    args = parse_args()
    for option, value, low in (('--topk', args.topk, 1), ('--batch-size', args.batch_size, 1)):
        check_number(option, value, low)
    check_number('--workers', args.workers, 0)
    if args.cfg_options and args.config is None:
        raise InputError('--cfg-options change a recipe; name it with --config')
    if args.out is not None:
        if args.out.suffix not in _SUFFIXES:
            raise InputError(f"--out: '{args.out}' is no {' or '.join(_SUFFIXES)} file")
        check_out('--out', args.out, args.checkpoint, *args.images)
    from openmix.inference import load_model
    from openmix.inference.predictions import predictions

    model = load_model(args.checkpoint, args.device, args.ema, args.config, args.cfg_options)
    if model.classes is None:
        print('note: the checkpoint names no classes; their numbers are printed', file=sys.stderr)
    found = []
    for one in predictions(model, args.images, args.topk, args.batch_size, args.workers, args.skip_corrupt):
        print(printable(one), flush=True)
        found.append(one)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, written(found, args.out.suffix))


if __name__ == '__main__':
    main()
