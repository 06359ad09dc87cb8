"""Print a resolved recipe, or its changes to its base recipes: tools/print_config.py CONFIG [--diff [OTHER]]."""

from openmix.arguments import CommandParser
from openmix.benchmark.variant import VARIANTS, load_variant
from openmix.config import bases_of, load_config
from openmix.config_hash import diff
from openmix.entry_point import command


@command
def main() -> None:
    parser = CommandParser('Print a recipe with its bases merged.')
    parser.add_argument('config', nargs='?', help='a recipe, by path or by its name below configs/')
    help_text = 'only what differs from OTHER (default: from its bases)'
    parser.add_argument('--diff', nargs='?', const='', metavar='RECIPE', help=help_text)
    help_text = 'as the printed runs were done, or as the papers mean it (default: corrected)'
    parser.add_argument('--variant', choices=VARIANTS, help=help_text)
    parser.add_cfg_options()
    args = parser.parse_args()
    if args.config is None and args.diff:
        # With one recipe behind --diff, argparse takes it as OTHER.
        args.config, args.diff = args.diff, ''
    if args.config is None:
        parser.error('the following arguments are required: config')
    cfg = load_variant(args.config, args.cfg_options, args.variant)
    if args.cfg_options or args.variant:
        from openmix.check import check_recipe

        check_recipe(cfg)
    if args.diff is None:
        print(cfg.pretty_text)
    else:
        print('\n'.join(diff(load_config(args.diff) if args.diff else bases_of(args.config), cfg)))


if __name__ == '__main__':
    main()
