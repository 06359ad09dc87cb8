"""Draw the same pairs mixed by several trained networks: tools/mixed_strips.py CONFIG CHECKPOINT ... --out FILE.png."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from openmix.arguments import CommandParser, check_out, is_setting
from openmix.config import load_config
from openmix.entry_point import command
from openmix.errors import InputError, brief, check_number
from openmix.files import appearing

if TYPE_CHECKING:
    import torch

FORMATS = ('.png', '.pdf', '.svg')


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Draw pairs of images, and what the policies of several trained networks make of them.')
    told = 'a recipe and a file that tools/train.py wrote with it, once for each column'
    parser.add_argument('runs', nargs='+', metavar='CONFIG CHECKPOINT', help=told)
    told = 'a name for each, in their order (default: that of the recipe)'
    parser.add_list('--names', lambda word: not is_setting(word), metavar='NAME ...', help=told)
    parser.add_argument('--lam', type=float, default=0.5, metavar='LAM', help='share of the first image (default: 0.5)')
    parser.add_argument('--count', type=int, default=6, metavar='N', help='how many to show: pairs (default: 6)')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        metavar='N',
        help='seed of the draws: of images, and those of policies (default: 0)',
    )
    parser.add_ema()
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='the file: .png, .pdf or .svg')
    return parser.parse_args()


def pairs_of(cfg: Config, count: int, seed: int) -> dict[str, torch.Tensor]:
    """Read a batch of 2 * count validation images of a recipe; the second half are the partners of the first.

    Raises:
        InputError: the recipe has no validation data, or there are fewer.
    """
    from openmix.engine.runner import Runner

    if cfg.get('val_dataloader') is None:
        raise InputError('the first recipe has no val_dataloader, whose images are mixed')
    asked = {**cfg.val_dataloader, 'batch_size': 2 * count, 'num_workers': 0, 'persistent_workers': False}
    # Folders list their images class by class.
    asked['sampler'] = {'type': 'DefaultSampler', 'shuffle': True, 'seed': seed}
    batch = next(iter(Runner.build_dataloader(asked, seed=seed)))
    if len(batch['inputs']) < 2 * count:
        raise InputError(f'{count} pairs need {2 * count} images, and there are {len(batch["inputs"])}; lower --count')
    return batch


def mixed_by(config: str, cfg: Config, checkpoint: str, batch: dict, args: argparse.Namespace) -> torch.Tensor:
    """Mix the pairs by the policy of a recipe's model with trained weights; (count, 3, H, W) images in [0, 1].

    Raises:
        InputError: its algorithm mixes nothing, or the weights do not fit.
    """
    import torch

    from openmix.engine.blame import building
    from openmix.engine.checkpoint import put_weights, read_checkpoint
    from openmix.evaluation.mixed_at import Mixing, mixed_at
    from openmix.registry import MODELS

    with building(cfg, 'model'):
        model: Any = MODELS.build(cfg.model)
    mixing: object = model
    if not isinstance(mixing, Mixing) or mixing.policy is None:
        raise InputError(f'{config}: {type(model).__name__} has no policy; take a recipe with model.policy')
    put_weights(model, read_checkpoint(checkpoint), checkpoint, args.ema)
    model.eval()
    context = model.context(model.data_preprocessor(batch, training=False)['inputs'], None)
    partner, preprocessor = torch.arange(args.count, 2 * args.count), model.data_preprocessor
    return mixed_at(config, mixing.policy, context, preprocessor, partner, [args.lam], args.seed)[:, 0]


@command
def main() -> None:
    args = parse_args()
    if len(args.runs) % 2:
        raise InputError(f'give a CONFIG and a CHECKPOINT for each column; there are {len(args.runs)} words')
    configs, checkpoints = args.runs[::2], args.runs[1::2]
    names = args.names or [Path(config).stem for config in configs]
    if len(names) != len(configs) or len(set(names)) != len(names):
        raise InputError(f'{len(configs)} columns need as many different --names, got {len(set(names))}')
    check_number('--lam', args.lam, 0.0, 1.0)
    check_number('--count', args.count, 1, 100)
    check_number('--seed', args.seed, 0, 2**32 - 1)
    if args.out.suffix.lower() not in FORMATS:
        raise InputError(f'--out: the picture is one of {", ".join(FORMATS)}, not {brief(args.out.name)}')
    check_out('--out', args.out, *checkpoints)
    for path in checkpoints:
        if not Path(path).is_file():
            raise InputError(f"no checkpoint '{path}'")
    recipes = [load_config(config) for config in configs]
    from openmix.engine import launch
    from openmix.evaluation.draw import draw_columns

    prepared = [launch.prepare(recipe) for recipe in recipes]
    batch = pairs_of(prepared[0], args.count, args.seed)
    pixels = batch['inputs'] / 255
    columns = {f'image A, λ = {args.lam:g}': pixels[: args.count], 'image B': pixels[args.count :]}
    for name, config, cfg, path in zip(names, configs, prepared, checkpoints, strict=True):
        columns[name] = mixed_by(config, cfg, path, batch, args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with appearing(args.out) as partial:
        draw_columns(columns).savefig(partial, dpi=150)
    print(args.out)


if __name__ == '__main__':
    main()
