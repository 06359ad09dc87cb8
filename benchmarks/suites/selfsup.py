"""A training step of each self-supervised method with mixed images beside one of MoCo v2, and beside lightly's."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.memory import memories_in
from openmix.registry import MODELS

WIDTH, TEMPERATURE, MOMENTUM, CLUSTERS = 128, 0.2, 0.999, 200
SGD = dict(lr=0.03, momentum=0.9, weight_decay=1e-4)
MIXUP, CUTMIX = dict(type='Mixup', alpha=1.0, share='batch'), dict(type='CutMix', alpha=1.0, share='batch')
KEYS = dict(type='pair_bce', of='keys', temperature=TEMPERATURE)


def _amix(main: dict, views: str) -> dict[str, Any]:
    return dict(policy=dict(type='AMix', share='batch', adjust_prob=1.0, mixer_losses=[main, KEYS]), views=views)


def methods(images: int) -> dict[str, dict[str, Any]]:
    """Return options of `MoCo` by name; the first has none. There are `images` images in all."""
    infonce, ce = dict(type='info_nce', of='queue'), dict(type='mix_ce', of='labels')
    clusters = min(CLUSTERS, images // 2)
    bank = dict(type='ClusterBank', clusters=clusters, momentum=0.0, least=1, centroids_every=250, small_every=50)
    of_clusters = dict(labels='clusters', bank=bank)
    return {
        'MoCo v2': {},
        '+MixUp (A)': dict(policy=MIXUP),
        'Un-Mix': dict(policy=dict(type='OneOf', policies=[MIXUP, CUTMIX], share='batch'), partners='reversed'),
        '+MixUp (B)': dict(policy=MIXUP, views='both'),
        'AMix-I': _amix(infonce, 'cross'),
        'AMix-C': _amix(ce, 'cross') | of_clusters,
        'AMix-I, views of both': _amix(infonce, 'both'),
        'AMix-C, views of both': _amix(ce, 'both') | of_clusters,
    }


def step_of(options: dict[str, Any], views: Tensor, queue: int, images: int) -> Candidate:
    """Make a training step of `MoCo` on ready views (N, 2, 3, H, W), after its loss, with the optimiser."""
    backbone = dict(type='TorchvisionBackbone', name='resnet18')
    recipe = dict(type='MoCo', backbone=backbone, width=WIDTH, queue=queue, temperature=TEMPERATURE, momentum=MOMENTUM)
    model = MODELS.build(deepcopy(recipe | options)).to(views.device)
    model.start()
    for memory in memories_in(model):
        memory.allocate(images)
    if 'bank' in options:
        unit = nn.functional.normalize(torch.randn(images, WIDTH, device=views.device), dim=1)
        model.classes.bank.fill(unit, torch.arange(images, device=views.device) % options['bank']['clusters'])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], **SGD)
    steps = iter(range(10**9))

    def step() -> None:
        at = next(steps)
        # Other images in each step, as a training has.
        ids = (at * len(views) + torch.arange(len(views), device=views.device)) % images
        model.before_step(at % 1000, 1000)
        optimizer.zero_grad()
        model.parse_losses(model.loss(dict(inputs=views, ids=ids)))[0].backward()
        optimizer.step()
        model.after_step()

    return step


def lightly_step(views: Tensor, queue: int) -> Candidate:
    """Make a step of MoCo v2 of lightly's parts with the same network, queue and optimiser."""
    from lightly.loss import NTXentLoss  # type: ignore[import-not-found]
    from lightly.models.modules import MoCoProjectionHead  # type: ignore[import-not-found]
    from lightly.models.utils import (  # type: ignore[import-not-found]
        batch_shuffle,
        batch_unshuffle,
        deactivate_requires_grad,
        update_momentum,
    )

    backbone = resnet18()
    width, backbone.fc = backbone.fc.in_features, nn.Identity()
    projector = MoCoProjectionHead(width, width, WIDTH)
    parts = [part.to(views.device) for part in (backbone, projector)]
    keys = [deepcopy(part) for part in parts]
    for part in keys:
        deactivate_requires_grad(part)
    criterion = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(queue, WIDTH)).to(views.device)
    optimizer = torch.optim.SGD([p for part in parts for p in part.parameters()], **SGD)

    def step() -> None:
        for part, key in zip(parts, keys):
            update_momentum(part, key, MOMENTUM)
        query = parts[1](parts[0](views[:, 0]).flatten(1))
        with torch.no_grad():
            shuffled, order = batch_shuffle(views[:, 1])
            key = batch_unshuffle(keys[1](keys[0](shuffled).flatten(1)), order)
        optimizer.zero_grad()
        criterion(query, key).backward()
        optimizer.step()

    return step


def comparisons(setting: Setting) -> Iterator[Comparison]:
    gpu = setting.device == 'cuda'
    n, side, queue = (2, 32, 16) if setting.quick else (256, 96, 16384) if gpu else (32, 96, 16384)
    images = 4 * queue
    views = torch.randn(n, 2, 3, side, side, device=setting.device)
    settle = 1 if gpu else 0  # a step takes a CPU seconds, so none before the timed one is needed
    runs = {name: step_of(options, views, queue, images) for name, options in methods(images).items()}
    title = f'selfsup: training step of ResNet-18, batch {n} of {side} px, queue {queue}'
    yield Comparison(title, alternating(runs, settle))
    if find_spec('lightly'):
        # In turns of their own, next to each other.
        ours = next(iter(runs))
        pair = {"lightly's": lightly_step(views, queue), 'ours': runs[ours]}
        yield Comparison(f'selfsup: {ours} of the same network, images and queue', alternating(pair, settle))
