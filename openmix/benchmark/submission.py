"""`Submission`: the results of someone's runs of a table, parsed from the one file that `submit` writes.

The file comes from anyone: it is read into memory, nothing of it is unpacked or run, and what is not expected in it is
refused by its name.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmix.benchmark.limits import MOST_OF_NOTE, MOST_TEXT, MOST_TRIALS
from openmix.benchmark.submitters import check_submitter
from openmix.benchmark.values import check_name, check_text
from openmix.errors import InputError, brief, check_number
from openmix.json_file import list_of, mapping_of, parse_object, text_of, texts_of, whole_of
from openmix.regular_file import read_bytes
from openmix.result import Result, parse_result

FORM = 1
MANIFEST = 'manifest.json'
MOST_BYTES = 64 << 20  # of the file
MOST_MEMBERS = 50_000
MOST_OF_MEMBER = 8 << 20
MOST_OF_LOG = 256 << 10
MOST_OF_ALL = 1 << 30  # unpacked
_ENTRY = b'PK\x01\x02'  # begins an entry in the list of members
_PLACE = re.compile(r'[a-z0-9-]+/[a-z0-9-]+')
_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class SubmittedRun:
    """One finished run of a submission.

    Attributes:
        row, column: the cell, by its names in the table.
        trial: number of the trial in its cell.
        point: the values that a search chose; empty without a grid.
        folder: its folder in the submission, `<row>/<column>/trial<n>`.
        result: the checked content of its `result.json`.
    """

    row: str
    column: str
    trial: int
    point: Mapping[str, Any] = field(hash=False)
    folder: str
    result: Result

    @property
    def place(self) -> str:
        """The folder of its cell in the submission."""
        return self.folder.rpartition('/')[0]

    @property
    def member(self) -> str:
        """The name of its result in the file, for messages."""
        return f'{self.folder}/result.json'


@dataclass(frozen=True)
class Submission:
    """What one file of `submit` holds.

    Attributes:
        file: the file, as it was given.
        name: whose runs these are.
        note: what is said of them; may be ''.
        table, table_hash, variant: the table; see `openmix.benchmark.pack.table_hash`.
        said: changes of the table from the command line, as typed.
        version: version of openmix that wrote the file.
        commit: commit of openmix's checkout; '' if unknown.
        runs: the runs, at least one.
    """

    file: str
    name: str
    note: str
    table: str
    table_hash: str
    variant: str
    said: str
    version: str
    commit: str
    runs: tuple[SubmittedRun, ...]


def read_submission(path: Path) -> Submission:
    """Read a submission.

    Raises:
        InputError: it is not a file that `submit` wrote; the line names the file and the part of it.
    """
    raw = read_bytes(path, MOST_BYTES)
    # The list of members is counted before it is read: a small file can list very many.
    if raw.count(_ENTRY) > MOST_MEMBERS:
        raise InputError(f'{path}: more than {MOST_MEMBERS} members')
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return _parse(archive, str(path))
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, zlib.error, EOFError, OSError) as error:
        raise InputError(f'{path} is no submission: {brief(str(error))[1:-1]}') from error


def _parse(archive: zipfile.ZipFile, where: str) -> Submission:
    members = _members(archive, where)
    if MANIFEST not in members:
        raise InputError(f'{where} is no submission: it has no {MANIFEST}; tools/benchmark.py submit writes one')
    at = f'{where}, {MANIFEST}'
    found = parse_object(_content(archive, members.pop(MANIFEST), where), at)
    if (form := whole_of(f'{at}: format', found.get('format'))) != FORM:
        raise InputError(f'{at}: format {form} is not known; this version reads format {FORM}')
    texts = texts_of(at, found, ('table', 'table_hash', 'variant', 'options', 'version', 'commit', 'name', 'note'))
    if missing := [key for key in ('table', 'table_hash', 'variant', 'version', 'name') if key not in texts]:
        raise InputError(f"{at}: '{missing[0]}' is missing")
    for key, text in texts.items():
        if key in ('note', 'options'):
            check_text(f'{at}: {key}', text, MOST_OF_NOTE if key == 'note' else MOST_TEXT)
        else:
            (check_submitter if key == 'name' else check_name)(f'{at}: {key}', text)
    rows = [_row(f'{at}: runs {i}', row) for i, row in enumerate(list_of(f'{at}: runs', found.get('runs')))]
    if not rows:
        raise InputError(f'{at}: it lists no run')
    _check_distinct(at, rows)
    runs = tuple(_run(archive, members, where, row) for row in rows)
    places = {run.place for run in runs}
    for place in places:
        _config(archive, members, where, place)
    _check_rest(members, where, rows)
    return Submission(
        file=where,
        name=texts['name'],
        note=texts.get('note', ''),
        table=texts['table'],
        table_hash=texts['table_hash'],
        variant=texts['variant'],
        said=texts.get('options', ''),
        version=texts['version'],
        commit=texts.get('commit', ''),
        runs=runs,
    )


def _members(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, each checked to be a plain file of bounded size that is there once."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        member = f'{where}, {brief(info.filename)}'
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.is_dir():
            raise InputError(f'{member} is a link, a folder or a device; a submission holds plain files alone')
        if info.filename in found:
            raise InputError(f'{member} is there twice')
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f'{member} is encrypted or packed in a way that submit does not use')
        if info.file_size > MOST_OF_MEMBER:
            raise InputError(f'{member} has {info.file_size} bytes; at most {MOST_OF_MEMBER} are read')
        found[info.filename] = info
    if (size := sum(info.file_size for info in found.values())) > MOST_OF_ALL:
        raise InputError(f'{where} unpacks to {size} bytes; at most {MOST_OF_ALL} are read')
    return found


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    try:
        with archive.open(info) as file:
            raw = file.read(MOST_OF_MEMBER + 1)  # the size that the file states may be wrong
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, OSError) as error:
        raise InputError(f'{where}, {brief(info.filename)} cannot be read: {brief(str(error))[1:-1]}') from error
    if len(raw) > MOST_OF_MEMBER:
        raise InputError(f'{where}, {brief(info.filename)} has more than {MOST_OF_MEMBER} bytes')
    return raw


@dataclass(frozen=True)
class _Row:
    """A run as the manifest lists it."""

    row: str
    column: str
    trial: int
    seed: int
    config_hash: str
    point: Mapping[str, Any] = field(hash=False)
    folder: str


def _row(where: str, value: Any) -> _Row:
    found = mapping_of(where, value)
    texts = {key: text_of(f'{where}: {key}', found.get(key)) for key in ('row', 'column', 'config_hash', 'place')}
    trial = whole_of(f'{where}: trial', found.get('trial'))
    check_number(f'{where}: trial', trial, 0, MOST_TRIALS)
    if not _PLACE.fullmatch(place := texts.pop('place')):
        raise InputError(f'{where}: place must be ROW/COLUMN in small letters, digits and dashes, got {brief(place)}')
    for key, text in texts.items():
        check_name(f'{where}: {key}', text)
    point = mapping_of(f'{where}: point', found.get('point', {}))
    for key, one in point.items():
        for part in one if isinstance(one, list) else [one]:
            if not isinstance(part, _SCALARS) or len(str(part)) > MOST_TEXT:
                raise InputError(f'{where}: point: {brief(key)} must be a number, a text or a list, got {brief(one)}')
    seed = whole_of(f'{where}: seed', found.get('seed'))
    return _Row(**texts, trial=trial, seed=seed, point=point, folder=f'{place}/trial{trial}')


def _check_distinct(where: str, rows: list[_Row]) -> None:
    """Check that no run is listed twice, by its folder or as the same seed of a cell."""
    folders: set[str] = set()
    seeds: set[tuple[str, str, int]] = set()
    for row in rows:
        if row.folder in folders:
            raise InputError(f'{where}: {row.folder} is listed twice')
        if (key := (row.row, row.column, row.seed)) in seeds:
            raise InputError(f"{where}: '{row.row} / {row.column}' has seed {row.seed} twice")
        folders.add(row.folder)
        seeds.add(key)


def _run(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], where: str, row: _Row) -> SubmittedRun:
    name = f'{row.folder}/result.json'
    if name not in members:
        raise InputError(f'{where}, {name} is missing')
    at = f'{where}, {name}'
    result = parse_result(parse_object(_content(archive, members.pop(name), where), at), at)
    for key, own, listed in (('seed', result.seed, row.seed), ('config_hash', result.config_hash, row.config_hash)):
        if own != listed:
            raise InputError(f'{at}: {key} is {brief(str(own))}, and {MANIFEST} says {brief(str(listed))}')
    return SubmittedRun(row.row, row.column, row.trial, row.point, row.folder, result)


def _config(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], where: str, place: str) -> None:
    """Check that the recipe of a cell is there and is text; it is for readers and never run."""
    name = f'{place}/config.py'
    if name not in members:
        raise InputError(f'{where}, {name} is missing')
    try:
        _content(archive, members.pop(name), where).decode('utf-8')
    except UnicodeDecodeError as error:
        raise InputError(f'{where}, {name} is not UTF-8 text (byte {error.start})') from error


def _check_rest(members: Mapping[str, zipfile.ZipInfo], where: str, rows: list[_Row]) -> None:
    """Check that what is left is the logs of the runs, of bounded size."""
    logs = {f'{row.folder}/log.txt' for row in rows}
    for name, info in members.items():
        if name not in logs:
            raise InputError(f'{where}, {brief(name)} belongs to no run that {MANIFEST} lists')
        if info.file_size > 2 * MOST_OF_LOG:
            raise InputError(f'{where}, {name} has {info.file_size} bytes; submit packs the last {MOST_OF_LOG}')
