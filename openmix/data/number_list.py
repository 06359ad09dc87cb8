"""A regression from any folder of images: a CSV file lists them with their numbers."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from openmix.data.facts import IMAGENET_MEAN, IMAGENET_STD, Facts, as_size
from openmix.data.image_files import ImageFiles, check_present
from openmix.data.imitation import images_a_class, jpeg, write
from openmix.data.lists import read_lines
from openmix.data.numbered import NumberedImages
from openmix.data.splits import Drawn, Subset
from openmix.errors import InputError, brief, nearest
from openmix.registry import DATASETS, TransformConfig
from openmix.small import IMAGES

_FILE = 'file'


def read_number_list(name: str, path: Path, targets: Sequence[str]) -> tuple[list[str], list[list[float]]]:
    """Read the files and the numbers of a list, a CSV file whose header names the columns.

    Args:
        name: the data set, for messages.
        path: the list; its column `file` has the images.
        targets: the columns of the numbers.

    Raises:
        InputError: the list is missing or empty, or has no such column, a file twice, or what is no number.
    """
    remedy = f'it is a list as file,{",".join(targets)} in its first line, and one image in every other'
    lines = csv.reader(read_lines(name, path, remedy))
    header = [one.strip() for one in next(lines, [])]
    for column in (_FILE, *targets):
        if header.count(column) != 1:
            raise InputError(
                f"{name}: {path} has no column '{column}'; {nearest(column, header) if header else remedy}"
            )
    places = [header.index(target) for target in targets]
    files: dict[str, int] = {}
    numbers: list[list[float]] = []
    for line, row in enumerate(lines, 2):
        if not row:
            continue
        if len(row) != len(header):
            raise InputError(f'{name}: {path}:{line}: {len(row)} fields, and the first line has {len(header)}')
        file = row[header.index(_FILE)].strip()
        if file in files:
            raise InputError(f'{name}: {path}:{line}: the image of line {files[file]} again')
        files[file] = line
        try:
            numbers.append([float(row[place]) for place in places])
        except ValueError as error:
            wrong = next(brief(row[place]) for place in places if not _is_number(row[place]))
            raise InputError(f'{name}: {path}:{line}: {wrong} is no number') from error
    if not files:
        raise InputError(f'{name}: {path} lists no image; {remedy}')
    return list(files), numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@DATASETS.register_module()
class NumberList(NumberedImages, ImageFiles):
    """Images of a folder with numbers, for a regression: `root/<split>.csv` lists them as `file,target`.

    The first line names the columns: `file`, a path from `root`, and one for each of the `targets`; others are not
    read.

    Args:
        root: folder of the lists.
        split: name of the list, without '.csv'.
        targets: columns of the numbers.
        size: side or (H, W) that images are resized and cropped to without a pipeline.
        pipeline, split_seed, subset, skip_corrupt: see `ImageFiles`; a subset is drawn from all images alike.
        mean, std: one value per channel, for pixels in [0, 1].

    Raises:
        InputError: the list or an image is missing, a number is not finite, or an argument is wrong.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}

    def __init__(
        self,
        root: str,
        split: str = 'train',
        targets: Sequence[str] = ('target',),
        size: int | tuple[int, int] = 224,
        pipeline: Sequence[TransformConfig] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        split_seed: int | None = 0,
        subset: Subset = None,
        skip_corrupt: bool = False,
    ) -> None:
        facts = self.facts(root=root, targets=targets, size=size, mean=mean, std=std)
        files, numbers = read_number_list('NumberList', Path(root) / f'{split}.csv', facts.targets)
        paths = [Path(root) / file for file in files]
        check_present('NumberList', paths, f'put them below {root}, or take them off the list')
        one_class = torch.zeros(len(paths), dtype=torch.int64)
        super().__init__(facts, paths, one_class, '', pipeline, 0.0, split_seed, subset, skip_corrupt)
        self.give_numbers(torch.tensor(numbers, dtype=torch.float64)[self.rows])

    @classmethod
    def facts(
        cls,
        root: str = '',
        targets: Sequence[str] = ('target',),
        size: int | tuple[int, int] = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        **kwargs: Any,
    ) -> Facts:
        """Return the facts; no file is read."""
        names = tuple(targets)
        if isinstance(targets, str) or not names or len(set(names)) != len(names) or _FILE in names:
            raise InputError(
                f"NumberList: targets must be a list of different columns as ('age',), got {brief(targets)}"
            )
        return Facts(Path(root).name, (), tuple(mean), tuple(std), as_size(size, 'NumberList: size'), names)

    @classmethod
    def drawn(
        cls, root: str = '', split: str = 'train', targets: Sequence[str] = ('target',), **kwargs: Any
    ) -> Drawn | None:
        files, _ = read_number_list('NumberList', Path(root) / f'{split}.csv', targets)
        return Drawn(f'NumberList: {os.path.realpath(root)}', split, images=frozenset(map(os.path.normpath, files)))

    @classmethod
    def imitate(cls, root: Path, split: str = 'train', targets: Sequence[str] = ('target',), **kwargs: Any) -> None:
        """Write a few images to the split's folder, and their list."""
        lines = [','.join((_FILE, *targets))]
        for number in range(images_a_class(1)):
            write(root / split / f'{number}.jpg', jpeg(number))
            lines.append(','.join((f'{split}/{number}.jpg', *(str(number % 8 + 0.5) for _ in targets))))
        write(root / f'{split}.csv', ('\n'.join(lines) + '\n').encode())
