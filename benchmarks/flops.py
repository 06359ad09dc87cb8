"""Count the FLOPs of a training step, and measure the time that the device needs for as many FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.timing import Measure, Turn, Turns, alternating
from openmix.algorithm import Algorithm
from openmix.engine.foretold import dataset_of, example_of
from openmix.engine.launch import fill_from_data
from openmix.errors import InputError
from openmix.evaluation.complexity import attention_as_products
from openmix.memory import memories_in
from openmix.models.originals import WEIGHTS_FROM
from openmix.overrides import apply_overrides
from openmix.parts import parts
from openmix.registry import MODELS
from openmix.small import small_of

IMAGES, DRAWS = 2, 25


class Flops(TorchDispatchMode):
    """Count the FLOPs of all operators; torch's own counter also hooks modules, which fails with `autograd.grad`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def recipe_flops(cfg: Config) -> float:
    """Count the FLOPs of training on one image, see `step_flops`; the model is completed from the recipe's data."""
    found = parts(cfg._cfg_dict.to_dict())
    said = {f'{part.place}.{key}': value for part in found for key, value in small_of(part.built, part.node).items()}
    untrained = {place: value for place, value in said.items() if place.rpartition('.')[2] in WEIGHTS_FROM}
    cfg = fill_from_data(apply_overrides(cfg, untrained))
    images = IMAGES * group_of(cfg)
    batch, why = example_of(cfg, 'train', images)
    if batch is None:
        raise InputError(f'the FLOPs of a step are unknown: {why}')
    model = MODELS.build(cfg.model)
    torch.manual_seed(0)
    return batch_flops(model, model.data_preprocessor(_drawn(batch), training=True), images)


def group_of(cfg: Config) -> int:
    """Return the number of images that are drawn together: one, or more where a batch has two pools."""
    dataset, given = dataset_of(cfg, 'train')
    return dataset.group(**given) if dataset.pools(**given) else 1


def step_flops(model: Algorithm, shape: Sequence[int]) -> float:
    """Count the FLOPs of training on one image of shape (3, H, W), or (V, 3, H, W) with V views; see `batch_flops`."""
    torch.manual_seed(0)
    return batch_flops(model, dict(inputs=torch.rand(IMAGES, *shape), labels=torch.arange(IMAGES)), IMAGES)


def batch_flops(model: Algorithm, batch: dict[str, Any], images: int) -> float:
    """Count the FLOPs of a training step per image: all forward and backward passes, two FLOPs per multiply-add.

    If the work of a policy differs at random between steps, the result is the mean of 25 steps.

    Args:
        model: the algorithm.
        batch: a preprocessed batch.
        images: number of images in it; those of all pools count, and the views of an image are one image.
    """
    for memory in memories_in(model):
        memory.allocate(images)
        memory.rows.zero_()  # a training begins by filling them
    steps = DRAWS if model.leaves_parameters_unused else 1
    with attention_as_products(), Flops() as counter:
        for _ in range(steps):
            losses = model.loss(batch)
            torch.stack([value for key, value in losses.items() if 'loss' in key]).sum().backward()
            model.zero_grad()
    return counter.total / images / steps


def _drawn(batch: Any) -> Any:
    """Return an example batch with random images, and numbers from 0 for labels and ids, in place of meta tensors."""
    if isinstance(batch, Mapping):
        return {name: _drawn(part) for name, part in batch.items()}
    if isinstance(batch, list):
        return [_drawn(part) for part in batch]
    if batch.dtype == torch.uint8:
        return torch.randint(256, batch.shape, dtype=torch.uint8)
    return torch.arange(len(batch)) % IMAGES


def beside_arithmetic(measure: Measure, flops: Mapping[str, float], side: int, device: str) -> Measure:
    """Add to a `Comparison`'s measure a row per candidate: the time of its FLOPs at the speed of matrix products.

    Args:
        measure: the measure.
        flops: FLOPs of one call of each candidate.
        side: size of the square bfloat16 matrices that are multiplied to measure the speed.
        device: 'cpu' or 'cuda'.
    """

    def measured(rounds: int, seconds: float) -> Turns:
        turns = measure(rounds, seconds)
        costs = [_seconds_a_flop(side, device, seconds) for _ in range(rounds)]
        return turns | {arithmetic(name): [Turn(each * cost) for cost in costs] for name, each in flops.items()}

    return measured


def arithmetic(name: str) -> str:
    """Return the name of the row that `beside_arithmetic` adds for a candidate."""
    return f'{name}: its arithmetic'


def _seconds_a_flop(side: int, device: str, seconds: float) -> float:
    a, b = (torch.rand(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    (turn,) = alternating({'product': lambda: a @ b})(1, seconds)['product']
    return turn.value / (2 * side**3)
