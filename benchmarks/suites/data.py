"""Data loading of CIFAR-shaped images in memory and of 224 px JPEG files, compared with torchvision's and timm's."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import timm.data
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.data.collate import identity_collate
from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD
from openmix.data.rand_augment import RandAugment
from openmix.registry import DATASETS, MODELS

BATCH, PADDING, WORKERS = 100, 4, (0, 1, 2)
MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.2, 0.2)
# Untimed calls at the start of a turn: workers prepared these batches during the turns of other candidates.
SETTLE = 2 * max(WORKERS) + 1
# DeiT's RandAugment in openmix and in timm.
RAND_AUGMENT = (dict(type='RandAugment', magnitude=9, std=0.5), 'rand-m9-mstd0.5-inc1')


class PerImage(Dataset):
    """A data set that transforms one Pillow image at a time, as torchvision's CIFAR does."""

    def __init__(self, images: Tensor, transform: Callable | None = None) -> None:
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.arrays[i])
        return self.transform(image) if self.transform else image, 0


def _in_memory(images: Tensor, device: str) -> Candidate:
    augment = [dict(type='BatchRandomCrop', padding=PADDING), dict(type='BatchRandomFlip')]
    preprocessor = MODELS.build(dict(type='ImagePreprocessor', mean=MEAN, std=STD, augment=augment)).to(device)
    labels = torch.zeros(len(images), dtype=torch.int64)

    def batch() -> None:
        picked = torch.randint(len(images), (BATCH,))
        data = dict(inputs=images.index_select(0, picked), labels=labels[picked], ids=picked)
        preprocessor(data, training=True)

    return batch


def _by_hand(images: Tensor, device: str) -> Candidate:
    """Augment as in a hand-written loop: pad once, gather a window of every image, flip."""
    padded = torch.nn.functional.pad(images.float(), [PADDING] * 4, mode='reflect').to(torch.uint8)
    side = images.shape[2]
    channel, line = torch.arange(3)[:, None, None], torch.arange(side)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def batch() -> None:
        picked = torch.randint(len(images), (BATCH, 1, 1, 1))
        top, left = torch.randint(2 * PADDING + 1, (2, BATCH, 1, 1, 1))
        x = padded[picked, channel, top + line[:, None], left + line]
        x = torch.where(torch.rand(BATCH, 1, 1, 1) < 0.5, x.flip(3), x)
        ((x.float() / 255 - mean) / std).to(device)

    return batch


def _torchvision(images: Tensor, workers: int) -> DataLoader:
    crop = v2.RandomCrop(images.shape[2], padding=PADDING, padding_mode='reflect')
    scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    data = PerImage(images, v2.Compose([crop, v2.RandomHorizontalFlip(), *scale]))
    return DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def _timm(images: Tensor, workers: int) -> DataLoader:
    """Make timm's loader (RandomResizedCrop) without its colour jitter, which the other candidates do not have."""
    return timm.data.create_loader(
        PerImage(images),
        input_size=tuple(images.shape[1:]),
        batch_size=BATCH,
        is_training=True,
        color_jitter=None,
        interpolation='bilinear',
        mean=MEAN,
        std=STD,
        num_workers=workers,
        persistent_workers=workers > 0,
        use_prefetcher=False,
        pin_memory=False,
    )


def _draw(loader: DataLoader, device: str) -> Candidate:
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: next(batches)[0].to(device)


def photo(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """Draw noise whose amplitude falls with frequency, as in photographs, so that JPEG files have a similar size."""
    pixels = np.zeros((height, width, 3), np.float32)
    for scale, strength in ((128, 45), (32, 30), (8, 16), (3, 12), (1, 9)):
        coarse = rng.standard_normal((height // scale + 2, width // scale + 2, 3), np.float32)
        grey = coarse.mean(2, keepdims=True) * 3**0.5
        for channel, plane in enumerate(np.moveaxis(0.8 * grey + 0.4 * coarse, 2, 0)):
            large = Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.BICUBIC)
            pixels[..., channel] += strength * np.asarray(large)
    return Image.fromarray((pixels + 120).clip(0, 255).astype(np.uint8))


def write_jpegs(root: Path, different: int, names: int) -> None:
    """Write `different` JPEG files of two ImageNet-like sizes to `root/train/photo`, and hard links up to `names`."""
    folder = root / 'train' / 'photo'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(names):
        if i < different:
            photo(rng, *((375, 500) if i % 3 else (500, 375))).save(folder / f'{i}.jpg', quality=90)
        else:
            os.link(folder / f'{i % different}.jpg', folder / f'{i}.jpg')


def _our_files(root: Path, batch: int, workers: int, device: str, augment: list[dict]) -> Candidate:
    """Make a recipe's data set, loader and preprocessor; a call prepares one batch."""
    crop = dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bicubic')
    pipeline = [crop, dict(type='torchvision/RandomHorizontalFlip'), *augment]
    data = DATASETS.build(dict(type='ImageFolder', root=str(root), pipeline=pipeline))
    preprocessor = MODELS.build(dict(type='ImagePreprocessor', mean=IMAGENET_MEAN, std=IMAGENET_STD)).to(device)
    loader = DataLoader(
        data,
        batch,
        shuffle=True,
        num_workers=workers,
        collate_fn=identity_collate,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: preprocessor(next(batches), training=True)


def _timms_files(root: Path, batch: int, workers: int, device: str, augment: str | None, prefetch: bool) -> Candidate:
    """Make timm's data set and loader, without its colour jitter; its prefetcher normalises whole batches."""
    loader = timm.data.create_loader(
        timm.data.ImageDataset(str(root / 'train')),
        input_size=(3, 224, 224),
        batch_size=batch,
        is_training=True,
        color_jitter=None,
        auto_augment=augment,
        interpolation='bicubic',
        num_workers=workers,
        persistent_workers=workers > 0,
        use_prefetcher=prefetch,
        device=torch.device(device),
    )
    # timm's RandAugment fails with Pillow 13 when Posterize keeps 0 bits; openmix's is otherwise the same.
    steps = loader.dataset.transform.transforms
    steps[:] = [
        RandAugment().transform if isinstance(step, timm.data.auto_augment.RandAugment) else step for step in steps
    ]
    return _draw(loader, device)


def _from_files(root: Path, setting: Setting, batch: int) -> Iterator[Comparison]:
    for recipe, ours, timms in (('', [], None), (' and RandAugment', RAND_AUGMENT[:1], RAND_AUGMENT[1])):
        runs, against = {}, {}
        for workers in WORKERS[:1] if setting.quick else WORKERS:
            mine = f'ours, {workers} workers'
            runs[mine], against[mine] = _our_files(root, batch, workers, setting.device, [*ours]), list[str]()
            for kind, prefetch in (('', False), (' and prefetcher', True)):
                theirs = f'timm, {workers} workers{kind}'
                runs[theirs] = _timms_files(root, batch, workers, setting.device, timms, prefetch)
                against[theirs] = [mine]
        title = f'data: a batch of {batch} 224 px JPEGs, RandomResizedCrop, flip{recipe}'
        yield Comparison(title, alternating(runs, SETTLE), against)
        runs.clear()  # ends the workers, which would otherwise read deleted files


def comparisons(setting: Setting) -> Iterator[Comparison]:
    images = torch.randint(256, (300 if setting.quick else 50_000, 3, 32, 32), dtype=torch.uint8)
    runs = {
        'ours, in memory': _in_memory(images, setting.device),
        'by hand, in memory': _by_hand(images, setting.device),
    }
    for whose, make in (('torchvision', _torchvision), ('timm', _timm)):
        for workers in WORKERS[:1] if setting.quick else WORKERS:
            runs[f'{whose}, image by image, {workers} workers'] = _draw(make(images, workers), setting.device)
    yield Comparison(f'data: one batch of {BATCH} CIFAR-shaped images', alternating(runs, SETTLE))
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), *((4, 16) if setting.quick else (64, 4096)))
        yield from _from_files(Path(folder), setting, 4 if setting.quick else 32)
