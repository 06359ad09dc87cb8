"""Convert a config and a checkpoint of OpenMixup: tools/convert_openmixup.py CONFIG [--checkpoint FILE] --out DIR."""

from __future__ import annotations

import os
import pprint
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config

from openmix.arguments import CommandParser, check_out
from openmix.config import load_config
from openmix.config_files import config_path
from openmix.entry_point import command
from openmix.errors import InputError, message_of
from openmix.files import write_text
from openmix.integrations.openmixup.recipe import recipe_of


def read_config(path: Path) -> dict[str, Any]:
    """Read a config of OpenMixup with what it inherits; it runs as Python.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return Config.fromfile(str(path))._cfg_dict.to_dict()
    except Exception as error:  # a config may raise any exception
        raise InputError(f"'{path}': {type(error).__name__}: {message_of(error)}") from error


def remarks(recipe: dict[str, Any], left_out: list[str]) -> list[str]:
    """Say what of a config is not in its recipe, or otherwise, a line each."""
    said = []
    if recipe['optim_wrapper']['type'] == 'AutocastOptimWrapper':
        said.append(
            'float16 (use_fp16) became bfloat16, which has fewer digits and a larger range, and needs no loss scale; '
            "optim_wrapper.type='OptimWrapper' trains in float32"
        )
    if left_out:
        said.append(f'without counterpart, and of no effect on the training: {", ".join(left_out)}')
    return said


def recipe_text(source: str, recipe: dict[str, Any], bases: list[str], said: list[str]) -> str:
    """Write a recipe in Python, with remarks on it."""
    told = ''.join(f'{line[0].upper()}{line[1:]}.\n' for line in said)
    # Its base has another optimiser and other schedules.
    recipe['optim_wrapper']['optimizer']['_delete_'] = True
    # Names that a config may have would end the docstring.
    heading = f'Converted from {source} of OpenMixup.\n\n{told}'.replace('\\', '/').replace('"', "'")
    lines = [
        f'"""{heading}"""\n',
        f'_base_ = {bases!r}\n',
    ]
    lines += [f'{key} = {pprint.pformat(value, width=110, sort_dicts=False)}' for key, value in recipe.items()]
    return '\n'.join(lines) + '\n'


def convert_weights(recipe: Path, checkpoint: Path, out: Path, ema: bool) -> None:
    """Write the weights of a checkpoint, with what a prediction needs, for the model of a recipe.

    Raises:
        InputError: the file is no checkpoint of OpenMixup, or its weights do not fit the recipe.
    """
    import torch
    from torch import Tensor

    from openmix.engine.checkpoint import check_weights
    from openmix.engine.export import new_file
    from openmix.engine.inference_settings import INFERENCE, inference_settings
    from openmix.engine.launch import prepare
    from openmix.integrations.openmixup.weights import weights_of
    from openmix.registry import DATASETS, MODELS, find
    from openmix.weights_file import read_file

    content = read_file(checkpoint)
    state = content.get('state_dict') if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"'{checkpoint}' is no checkpoint of OpenMixup: it has no state_dict of tensors")
    cfg = prepare(load_config(recipe))
    weights = weights_of(state, cfg.model.backbone.type, ema)
    check_weights(MODELS.build(cfg.model).state_dict(), weights, checkpoint)
    dataset = dict(cfg.val_dataloader.dataset)
    facts = find(DATASETS, dataset.pop('type')).facts(**dataset)
    meta = content.get('meta') or {}
    kept = {key: meta[key] for key in ('epoch', 'iter') if isinstance(meta.get(key), int)}
    if facts.classes is not None:
        kept['dataset_meta'] = {'classes': list(facts.classes)}
    kept[INFERENCE] = inference_settings(cfg._cfg_dict.to_dict())
    with new_file(out) as partial:
        torch.save({'meta': kept, 'state_dict': weights}, partial)


@command
def main() -> None:
    parser = CommandParser("Convert a config of OpenMixup into a recipe, and a checkpoint into openmix's weights.")
    parser.add_argument('config', type=Path, metavar='CONFIG', help='a config of OpenMixup; it runs as Python')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE', help='a checkpoint: of that config')
    parser.add_ema()
    told = 'the folder of the files: the recipe, CONFIG.py, and the weights, CHECKPOINT.pth'
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help=told)
    told = "a recipe of the data set, such as configs/_base_/datasets/imagenet.py, in place of the config's data"
    parser.add_argument('--data', metavar='RECIPE', help=told)
    args = parser.parse_args()
    if args.ema and args.checkpoint is None:
        raise InputError('--ema chooses weights of a checkpoint; give --checkpoint')
    recipe_file = args.out / f'{args.config.stem}.py'
    _must_be_new(recipe_file)
    weights_file = None if args.checkpoint is None else args.out / f'{args.checkpoint.stem}.pth'
    if weights_file is not None:
        _must_be_new(weights_file)
    recipe, bases, left_out = recipe_of(read_config(args.config), args.data)
    if args.data is not None:
        config_path(args.data)
    said = remarks(recipe, left_out)
    text = recipe_text(args.config.name, recipe, bases, said)
    # The recipe is written last, so that what does not fit leaves no half of a conversion behind.
    with TemporaryDirectory() as folder:
        tried = Path(folder) / recipe_file.name
        write_text(tried, text)
        load_config(tried)
        args.out.mkdir(parents=True, exist_ok=True)
        if weights_file is not None:
            convert_weights(tried, args.checkpoint, weights_file, args.ema)
    write_text(recipe_file, text)
    print(*said, recipe_file, sep='\n')
    if weights_file is not None:
        print(weights_file)


def _must_be_new(file: Path) -> None:
    check_out('--out', file)
    if os.path.lexists(file):
        raise InputError(f"--out: '{file}' is there already; remove it, or give another folder")


if __name__ == '__main__':
    main()
