"""Check that data sets are complete and readable; one line a split.

    python tools/verify_dataset.py classification/digits/resnet20.py
    python tools/verify_dataset.py --type CUB200 --root data/cub200

Exit code 2 and one line on a fault.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmix.config import DictAction, load_config
from openmix.data.image_folder import ImageFolder, list_classes
from openmix.data.verify import describe, splits_of
from openmix.errors import InputError
from openmix.registry import DATASETS, find


def named_splits(type_name: str, root: str | None) -> dict[str, dict[str, Any]]:
    """The official splits of a data set given by its type; of an image folder, its sub-folders.

    Raises:
        InputError: the type is unknown, or needs a root.
    """
    cls = find(DATASETS, type_name)
    needs_root = 'root' in inspect.signature(cls).parameters
    if needs_root and root is None:
        raise InputError(f'{type_name} needs --root, the folder of the data set')
    if root is not None and not Path(root).is_dir():
        raise InputError(f'{type_name}: root {root} is missing')
    where = {'root': root} if needs_root else {}
    splits = list_classes(Path(str(root))) if issubclass(cls, ImageFolder) else ('train', 'test')
    return {split: {'type': type_name, 'split': split, **where} for split in splits}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='a recipe, by path or by its name below configs/')
    parser.add_argument('--type', help='a registered data set instead of a recipe, such as CIFAR10')
    parser.add_argument('--root', help='its folder')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    try:
        args = parser.parse_args(argv)
        if (args.config is None) == (args.type is None):
            parser.error('give either a recipe or --type')
        if args.type:
            splits = named_splits(args.type, args.root)
        else:
            splits = splits_of(load_config(args.config, args.cfg_options))
        for name, cfg in splits.items():
            print(f'{name}: {describe(cfg)}', flush=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
