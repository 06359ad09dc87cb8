"""Data sets of a regression: each image has numbers, not a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from openmix.batch import Batch
from openmix.data.base import ImageDataset
from openmix.errors import InputError


class NumberedImages(ImageDataset):
    """A base of data sets whose `labels` in a batch are (n, K) float32 numbers; it stands before the others.

    Attributes:
        numbers: (N, K) float32, the numbers of every sample, in the order of `Facts.targets`.
    """

    numbers: Tensor

    def give_numbers(self, numbers: Tensor) -> None:
        """Set the numbers of the split's images.

        Args:
            numbers: (N, K) floats.

        Raises:
            InputError: one is not finite.
        """
        wrong = torch.nonzero(~numbers.isfinite())
        if len(wrong):
            row, column = wrong[0].tolist()
            raise InputError(
                f'{type(self).__name__}: {self.known.targets[column]} of image {row} is no finite number, got '
                f'{float(numbers[row, column])}'
            )
        self.numbers = numbers.float()

    @classmethod
    def example(cls, n: int, **kwargs: Any) -> Batch | None:
        found = super().example(n, **kwargs)
        if found is not None:
            found['labels'] = torch.empty(n, len(cls.facts(**kwargs).targets), device='meta')
        return found

    def images_a_class(self) -> Tensor:
        """Return an empty tensor, for there are no classes."""
        return torch.zeros(0, dtype=torch.int64)

    def move(self, device: torch.device | str) -> None:
        super().move(device)
        self.numbers = self.numbers.to(device)

    def keep(self, places: Tensor) -> None:
        super().keep(places)
        self.numbers = self.numbers[places]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        found = super().__getitems__(indices)
        found['labels'] = self.numbers[found['ids']]
        return found
