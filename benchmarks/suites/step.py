"""openmix's training step in several memory formats and precisions, compared with plain float32 PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn

from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.registry import MODELS, OPTIM_WRAPPERS

MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.2, 0.2)
SGD = dict(lr=0.1, momentum=0.9, weight_decay=1e-4)


def plain_step(
    n: int, classes: int, device: str, layout: torch.memory_format = torch.contiguous_format, half: bool = False
) -> Candidate:
    """Make a training step as in PyTorch's tutorials: prepared images, cross-entropy, SGD.

    Args:
        n: batch size.
        classes: number of classes.
        device: 'cpu' or 'cuda'.
        layout: memory format of images and weights.
        half: run the forward pass in bfloat16.
    """
    backbone = MODELS.build(dict(type='CIFARResNet', depth=18))
    net = nn.Sequential(backbone, nn.Linear(backbone.num_features, classes)).to(device, memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), **SGD)
    x = torch.randn(n, 3, 32, 32, device=device).to(memory_format=layout)
    y = torch.randint(classes, (n,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits = net(x)
        nn.functional.cross_entropy(logits.float(), y).backward()
        optimizer.step()

    return step


def our_step(n: int, classes: int, device: str, loss: str, channels_last: bool, wrapper: dict) -> Candidate:
    """Make openmix's training step, `train_step` as the engine calls it, with augmentation and mixing."""
    augment = [dict(type='BatchRandomCrop', padding=4), dict(type='BatchRandomFlip')]
    recipe = dict(
        type='MixClassifier',
        data_preprocessor=dict(
            type='ImagePreprocessor', mean=MEAN, std=STD, augment=augment, channels_last=channels_last
        ),
        backbone=dict(type='CIFARResNet', depth=18),
        head=dict(type='LinearHead', num_classes=classes, loss=dict(type=loss)),
        policy=dict(type='Mixup'),
    )
    model = MODELS.build(deepcopy(recipe)).to(device)
    optim_wrapper = OPTIM_WRAPPERS.build({**wrapper, 'optimizer': torch.optim.SGD(model.parameters(), **SGD)})
    data = dict(
        inputs=torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8),
        labels=torch.randint(classes, (n,)),
        ids=torch.arange(n),
    )
    return lambda: model.train_step(data, optim_wrapper)


def comparisons(setting: Setting) -> Iterator[Comparison]:
    n, classes = 2 if setting.quick else 100, 100
    float32, bfloat16 = dict(type='OptimWrapper'), dict(type='AutocastOptimWrapper', dtype='bfloat16')
    last = torch.channels_last
    runs = {
        'plain float32': plain_step(n, classes, setting.device),
        'plain float32, channels_last': plain_step(n, classes, setting.device, last),
        'plain bfloat16, channels_last': plain_step(n, classes, setting.device, last, half=True),
        'ours, float32': our_step(n, classes, setting.device, 'mix_ce', False, float32),
        'ours, float32, channels_last': our_step(n, classes, setting.device, 'mix_ce', True, float32),
        'ours, bfloat16, channels_last': our_step(n, classes, setting.device, 'mix_ce', True, bfloat16),
        'ours with DM(CE), likewise': our_step(n, classes, setting.device, 'decoupled_ce', True, bfloat16),
    }
    yield Comparison(f'step: ResNet-18 (CIFAR stem), batch {n}', alternating(runs))
