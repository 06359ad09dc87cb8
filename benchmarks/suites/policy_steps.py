"""A training step with each policy of two lists, beside one with Mixup: what a policy costs where it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from benchmarks.setting import Setting
from benchmarks.steps import RESNET18, classifier_step
from benchmarks.timing import Comparison, alternating

VIT: Mapping[str, Any] = dict(
    type='TimmBackbone', name='deit_tiny_patch16_224', img_size=64, patch_size=8, depth=4, drop_path_rate=0.1
)
MIXUP = {'Mixup': dict(type='Mixup')}
# A further policy is one more row. A teacher's weights are random, which cost the same; a policy that draws where to
# mix has one place, so that every step costs the same.
POLICIES: Mapping[str, dict[str, Any]] = {
    'GridMix': dict(type='GridMix'),
    'SmoothMix': dict(type='SmoothMix'),
    'AttentiveMix, a ResNet-18 at 224 px': dict(
        type='AttentiveMix', teacher=dict(name='torchvision/resnet18', pretrained=False)
    ),
    'PatchUp behind layer2': dict(type='PatchUp', sites=('layer2',)),
    'SKMixup': dict(type='SKMixup'),
    'SnapMix': dict(type='SnapMix'),
    'GuidedMixup': dict(type='GuidedMixup'),
    'GuidedMixup, gradients': dict(type='GuidedMixup', saliency='gradient'),
    'AlignMix behind layer4': dict(type='AlignMix', sites=('layer4',)),
    'RegMixup': dict(type='RegMixup'),
    'RecursiveMix': dict(type='RecursiveMix'),
    'SUMix of CutMix': dict(type='SUMix', policy=dict(type='CutMix')),
    'AdAutoMix': dict(type='AdAutoMix'),
}
# Those that read the attention of a transformer.
ATTENDED: Mapping[str, dict[str, Any]] = {
    'CutMix': dict(type='CutMix'),
    'TransMix': dict(type='TransMix'),
    'TokenMix': dict(type='TokenMix'),
    'MixPro': dict(type='MixPro'),
    'SMMix': dict(type='SMMix'),
    'MergeMix': dict(type='MergeMix'),
}


def comparisons(setting: Setting) -> Iterator[Comparison]:
    n, classes = 2 if setting.quick else 100, 100
    for title, backbone, side, policies in (
        ('ResNet-18 (CIFAR stem), 32 px', RESNET18, 32, POLICIES),
        ('a DeiT of 4 blocks, 64 px in patches of 8', VIT, 64, ATTENDED),
    ):
        x = torch.rand(n, 3, side, side, device=setting.device)
        y = torch.randint(classes, (n,), device=setting.device)
        steps = {
            name: classifier_step(policy, x, y, classes, backbone=backbone)
            for name, policy in {**MIXUP, **policies}.items()
        }
        yield Comparison(f'policy_steps: {title}, batch {n}', alternating(steps))
