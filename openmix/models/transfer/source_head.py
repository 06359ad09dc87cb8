"""The classification layer of a pretrained network, which fine-tuning otherwise replaces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from openmix.errors import InputError, check_number
from openmix.models.backbones.local_weights import state_in
from openmix.models.teacher import published_classifier
from openmix.registry import MODELS
from openmix.weights_file import is_finite, read_file

# The names of the layer in a run's checkpoint, and in files of torchvision and timm.
_NAMES = ('head.fc', 'fc', 'classifier', 'head')


@MODELS.register_module()
class SourceHead(nn.Module):
    """The last layer (N, D) -> (N, S) of a pretrained classifier, with its weights.

    Args:
        in_features: D, the width of the backbone's features.
        name: 'torchvision/NAME' or 'timm/NAME', the classifier whose layer it is, with the library's weights.
        weights: of torchvision, the name of the weights, as of `TorchvisionBackbone`; of timm, the package in
            `PACKAGED` that holds them, as of `TimmBackbone`; None: the library's default.
        checkpoint: a run's checkpoint, or a file of weights of a whole classifier, instead of `name`.
        of_weights: take the head of the file that the backbone starts from (`--weights`), instead of `name`.
        num_classes: S, where neither a name nor a file is given.
        pretrained: take the weights; False: random weights, to try a recipe.

    Attributes:
        awaited: the weights are still to be taken from the file that the backbone starts from.

    Raises:
        InputError: not one of name, file and `of_weights` is given, or `weights` without a name; the classifier is
            unknown, cannot be had or has no such layer; or the layer takes features of another width.
    """

    small: ClassVar[dict[str, Any]] = {'pretrained': False}

    def __init__(
        self,
        in_features: int,
        name: str | None = None,
        weights: str | None = None,
        checkpoint: str | Path | None = None,
        of_weights: bool = False,
        num_classes: int = 1000,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        check_number('SourceHead: num_classes', num_classes, 2)
        given = {'name': name is not None, 'checkpoint': checkpoint is not None, 'of_weights': of_weights}
        if sum(given.values()) > 1:
            both = ' or '.join(key for key, said in given.items() if said)
            raise InputError(f'SourceHead: give {both}, not both')
        if weights is not None and name is None:
            raise InputError("SourceHead: weights are those of a name; set name='torchvision/NAME' or 'timm/NAME' too")
        if name is not None:
            self.fc = layer_of(published_classifier(name, pretrained, weights)[0])
        elif of_weights or not pretrained:
            self.fc = nn.Linear(in_features, num_classes)
        elif checkpoint is not None:
            self.fc = layer_of_state(state_in(read_file(checkpoint), checkpoint), checkpoint)
        else:
            raise InputError(
                "SourceHead: the head of the source task is not given; set name='torchvision/NAME', "
                "checkpoint='FILE' of a classifier with its head, or of_weights=True and start by --weights"
            )
        if self.fc.in_features != in_features:
            raise InputError(
                f'SourceHead: the head takes {self.fc.in_features} features, and the backbone has {in_features}; take '
                'the one of the same network'
            )
        self.num_classes = self.fc.out_features
        self.awaited = of_weights and pretrained

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(features)

    def take(self, head: Mapping[str, Tensor], path: str | Path) -> None:
        """Take the weights of a head, by name within its network.

        Raises:
            InputError: there is no such layer, it is not finite, or it has another shape.
        """
        layer = layer_of_state(head, path)
        if layer.weight.shape != self.fc.weight.shape:
            classes, width = layer.weight.shape
            raise InputError(
                f"SourceHead: the head in '{path}' has {classes} classes of {width} features, and source has "
                f'{self.num_classes} of {self.fc.in_features}; set num_classes={classes}, and the backbone that had it'
            )
        self.fc.load_state_dict(layer.state_dict())
        self.awaited = False


def layer_of(model: nn.Module) -> nn.Linear:
    """Return the last linear layer of a classifier.

    Raises:
        InputError: it has none.
    """
    layers = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise InputError(f'SourceHead: {type(model).__name__} has no linear layer; take another network')
    return layers[-1]


def layer_of_state(state: Mapping[str, Tensor], path: str | Path) -> nn.Linear:
    """Make the last layer of a classifier from its weights in the file `path`.

    Raises:
        InputError: the file has no layer of a head, or one that is not finite.
    """
    for name in _NAMES:
        weight, bias = (state.get(f'{name}.{part}') for part in ('weight', 'bias'))
        if weight is not None and bias is not None and weight.dim() == 2 and bias.shape == weight.shape[:1]:
            if not (is_finite(weight) and is_finite(bias)):
                raise InputError(f"SourceHead: the layer '{name}' in '{path}' is not finite; take another copy")
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            if not layer.weight.is_meta:
                layer.load_state_dict({'weight': weight.float(), 'bias': bias.float()})
            return layer
    raise InputError(
        f"SourceHead: '{path}' has no head of the source task ({', '.join(_NAMES)}); give one of a whole classifier"
    )
