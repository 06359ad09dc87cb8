"""Write a ResNet backbone with the names that detectors of other projects read: detectron2's, or torchvision's."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from openmix.engine.export import new_file
from openmix.engine.initial_weights import InitialWeights
from openmix.errors import InputError
from openmix.weights_file import is_finite, read_file

_HEAD = 'fc.'
_BLOCK = re.compile(r'layer([1-4])\.(\d+)\.')
# The suffix of a name and the kernel of its weights, which names alone do not tell.
_KERNELS = {BasicBlock: {'conv1': 3, 'conv2': 3}, Bottleneck: {'conv1': 1, 'conv2': 3, 'conv3': 1}}
_STEM = 7
_CHANNELS = 3


def resnet_weights(found: InitialWeights) -> dict[str, Tensor]:
    """Return the weights of a backbone with torchvision's names of a ResNet, without its head, in that order.

    Raises:
        InputError: the backbone is no ResNet with torchvision's names and kernels, or a value is not finite.
    """
    weights = {key: value for key, value in found.weights.items() if not key.startswith(_HEAD)}
    block = Bottleneck if 'layer1.0.conv3.weight' in weights else BasicBlock
    # Numbers are counted, not read: a file may name any number, and a network of so many blocks would be built.
    found_blocks = {match.groups() for match in map(_BLOCK.match, weights) if match is not None}
    counts = [sum(stage == of for of, _ in found_blocks) for stage in '1234']
    if not all(counts):
        raise _refused(found, "its stages are not 'layer1' to 'layer4'")
    names = _names(block, counts, weights)
    if lacking := next((key for key in names if key not in weights), None):
        raise _refused(found, f"it has no '{lacking}'")
    if strange := next((key for key in weights if key not in set(names)), None):
        raise _refused(found, f"it has '{strange}'")
    for key in names:
        value, part = weights[key], key.split('.')[-2]
        kernel = _STEM if key == 'conv1.weight' else _KERNELS[block].get(part, 1)
        if value.dim() == 4 and tuple(value.shape[2:]) != (kernel, kernel):
            raise _refused(found, f"'{key}' is of {'x'.join(map(str, value.shape[2:]))}, not {kernel}x{kernel}")
        if not is_finite(value):
            raise InputError(f"'{found.path}' is damaged: '{key}' in it is not finite; take an older checkpoint")
    if misfit := _misfit(names, weights):
        raise InputError(f"'{found.path}' is damaged: {misfit}; take another copy")
    # NumPy has no bfloat16.
    kept = {key: weights[key].detach().contiguous() for key in names}
    return {key: value.float() if value.is_floating_point() else value for key, value in kept.items()}


def _names(block: type[BasicBlock | Bottleneck], counts: Sequence[int], weights: Mapping[str, Tensor]) -> list[str]:
    """List torchvision's names of a ResNet; where the first stage changes the width, it begins with a shortcut."""
    with torch.device('meta'):
        names = [key for key in ResNet(block, list(counts)).state_dict() if not key.startswith(_HEAD)]
    stem, inside = (weights.get(key) for key in ('conv1.weight', 'layer1.0.conv1.weight'))
    if block is BasicBlock and stem is not None and inside is not None and len(stem) != len(inside):
        shortcut = [key.replace('layer2', 'layer1') for key in names if key.startswith('layer2.0.downsample')]
        at = next(i for i, key in enumerate(names) if key.startswith('layer1.1' if counts[0] > 1 else 'layer2'))
        names[at:at] = shortcut
    return names


def _misfit(names: Sequence[str], weights: Mapping[str, Tensor]) -> str:
    """Say which weights of a ResNet do not fit the layer before them; '' if all do."""
    entering = width = _CHANNELS  # of a block, and of the last convolution
    for key in names:
        shape, (*above, part, kind) = tuple(weights[key].shape), key.split('.')
        if part.startswith('conv') or (part == '0' and above[-1:] == ['downsample']):
            if part == 'conv1':
                entering = width
            given = entering if part == '0' else width
            # The convolution in the middle may have groups.
            if len(shape) != 4 or (given % max(shape[1], 1) if part == 'conv2' else shape[1] != given):
                return f"'{key}' is {shape}, and {given} channels enter it"
            width = shape[0]
        elif shape != (() if kind == 'num_batches_tracked' else (width,)):
            return f"'{key}' is {shape}, and {width} channels enter it"
    return ''


def _refused(found: InitialWeights, why: str) -> InputError:
    return InputError(
        f"'{found.path}': its backbone is no ResNet of torchvision and detectron2: {why}; export a run of "
        "dict(type='TorchvisionBackbone', name='resnet50') or of timm's of that name"
    )


def detectron2_name(name: str) -> str:
    """Translate torchvision's name of a weight of a ResNet to detectron2's, as in MoCo's conversion.

    `conv1` and `bn1` outside of a stage belong to 'stem'; 'layer1' is 'res2'; a norm is a child of its convolution; a
    shortcut is called so.
    """
    head, *rest = name.split('.')
    if not head.startswith('layer'):
        return f'stem.{_norm(head)}.{".".join(rest)}'
    number, part, *rest = rest
    if part == 'downsample':
        which, *rest = rest
        part = 'shortcut' if which == '0' else 'shortcut.norm'
    return f'res{int(head.removeprefix("layer")) + 1}.{number}.{_norm(part)}.{".".join(rest)}'


def _norm(part: str) -> str:
    return f'conv{part.removeprefix("bn")}.norm' if part.startswith('bn') else part


class _Pickler(pickle.Pickler):
    """A pickler whose arrays every version of NumPy reads: NumPy 2 would name a module that older ones lack."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ndarray:
            return np.ndarray, (obj.shape, obj.dtype.str, bytearray(obj.tobytes()))
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (('numpy', 'ndarray'), ('builtins', 'bytearray')):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'{module}.{name}')


def as_detectron2(weights: Mapping[str, Tensor]) -> bytes:
    """Pickle weights with torchvision's names as detectron2 reads them.

    It matches names by their endings, so 'res5' also becomes the last stage of a region head.
    """
    arrays = {detectron2_name(key): value.cpu().numpy() for key, value in weights.items()}
    content = {'model': arrays, '__author__': 'openmix', 'matching_heuristics': True}
    out = io.BytesIO()
    _Pickler(out, protocol=4).dump(content)
    return out.getvalue()


def export_backbone(checkpoint: str | Path, out: Path) -> int:
    """Write the backbone of the network that a run was judged by; compare what is read back with it.

    Args:
        checkpoint: a file that `InitialWeights.read` takes.
        out: the file: .pkl for detectron2, or .pth with torchvision's names.

    Returns:
        the number of tensors.

    Raises:
        InputError: the backbone is no ResNet, the checkpoint is damaged, or the file is not writable.
    """
    weights = resnet_weights(InitialWeights.read(checkpoint))
    with new_file(out) as partial:
        if out.suffix == '.pkl':
            partial.write_bytes(as_detectron2(weights))
            with partial.open('rb') as file:
                read = {key: torch.from_numpy(value) for key, value in _Unpickler(file).load()['model'].items()}
            wanted = {detectron2_name(key): value for key, value in weights.items()}
        else:
            # To memory first: on a full disk torch's own writer does not say why it fails.
            whole = io.BytesIO()
            torch.save({key: value.cpu().clone() for key, value in weights.items()}, whole)
            partial.write_bytes(whole.getbuffer())
            read, wanted = dict(read_file(partial)), weights
        if read.keys() != wanted.keys() or not all(torch.equal(read[key], wanted[key].cpu()) for key in read):
            raise InputError(f"'{out}' is not written: it would not hold the weights of '{checkpoint}'")
    return len(weights)
