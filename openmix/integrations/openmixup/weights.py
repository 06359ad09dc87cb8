"""The weights of an OpenMixup checkpoint by openmix's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from openmix.errors import InputError
from openmix.integrations.openmixup.backbones import weight_name

_EMA = 'ema_'
_OF_DDP = 'module.'


def weights_of(state: Mapping[str, Tensor], backbone: str, ema: bool = False) -> dict[str, Tensor]:
    """Rename the weights of a classifier.

    Args:
        state: the `state_dict` of a checkpoint: `backbone.*`, `head.fc.*`, and the buffers `ema_*` of a moving average.
        backbone: type of openmix's backbone.
        ema: take the moving average, not the raw weights.

    Returns:
        weights by the names of a `MixClassifier` whose policy has none.

    Raises:
        InputError: there is no moving average, or a weight is of another part of a model.
    """
    plain = {name.removeprefix(_OF_DDP): value for name, value in state.items()}
    average = {name: value for name, value in plain.items() if name.startswith(_EMA)}
    raw = {name: value for name, value in plain.items() if name not in average}
    if ema:
        # A buffer has the name of its weight, with underscores in place of dots.
        buffers = {name: f'{_EMA}{name.replace(".", "_")}' for name in raw}
        if missing := [name for name, buffer in buffers.items() if buffer not in average]:
            raise InputError(f"the checkpoint has no moving average of '{missing[0]}'; leave out --ema")
        raw = {name: average[buffer] for name, buffer in buffers.items()}
    found: dict[str, Tensor] = {}
    for name, value in raw.items():
        part, _, inner = name.partition('.')
        if part == 'backbone':
            found[f'backbone.{weight_name(backbone, inner)}'] = value
        elif name in ('head.fc.weight', 'head.fc.bias'):
            found[name] = value
        else:
            raise InputError(
                f"the checkpoint has '{name}', which is of no backbone and no last layer; it is not converted"
            )
    return found
