"""CIFAR-shaped images: batches augmented in memory, against one image at a time in two workers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.timing import Candidate
from openmix.registry import MODELS

BATCH = 100
MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.2, 0.2)


class PerImage(Dataset):
    """The usual pipeline: crop, flip, to float and normalise, image by image."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        crop = v2.RandomCrop(32, padding=4, padding_mode='reflect')
        scale = v2.ToDtype(torch.float32, scale=True)
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip(), scale, v2.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.transform(self.images[i])


def _endless(loader: DataLoader) -> Iterator[torch.Tensor]:
    while True:
        yield from loader


def candidates(device: str) -> Iterator[tuple[str, dict[str, Candidate]]]:
    images = torch.randint(256, (50_000, 3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(len(images), dtype=torch.int64)
    augment = [dict(type='BatchRandomCrop', padding=4), dict(type='BatchRandomFlip')]
    preprocessor = MODELS.build(dict(type='ImagePreprocessor', mean=MEAN, std=STD, augment=augment)).to(device)

    def in_memory() -> None:
        picked = torch.randint(len(images), (BATCH,))
        preprocessor(dict(inputs=images[picked], labels=labels[picked], ids=picked), training=True)

    runs: dict[str, Candidate] = {'in memory, a batch at a time': in_memory}
    for workers in (0, 2):
        loader = DataLoader(PerImage(images), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        batches = _endless(loader)
        runs[f'image by image, {workers} workers'] = lambda batches=batches: next(batches).to(device)
    yield f'one batch of {BATCH} CIFAR-shaped images', runs
