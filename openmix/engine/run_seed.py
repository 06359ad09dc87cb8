"""Data sets whose subset depends on the run's seed (`split_seed=None`); the chosen rows are written to the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from openmix.errors import InputError
from openmix.files import write_text

# The lists that OpenMix's data sets write. Another file in a run's folder may be the user's.
_NAMES = ('subset', 'labelled', 'unlabelled')


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


def write_chosen(dataset: Any, folder: Path, resumed: bool, lists: Collection[Path] = ()) -> None:
    """Write the rows that were chosen for a data set, one per line: `subset.txt`, or `labelled.txt` for a pool.

    Such a file can be given as `subset` again. The files that an earlier run left in the folder are removed.

    Args:
        dataset: the training data.
        folder: the run's folder.
        resumed: the run continues.
        lists: the lists that the recipe names, which are neither written nor removed; the fingerprint of the data
            covers their content.

    Raises:
        InputError: a resumed run would train on other images than before, or a file cannot be written.
    """
    chosen = dataset.chosen() if isinstance(dataset, _Chosen) else {}
    texts = {name: ''.join(f'{row}\n' for row in rows.tolist()) for name, rows in chosen.items()}
    given = {path.resolve() for path in lists}
    for name in {**dict.fromkeys(_NAMES), **texts}:
        path, text = folder / f'{name}.txt', texts.get(name)
        if path.resolve() in given:
            continue
        try:
            if resumed and path.is_file() and path.read_text(encoding='utf-8', errors='replace') != text:
                raise InputError(
                    f"'{path}' lists the images that the run was trained on, and they would be others now: "
                    'the data or their list have changed; bring them back, or start a new run'
                )
            if text is not None:
                write_text(path, text)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot write '{path}': {error.strerror}; see to it, or give another --work-dir"
            ) from error
