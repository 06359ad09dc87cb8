"""Download, check and unpack a data set into its official layout.

    python tools/prepare_dataset.py CUB200 --root data/cub200

What was downloaded or unpacked before is not done again. Where there is no network, or nothing to
download from, one line says what to get, with which checksum, and where to put it; exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmix.errors import InputError, nearest
from openmix.registry import DATASETS, known_to


def preparable() -> dict[str, Any]:
    """Data sets by name that know how to prepare themselves."""
    found = {name: DATASETS.get(name) for name in sorted(known_to(DATASETS))}
    return {name: cls for name, cls in found.items() if hasattr(cls, 'prepare')}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help=f'one of {", ".join(preparable())}')
    parser.add_argument('--root', required=True, help='its folder')
    args = parser.parse_args(argv)
    known = preparable()
    try:
        if args.name not in known:
            raise InputError(f"no data set '{args.name}' to prepare; {nearest(args.name, known)}")
        known[args.name].prepare(Path(args.root))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    check = f'python tools/verify_dataset.py --type {args.name} --root {args.root}'
    print(f'{args.name} is in {args.root}; check it: {check}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
