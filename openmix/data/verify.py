"""Check that a data set is complete: print one line per split, or raise an error that names what is missing."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from openmix.data.base import ImageDataset
from openmix.data.box_files import BoxFiles
from openmix.data.image_files import ImageFiles
from openmix.data.image_folder import ImageFolder
from openmix.data.pools import Pools
from openmix.data.read import UnreadableImage, read_image
from openmix.data.splits import Drawn
from openmix.errors import InputError, printable
from openmix.registry import DATASETS, find
from openmix.regular_file import open_regular

_MOST_NAMED = 10


@runtime_checkable
class _Named(Protocol):
    """A data set with `metainfo`, in which mmengine's evaluators look for class names."""

    metainfo: Mapping[str, Any]


def build(cfg: dict[str, Any]) -> Any:
    """Build a data set from its registry dict and read every image.

    Raises:
        InputError: something is missing, unreadable or empty; or the dict names an unknown type or argument.
    """
    cfg = dict(cfg)
    find(DATASETS, cfg.get('type'))
    try:
        dataset = DATASETS.build(cfg)
    except TypeError as error:
        raise InputError(f'{cfg["type"]}: {error}') from error
    for part in dataset.parts.values() if isinstance(dataset, Pools) else [dataset]:
        _read_all(part)
    return dataset


def pools_in(name: str, dataset: Any, cfg: dict[str, Any]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return the pools of a data set, or the data set itself, by name, each with its registry dict."""
    if not isinstance(dataset, Pools):
        return {name: (dataset, cfg)}
    given = Pools.pools(**{key: value for key, value in cfg.items() if key != 'type'})
    return {f'{name} {pool}': (part, given[pool]) for pool, part in dataset.parts.items()}


def _read_all(dataset: Any) -> None:
    # All others read their images in the constructor.
    if isinstance(dataset, ImageFiles) and not (isinstance(dataset, ImageFolder) and dataset.array is not None):
        bad = dataset.unreadable()
        if dataset.skip_corrupt:
            for path in bad:
                dataset.skipped.add('not readable', str(path))
        elif bad:
            named = ', '.join(printable(path) for path in bad[1:_MOST_NAMED])
            rest = f' and {len(bad) - _MOST_NAMED} more' if len(bad) > _MOST_NAMED else ''
            more = f'; likewise {named}{rest}' if named else ''
            try:
                read_image(bad[0])
            except UnreadableImage as error:
                raise InputError(f'{error}{more}') from error


def describe(dataset: Any, cfg: Mapping[str, Any]) -> str:
    """Describe the content of a data set on one line.

    Args:
        dataset: the data set from `build`.
        cfg: its registry dict.
    """
    counts, inputs = images_a_class(dataset), dataset[0]['inputs']
    sizes = dict.fromkeys(
        'x'.join(map(str, view.shape[-2:])) for view in (inputs if isinstance(inputs, list) else [inputs])
    )
    targets = dataset.known.targets if isinstance(dataset, ImageDataset) else ()
    unnamed = f'with the numbers {", ".join(targets)}' if targets else 'no labels'
    named = f'{len(counts)} classes, {min(counts)} to {max(counts)} images a class' if any(counts) else unnamed
    served = 'at several sizes' if isinstance(dataset, BoxFiles) else f'at {" and ".join(sizes)}'
    text = f'{len(dataset)} images, served {served}, {named}'
    split = cfg.get('split', 'train')
    whole = dataset.OFFICIAL.get(split) if isinstance(dataset, ImageDataset) and isinstance(split, str) else None
    is_part = cfg.get('subset') is not None or bool(cfg.get('val_fraction'))
    return text if whole in (None, len(dataset)) or is_part else f'{text}; the official data set has {whole}'


def images_a_class(dataset: Any) -> list[int]:
    """Count the images of each class, in the order of the labels; every sample of a user's own data set is read.

    Raises:
        InputError: a sample has no label.
    """
    named = len(_names(dataset) or ())
    if isinstance(dataset, ImageDataset):
        return dataset.images_a_class().tolist()
    samples = [dataset[index] for index in range(len(dataset))]
    labels: list[Any] = [sample.get('labels') if isinstance(sample, dict) else None for sample in samples]
    try:
        return torch.bincount(torch.tensor([operator.index(label) for label in labels]), minlength=named).tolist()
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f'{type(dataset).__name__}: a sample must be a dict with a label >= 0 as labels; see docs/data.md'
        ) from error


def _names(dataset: Any) -> tuple[str, ...] | None:
    """Return the names of the classes; None if the data set does not state them."""
    metainfo = dataset.metainfo if isinstance(dataset, _Named) else {}
    return tuple(metainfo['classes']) if metainfo.get('classes') else None


def table(datasets: Mapping[str, Any]) -> list[str]:
    """Write lines with label, name and number of images of every class, one column per split, and skipped files.

    Splits must have the same classes; one without labels has no column.
    """
    counted = {split: images_a_class(dataset) for split, dataset in datasets.items()}
    labelled = {split: datasets[split] for split, counts in counted.items() if any(counts)}
    lines = _of_classes(labelled, [counted[split] for split in labelled]) if labelled else []
    for split, dataset in datasets.items():
        if isinstance(dataset, ImageDataset) and (passed_over := dataset.skipped.line()):
            lines.append(f'{split}: not read: {passed_over}')
        if isinstance(dataset, BoxFiles):
            lines += [f'{split}: left out: {one}' for one in dataset.dropped]
    return lines


def _of_classes(datasets: Mapping[str, Any], counts: list[list[int]]) -> list[str]:
    most = max(map(len, counts))
    classes = _names(next(iter(datasets.values()))) or tuple(map(str, range(most)))
    counts = [count + [0] * (len(classes) - len(count)) for count in counts]
    rows = [('label', 'class', *datasets)]
    rows += [
        (str(label), printable(name), *(str(count[label]) for count in counts)) for label, name in enumerate(classes)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ['  '.join(f'{cell:<{width}}' for cell, width in zip(row, widths)).rstrip() for row in rows]
    if any(isinstance(dataset, ImageFolder) for dataset in datasets.values()):
        lines.append("labels follow the names as text, '10' before '2'; classes=[...] sets another order")
    for split, count in zip(datasets, counts):
        if absent := [printable(name) for name, images in zip(classes, count) if images == 0]:
            rest = f' and {len(absent) - _MOST_NAMED} more' if len(absent) > _MOST_NAMED else ''
            lines.append(f'{split}: no image of {", ".join(absent[:_MOST_NAMED])}{rest}')
    return lines


def shared_files(training: Any, judged: Any) -> list[tuple[Path, Path]]:
    """Find files of a data set whose content is also in the training data; return each with the training file.

    Empty for data sets that are not read from single files.
    """
    if not isinstance(training, ImageFiles) or not isinstance(judged, ImageFiles):
        return []
    sizes = [{path: _size(path) for path in dataset.paths} for dataset in (training, judged)]
    common = set(sizes[0].values()) & set(sizes[1].values()) - {None}
    with ThreadPoolExecutor() as pool:
        digests = [
            dict(zip(paths, pool.map(_digest, paths)))
            for paths in ([path for path, size in split.items() if size in common] for split in sizes)
        ]
    known = {digest: path for path, digest in reversed(digests[0].items()) if digest is not None}
    return [(path, known[digest]) for path, digest in digests[1].items() if digest in known]


def contradiction(dataset: Any) -> str:
    """Write one line about files with equal content in two classes of a data set; '' if there are none."""
    if not isinstance(dataset, ImageFiles):
        return ''
    paths, labels = dataset.paths, dataset.labels.tolist()
    of_size: dict[int | None, list[int]] = {}
    for i, path in enumerate(paths):
        of_size.setdefault(_size(path), []).append(i)
    # Read only files for which another class has a file of the same size.
    of_size.pop(None, None)
    asked = [i for same in of_size.values() if len({labels[i] for i in same}) > 1 for i in same]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda i: _digest(paths[i]), asked))
    first: dict[bytes, int] = {}
    found = [(first.setdefault(digest, i), i) for digest, i in zip(digests, asked) if digest is not None]
    found = [(one, other) for one, other in found if labels[one] != labels[other]]
    if not found:
        return ''
    one, other = (printable(paths[i]) for i in found[0])
    return f'{len(found)} of {len(paths)} images are in another class too, the first is {other}, there {one}'


def one_split(training: Mapping[str, Any], judged: Mapping[str, Any]) -> bool:
    """Return true if two registry dicts read one split of one data set, so that sharing its images is asked for.

    Splits of one name in two folders are two splits.
    """
    one, other = (_definition(cfg) for cfg in (training, judged))
    if one is None or other is None:
        return all(training.get(key) == judged.get(key) for key in ('type', 'root', 'split'))
    return one.split == other.split and one.shares(other)


def _definition(cfg: Mapping[str, Any]) -> Drawn | None:
    of = find(DATASETS, cfg['type'])
    if not isinstance(of, type) or not issubclass(of, ImageDataset):
        return None
    return of.drawn(**{key: value for key, value in cfg.items() if key != 'type'})


def overlap(training: Any, judged: Any, part: str, of: str = 'train') -> tuple[str, bool]:
    """Write one line about images in two splits, '' if there are none; also return true if the user should fix it.

    Some published data sets have a few images in both halves; these are only reported.
    """
    shared = shared_files(training, judged)
    if not shared:
        return '', False
    published = bool(judged.OFFICIAL)
    line = (
        f'{part}: {len(shared)} of {len(judged)} images are in {of} too, the first is {printable(shared[0][0])}, '
        f'there {printable(shared[0][1])}'
    )
    return f'{line}; ' + ('published so' if published else 'leave each in one of them'), not published


def _size(path: Path) -> int | None:
    """Return the size of a file in bytes; None if it does not exist, as for a broken link."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _digest(path: Path) -> bytes | None:
    """Compute a hash of a file's content; None if it cannot be read."""
    digest = hashlib.blake2b()
    try:
        with open_regular(path) as file:
            while block := file.read(2**20):
                digest.update(block)
    except (InputError, OSError):
        return None
    return digest.digest()


def splits_of(cfg: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the data sets of a recipe by loader; one that several loaders read is listed once."""
    found: dict[str, dict[str, Any]] = {}
    for loader in ('train', 'val', 'test'):
        dataset = (cfg.get(f'{loader}_dataloader') or {}).get('dataset')
        if dataset is not None and dataset not in found.values():
            found[loader] = dataset
    if not found:
        raise InputError('the recipe has no data: none of train_dataloader, val_dataloader and test_dataloader')
    return found
