"""Data sets whose subset depends on the run's seed (`split_seed=None`); the chosen rows are written to the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from openmix.errors import InputError
from openmix.files import write_text


@runtime_checkable
class _Chosen(Protocol):
    """A data set that knows which rows of an official split were chosen for it."""

    def chosen(self) -> Mapping[str, Tensor]: ...


def cut_by_seed(dataset: Any) -> bool:
    """Tell whether a registry dict, or one inside of it, leaves its `split_seed` to the run."""
    if not isinstance(dataset, Mapping):
        return False
    return dataset.get('split_seed', 0) is None or any(map(cut_by_seed, dataset.values()))


def with_run_seed(dataset: Any, seed: int | None) -> Any:
    """Return a copy of a registry dict in which every `split_seed=None` is the run's seed.

    The recipe keeps its None, because its hash and the check of a resumed run must not depend on the seed.
    """
    if not isinstance(dataset, Mapping):
        return dataset
    filled = {key: with_run_seed(value, seed) for key, value in dataset.items()}
    return {**filled, 'split_seed': seed} if dataset.get('split_seed', 0) is None else filled


def write_chosen(dataset: Any, folder: Path, resumed: bool) -> None:
    """Write the rows that were chosen for a data set, one per line: `subset.txt`, or `labelled.txt` for a pool.

    Such a file can be given as `subset` again.

    Raises:
        InputError: a resumed run would train on other images than before.
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
