"""Data sets of image files with boxes: the images of a batch differ in size, and are returned as a list."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from openmix.batch import Batch
from openmix.data.base import Shape
from openmix.data.box_pipeline import build_box_pipeline, run_box_pipeline
from openmix.data.facts import Facts
from openmix.data.image_files import ImageFiles, check_present
from openmix.data.pipeline import kept_generators, seed_generators
from openmix.data.read import UnreadableImage, read_image
from openmix.data.splits import Subset, choose_rows
from openmix.data.subset_list import rows_in_list
from openmix.data.voc_annotation import Annotation, read_annotation
from openmix.errors import InputError, check_choice, nearest, printable
from openmix.registry import TransformConfig

_MOST_NAMED = 20
# Sizes (H, W) and numbers of boxes of the images of an example; the numbers differ, as those of real images do.
_EXAMPLES = ((375, 500), (500, 375), (333, 500))


class Listed(NamedTuple):
    """An image of a list: its file and the file with its objects."""

    image: Path
    annotation: Path


class Truth(NamedTuple):
    """The objects of one image as its annotation has them.

    Attributes:
        size: (H, W) of the image.
        boxes: (M, 4) float32, left, top, right, bottom in pixels.
        labels: (M,) int64.
        difficult: (M,) bool, objects that an evaluation does not count.
    """

    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    difficult: Tensor


class BoxFiles(ImageFiles):
    """Image files with annotations in Pascal VOC's format, read and transformed together by the loader's workers.

    Coordinates of an annotation count pixels from 1 and include both ends: a box from 1 to the width of the image
    covers it. Here boxes are left, top, right, bottom in pixels from 0, so 1 is subtracted from the first two. A
    coordinate of 0, which other tools write, counts as 1.

    Args:
        facts: see `ImageDataset`; the names of all classes.
        listed: the M images of the split.
        pipeline: transforms of an image and its boxes with uint8 output, see `build_box_pipeline`; None: as the file.
        bad_boxes: what to do about boxes outside their image or of no area: 'error', or 'drop' to leave them out and
            list them in a warning.
        empty: 'drop' leaves out images without objects, as in training; 'keep' keeps them.
        split_seed: seed that draws the subset; None: the run's seed.
        subset: a number or a share of the images, or a file that lists some.
        skip_corrupt: leave unreadable images out of their batch; False: raise an error.

    Raises:
        InputError: a file is missing or damaged, an object has an unknown class or a bad box, no image is left, or an
            argument is wrong.
    """

    def __init__(
        self,
        facts: Facts,
        listed: Sequence[Listed],
        pipeline: Sequence[TransformConfig] | None = None,
        bad_boxes: str = 'error',
        empty: str = 'keep',
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        name = type(self).__name__
        check_choice(f'{name}: bad_boxes', bad_boxes, ('error', 'drop'))
        check_choice(f'{name}: empty', empty, ('keep', 'drop'))
        check_present(name, [one.image for one in listed], 'put them there, or take them off the list')
        label_of = {known: label for label, known in enumerate(facts.classes)}
        self.dropped: list[str] = []
        truths = [self._truth(read_annotation(one.annotation), one.annotation, label_of) for one in listed]
        if self.dropped:
            self._tell(bad_boxes)
        full = torch.tensor([empty == 'keep' or len(truth.labels) > 0 for truth in truths], dtype=torch.bool)
        paths = [one.image for one in listed]
        rows = _chosen(full, paths, subset, split_seed)
        if not len(rows):
            raise InputError(f'{name}: no image of the split has an object')
        unlabelled = torch.zeros(len(rows), dtype=torch.int64)
        super().__init__(facts, [paths[row] for row in rows.tolist()], unlabelled, skip_corrupt=skip_corrupt)
        self.rows, self.is_subset, self.labelled = rows, subset is not None, False
        self.pipeline = build_box_pipeline(pipeline or ())
        for row in torch.nonzero(~full)[:, 0].tolist():
            self.skipped.add('without objects', str(paths[row]))
        # Tensors instead of objects, because a worker would copy every object by reference counting.
        self.sizes = torch.tensor([truths[row].size for row in rows.tolist()])
        self.counts = torch.tensor([len(truths[row].labels) for row in rows.tolist()])
        self.starts = self.counts.cumsum(0) - self.counts
        self.boxes, self.box_labels, self.difficult = (
            torch.cat([truths[row][field] for row in rows.tolist()]) for field in (1, 2, 3)
        )

    @classmethod
    def served(cls, pipeline: Sequence[dict] | None = None, **kwargs: Any) -> Shape | None:
        """Return None: images of several sizes are served."""
        return None

    @classmethod
    def example(cls, n: int, pipeline: Sequence[dict] | None = None, **kwargs: Any) -> Batch:
        """Make a batch of n images on the meta device, of sizes that the pipeline makes of usual ones; no file is read.

        Returns:
            the entries of `__getitems__`.
        """
        steps = build_box_pipeline(pipeline or ())
        found = []
        with kept_generators():
            for index in range(n):
                seed_generators(0, 0, index)
                size = _EXAMPLES[index % len(_EXAMPLES)]
                boxes = torch.tensor([[10.0, 20.0, 200.0, 300.0]]).repeat(1 + index % 3, 1)
                truth = Truth(size, boxes, *(torch.zeros(len(boxes), dtype=kind) for kind in (torch.int64, torch.bool)))
                blank = Image.new('RGB', (size[1], size[0]))
                found.append(_served(steps, blank, truth, ''))
        return _on_meta(_batch(found, torch.arange(n)))

    def truth(self, index: int) -> Truth:
        """Return the objects of a sample."""
        start = int(self.starts[index])
        mine = slice(start, start + int(self.counts[index]))
        height, width = self.sizes[index].tolist()
        return Truth((height, width), self.boxes[mine], self.box_labels[mine], self.difficult[mine])

    def images_a_class(self) -> Tensor:
        """Count the images in which each class has an object, (C,) int64."""
        image = torch.arange(len(self)).repeat_interleave(self.counts)
        # After `keep` the boxes of the samples are not consecutive any more.
        place = torch.arange(len(image)) - (self.counts.cumsum(0) - self.counts)[image]
        pairs = torch.stack([image, self.box_labels[self.starts[image] + place]], 1).unique(dim=0)
        return torch.bincount(pairs[:, 1], minlength=len(self.known.classes))

    def keep(self, places: Tensor) -> None:
        super().keep(places)
        self.sizes, self.counts, self.starts = self.sizes[places], self.counts[places], self.starts[places]

    def images(self, indices: Tensor) -> tuple[list[Tensor], Tensor]:
        found, readable = self._read_samples(indices)
        return [one['inputs'] for one in found], readable

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """Read a batch.

        Args:
            indices: (n,) int64; i + k * len(self) is sample i with its k-th set of random draws.

        Returns:
            a dict of `inputs`, a list of n uint8 (3, H, W); `boxes`, a list of n float32 (M, 4), left, top, right and
            bottom in pixels of the input; `box_labels`, a list of n int64 (M,); `ids` (n,) int64. And as the files
            have them, before the pipeline: `original_sizes` (n, 2) int64, H and W, and the lists `true_boxes`,
            `true_box_labels` and `difficult`, n bool (M,).
        """
        draws = torch.as_tensor(indices, dtype=torch.int64)
        found, readable = self._read_samples(draws)
        return _batch(found, draws[readable] % len(self))

    def __getitem__(self, index: int) -> Batch:
        """Read a sample: the first of each entry of `__getitems__`."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        return {key: value[0] for key, value in self.__getitems__([index % len(self)]).items()}

    def _read_samples(self, draws: Tensor) -> tuple[list[dict[str, Any]], Tensor]:
        found, readable = [], []
        seed, epoch = self.drawn_by.tolist()
        with kept_generators():
            for position, draw in enumerate(draws.tolist()):
                index = draw % len(self)
                path, truth = self.path(index), self.truth(index)
                try:
                    image = read_image(path)
                    if (image.height, image.width) != truth.size:
                        raise UnreadableImage(
                            f'{path} is {image.height}x{image.width}, and its annotation says '
                            f'{truth.size[0]}x{truth.size[1]} (height x width), so its boxes do not fit; '
                            'correct one of them, or set skip_corrupt=True in the data set'
                        )
                except UnreadableImage as error:
                    if not self.skip_corrupt:
                        raise
                    warnings.warn(error.left_out(), stacklevel=2)
                    continue
                seed_generators(seed, epoch, draw)
                found.append(_served(self.pipeline, image, truth, str(path)))
                readable.append(position)
        if not found:
            path = self.path(int(draws[0]) % len(self))
            raise InputError(f'{type(self).__name__}: no image of the batch is readable, e.g. {path}')
        return found, torch.tensor(readable)

    def _truth(self, annotation: Annotation, path: Path, label_of: dict[str, int]) -> Truth:
        """Turn an annotation into tensors, and note its bad boxes in `dropped`."""
        kept = []
        for number, marked in enumerate(annotation.objects, 1):
            if marked.name not in label_of:
                raise InputError(
                    f"{type(self).__name__}: {path}: object {number} is of class '{marked.name}'; "
                    f'{nearest(marked.name, label_of)}'
                )
            if fault := marked.fault(annotation.size):
                corners = ', '.join(f'{corner:g}' for corner in marked.corners)
                self.dropped.append(printable(f'{path}: object {number} ({marked.name}, {corners}) is {fault}'))
            else:
                kept.append(marked)
        boxes = torch.tensor([marked.corners for marked in kept], dtype=torch.float32).view(-1, 4)
        boxes[:, :2] = (boxes[:, :2] - 1).clamp(min=0)
        labels = torch.tensor([label_of[marked.name] for marked in kept], dtype=torch.int64)
        return Truth(annotation.size, boxes, labels, torch.tensor([m.difficult for m in kept], dtype=torch.bool))

    def _tell(self, bad_boxes: str) -> None:
        """Refuse bad boxes, or warn of those that are left out."""
        more = len(self.dropped) - _MOST_NAMED
        named = '; '.join(self.dropped[:_MOST_NAMED]) + (f'; and {more} more' if more > 0 else '')
        name = type(self).__name__
        if bad_boxes == 'error':
            raise InputError(f"{name}: {named}; correct them, or set bad_boxes='drop' to leave them out")
        warnings.warn(f'{name}: left out: {named}', stacklevel=4)


def _chosen(full: Tensor, paths: Sequence[Path], subset: Subset, split_seed: int | None) -> Tensor:
    """Choose the rows of a split, (n,) ascending int64.

    Args:
        full: (M,) bool, the images that may be chosen.
        paths: the M files.
        subset, split_seed: see `BoxFiles`.
    """
    rows = torch.nonzero(full)[:, 0]
    if isinstance(subset, str):
        listed = rows_in_list(subset, torch.zeros(len(full), dtype=torch.int64), paths)
        return listed[full[listed]]
    if subset is None or not len(rows):
        return rows
    # Images with several objects have no one class to be balanced over.
    return rows[choose_rows(torch.zeros(len(rows), dtype=torch.int64), '', 0.0, split_seed, subset)]


def _served(steps: Sequence[Callable], image: Image.Image, truth: Truth, path: str) -> dict[str, Any]:
    pixels, boxes = run_box_pipeline(steps, image, truth.boxes.clone(), path)
    # A crop may cut a box off.
    seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return {
        'inputs': pixels,
        'boxes': boxes[seen],
        'box_labels': truth.labels[seen],
        'original_sizes': torch.tensor(truth.size),
        'true_boxes': truth.boxes,
        'true_box_labels': truth.labels,
        'difficult': truth.difficult,
    }


def _batch(found: Sequence[dict[str, Any]], ids: Tensor) -> Batch:
    lists: Batch = {key: [one[key] for one in found] for key in found[0]}
    return {**lists, 'original_sizes': torch.stack(lists['original_sizes']), 'ids': ids}


def _on_meta(batch: Batch) -> Batch:
    return {
        key: [one.to('meta') for one in value] if isinstance(value, list) else value.to('meta')
        for key, value in batch.items()
    }
