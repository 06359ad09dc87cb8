"""A classifier's training step with any policy, to time it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import Candidate
from openmix.registry import MODELS

RESNET18: Mapping[str, Any] = dict(type='CIFARResNet', depth=18)


def classifier_step(
    policy: dict,
    x: Tensor,
    y: Tensor,
    classes: int,
    layout: torch.memory_format = torch.contiguous_format,
    backbone: Mapping[str, Any] = RESNET18,
) -> Candidate:
    """Make a training step of a classifier by SGD, on images and labels that are ready.

    Args:
        policy: its recipe.
        x, y: (N, 3, H, W) float images and (N,) int64 labels, on the device of the step.
        classes: number of classes.
        layout: memory format of images and weights.
        backbone: recipe of the network.
    """
    recipe = dict(
        type='MixClassifier',
        backbone=dict(backbone),
        head=dict(type='LinearHead', num_classes=classes),
        policy=policy,
    )
    model = MODELS.build(recipe).to(x.device, memory_format=layout)
    x = x.contiguous(memory_format=layout)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        sum(model.loss(dict(inputs=x, labels=y)).values()).backward()
        optimizer.step()
        model.after_step()

    return step
