"""Predict the classes of images, with the preparation of the recipe's validation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from openmix.data.collate import identity_collate
from openmix.data.read import UnreadableImage
from openmix.errors import InputError, check_number
from openmix.inference.images import GivenImages, Images
from openmix.inference.model import ImageClassifier, device_of, load_model
from openmix.models.preprocessor import to_pixels


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, the likeliest first.

    Attributes:
        image: the file, or '<image N>' for the N-th, from 0, of an array or list.
        labels: numbers of the classes.
        classes: their names.
        probabilities: their softmax, in [0, 1].
    """

    image: str
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def __str__(self) -> str:
        told = ', '.join(f'{name} {p:.4f}' for name, p in zip(self.classes, self.probabilities))
        return f'{self.image}: {told}'


def predict(
    model: ImageClassifier | str | Path,
    images: Images,
    topk: int = 5,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    workers: int = 0,
    skip_corrupt: bool = False,
    **load: Any,
) -> list[Prediction]:
    """Predict the classes of images; they are prepared as the recipe prepares validation images.

    Args:
        model: what `load_model` returns, or takes.
        images: a file, a folder (all images below it), an array or tensor (see `GivenImages`), or a list of files,
            Pillow images or arrays.
        topk: number of classes of each image; no more than there are.
        batch_size: number of images that the network reads at once.
        device: where to run; None: where the model is, or the GPU if there is one.
        workers: number of processes that read files; 0: this one.
        skip_corrupt: leave out files that are no readable images, with a warning; False: raise an error.
        load: `ema`, `config` and `options` of `load_model`, for a model that is given by its path.

    Returns:
        one `Prediction` for each image, in their order; in a folder, in the order of their paths.

    Raises:
        InputError: there are no images, one cannot be read or prepared, or all cannot, or see `load_model`.
    """
    if isinstance(model, ImageClassifier):
        if load:
            raise InputError(f'{", ".join(load)}: of a model that is loaded from a path; this one is loaded')
        if device is not None and (where := device_of(device)) != model.device:
            model = copy.deepcopy(model).to(where)
    else:
        model = load_model(model, device, **load)
    return list(predictions(model, images, topk, batch_size, workers, skip_corrupt))


def predictions(
    model: ImageClassifier,
    images: Images,
    topk: int = 5,
    batch_size: int = 64,
    workers: int = 0,
    skip_corrupt: bool = False,
) -> Iterator[Prediction]:
    """Yield predictions batch by batch, see `predict`."""
    check_number('topk', topk, 1)
    check_number('batch_size', batch_size, 1)
    check_number('workers', workers, 0)
    given = GivenImages(images, model.pipeline, model.size, skip_corrupt)
    batches = BatchSampler(SequentialSampler(given), batch_size, drop_last=False)
    loader = DataLoader(given, batch_sampler=batches, num_workers=workers, collate_fn=identity_collate)
    model.eval()
    read = 0
    try:
        for batch in loader:
            if not len(batch['ids']):  # of which nothing is readable
                continue
            read += len(batch['ids'])
            yield from _predicted(model, batch['inputs'], [given.name(i) for i in batch['ids'].tolist()], topk)
    except UnreadableImage as error:
        raise InputError(str(error).replace(' in the data set', '')) from error
    if not read:
        raise InputError(f'none of the {len(given)} images is readable, e.g. {given.name(0)}')


def _predicted(model: ImageClassifier, inputs: Any, names: Sequence[str], topk: int) -> Iterator[Prediction]:
    with torch.inference_mode():
        logits = model(to_pixels(inputs.to(model.device)))
        model.check_names(logits.shape[1])
        best = logits.float().softmax(1).topk(min(topk, logits.shape[1]), dim=1)
    for name, labels, shares in zip(names, best.indices.tolist(), best.values.tolist()):
        yield Prediction(name, tuple(labels), tuple(map(model.name, labels)), tuple(shares))
