"""Views of a semi-supervised batch on the device and image by image; a FixMatch step beside bare passes and USB's."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.peer import one_line
from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.data.random_size_cutout import RandomSizeCutout
from openmix.data.uniform_rand_augment import UniformRandAugment
from openmix.errors import InputError
from openmix.models.semisup.base import SemiSupervised
from openmix.registry import MODELS, OPTIM_WRAPPERS

RATIO, CLASSES, WORKERS = 7, 10, (0, 2)
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
SGD = dict(lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
WEAK = [dict(type='BatchRandomFlip'), dict(type='BatchRandomCrop', padding=4)]
STRONG = [dict(type='BatchUniformRandAugment'), dict(type='BatchRandomSizeCutout'), *WEAK]
PREPROCESSOR = dict(
    type='ImagePreprocessor', mean=MEAN, std=STD, augment=dict(labelled=WEAK, unlabelled=[WEAK, STRONG])
)
NETWORK = dict(type='WideResNet', depth=28, bias=True, negative_slope=0.1, norm_eps=1e-3, norm_momentum=1e-3)


class PerImage(Dataset):
    """Make the views of one image at a time with Pillow, as published runs do: one of every eighth image, else two."""

    def __init__(self, images: Tensor) -> None:
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        crop = v2.RandomCrop(images.shape[2], padding=4, padding_mode='reflect')
        scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        weak = [v2.RandomHorizontalFlip(), crop, *scale]
        self.weak, self.strong = v2.Compose(weak), v2.Compose([UniformRandAugment(), RandomSizeCutout(), *weak])

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        image = Image.fromarray(self.arrays[i])
        return (self.weak(image),) if i % (1 + RATIO) == 0 else (self.weak(image), self.strong(image))


def collate(samples: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Stack the labelled images (B, 3, H, W) and both views of the unlabelled ones (7 B, 2, 3, H, W)."""
    one = torch.stack([sample[0] for sample in samples if len(sample) == 1])
    return one, torch.stack([torch.stack(sample) for sample in samples if len(sample) == 2])


def image_by_image(images: Tensor, batch: int, workers: int, device: str) -> Candidate:
    loader = DataLoader(
        PerImage(images), batch, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate, drop_last=True
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: [part.to(device) for part in next(batches)]


def drawn(images: Tensor, labelled: int, unlabelled: int) -> dict[str, dict[str, Tensor]]:
    """Draw a batch of two pools from images in memory."""
    found = {}
    for pool, count in (('labelled', labelled), ('unlabelled', unlabelled)):
        ids = torch.randint(len(images), (count,))
        found[pool] = dict(inputs=images.index_select(0, ids), ids=ids)
    found['labelled']['labels'] = found['labelled']['ids'] % CLASSES
    return found


def in_memory(images: Tensor, labelled: int, device: str) -> Candidate:
    preprocessor = MODELS.build(deepcopy(PREPROCESSOR)).to(device)
    return lambda: preprocessor(drawn(images, labelled, RATIO * labelled), training=True)


def fixmatch(width: int, device: str) -> SemiSupervised:
    return MODELS.build(
        deepcopy(
            dict(
                type='FixMatch',
                backbone=dict(NETWORK, widen_factor=width),
                head=dict(type='LinearHead', num_classes=CLASSES, loss=dict(type='mix_ce')),
                data_preprocessor=PREPROCESSOR,
            )
        )
    ).to(device)


def steps(model: SemiSupervised, raw: dict[str, Any], ready: dict[str, Any]) -> dict[str, Candidate]:
    """Make a FixMatch step with and without its views, and the bare passes of its network over as many images.

    Args:
        model: the method.
        raw: a batch of two pools, as loaders make it.
        ready: the same with its views, as the preprocessor makes it.
    """
    wrapper = OPTIM_WRAPPERS.build(dict(type='OptimWrapper', optimizer=torch.optim.SGD(model.parameters(), **SGD)))
    network = nn.Sequential(model.backbone, model.head)
    x = torch.cat([ready['labelled']['inputs'], *ready['unlabelled']['inputs'].unbind(1)])
    y = torch.randint(CLASSES, (len(x),), device=x.device)

    def bare() -> None:
        model.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()

    def ours() -> None:
        model.zero_grad()
        model.parse_losses(model.loss(ready))[0].backward()

    return {
        'bare forward and backward': bare,
        'ours, loss and backward': ours,
        'ours, with views and optimiser': lambda: model.train_step(raw, wrapper),
    }


def ready_step(model: SemiSupervised, ready: dict[str, Any]) -> Candidate:
    """Make a FixMatch step on ready views: loss, backward pass and optimiser."""
    wrapper = OPTIM_WRAPPERS.build(dict(type='OptimWrapper', optimizer=torch.optim.SGD(model.parameters(), **SGD)))
    return lambda: wrapper.update_params(model.parse_losses(model.loss(ready))[0])


class Answering(nn.Module):
    """A network with the answer that USB asks for."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        return {'logits': self.head(features), 'feat': features}


def usb_steps(model: SemiSupervised, ready: dict[str, Any]) -> dict[str, Candidate]:
    """Make FixMatch steps of USB on ready views, of a copy of our network and of its own WRN-28-2.

    Raises:
        InputError: USB's package `semilearn` cannot be imported.
    """
    try:
        from semilearn import get_algorithm, get_config, get_net_builder  # type: ignore[import-not-found]
    except Exception as error:  # importing the peer may raise any exception
        raise InputError(f'semilearn is installed, and cannot be imported: {one_line(error)}') from error
    # No data set has this name, so that none is read; the rate of a long schedule hardly falls.
    args = get_config(
        dict(algorithm='fixmatch', dataset='none', num_classes=CLASSES, num_train_iter=2**20, distributed=False)
        | dict(net='wrn_28_2', lr=SGD['lr'], momentum=SGD['momentum'], weight_decay=SGD['weight_decay'])
    )
    x, (weak, strong) = ready['labelled']['inputs'], ready['unlabelled']['inputs'].unbind(1)
    batch = dict(x_lb=x, y_lb=ready['labelled']['labels'], x_ulb_w=weak, x_ulb_s=strong)

    def step_of(builder: Callable[..., nn.Module]) -> Candidate:
        algorithm = get_algorithm(args, builder, None, logging.getLogger('semilearn'))
        algorithm.model.to(x.device).train()

        def step() -> None:
            algorithm.out_dict, algorithm.log_dict = algorithm.train_step(**batch)
            algorithm.call_hook('after_train_step', 'ParamUpdateHook')

        return step

    return {
        "USB's": step_of(lambda **options: Answering(deepcopy(model.backbone), deepcopy(model.head))),
        "USB's, of its own WRN-28-2": step_of(get_net_builder(args.net, from_name=False)),
    }


def comparisons(setting: Setting) -> Iterator[Comparison]:
    labelled = 2 if setting.quick else 64
    batch = labelled * (1 + RATIO)
    images = torch.randint(256, (2 * batch if setting.quick else 50_000, 3, 32, 32), dtype=torch.uint8)
    runs = {'ours, on the device': in_memory(images, labelled, setting.device)}
    for workers in WORKERS[:1] if setting.quick else WORKERS:
        runs[f'image by image, {workers} workers'] = image_by_image(images, batch, workers, setting.device)
    # Untimed calls at the start of a turn: workers prepared these batches during the turns of other candidates.
    yield Comparison(
        f'semisup: weak and strong views of {labelled} + {RATIO} x {labelled} CIFAR-shaped images',
        alternating(runs, settle=1 if setting.quick else 5),
    )
    # A whole batch takes a CPU half a minute.
    labelled, width = (2, 1) if setting.quick else (64, 2) if setting.device == 'cuda' else (8, 2)
    model = fixmatch(width, setting.device)
    raw = drawn(images, labelled, RATIO * labelled)
    ready = model.data_preprocessor(raw, training=True)
    of = f'{labelled} + {RATIO} x {labelled} images'
    yield Comparison(f'semisup: a FixMatch step of WRN-28-{width}, {of}', alternating(steps(model, raw, ready)))
    if find_spec('semilearn'):
        pair = usb_steps(model, ready) | {'ours': ready_step(model, ready)}
        title = f"semisup: a FixMatch step of WRN-28-{width} beside USB's, the same network and {of}, ready views"
        settle = 1 if setting.device == 'cuda' else 0  # a step takes a CPU seconds
        yield Comparison(title, alternating(pair, settle), {'ours': list(pair)[:-1]})
