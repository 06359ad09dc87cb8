"""Images that a user gives for a prediction: files, folders, arrays, as a data set without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts
from openmix.data.image_files import ImageFiles
from openmix.data.image_folder import EXTENSIONS
from openmix.data.listing import Skipped, images_below
from openmix.data.read import NoneReadable
from openmix.errors import InputError
from openmix.ops.batches import what

OneImage = str | Path | Image.Image | np.ndarray | Tensor
Images = OneImage | Sequence[OneImage]


class GivenImages(ImageFiles):
    """Images of a user, prepared as the validation images of a recipe.

    Args:
        images: a file; a folder, of which all images below are taken, sorted; a Pillow image; an array uint8
            (H, W), (H, W, 3) or (N, H, W, 3), RGB; a tensor uint8 or floating point in [0, 1], (3, H, W) or
            (N, 3, H, W); or a list of such, a batch counting as its images.
        pipeline: transforms of one image, see `build_pipeline`; None: resize the shorter side and crop the centre.
        size: (H, W) without a pipeline.
        skip_corrupt: leave unreadable files out, with a warning.

    Raises:
        InputError: there are none, a file is missing, an array has another form, or neither pipeline nor size is known.
    """

    def __init__(
        self,
        images: Images,
        pipeline: Sequence[dict[str, Any]] | None = None,
        size: tuple[int, int] | None = None,
        skip_corrupt: bool = False,
    ) -> None:
        if not pipeline and size is None:
            raise InputError('the checkpoint does not say how images are prepared; name its recipe with config')
        found = _listed(images)
        names = [str(one) if isinstance(one, Path) else f'<image {n}>' for n, one in enumerate(found)]
        self.held = {name: one for name, one in zip(names, found) if isinstance(one, Image.Image)}
        facts = Facts('given images', (), IMAGENET_MEAN, IMAGENET_STD, size or (1, 1))
        labels = torch.full((len(found),), -1)
        super().__init__(facts, names, labels, pipeline=pipeline, skip_corrupt=skip_corrupt)

    def name(self, index: int) -> str:
        """Return the path of an image, or '<image N>' for one that is no file."""
        return str(self.path(index))

    def images(self, indices: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        """Read images as `ImageFiles.images`; a batch without a readable image is empty."""
        try:
            return super().images(indices)
        except NoneReadable:
            return torch.empty(0, 3, *self.known.size, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)

    def _read(self, path: Path) -> Image.Image | Tensor:
        if (image := self.held.get(str(path))) is None:
            return super()._read(path)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1) if self.on_pixels else image


def _listed(images: Any) -> list[Path | Image.Image]:
    """Return files and Pillow images, in order."""
    many = images if isinstance(images, (list, tuple)) else [images]
    found: list[Path | Image.Image] = []
    for one in many:
        found += _one(one)
    if not found:
        raise InputError('there are no images to predict: the list is empty')
    return found


def _one(image: Any) -> list[Path | Image.Image]:
    if isinstance(image, str) and not image.strip():
        raise InputError('an image is given by an empty text; name a file or a folder, such as . for this one')
    if isinstance(image, (str, Path)):
        return list(_files(Path(image)))
    if isinstance(image, Image.Image):
        return [image.convert('RGB')]
    pixels = _as_pixels(image)
    return [Image.fromarray(one).convert('RGB') for one in (pixels if pixels.ndim == 4 else pixels[None])]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        skipped = Skipped()
        if not (found := images_below(path, EXTENSIONS, skipped)):
            told = skipped.line()
            raise InputError(
                f"'{path}' holds no images ({', '.join(EXTENSIONS)})" + (f'; not read: {told}' if told else '')
            )
        return [Path(one) for one in found]
    if not path.exists():
        raise InputError(f"no image or folder '{path}'")
    return [path]


def _as_pixels(image: Any) -> np.ndarray:
    """Return uint8 (H, W), (H, W, 3) or (N, H, W, 3)."""
    if isinstance(image, Tensor) and image.ndim in (3, 4) and image.shape[-3] == 3 and image.numel():
        if image.is_floating_point():
            low, high = float(image.amin()), float(image.amax())
            if not 0 <= low <= high <= 1:
                raise InputError(
                    f'a floating-point image has pixels in [0, 1], this one in [{low:.3g}, {high:.3g}]; give pixels '
                    'that are not normalised'
                )
            image = (image.detach() * 255).round().to(torch.uint8)
        if image.dtype == torch.uint8:
            return image.movedim(-3, -1).contiguous().cpu().numpy()
    elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim != 2 and (image.ndim not in (3, 4) or image.shape[-1] != 3):
            raise InputError(f'an array is uint8 (H, W), (H, W, 3) or (N, H, W, 3), got {image.shape}')
        return np.ascontiguousarray(image)
    raise InputError(
        'an image is a file, a folder, a Pillow image, an array uint8 (H, W), (H, W, 3) or (N, H, W, 3), or a tensor '
        f'uint8 or in [0, 1], (3, H, W) or (N, 3, H, W); got {what(image)}'
    )
