"""Download, check and unpack a data set into its official layout.

    python tools/prepare_dataset.py CUB200 --root data/cub200

Files that were downloaded or unpacked before are kept. Without a network, or for a data set that has no
download link, one line names the file, its checksum and the folder to put it in; the exit code is 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmix.arguments import CommandParser
from openmix.entry_point import command
from openmix.errors import InputError, nearest


def preparable() -> dict[str, Any]:
    """Return the data sets that have a method `prepare`, by name."""
    from openmix.data.base import ImageDataset
    from openmix.registry import DATASETS, known_to

    found = {name: DATASETS.get(name) for name in sorted(known_to(DATASETS))}
    return {name: cls for name, cls in found.items() if isinstance(cls, type) and issubclass(cls, ImageDataset)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(__doc__)
    parser.add_argument('name', help='a data set, such as CUB200; with any other name the line says which there are')
    parser.add_argument('--root', required=True, metavar='DIR', help='its folder')
    try:
        args = parser.parse_args(argv)
        known = preparable()
        if args.name not in known:
            raise InputError(f"no data set '{args.name}' to prepare; {nearest(args.name, known)}")
        known[args.name].prepare(Path(args.root))
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    check = f'python tools/verify_dataset.py --type {args.name} --root {args.root}'
    print(f'{args.name} is in {args.root}; check it: {check}')
    return 0


if __name__ == '__main__':
    command(main)()
