"""Ask the class of a recipe's data set for its facts, image shape and an example batch, without building it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from mmengine.config import Config

from openmix.facts import Facts
from openmix.registry import DATASETS, find


@runtime_checkable
class TellsFacts(Protocol):
    """A data set class that knows the facts of a data set from its arguments."""

    def facts(self, **kwargs: Any) -> Facts: ...


@runtime_checkable
class TellsShape(Protocol):
    """A data set class that knows the shape of a sample from its arguments; None if the files must be read."""

    def served(self, **kwargs: Any) -> tuple[int, ...] | list[tuple[int, ...]] | None: ...


@runtime_checkable
class TellsBatch(Protocol):
    """A data set class that makes an example batch of n samples on the meta device; None if files must be read."""

    def example(self, n: int, **kwargs: Any) -> Mapping[str, Any] | None: ...


def dataset_of(cfg: Config, part: str) -> tuple[Any, dict[str, Any]]:
    """Return the class or function of the 'train', 'val' or 'test' data set, or None, and its arguments.

    Raises:
        InputError: nothing of that name is registered.
    """
    dataset = dict((cfg.get(f'{part}_dataloader') or {}).get('dataset') or {})
    return (find(DATASETS, dataset.pop('type')) if dataset else None), dataset


def facts_of(cfg: Config, part: str) -> Facts | None:
    """Return the facts of the 'train', 'val' or 'test' data; None if the class does not know them."""
    cls, given = dataset_of(cfg, part)
    return cls.facts(**given) if isinstance(cls, TellsFacts) else None


def served(cfg: Config, part: str = 'train') -> tuple[int, ...] | None:
    """Return the shape of a sample of the data; None if files must be read, or views differ in shape."""
    cls, given = dataset_of(cfg, part)
    shape = cls.served(**given) if isinstance(cls, TellsShape) else None
    return None if isinstance(shape, list) else shape


def example_of(cfg: Config, part: str, n: int) -> tuple[dict[str, Any] | None, str]:
    """Make an example batch of n samples of the 'train', 'val' or 'test' data, on the meta device.

    Returns:
        the batch and '', or None and the reason why it is unknown.
    """
    cls, given = dataset_of(cfg, part)
    stated = cfg[f'{part}_dataloader'].dataset.type
    name = stated if isinstance(stated, str) else stated.__name__
    if not isinstance(cls, TellsBatch):
        return None, f'{name} has no class method example(n, **arguments), which tells the batch that it answers'
    batch = cls.example(n, **given)
    return (None, f'only the files of {name} tell the size of its images') if batch is None else (dict(batch), '')
