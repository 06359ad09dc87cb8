"""Check that data sets are complete and readable, and that splits have the same classes and share no image.

    python tools/verify_dataset.py classification/digits/resnet20.py
    python tools/verify_dataset.py --type CUB200 --root data/cub200

Prints one line per split, then one per class. On a fault, prints one line and exits with code 2.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmix.arguments import CommandParser
from openmix.config import load_config
from openmix.entry_point import command
from openmix.errors import InputError

_TRAINED = ('train', 'trainval')


def named_splits(type_name: str, root: str | None) -> dict[str, dict[str, Any]]:
    """Return the official splits of a data set by its type; the splits of an image folder are its subfolders.

    Raises:
        InputError: the type is unknown, or needs a root.
    """
    from openmix.data.base import ImageDataset
    from openmix.registry import DATASETS, find

    cls = find(DATASETS, type_name)
    needs_root = 'root' in inspect.signature(cls).parameters
    if needs_root and root is None:
        raise InputError(f'{type_name} needs --root, the folder of the data set')
    if root is not None and not Path(root).is_dir():
        raise InputError(f'{type_name}: root {root} is missing')
    where = {'root': root} if needs_root else {}
    splits = cls.splits_in(str(root)) if issubclass(cls, ImageDataset) else ('train', 'test')
    # The training split is first, because the others are compared with it.
    ordered = sorted(splits, key=lambda split: split not in _TRAINED)
    return {split: {'type': type_name, 'split': split, **where} for split in ordered}


def check(splits: dict[str, dict[str, Any]]) -> None:
    """Read every image of every split; print a summary of each split, and a table of all.

    Raises:
        InputError: a file is missing or unreadable, classes differ between splits, or two splits share images.
    """
    from openmix.data.verify import build, contradiction, describe, one_split, overlap, pools_in, table
    from openmix.engine.data_check import built_classes, differing

    first = next(iter(splits))
    built: dict[str, Any] = {}
    cfgs: dict[str, dict[str, Any]] = {}
    trained: list[str] = []
    for split, given in splits.items():
        with warnings.catch_warnings():
            # The warnings are replaced by the checks below, which cover all splits.
            warnings.filterwarnings('ignore', message=r'\w+: (left out|.* has no images of .*|.* not read): ')
            found = pools_in(split, build(given), given)
        for name, (dataset, cfg) in found.items():
            built[name], cfgs[name] = dataset, cfg
            print(f'{name}: {describe(dataset, cfg)}', flush=True)
        trained += found if split == first and split in _TRAINED else []
    leading = next(iter(built))
    own, others = built_classes(built[leading]), {name: built_classes(dataset) for name, dataset in built.items()}
    for name, classes in others.items():
        if own is not None and classes is not None and classes != own:
            raise InputError(f'{name}: {differing(classes, own, leading)}')
    print('\n'.join(table(built)), flush=True)
    faults = []
    for name, dataset in built.items():
        if twice := contradiction(dataset):
            print(f'{name}: {twice}')
        for of in trained if name not in trained else []:
            if one_split(cfgs[of], cfgs[name]):
                continue
            line, to_mend = overlap(built[of], dataset, name, of)
            if to_mend:
                faults.append(line)
            elif line:
                print(line)
    if faults:
        raise InputError('; '.join(faults))


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(__doc__)
    parser.add_argument('config', nargs='?', help='a recipe, by path or by its name below configs/')
    parser.add_argument('--type', metavar='NAME', help='a registered data set instead of a recipe, such as CIFAR10')
    parser.add_argument('--root', metavar='DIR', help='its folder')
    parser.add_cfg_options()
    try:
        args = parser.parse_args(argv)
        if (args.config is None) == (args.type is None):
            parser.error('give either a recipe or --type')
        if args.config is not None and args.root is not None:
            parser.error('--root goes with --type; of a recipe the data sets say where they are')
        if args.type and args.cfg_options:
            parser.error('--cfg-options goes with a recipe, not with --type')
        if args.type:
            splits = named_splits(args.type, args.root)
        else:
            cfg = load_config(args.config, args.cfg_options)
            from openmix.data.verify import splits_of
            from openmix.engine.data_check import check_data
            from openmix.engine.run_seed import cut_by_seed, with_run_seed

            try:
                check_data(cfg)
            except TypeError as error:
                raise InputError(f'the data sets of {args.config}: {error}') from error
            splits = splits_of(cfg)
            if any(map(cut_by_seed, splits.values())):
                seed = (cfg.get('randomness') or {}).get('seed') or 0
                print(f'split_seed=None is the seed of a run: shown for seed {seed}')
                splits = {name: with_run_seed(dataset, seed) for name, dataset in splits.items()}
        check(splits)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    command(main)()
