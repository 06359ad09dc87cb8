"""Count a recipe's parameters and FLOPs: tools/get_flops.py CONFIG [--shape H W] [options]."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from openmix.arguments import CommandParser
from openmix.config import load_config
from openmix.entry_point import command
from openmix.errors import check_number

if TYPE_CHECKING:
    from openmix.evaluation.complexity import Complexity


def show(found: Complexity) -> None:
    """Print the table and the sums."""
    grid = Grid('stage', 'output')
    for column in ('parameters', 'multiply-adds (M)'):
        grid.add_column(column, justify='right')
    for stage in found.stages:
        output = ' x '.join(map(str, stage.output or ()))
        grid.add_row(stage.name, output, f'{stage.parameters:,}', f'{stage.multiply_adds / 1e6:,.2f}')
    Console().print(grid)
    print(f'image: {" x ".join(map(str, found.shape))}')
    print(f'parameters: {found.parameters / 1e6:.2f} M')
    print(f'FLOPs: {found.multiply_adds / 1e9:#.3g} G (multiply-adds, as papers print them)')


@command
def main() -> None:
    parser = CommandParser('Count the parameters and FLOPs of backbone and head for one image.')
    parser.add_recipe()
    parser.add_shape()
    parser.add_argument(
        '--depth', type=int, default=1, metavar='N', help='of the rows: 2 shows the children of each stage (default: 1)'
    )
    parser.add_argument('--format', choices=('text', 'json'), default='text', help='of the output (default: text)')
    parser.add_cfg_options()
    args = parser.parse_args()
    check_number('--depth', args.depth, 1)
    cfg = load_config(args.config, args.cfg_options)
    import torch

    from openmix.algorithm import algorithm_of
    from openmix.engine import launch
    from openmix.engine.blame import building
    from openmix.engine.image_shape import image_shape
    from openmix.evaluation.complexity import count
    from openmix.registry import MODELS

    cfg = launch.prepare(cfg)
    with torch.device('meta'):
        network = algorithm_of(MODELS.build(cfg.model)).network('get_flops')
    shape = image_shape(cfg, args.shape)
    with building(cfg, 'model.backbone', f'on images of {shape[0]}x{shape[1]}'):
        found = count(network.backbone, network.head, shape, args.depth)
    if args.format == 'text':
        show(found)
    else:
        print(json.dumps({'config': args.config, **asdict(found)}))


if __name__ == '__main__':
    main()
