"""Name the folders of cells by their row and column alone, and find the runs of cells that were renamed."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from openmix.benchmark.cell import Cell
from openmix.benchmark.made_for import MadeFor, read_made_for
from openmix.errors import InputError
from openmix.provenance import Provenance, provenance
from openmix.shipped import configs_dir

_MOST_CHARACTERS = 60  # largest length of the readable part
_LIKE_A_DIGEST = re.compile(r'(^|-)[0-9a-f]{6}$')  # looks like a name with a digest
_PLAIN_NAMES = 'plain_folders.txt'


def slug(name: str) -> str:
    """Make a unique folder name of a-z, 0-9 and dashes, which depends only on the name itself.

    A name that is already such a slug is used as it is; so is the slug of a name in `configs/tables/plain_folders.txt`.
    All others get a digest, so that `A` and `a`, or `CutMix` and `CutMix+`, differ also on a disk that ignores case.
    """
    plain = plain_slug(name)
    known = _plain_names().get(plain)
    if name == (known or plain) and plain and (known or not _LIKE_A_DIGEST.search(name)):
        return plain
    return f'{plain[:_MOST_CHARACTERS]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}'.strip('-')


def plain_slug(name: str) -> str:
    """Make the readable part of a folder name."""
    return re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')


@functools.cache
def _plain_names() -> Mapping[str, str]:
    """Map slugs to the names that have them without a digest."""
    lines = (configs_dir() / 'tables' / _PLAIN_NAMES).read_text(encoding='utf-8').splitlines()
    return {plain_slug(name): name for name in lines if name}


def slugs(kind: str, names: Iterable[str]) -> dict[str, str]:
    """Map names to their slugs.

    Raises:
        InputError: two names have the same slug.
    """
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        found[name] = slug(name)
        other = taken.setdefault(found[name], name)
        if other != name:
            raise InputError(f"{kind}s {other!r} and {name!r} have the same folder '{found[name]}'; rename one")
    return found


class Stray(NamedTuple):
    """A folder of runs that does not have the name of any cell of the table.

    Attributes:
        folder: `<row>/<column>`.
        made_for: the cell that its runs were made for; None if they do not record it.
    """

    folder: str
    made_for: MadeFor | None

    @property
    def name(self) -> str:
        """The quoted name of the cell that it was made for, for messages."""
        return 'a cell that nothing names' if self.made_for is None else f"'{self.made_for.name}'"


@dataclass(frozen=True)
class Layout:
    """The folders of a table's cells in one work folder.

    Attributes:
        former: a cell's folder -> the folder that has its runs, if that is another.
        strays: folders with runs of cells that the table does not have.
        renamed: names of cells whose runs were made under another name, each with the folder of these runs.
    """

    former: Mapping[str, str]
    strays: tuple[Stray, ...]
    renamed: tuple[tuple[str, Stray], ...] = ()

    def of(self, cell: Cell) -> str:
        """Return the `<row>/<column>` folder of a cell's runs."""
        return self.former.get(cell.folder, cell.folder)

    def remarks(self) -> list[str]:
        """Write one line per renamed cell, and one per folder of a cell that the table does not have."""
        found = [f"{stray.name} is now '{name}': its runs stay in {stray.folder}" for name, stray in self.renamed]
        return found + [
            f'{stray.folder} holds runs of {stray.name}, which the table does not have' for stray in self.strays
        ]


def layout(cells: Sequence[Cell], work_dir: Path) -> Layout:
    """Find the runs of all cells of a table, also those made under another name.

    A folder without a matching cell name is assigned to the cell that its runs were made for, by row and
    column, or else to the cell with the config of its runs, so that a renamed row keeps its results. Only
    cells that have no runs in their own folder are considered.

    Args:
        cells: all cells of the table.
        work_dir: the table's work folder.
    """
    there = _cell_folders(work_dir)
    own = {cell.folder for cell in cells}
    runs = {folder: _trials(work_dir / folder) for folder in sorted(there - own)}
    strays = [Stray(folder, _made_for(trials)) for folder, trials in runs.items() if trials]
    if not strays:
        return Layout({}, ())
    former: dict[str, Stray] = {}
    renamed: list[tuple[str, Stray]] = []
    missing = [
        cell for cell in cells if cell.implemented and not (cell.folder in there and _trials(work_dir / cell.folder))
    ]
    by_name = {(stray.made_for.row, stray.made_for.column): stray for stray in strays if stray.made_for is not None}
    for cell in missing:
        if (cell.row, cell.column) in by_name:
            former.setdefault(cell.folder, by_name[cell.row, cell.column])
    names = {(cell.row, cell.column) for cell in cells}
    unknown = [stray for name, stray in by_name.items() if name not in names]
    for cell in missing:
        if unknown and cell.folder not in former:
            made_by = provenance(cell.resolve())
            same = [
                stray
                for stray in unknown
                if stray.made_for and made_by.made(stray.made_for.config_hash, stray.made_for.data)
            ]
            if same:
                former[cell.folder] = same[0]
                renamed.append((cell.name, same[0]))
                unknown.remove(same[0])
    left = tuple(stray for stray in strays if stray not in former.values())
    return Layout({own: stray.folder for own, stray in former.items()}, left, tuple(renamed))


def point_folder_of(searches: Path, own: Path, made_by: Provenance) -> str:
    """Return the folder name of a point of a search: its own, or that of an existing run with the same config."""
    if not own.is_dir():
        for name in sorted(_folders(searches)):
            made_for = _made_for([searches / name / 'trial0'])
            if made_for is not None and made_by.made(made_for.config_hash, made_for.data):
                return name
    return own.name


def _cell_folders(work_dir: Path) -> set[str]:
    """List every `<row>/<column>` below a work folder; links are not followed."""
    return {f'{row}/{column}' for row in _folders(work_dir) for column in _folders(work_dir / row)}


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _trials(folder: Path) -> list[Path]:
    """List the folders of the runs of one cell, those of its search last."""
    searches = [folder / 'search' / point for point in sorted(_folders(folder / 'search'))]
    return [at / name for at in (folder, *searches) for name in sorted(_folders(at)) if re.fullmatch(r'trial\d+', name)]


def _made_for(trials: Iterable[Path]) -> MadeFor | None:
    """Read the first readable `cell.json` in these folders of runs; None if there is none."""
    for trial in trials:
        try:
            found = read_made_for(trial / 'cell.json')
        except InputError:  # the state of the trial reports it
            continue
        if found is not None:
            return found
    return None
