"""The weights of an OpenMixup checkpoint by openmix's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from openmix.errors import InputError
from openmix.integrations.openmixup.backbones import weight_name

# Parts of a learned policy there, and in a `MixClassifier`; 'backbone' and 'head' are kept there twice.
_LEARNED = {
    'backbone_q': 'backbone',
    'backbone_k': 'policy.encoder.backbone',
    'head_mix_q': 'head',
    'head_one_q': 'policy.own_clean_head',
    'head_mix_k': 'policy.encoder.heads.head',
    'head_one_k': 'policy.encoder.heads.clean',
    'mix_block.query.conv': 'policy.mixer.key',
    'mix_block.value': 'policy.mixer.content',
}
_EMA = 'ema_'
_OF_DDP = 'module.'


def weights_of(state: Mapping[str, Tensor], backbone: str, ema: bool = False) -> dict[str, Tensor]:
    """Rename the weights of a classifier.

    Args:
        state: the `state_dict` of a checkpoint: `backbone.*` and `head.fc.*`, or the parts of a learned policy; and the
            buffers `ema_*` of a moving average.
        backbone: type of openmix's backbone.
        ema: take the moving average, not the raw weights.

    Returns:
        weights by the names of a `MixClassifier`.

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
    if any(name.startswith('backbone_q.') for name in raw):
        return _learned(raw, backbone)
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


def _learned(raw: Mapping[str, Tensor], backbone: str) -> dict[str, Tensor]:
    """Rename the weights of a learned policy and its networks.

    Raises:
        InputError: a weight is of another part.
    """
    found = {}
    for name, value in raw.items():
        if name.partition('.')[0] in (
            'backbone',
            'head',
        ):  # those of the momentum encoder, which have names of their own
            continue
        part = next((part for part in _LEARNED if name.startswith(f'{part}.')), None)
        if part is None:
            raise InputError(f"the checkpoint has '{name}', which is of no part of AutoMix; it is not converted")
        inner = name.removeprefix(f'{part}.')
        found[f'{_LEARNED[part]}.{weight_name(backbone, inner) if part.startswith("backbone") else inner}'] = value
    return found
