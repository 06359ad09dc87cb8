"""Tiny-ImageNet-200, or any part of it, in its official layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from openmix.data.base import ArrayDataset, OfficialHalves
from openmix.data.decode import decode_once
from openmix.data.download import fetch
from openmix.data.facts import Facts
from openmix.data.imitation import images_a_class, jpeg, write
from openmix.data.listing import Skipped, images_below
from openmix.data.lists import read_lines
from openmix.data.splits import Subset, source_split
from openmix.errors import InputError, brief
from openmix.registry import DATASETS
from openmix.small import IMAGES

SIZE = (64, 64)
URL = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'
MD5 = '90528d7ca1a48142e341f4ef8d21d0de'
_WNIDS = """
n01443537 n01629819 n01641577 n01644900 n01698640 n01742172 n01768244 n01770393 n01774384 n01774750 n01784675
n01855672 n01882714 n01910747 n01917289 n01944390 n01945685 n01950731 n01983481 n01984695 n02002724 n02056570
n02058221 n02074367 n02085620 n02094433 n02099601 n02099712 n02106662 n02113799 n02123045 n02123394 n02124075
n02125311 n02129165 n02132136 n02165456 n02190166 n02206856 n02226429 n02231487 n02233338 n02236044 n02268443
n02279972 n02281406 n02321529 n02364673 n02395406 n02403003 n02410509 n02415577 n02423022 n02437312 n02480495
n02481823 n02486410 n02504458 n02509815 n02666196 n02669723 n02699494 n02730930 n02769748 n02788148 n02791270
n02793495 n02795169 n02802426 n02808440 n02814533 n02814860 n02815834 n02823428 n02837789 n02841315 n02843684
n02883205 n02892201 n02906734 n02909870 n02917067 n02927161 n02948072 n02950826 n02963159 n02977058 n02988304
n02999410 n03014705 n03026506 n03042490 n03085013 n03089624 n03100240 n03126707 n03160309 n03179701 n03201208
n03250847 n03255030 n03355925 n03388043 n03393912 n03400231 n03404251 n03424325 n03444034 n03447447 n03544143
n03584254 n03599486 n03617480 n03637318 n03649909 n03662601 n03670208 n03706229 n03733131 n03763968 n03770439
n03796401 n03804744 n03814639 n03837869 n03838899 n03854065 n03891332 n03902125 n03930313 n03937543 n03970156
n03976657 n03977966 n03980874 n03983396 n03992509 n04008634 n04023962 n04067472 n04070727 n04074963 n04099969
n04118538 n04133789 n04146614 n04149813 n04179913 n04251144 n04254777 n04259630 n04265275 n04275548 n04285008
n04311004 n04328186 n04356056 n04366367 n04371430 n04376876 n04398044 n04399382 n04417672 n04456115 n04465501
n04486054 n04487081 n04501370 n04507155 n04532106 n04532670 n04540053 n04560804 n04562935 n04596742 n04597913
n06596364 n07579787 n07583066 n07614500 n07615774 n07695742 n07711569 n07715103 n07720875 n07734744 n07747607
n07749582 n07753592 n07768694 n07871810 n07873807 n07875152 n07920052 n09193705 n09246464 n09256479 n09332890
n09428293 n12267677
"""
OFFICIAL_WNIDS = tuple(_WNIDS.split())


def read_classes(root: Path) -> tuple[list[str], tuple[str, ...]]:
    """Read the WordNet ids of the classes, sorted (label c is the c-th), and their readable names.

    Raises:
        InputError: `wnids.txt` is missing or empty.
    """
    wnids = sorted(wnid for line in _read(root / 'wnids.txt') for wnid in line.split())
    if not wnids:
        raise InputError(f'{root / "wnids.txt"} names no class')
    if odd := [wnid for wnid, after in zip(wnids, [*wnids[1:], None]) if wnid == after or not wnid.isalnum()]:
        raise InputError(f'{root / "wnids.txt"}: {brief(odd[0])} comes twice or is no WordNet id')
    lines = _read(root / 'words.txt') if (root / 'words.txt').exists() else []
    names = dict(line.split('\t', 1) for line in lines if '\t' in line)
    return wnids, tuple(names.get(wnid, wnid).split(',')[0].strip() for wnid in wnids)


def list_train(root: Path, wnids: list[str], skipped: Skipped) -> tuple[list[Path], list[int]]:
    """List the training images of these classes and their labels; `skipped` records skipped files.

    Raises:
        InputError: a class has no images.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, wnid in enumerate(wnids):
        folder = root / 'train' / wnid / 'images'
        found = images_below(folder, ('.jpeg',), skipped) if folder.is_dir() else []
        if not found:
            raise InputError(
                f'TinyImageNet: no *.JPEG under {folder}; unpack {URL} again, or drop {wnid} from wnids.txt'
            )
        paths += map(Path, found)
        labels += [label] * len(found)
    return paths, labels


def list_val(root: Path, wnids: list[str]) -> tuple[list[Path], list[int]]:
    """List the official validation images of these classes and their labels, in the order of the annotations.

    Raises:
        InputError: the annotations or an image are missing, or a line is malformed.
    """
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    paths: list[Path] = []
    labels: list[int] = []
    annotations = root / 'val' / 'val_annotations.txt'
    for number, line in enumerate(_read(annotations), 1):
        fields = line.split('\t')
        if len(fields) < 2:
            raise InputError(f'{annotations}:{number}: expected an image and its class between tabs, got {brief(line)}')
        if fields[1] not in label_of:
            continue  # wnids.txt chooses the classes
        path = root / 'val' / 'images' / fields[0]
        if not path.exists():
            raise InputError(f'{annotations}:{number}: {path} is missing; unpack {URL} again')
        paths.append(path)
        labels.append(label_of[fields[1]])
    if not paths:
        raise InputError(f'{annotations} names no image of the classes in wnids.txt')
    return paths, labels


def _read(path: Path) -> list[str]:
    return read_lines('TinyImageNet', path, f'unpack {URL} and set root to its folder')


@DATASETS.register_module()
class TinyImageNet(OfficialHalves, ArrayDataset):
    """Tiny-ImageNet: 500 training images of 64 x 64 per class; the official validation images are the 'test' split.

    The classes are the sorted lines of `wnids.txt`: the official 200, or fewer. Images are decoded once and kept, see
    `decode_once`.

    Args:
        root: folder that contains `wnids.txt`, `train` and `val`.
        split: 'train', 'val' (held out of the training images, needs `val_fraction`) or 'test'.
        val_fraction: fraction of each class held out of the training images.
        split_seed: seed that draws the held-out images and the subset; None: the run's seed.
        subset: a number of images, a fraction of each class, a file that lists images, or the imbalance of a
            long-tailed part, see `choose_rows`.
        cache: folder for decoded images; True: in the root; False: no cache.
        skip_corrupt: leave unreadable images out; False: raise an error.

    Raises:
        InputError: a file or folder is missing, an image is unreadable, or there is no such split.
    """

    small: ClassVar[dict[str, Any]] = {'subset': IMAGES}
    OFFICIAL: ClassVar[dict[str, int]] = {'train': 100000, 'test': 10000}

    def __init__(
        self,
        root: str,
        split: str = 'train',
        val_fraction: float = 0.0,
        split_seed: int | None = 0,
        subset: Subset = None,
        cache: bool | str = True,
        skip_corrupt: bool = False,
    ) -> None:
        source = source_split('TinyImageNet', split, val_fraction)
        folder = Path(root)
        wnids, _ = read_classes(folder)
        skipped = Skipped()
        paths, labels = list_train(folder, wnids, skipped) if source == 'train' else list_val(folder, wnids)
        images, kept = decode_once(paths, SIZE, folder, f'tiny_imagenet-{source}', cache, skip_corrupt)
        super().__init__(self.facts(root), images, torch.tensor(labels)[kept], split, val_fraction, split_seed, subset)
        self.skipped = skipped

    @classmethod
    def facts(cls, root: str = '', **kwargs: Any) -> Facts:
        """Return the facts with the classes of `wnids.txt` if the root exists, else with the official 200."""
        classes = read_classes(Path(root))[1] if root and Path(root).exists() else OFFICIAL_WNIDS
        return Facts('TinyImageNet', classes, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821), SIZE)

    @classmethod
    def served(cls, **kwargs: Any) -> tuple[int, ...] | None:
        return 3, *SIZE

    @classmethod
    def prepare(cls, root: Path) -> None:
        """Download and unpack the official archive; its only folder becomes `root`."""
        if (root / 'wnids.txt').is_file():
            return
        fetch('TinyImageNet', root.parent, URL, MD5)
        unpacked = root.parent / 'tiny-imagenet-200'
        if unpacked != root:
            unpacked.rename(root)

    @classmethod
    def imitate(cls, root: Path, **kwargs: Any) -> None:
        """Write images of all 200 classes."""
        count, annotations = images_a_class(len(OFFICIAL_WNIDS)), []
        for label, wnid in enumerate(OFFICIAL_WNIDS):
            for number in range(count):
                write(root / 'train' / wnid / 'images' / f'{wnid}_{number}.JPEG', jpeg(label + number))
                judged = f'val_{label * count + number}.JPEG'
                write(root / 'val' / 'images' / judged, jpeg(label - number - 1))
                annotations.append(f'{judged}\t{wnid}')
        write(root / 'val' / 'val_annotations.txt', annotations)
        write(root / 'wnids.txt', OFFICIAL_WNIDS)
