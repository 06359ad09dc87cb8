"""Print a resolved recipe, or what it changes in its bases: tools/print_config.py CONFIG [--diff [OTHER]]."""

import argparse

from openmix.config import bases_of, diff, load_config
from openmix.errors import command
from openmix.options import DictAction


@command
def main() -> None:
    parser = argparse.ArgumentParser(description='Print a recipe with its bases merged.')
    parser.add_argument('config', help='a recipe, by path or by its name below configs/')
    parser.add_argument(
        '--diff', nargs='?', const='', metavar='OTHER', help='only what differs from OTHER (default: from its bases)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='K=V')
    args = parser.parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if args.diff is None:
        print(cfg.pretty_text)
    else:
        print('\n'.join(diff(load_config(args.diff) if args.diff else bases_of(args.config), cfg)))


if __name__ == '__main__':
    main()
