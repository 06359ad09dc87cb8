"""CIFAR-shaped images: batches augmented in memory, against pipelines that take one image at a time in workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import timm.data
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.setting import Setting
from benchmarks.timing import Candidate, Comparison, alternating
from openmix.registry import MODELS

BATCH, PADDING, WORKERS = 100, 4, (0, 1, 2)
MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.2, 0.2)
# Batches that workers have ready at the start of a turn were made in another candidate's time.
SETTLE = 2 * max(WORKERS) + 1


class PerImage(Dataset):
    """Pillow images of one array, as CIFAR's usual data sets answer, each through `transform`."""

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
    """As one would write it for one's own loop: pad once, gather a window of every image, flip."""
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
    """timm's loader as it comes (RandomResizedCrop), without its colour jitter, which the others do not have."""
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
