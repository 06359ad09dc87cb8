"""Training steps at 224 px with images on the device, compared with timm's training script and with their FLOPs."""

from __future__ import annotations

from collections.abc import Iterator

import timm
import timm.data
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn

from benchmarks.flops import arithmetic, beside_arithmetic, step_flops
from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.registry import MODELS, OPTIM_WRAPPERS

# Network, side of an image, and the site whose features a learned policy reads.
NETWORKS = (('resnet50', 224, 'layer3'), ('deit_small_patch16_224', 224, 'blocks.8'))
QUICK = (('resnet18', 32, 'layer3'),)
# Images per step, and size of the matrices.
SIZES = {'cuda': (256, 8192), 'cpu': (16, 1024)}
CLASSES, ALPHA, RATE = 1000, 0.2, 1e-3


def timms_step(name: str, x: Tensor, y: Tensor) -> Candidate:
    """Make a training step as in timm's script after its prefetcher: bfloat16, channels-last, Mixup, AdamW.

    Args:
        name: name of timm's network.
        x: (N, 3, H, W) uint8, N even.
        y: (N,) int64.
    """
    net = timm.create_model(name, num_classes=CLASSES).to(x.device, memory_format=torch.channels_last).train()
    optimizer = timm.optim.create_optimizer_v2(net, opt='adamw', lr=RATE, weight_decay=0.05)
    mix = timm.data.Mixup(mixup_alpha=ALPHA, num_classes=CLASSES, label_smoothing=0.0, prob=1.0)
    loss = SoftTargetCrossEntropy()
    mean, std = (255 * torch.tensor(value, device=x.device).view(1, 3, 1, 1) for value in (MEAN, STD))

    def step() -> None:
        images, targets = mix((x.float() - mean) / std, y)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16):
            value = loss(net(images), targets)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def recipe(name: str, policy: dict) -> dict:
    """Make the model part of an ImageNet recipe."""
    return dict(
        type='MixClassifier',
        data_preprocessor=dict(type='ImagePreprocessor', mean=MEAN, std=STD, channels_last=True),
        backbone=dict(type='TimmBackbone', name=name),
        head=dict(type='LinearHead', num_classes=CLASSES),
        policy=policy,
    )


def our_step(model: nn.Module, x: Tensor, y: Tensor) -> Candidate:
    """Make openmix's training step, `train_step` as the engine calls it, also in bfloat16 and with AdamW.

    Args:
        model: the model of `recipe`.
        x: (N, 3, H, W) uint8.
        y: (N,) int64.
    """
    model = model.to(x.device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.05)
    optimizer.register_step_post_hook(lambda *_: model.after_step())
    wrapper = OPTIM_WRAPPERS.build(dict(type='AutocastOptimWrapper', optimizer=optimizer))
    data = dict(inputs=x, labels=y, ids=torch.arange(len(y), device=x.device))
    return lambda: model.train_step(data, wrapper)


def comparisons(setting: Setting) -> Iterator[Comparison]:
    n, side = (2, 64) if setting.quick else SIZES[setting.device]
    for name, pixels, site in QUICK if setting.quick else NETWORKS:
        x = torch.randint(256, (n, 3, pixels, pixels), dtype=torch.uint8, device=setting.device)
        y = torch.randint(CLASSES, (n,), device=setting.device)
        policies = {'ours, Mixup': dict(type='Mixup', alpha=ALPHA), 'ours, AMix': dict(type='AMix', site=site)}
        models = {run: MODELS.build(recipe(name, policy)) for run, policy in policies.items()}
        flops = {run: step_flops(model, (3, pixels, pixels)) * n for run, model in models.items()}
        runs = {"timm's, Mixup": timms_step(name, x, y)}
        runs |= {run: our_step(model, x, y) for run, model in models.items()}
        against = {'ours, AMix': ['ours, Mixup', arithmetic('ours, AMix')]}
        against['ours, Mixup'] = ["timm's, Mixup", arithmetic('ours, Mixup')]
        yield Comparison(
            f'large: {name}, batch {n}, {pixels} px, bfloat16',
            beside_arithmetic(alternating(runs), flops, side, setting.device),
            against | {arithmetic(run): [] for run in models},
        )
        del models, runs
