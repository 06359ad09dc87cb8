"""Write the weights of a checkpoint to a file named by its digest: tools/publish_model.py CHECKPOINT [options]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from openmix.arguments import CommandParser
from openmix.config import load_config
from openmix.entry_point import command
from openmix.errors import InputError

if TYPE_CHECKING:
    from openmix.models.originals import Original

SUFFIXES = {'openmix': '.pth', 'safetensors': '.safetensors', 'timm': '.safetensors', 'torchvision': '.pth'}
LIBRARIES = ('timm', 'torchvision')
# In whose names the weights are, or where they are for.
FORMATS = (*SUFFIXES, 'hf')


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


def recipe_of(checkpoint: Mapping[str, Any], layout: str, config: str | None, options: Mapping[str, Any]) -> Config:
    """Return the prepared recipe that is named, or else the one that the checkpoint holds.

    Raises:
        InputError: there is none.
    """
    from mmengine.registry import init_default_scope

    from openmix.engine.launch import prepare

    if config is not None:
        return prepare(load_config(config, options))
    init_default_scope('openmix')
    meta = checkpoint.get('meta')
    held = meta.get('resolved_recipe') if isinstance(meta, Mapping) else None
    if not isinstance(held, Mapping):
        raise InputError(f'--format {layout} needs --config: the recipe says which model it is')
    return Config(dict(held))


def trained(cfg: Config, checkpoint: dict[str, Any], path: Path, ema: bool) -> Any:
    """Build the recipe's model with the weights of the checkpoint, in evaluation mode.

    Raises:
        InputError: the checkpoint does not fit the recipe.
    """
    from openmix.engine.blame import building
    from openmix.engine.checkpoint import put_weights
    from openmix.models.originals import WEIGHTS_FROM
    from openmix.registry import MODELS

    backbone = cfg.model.get('backbone')
    for source in WEIGHTS_FROM if isinstance(backbone, dict) else ():  # the checkpoint replaces pretrained weights
        backbone.pop(source, None)
    with building(cfg, 'model', cfg.model.get('type')):
        model: Any = MODELS.build(cfg.model)
    put_weights(model, checkpoint, path, ema)
    return model.eval()


def original_of(library: str, cfg: Config, network: Any) -> Original:
    """Return the model of a library that the evaluated network is.

    Raises:
        InputError: it is none.
    """
    from openmix.models.originals import Original
    from openmix.network import HasClasses

    backbone = cfg.model.get('backbone')
    if not isinstance(backbone, dict) or not isinstance(network.head, HasClasses):
        raise InputError(
            f'--format {library} needs a backbone of that library and a last layer with num_classes; '
            'publish it with --format safetensors or openmix'
        )
    return Original.of(library, backbone, network.head.num_classes)


def known_of(original: Original, model: Any, cfg: Config, known: Mapping[str, Any]) -> dict[str, Any]:
    """Add to what is known of the weights how the library and openmix build the model."""
    from openmix.engine.inference_settings import INFERENCE, inference_settings

    settings = inference_settings(cfg._cfg_dict.to_dict())
    kept = {key: settings['model'].get(key) for key in ('backbone', 'head', 'data_preprocessor', 'ten_crop')}
    # The network alone, of whatever algorithm trained it; what policy it had does not matter to a prediction.
    settings['model'] = {'type': 'MixClassifier', **kept, 'policy': {}}
    added = {
        'library': original.library,
        'model': original.name,
        'options': original.options,
        'num_classes': original.num_classes,
        'mean': model.data_preprocessor.mean.flatten().tolist(),
        'std': model.data_preprocessor.std.flatten().tolist(),
        INFERENCE: settings,
    }
    # Plain JSON values, so that the options can be passed to the builder again.
    return {**known, **json.loads(json.dumps(added, default=repr))}


def publish_original(args: argparse.Namespace, folder: Path) -> Path:
    """Write the evaluated network with the names of the library that its backbone is from.

    The file is written only if the library's own model loads exactly these weights and computes the same logits.

    Raises:
        InputError: the checkpoint does not fit the recipe, the library has no such model, or the logits differ.
    """
    from openmix.algorithm import algorithm_of
    from openmix.engine.checkpoint import read_checkpoint
    from openmix.engine.image_shape import image_shape
    from openmix.engine.publishing import about, write

    path, library = args.checkpoint, args.format
    checkpoint = read_checkpoint(path)
    cfg = recipe_of(checkpoint, library, args.config, args.cfg_options)
    model = trained(cfg, checkpoint, path, args.ema)
    network = algorithm_of(model).network(f'--format {library}')
    original = original_of(library, cfg, network)
    known = known_of(original, model, cfg, about(checkpoint, path, args.ema))
    shape = image_shape(cfg, args.shape)
    weights = original.weights(network.backbone, network.head)

    def check(written: Any) -> None:
        original.check(written, network, shape)

    return write(weights, known, folder, path.stem, SUFFIXES[library], check)


def publish_to_hub(args: argparse.Namespace, folder: Path) -> Path:
    """Write a folder for the Hugging Face Hub, with the names of the backbone's library if it has such a model.

    Raises:
        InputError: the checkpoint does not fit the recipe, or the folder has files.
    """
    from openmix.algorithm import algorithm_of
    from openmix.engine.checkpoint import read_checkpoint
    from openmix.engine.image_shape import image_shape
    from openmix.engine.inference_settings import INFERENCE, inference_settings
    from openmix.engine.publishing import about, published_weights
    from openmix.inference.hub import card, measured, timm_config, write_hub_folder

    path = args.checkpoint
    checkpoint = read_checkpoint(path)
    cfg = recipe_of(checkpoint, args.format, args.config, args.cfg_options)
    model = trained(cfg, checkpoint, path, args.ema)
    network = algorithm_of(model).network('--format hf')
    shape, original = image_shape(cfg, args.shape), None
    for library in LIBRARIES:
        try:
            original = original_of(library, cfg, network)
            weights = original.weights(network.backbone, network.head)
            break
        except InputError:  # it has no model with exactly these weights
            original = None
    known = about(checkpoint, path, args.ema)
    recipe = cfg._cfg_dict.to_dict()
    if original is None:
        weights = published_weights(checkpoint, path, args.ema)
        known |= {INFERENCE: json.loads(json.dumps(inference_settings(recipe), default=repr))}
    else:
        known = known_of(original, model, cfg, known)
    config: dict[str, Any] = {'library': 'openmix', 'architecture': cfg.model.type}
    if original is not None:
        config = {'library': original.library, 'architecture': original.name, 'model_args': original.options}
        if original.library == 'timm':
            config = timm_config(original, known, shape)

    def check(written: Any) -> None:
        if original is not None:
            original.check(written, network, shape)

    metrics = measured(path, (checkpoint.get('meta') or {}).get('iter'), args.ema)
    if not metrics:
        print(f"note: '{path.parent}' has no validation of these weights; the card has no results", file=sys.stderr)
    text = card(folder.name, known, recipe, original, metrics)
    return write_hub_folder(folder, weights, known, config, text, check)


@command
def main() -> None:
    parser = CommandParser('Strip a checkpoint to its weights and what is known of them.')
    parser.add_argument('checkpoint', type=Path, help='a file written by tools/train.py')
    told = (
        "of the output: weights have our names, in a .pth or .safetensors file, or those of the backbone's library; "
        'hf: a folder for the Hugging Face Hub, with a model card (default: openmix)'
    )
    parser.add_argument('--format', choices=FORMATS, default='openmix', help=told)
    told = 'the recipe of the checkpoint, if it does not hold its own; for timm, torchvision and hf'
    parser.add_argument('--config', metavar='RECIPE', help=told)
    parser.add_ema()
    told = 'the folder of the files (default: beside the checkpoint); with hf, a new folder (default: STEM-hf there)'
    parser.add_argument('--out', type=Path, metavar='DIR', help=told)
    parser.add_shape()
    parser.add_cfg_options()
    args = parser.parse_args()
    beside = args.checkpoint.parent
    if args.cfg_options and args.config is None:
        raise InputError('--cfg-options change the recipe; name it with --config')
    if args.format == 'hf':
        print(publish_to_hub(args, args.out or beside / f'{args.checkpoint.stem}-hf'))
    elif args.format in LIBRARIES:
        print(publish_original(args, args.out or beside))
    elif args.config is not None or args.shape is not None:
        wrong = '--config' if args.config is not None else '--shape'
        raise InputError(f'--format {args.format} takes no {wrong}: it holds the weights of the checkpoint as they are')
    else:
        print(publish(args.checkpoint, args.ema, args.out or beside, args.format))


if __name__ == '__main__':
    main()
