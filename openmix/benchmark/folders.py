"""The folder of a cell: of its row's and its column's name alone, and where it lay under other names."""

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
from openmix.config import configs_dir
from openmix.errors import InputError
from openmix.provenance import Provenance, provenance

_MOST_CHARACTERS = 60  # of the readable part
_LIKE_A_DIGEST = re.compile(r'(^|-)[0-9a-f]{6}$')  # it could be the folder of another name
_PLAIN_NAMES = 'plain_folders.txt'


def slug(name: str) -> str:
    """A folder name of a-z, 0-9 and dashes that no other name has, whatever else a table names.

    Names that say no more than their slug have it; those in `configs/tables/plain_folders.txt` too. All
    others end in a digest: `A` and `a`, `CutMix` and `CutMix+` never meet, also where a disk ignores case.
    """
    plain = plain_slug(name)
    known = _plain_names().get(plain)
    if name == (known or plain) and plain and (known or not _LIKE_A_DIGEST.search(name)):
        return plain
    return f'{plain[:_MOST_CHARACTERS]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}'.strip('-')


def plain_slug(name: str) -> str:
    """The readable part of a name's folder."""
    return re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')


@functools.cache
def _plain_names() -> Mapping[str, str]:
    """Slug -> the one name that has it without a digest."""
    lines = (configs_dir() / 'tables' / _PLAIN_NAMES).read_text(encoding='utf-8').splitlines()
    return {plain_slug(name): name for name in lines if name}


def slugs(kind: str, names: Iterable[str]) -> dict[str, str]:
    """Name -> `slug`.

    Raises:
        InputError: two have the same.
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
    """A cell's folder on the disk that no cell of the table has by its name.

    Attributes:
        folder: `<row>/<column>`.
        made_for: what its runs say; None where none of them says anything.
    """

    folder: str
    made_for: MadeFor | None

    @property
    def name(self) -> str:
        """The quoted name of the cell that it was made for, as messages give it."""
        return 'a cell that nothing names' if self.made_for is None else f"'{self.made_for.name}'"


@dataclass(frozen=True)
class Layout:
    """The folders of a table's cells in one work folder.

    Attributes:
        former: a cell's folder -> the folder that its runs lie in, where that is another.
        strays: folders with the runs of cells that the table does not have, by what they say.
        renamed: names of cells whose runs were made under another name, each with where they are.
    """

    former: Mapping[str, str]
    strays: tuple[Stray, ...]
    renamed: tuple[tuple[str, Stray], ...] = ()

    def of(self, cell: Cell) -> str:
        """The `<row>/<column>` that a cell's runs lie in."""
        return self.former.get(cell.folder, cell.folder)

    def remarks(self) -> list[str]:
        """One line a cell that was renamed, and one a folder whose cell the table does not have."""
        found = [f"{stray.name} is now '{name}': its runs stay in {stray.folder}" for name, stray in self.renamed]
        return found + [
            f'{stray.folder} holds runs of {stray.name}, which the table does not have' for stray in self.strays
        ]


def layout(cells: Sequence[Cell], work_dir: Path) -> Layout:
    """Find the runs of all cells of a table, also those made under another name.

    A folder that no cell has by its name belongs to the cell that its runs were made for, by row and
    column, else to the one whose config is that of its runs: a renamed row goes on where it was. Only
    cells that have no folder of their own yet are looked for.

    Args:
        cells: of the whole table.
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
    """The name of the folder of a search's point: its own, else that of a run of the same config."""
    if not own.is_dir():
        for name in sorted(_folders(searches)):
            made_for = _made_for([searches / name / 'trial0'])
            if made_for is not None and made_by.made(made_for.config_hash, made_for.data):
                return name
    return own.name


def _cell_folders(work_dir: Path) -> set[str]:
    """Every `<row>/<column>` below a work folder; links are not followed."""
    return {f'{row}/{column}' for row in _folders(work_dir) for column in _folders(work_dir / row)}


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _trials(folder: Path) -> list[Path]:
    """The folders of the runs of one cell, those of its search last."""
    searches = [folder / 'search' / point for point in sorted(_folders(folder / 'search'))]
    return [at / name for at in (folder, *searches) for name in sorted(_folders(at)) if re.fullmatch(r'trial\d+', name)]


def _made_for(trials: Iterable[Path]) -> MadeFor | None:
    """The first readable `cell.json` of these folders of runs; None where there is none."""
    for trial in trials:
        try:
            found = read_made_for(trial / 'cell.json')
        except InputError:  # the trial's own state says so
            continue
        if found is not None:
            return found
    return None
