"""A Self-Tuning step beside the bare passes of its networks: two queries with gradient, two keys without."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.models.transfer.self_tuning import SelfTuning
from openmix.registry import MODELS

CLASSES, WIDTH, QUEUE = 200, 1024, 32


def drawn(batch: int, side: int, device: str) -> dict[str, dict[str, Tensor]]:
    """Draw a normalised batch of two pools with two views of every image."""
    found = {}
    for pool, labels in (('labelled', 'labels'), ('unlabelled', 'true_labels')):
        images = torch.randn(batch, 2, 3, side, side, device=device)
        classes = torch.randint(CLASSES, (batch,), device=device)
        found[pool] = {'inputs': images, labels: classes, 'ids': torch.arange(batch, device=device)}
    return found


def steps(batch: int, side: int, network: str, device: str) -> dict[str, Candidate]:
    """Make the step of the released code and the one without its second passes, each with its bare passes."""
    ready = drawn(batch, side, device)
    (x, x_key), (u, u_key) = (ready[pool]['inputs'].unbind(1) for pool in ('labelled', 'unlabelled'))
    found: dict[str, Candidate] = {}
    for name, options in (('one pass a view', {}), ('as released', SelfTuning.published)):
        recipe = dict(
            type='SelfTuning',
            backbone=dict(type='TorchvisionBackbone', name=network),
            head=dict(type='LinearHead', num_classes=CLASSES),
            projector_width=WIDTH,
            queue=QUEUE,
            **options,
        )
        model = MODELS.build(recipe).to(device).train()
        model.start()

        def bare(model: SelfTuning = model) -> None:
            model.zero_grad()
            query = nn.Sequential(model.backbone, model.head)
            with torch.no_grad():
                for _ in range(model.query_passes - 1):
                    query(u)
                for images in (x_key, u_key):
                    model.encoder(images, 'projector')
            total = sum(nn.functional.cross_entropy(query(images), ready['labelled']['labels']) for images in (x, u))
            torch.as_tensor(total).backward()

        def ours(model: SelfTuning = model) -> None:
            model.zero_grad()
            model.parse_losses(model.loss(ready))[0].backward()
            model.after_step()

        found |= {f'bare passes, {name}': bare, f'ours, {name}': ours}
    return found


def comparisons(setting: Setting) -> Iterator[Comparison]:
    # A step with images of 224 pixels takes a CPU half a minute.
    batch, side = (2, 32) if setting.quick else (24, 224 if setting.device == 'cuda' else 96)
    network = 'resnet50' if setting.device == 'cuda' else 'resnet18'
    candidates = steps(batch, side, network, setting.device)
    for name in ('one pass a view', 'as released'):
        title = f'transfer: a Self-Tuning step, {name}, {network}, {batch} + {batch} images of {side} px'
        pair = {kind: run for kind, run in candidates.items() if kind.endswith(name)}
        yield Comparison(title, alternating(pair))
