"""What the class of a data set tells of one before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from mmengine.config import Config

from openmix.facts import Facts
from openmix.registry import DATASETS, find


@runtime_checkable
class TellsFacts(Protocol):
    """A class of data sets that tells their facts."""

    def facts(self, **kwargs: Any) -> Facts: ...


@runtime_checkable
class TellsShape(Protocol):
    """A class of data sets that tells the shape of a sample; None where only the files would."""

    def served(self, **kwargs: Any) -> tuple[int, ...] | list[tuple[int, ...]] | None: ...


@runtime_checkable
class TellsBatch(Protocol):
    """A class of data sets that tells the batch of n samples, on the meta device; None where only the files would."""

    def example(self, n: int, **kwargs: Any) -> Mapping[str, Any] | None: ...


def dataset_of(cfg: Config, part: str) -> tuple[Any, dict[str, Any]]:
    """The class, or function, of the data set of 'train', 'val' or 'test', and its arguments; None where there is none.

    Raises:
        InputError: nothing of that name is registered.
    """
    dataset = dict((cfg.get(f'{part}_dataloader') or {}).get('dataset') or {})
    return (find(DATASETS, dataset.pop('type')) if dataset else None), dataset


def facts_of(cfg: Config, part: str) -> Facts | None:
    """The facts of the data of a part of the recipe; None where its class does not tell."""
    cls, given = dataset_of(cfg, part)
    return cls.facts(**given) if isinstance(cls, TellsFacts) else None


def served(cfg: Config, part: str = 'train') -> tuple[int, ...] | None:
    """The shape of a sample of the data of a part of the recipe; None: reading would tell, or views differ."""
    cls, given = dataset_of(cfg, part)
    shape = cls.served(**given) if isinstance(cls, TellsShape) else None
    return None if isinstance(shape, list) else shape


def example_of(cfg: Config, part: str, n: int) -> tuple[dict[str, Any] | None, str]:
    """The batch of n samples of the data of a part of the recipe, on the meta device.

    Returns:
        the batch and '', or None and why nobody knows it.
    """
    cls, given = dataset_of(cfg, part)
    stated = cfg[f'{part}_dataloader'].dataset.type
    name = stated if isinstance(stated, str) else stated.__name__
    if not isinstance(cls, TellsBatch):
        return None, f'{name} has no class method example(n, **arguments), which tells the batch that it answers'
    batch = cls.example(n, **given)
    return (None, f'only the files of {name} tell the size of its images') if batch is None else (dict(batch), '')
