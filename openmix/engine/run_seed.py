"""Data sets that are cut by the seed of the run, `split_seed=None`, and what was cut, written beside the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from openmix.errors import InputError
from openmix.files import write_text


@runtime_checkable
class _Chosen(Protocol):
    """A data set that knows which rows of an official half it was cut to."""

    def chosen(self) -> Mapping[str, Tensor]: ...


def cut_by_seed(dataset: Any) -> bool:
    """Tell whether a registry dict, or one inside of it, leaves its `split_seed` to the run."""
    if not isinstance(dataset, Mapping):
        return False
    return dataset.get('split_seed', 0) is None or any(map(cut_by_seed, dataset.values()))


def with_run_seed(dataset: Any, seed: int | None) -> Any:
    """A registry dict with the seed of the run for every `split_seed` that is left to it; the given one stays.

    The recipe is not touched: its hash, and what a resumed run is held against, are of no seed.
    """
    if not isinstance(dataset, Mapping):
        return dataset
    filled = {key: with_run_seed(value, seed) for key, value in dataset.items()}
    return {**filled, 'split_seed': seed} if dataset.get('split_seed', 0) is None else filled


def write_chosen(dataset: Any, folder: Path, resumed: bool) -> None:
    """Write the rows that a data set was cut to, one a line: `subset.txt`, or `labelled.txt` of a pool.

    Such a file can be given as `subset` again.

    Raises:
        InputError: a resumed run would train on other images than it did.
    """
    if not isinstance(dataset, _Chosen):
        return
    for name, rows in dataset.chosen().items():
        path, text = folder / f'{name}.txt', ''.join(f'{row}\n' for row in rows.tolist())
        if resumed and path.is_file() and path.read_text() != text:
            raise InputError(
                f"'{path}' lists the images that the run was trained on, and they would be others now: "
                'the data or their list have changed; bring them back, or start a new run'
            )
        write_text(path, text)
