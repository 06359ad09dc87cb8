"""Write the weights of a checkpoint to a file named by its digest: tools/publish_model.py CHECKPOINT [options]."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from openmix.arguments import CommandParser
from openmix.config import load_config
from openmix.entry_point import command
from openmix.errors import InputError

SUFFIXES = {'openmix': '.pth', 'safetensors': '.safetensors', 'timm': '.safetensors', 'torchvision': '.pth'}


def publish(path: Path, ema: bool, folder: Path, layout: str = 'openmix') -> Path:
    """Write the weights with OpenMix's names, and a description of them; return the file, see `publishing.write`.

    Raises:
        InputError: there is no such checkpoint, or it has no moving average.
    """
    from openmix.engine.checkpoint import read_checkpoint
    from openmix.engine.publishing import about, published_weights, write

    checkpoint = read_checkpoint(path)
    weights = published_weights(checkpoint, path, ema)
    return write(weights, about(checkpoint, path, ema), folder, path.stem, SUFFIXES[layout])


def publish_original(path: Path, ema: bool, folder: Path, library: str, cfg: Config) -> Path:
    """Write the evaluated network with the names of the library that its backbone is from.

    The file is written only if the library's own model loads exactly these weights and computes the same logits.

    Raises:
        InputError: the checkpoint does not fit the recipe, the library has no such model, or the logits differ.
    """
    from openmix.algorithm import HasClasses, algorithm_of
    from openmix.engine.blame import building
    from openmix.engine.checkpoint import put_weights, read_checkpoint
    from openmix.engine.image_shape import image_shape
    from openmix.engine.launch import prepare
    from openmix.engine.publishing import about, write
    from openmix.models.originals import WEIGHTS_FROM, Original
    from openmix.registry import MODELS

    cfg = prepare(cfg)
    backbone = cfg.model.get('backbone')
    for source in WEIGHTS_FROM if isinstance(backbone, dict) else ():  # the checkpoint replaces pretrained weights
        backbone.pop(source, None)
    with building(cfg, 'model', cfg.model.get('type')):
        model: Any = MODELS.build(cfg.model)
    network = algorithm_of(model).network(f'--format {library}')
    if not isinstance(backbone, dict) or not isinstance(network.head, HasClasses):
        raise InputError(
            f'--format {library} needs a backbone of that library and a last layer with num_classes; '
            'publish it with --format safetensors or openmix'
        )
    original = Original.of(library, backbone, network.head.num_classes)
    checkpoint = read_checkpoint(path)
    put_weights(model, checkpoint, path, ema)
    model.eval()
    known = about(checkpoint, path, ema) | {
        'library': library,
        'model': original.name,
        # Plain JSON values, so that the options can be passed to the builder again.
        'options': json.loads(json.dumps(original.options, default=repr)),
        'num_classes': original.num_classes,
        'mean': model.data_preprocessor.mean.flatten().tolist(),
        'std': model.data_preprocessor.std.flatten().tolist(),
    }
    shape = image_shape(cfg)

    def check(written: Any) -> None:
        original.check(written, network, shape)

    return write(original.weights(network.backbone, network.head), known, folder, path.stem, SUFFIXES[library], check)


@command
def main() -> None:
    parser = CommandParser('Strip a checkpoint to its weights and what is known of them.')
    parser.add_argument('checkpoint', type=Path, help='a file written by tools/train.py')
    parser.add_argument(
        '--format',
        choices=tuple(SUFFIXES),
        default='openmix',
        help="whose names the weights have: ours, in a .pth or .safetensors file, or those of the backbone's library",
    )
    parser.add_argument('--config', metavar='RECIPE', help='the recipe of the checkpoint, for timm and torchvision')
    parser.add_ema()
    parser.add_argument('--out', type=Path, metavar='DIR', help='where to (default: beside the checkpoint)')
    parser.add_cfg_options()
    args = parser.parse_args()
    folder = args.out or args.checkpoint.parent
    if args.cfg_options and args.config is None:
        raise InputError('--cfg-options change the recipe; name it with --config')
    if args.format in ('timm', 'torchvision'):
        if args.config is None:
            raise InputError(f'--format {args.format} needs --config: the recipe says which model it is')
        file = publish_original(
            args.checkpoint, args.ema, folder, args.format, load_config(args.config, args.cfg_options)
        )
    elif args.config is not None:
        raise InputError(
            f'--format {args.format} takes no --config: it holds the weights of the checkpoint as they are'
        )
    else:
        file = publish(args.checkpoint, args.ema, folder, args.format)
    print(file)


if __name__ == '__main__':
    main()
