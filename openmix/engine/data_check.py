"""Check that the data sets of a recipe have the same classes, and that no evaluated image is trained on."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from mmengine.config import Config

from openmix.errors import InputError
from openmix.registry import DATASETS, find


@runtime_checkable
class _Known(Protocol):
    """A data set class that answers questions about a data set from its arguments, without building it."""

    def facts(self, **kwargs: Any) -> Any: ...

    def served(self, **kwargs: Any) -> tuple[int, ...] | list[tuple[int, ...]] | None: ...

    def drawn(self, **kwargs: Any) -> Any: ...

    def pools(self, **kwargs: Any) -> dict[str, dict[str, Any]]: ...

    def evaluated_pools(self, **kwargs: Any) -> dict[str, bool]: ...

    def group(self, **kwargs: Any) -> int: ...

    def check_loader(self, loader: Mapping[str, Any], place: str, **kwargs: Any) -> None: ...

    def with_classes(self, cfg: dict[str, Any], classes: Sequence[str]) -> dict[str, Any] | None: ...


def check_data(cfg: Config) -> None:
    """Compare the validation and test data of a recipe with its training data.

    A data set that lacks some of the training classes is given the training data's list, so that labels agree. Data
    that name no class, images without labels, are not compared.

    Raises:
        InputError: classes differ in name or order, evaluated images are trained on although the splits differ, or are
            among the unlabelled images without the option that says so, or are not with it; a pipeline makes images of
            another size than the one given, or a loader does not suit its data set.
    """
    for part in ('train', 'val', 'test'):
        if _dataset(cfg, part) is not None:
            check_loader_of(cfg[f'{part}_dataloader'], f'{part}_dataloader')
        for place, dataset in _read(cfg, part).items():
            _check_size(dataset, place)
    training = _dataset(cfg, 'train')
    if training is None:
        return
    for place, dataset in _read(cfg, 'train').items():
        if (own := _classes(dataset)) and own != _classes(training):
            raise InputError(f'{place}: {differing(own, _classes(training), "the labelled images")}')
    if classes := _classes(training):
        for part in ('val', 'test'):
            check_data_of(cfg, part, classes, 'the training data')
    pools = find(DATASETS, training['type']).evaluated_pools(**_arguments(training))
    judged = _read(cfg, 'val') | _read(cfg, 'test')
    notes: dict[str, None] = {}
    for place, trained in _read(cfg, 'train').items():
        transductive = pools.get(place.rpartition('.')[2])
        found = [_check_apart(trained, one, place, at, transductive) for at, one in judged.items()]
        known = all(_definition(one) is not None for one in (trained, *judged.values()))
        if transductive and known and judged and not any(found):
            raise InputError(
                f'{place}: transductive=True, and it holds no image of {" or ".join(judged)}; give it their images, or '
                'leave transductive out'
            )
        notes |= dict.fromkeys(filter(None, found))
    for note in notes:
        print(f'note: {note}', file=sys.stderr)


def check_data_of(cfg: Config, part: str, classes: Sequence[str], others: str) -> None:
    """Compare the classes of a recipe's data set with others; if it has only some of them, set the whole list.

    Args:
        cfg: recipe, changed in place.
        part: 'train', 'val' or 'test'.
        classes: names of the other classes, in the order of their labels.
        others: name of the data that have these classes, for the error line.

    Raises:
        InputError: the classes differ.
    """
    dataset = _dataset(cfg, part)
    if dataset is None or (own := _classes(dataset)) == tuple(classes):
        return
    fitted = find(DATASETS, dataset['type']).with_classes(dataset, classes)
    if fitted is None and not own and part != 'train':
        raise InputError(
            f'{part}_dataloader.dataset: images without labels cannot be evaluated; give it labelled images, or '
            'predict their classes with tools/predict.py'
        )
    if fitted is None:
        raise InputError(f'{part}_dataloader.dataset: {differing(own, classes, others)}')
    cfg[f'{part}_dataloader'].dataset = fitted


def differing(own: Sequence[str], classes: Sequence[str], others: str) -> str:
    """Describe the first difference of two lists of class names, for an error line."""
    if len(own) != len(classes) and (set(own) <= set(classes) or set(classes) <= set(own)):
        more, fewer, which = (own, classes, others) if len(own) > len(classes) else (classes, own, 'these data')
        odd = next(name for name in more if name not in set(fewer))
        what = f"{len(own)} classes here, {len(classes)} in {others}: '{odd}' is not among those of {which}"
    else:
        label = next((i for i, pair in enumerate(zip(own, classes)) if pair[0] != pair[1]), min(len(own), len(classes)))
        here, there = (f"'{names[label]}'" if label < len(names) else 'none' for names in (own, classes))
        what = f'class {label} is {here} here and {there} in {others}'
    return f'{what}; all must have the same classes in the same order'


def trained_classes(checkpoint: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
    """Return the class names in a checkpoint, in the order of the labels; None if it names none.

    Raises:
        InputError: they are no list of names.
    """
    meta = checkpoint.get('meta')
    known = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    classes = known.get('classes') if isinstance(known, Mapping) else None
    if classes is None:
        return None
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise InputError(f"'{path}' is damaged: the names of its classes are no list of names")
    return tuple(classes) or None


def check_built(dataset: Any, classes: Sequence[str] | None, place: str, others: str) -> None:
    """Compare the class names of a built data set with others, if both are known.

    Raises:
        InputError: they differ.
    """
    own = built_classes(dataset)
    if own is not None and classes is not None and own != tuple(classes):
        raise InputError(f'{place}: {differing(own, classes, others)}')


def built_classes(dataset: Any) -> tuple[str, ...] | None:
    """Return the class names of a built data set; None if it names none in `metainfo`."""
    metainfo = getattr(dataset, 'metainfo', None)
    classes = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    return (tuple(classes) or None) if isinstance(classes, (list, tuple)) else None


def check_unseen(
    cfg: Config, seed: int | None, earlier: Mapping[str, Any], earlier_seed: int | None, named: str
) -> list[str]:
    """Check that a recipe is not evaluated on images that an earlier stage of the run was trained on.

    Args:
        cfg: the recipe.
        seed: seed of its run; None if it is drawn.
        earlier: the resolved recipe of the earlier stage.
        earlier_seed: seed of that stage's run; None if it is not known.
        named: how messages call the earlier stage.

    Returns:
        notes: evaluated splits of the same name as a split of the earlier stage's training data, and earlier stages
        whose training data cannot be compared.

    Raises:
        InputError: validation or test data share images with the training data of the earlier stage.
    """
    try:
        training = {place: _drawn(dataset, earlier_seed) for place, dataset in _read(earlier, 'train').items()}
    except InputError as error:
        return [f'whether {named} was trained on images that this one is judged by is not known: {error}']
    notes: dict[str, None] = {}
    for part in ('val', 'test'):
        for place, dataset in _read(cfg, part).items():
            asked = _drawn(dataset, seed)
            for trained_at, trained in training.items():
                if asked is None or trained is None or not asked.shares(trained):
                    continue
                if asked.split == trained.split:
                    notes[f"{place} reads the split '{asked.split}', on which {named} was trained"] = None
                    continue
                raise InputError(
                    f'{place}: {named} was trained on its images: {asked} here and {trained} in '
                    f'{trained_at} there; hold them out there too: {asked.remedy(trained)}'
                )
    return list(notes)


def _definition(dataset: Mapping[str, Any]) -> Any:
    """Return the definition of a split, see `openmix.data.splits.Drawn`; None if it is unknown."""
    return find(DATASETS, dataset['type']).drawn(**_arguments(dataset))


def _drawn(dataset: Mapping[str, Any], seed: int | None) -> Any:
    """Return the definition of a split with the seed of the run that reads it."""
    drawn = _definition(dataset)
    return drawn if drawn is None or drawn.split_seed is not None else drawn._replace(split_seed=seed)


def _dataset(cfg: Mapping[str, Any], part: str) -> dict[str, Any] | None:
    """Return the registry dict of a loader's data set; None if there is none, or its class is no `_Known`."""
    dataset = (cfg.get(f'{part}_dataloader') or {}).get('dataset')
    return dict(dataset) if dataset and isinstance(find(DATASETS, dataset.get('type')), _Known) else None


def check_loader_of(loader: Any, place: str) -> None:
    """Check that the sampler and the batch size of a loader, as a dict, suit its data set.

    Raises:
        InputError: see `ImageDataset.check_loader`.
    """
    dataset = loader['dataset'] if isinstance(loader, Mapping) else None
    if isinstance(dataset, Mapping) and isinstance(cls := find(DATASETS, dataset.get('type')), _Known):
        cls.check_loader(loader, place, **_arguments(dataset))


def group_of(cfg: Config, part: str) -> int:
    """Return how many samples of the data of 'train', 'val' or 'test' are drawn together, 1 for a plain data set."""
    dataset = _dataset(cfg, part)
    return 1 if dataset is None else find(DATASETS, dataset['type']).group(**_arguments(dataset))


def _read(cfg: Mapping[str, Any], part: str) -> dict[str, dict[str, Any]]:
    """Return the registry dicts of a loader's data set, or of each of its pools, by dotted key in the recipe."""
    dataset, place = _dataset(cfg, part), f'{part}_dataloader.dataset'
    if dataset is None:
        return {}
    pools = find(DATASETS, dataset['type']).pools(**_arguments(dataset))
    return {f'{place}.{name}': pool for name, pool in pools.items()} or {place: dataset}


def _check_size(dataset: Mapping[str, Any], place: str) -> None:
    """Check that a given `size` equals the size of the pipeline's images, because it has no effect otherwise."""
    if not dataset.get('pipeline') or 'size' not in dataset:
        return
    cls, size = find(DATASETS, dataset['type']), dataset['size']
    parameter = inspect.signature(cls).parameters.get('size')
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    served = cls.served(**_arguments(dataset))
    if parameter is None or size == parameter.default or served is None:
        return
    left = {shape[-2:] for shape in (served if isinstance(served, list) else [served])}
    if sides not in left:
        found = ' and '.join('x'.join(map(str, one)) for one in sorted(left))
        raise InputError(
            f'{place}: size={size} has no effect, its pipeline leaves images of {found}: change the sizes in the '
            'pipeline, or give pipeline=None'
        )


def _arguments(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in dataset.items() if key != 'type'}


def _classes(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    return find(DATASETS, dataset['type']).facts(**_arguments(dataset)).classes


def _check_apart(
    training: dict[str, Any], judged: dict[str, Any], trained_at: str, judged_at: str, transductive: bool | None
) -> str:
    """Check that evaluated images are not trained on; return a note if the recipe asks for it, else ''.

    Args:
        training, judged: registry dicts.
        trained_at, judged_at: their places.
        transductive: whether a pool without labels is to hold evaluated images; None: the images have labels.

    Raises:
        InputError: different splits share images, or a pool without labels that must not holds evaluated images.
    """
    trained, asked = _definition(training), _definition(judged)
    if asked is None or trained is None or not asked.shares(trained):
        return ''
    places = [place.removesuffix('.dataset') for place in (judged_at, trained_at)]
    if transductive:
        return f'{places[0]} reads images that are trained on without their labels, as transductive=True asks for'
    if transductive is False:
        told, remedy = f'{trained} here and {asked} there', asked.remedy(trained)
        if asked.split == trained.split:
            told, remedy = f"both read the split '{asked.split}'", 'take another split'
        raise InputError(
            f'{trained_at}: it holds images of {judged_at}: {told}; {remedy}, or set '
            f'{trained_at.rpartition(".")[0]}.transductive=True to train on evaluated images without their labels'
        )
    if asked.split == trained.split:
        # The recipe asks for the accuracy on the training images.
        return f"{places[0]} reads the split '{asked.split}', which is trained on"
    told = ' and '.join(f'{drawn} in {place}' for drawn, place in zip((asked, trained), places))
    raise InputError(f'{judged_at}: its images are trained on: {told}; {asked.remedy(trained)}')
