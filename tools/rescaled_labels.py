"""Draw the rescaled label of the decoupled binary cross-entropy: tools/rescaled_labels.py [options]."""

import argparse
import csv
import io
from pathlib import Path

from openmix.arguments import CommandParser, check_out, is_number
from openmix.entry_point import command
from openmix.errors import InputError, check_number
from openmix.files import write_text

_FILES = ('rescaled_labels.png', 'rescaled_labels.svg', 'rescaled_labels.csv')
_COUNT = 101


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Draw the rescaled label r(λ) of the decoupled binary cross-entropy over λ.')
    told = 'threshold of each curve, in [0, 1] (default: six curves, with those that the paper names)'
    parser.add_list('--xi', is_number, type=float, metavar='XI ...', help=told)
    parser.add_list('--t', is_number, type=float, metavar='T ...', help='exponent of each curve, >= 0')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='the folder of the files')
    return parser.parse_args()


@command
def main() -> None:
    args = parse_args()
    xis, exponents = args.xi or [], args.t or []
    if len(xis) != len(exponents):
        raise InputError(f'each curve has one --xi and one --t, got {len(xis)} and {len(exponents)}')
    for xi, t in zip(xis, exponents, strict=True):
        check_number('--xi', xi, 0.0, 1.0)
        check_number('--t', t, 0.0)
    paths = [args.out / name for name in _FILES]
    for path in paths:
        check_out('--out', path)
    from openmix.evaluation.rescaled_labels import OF_THE_PAPER, draw_rescaled, rescaled

    pairs = list(zip(xis, exponents, strict=True)) or list(OF_THE_PAPER)
    args.out.mkdir(parents=True, exist_ok=True)
    draw_rescaled(pairs, paths[:2], _COUNT)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['xi', 't', 'lam', 'label'])
    writer.writerows([xi, t, *point] for xi, t in pairs for point in rescaled(xi, t, _COUNT))
    write_text(paths[2], text.getvalue())
    print(*paths, sep='\n')


if __name__ == '__main__':
    main()
