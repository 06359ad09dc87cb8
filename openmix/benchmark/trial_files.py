"""Read the files in a trial's folder; a file that cannot be read is reported and treated as missing."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from openmix.benchmark.made_for import MadeFor, read_made_for
from openmix.errors import InputError, brief
from openmix.json_file import finite_of, parse_object
from openmix.regular_file import Missing, read_tail
from openmix.result import Result, numbers_of, read_result

_TAIL_BYTES = 1 << 16  # read from the end of a file; a line of metrics has a few hundred bytes
_MOST_CODES = 1000
_T = TypeVar('_T')
CHECKPOINTS = ('epoch_*.pth', 'iter_*.pth', 'latest.pth')  # files that a run can be resumed from
_POINTER = 'last_checkpoint'  # the file with the path of the newest checkpoint


@dataclass(frozen=True)
class TrialFiles:
    """The parsed files of a trial's folder.

    Attributes:
        result: content of `result.json`, of any run; None if there is none that can be read.
        has_result: true if there is a `result.json`, readable or not.
        made_for: content of `cell.json`.
        codes: exit codes of the failed runs, oldest first.
        has_failed: true if there is a file of exit codes, readable or not.
        has_log: true if there is a `log.txt`, so that a run has started.
        last_row: the newest row of `metrics.jsonl` by name; empty if there is none.
        bad: one line per file that cannot be read.
    """

    result: Result | None
    has_result: bool
    made_for: MadeFor | None
    codes: tuple[int, ...]
    has_failed: bool
    has_log: bool
    last_row: Mapping[str, float]
    bad: tuple[str, ...]


def read_trial_files(folder: Path) -> TrialFiles:
    """Read every file of a trial; a damaged file does not affect the others."""
    bad: list[str] = []

    def read(reader: Callable[[Path], _T], name: str, instead: _T) -> _T:
        try:
            return reader(folder / name)
        except InputError as error:
            bad.append(str(error))
            return instead

    return TrialFiles(
        result=read(read_result, 'result.json', None),
        has_result=os.path.lexists(folder / 'result.json'),
        made_for=read(read_made_for, 'cell.json', None),
        codes=read(read_exit_codes, 'exit_code', ()),
        has_failed=os.path.lexists(folder / 'exit_code'),
        has_log=(folder / 'log.txt').is_file(),
        last_row=read(read_last_row, 'metrics.jsonl', {}),
        bad=tuple(bad),
    )


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a run's folder: the one that it records, else that with the largest number."""
    with contextlib.suppress(InputError):
        if named := Path(tail(folder / _POINTER).decode(errors='replace').strip()).name:
            found = folder / named  # the folder may have been moved
            if found.is_file():
                return found
    numbered = [path for kind in CHECKPOINTS[:2] for path in folder.glob(kind) if path.is_file()]
    return max(numbered, key=lambda path: int(re.sub(r'\D', '', path.stem) or 0), default=None)


def read_exit_codes(path: Path) -> tuple[int, ...]:
    """Read the exit codes in a file, one per line; empty if there is no file.

    Raises:
        InputError: it holds something else.
    """
    return parse_exit_codes(tail(path), str(path))


def parse_exit_codes(raw: bytes, where: str = 'exit_code') -> tuple[int, ...]:
    """Parse exit codes.

    Raises:
        InputError: it holds something else.
    """
    words = raw.split()
    if len(words) > _MOST_CODES or not all(word.removeprefix(b'-').isdigit() and len(word) <= 4 for word in words):
        raise InputError(f'{where} must hold exit codes, got {brief(raw)}')
    return tuple(map(int, words))


def read_last_row(path: Path) -> dict[str, float]:
    """Read the newest row of `metrics.jsonl`; empty if there is none.

    Raises:
        InputError: the last line is not a row of numbers.
    """
    lines = tail(path).splitlines()
    return parse_row(lines[-1], f'{path}, last line') if lines else {}


def parse_row(line: str | bytes, where: str = 'metrics.jsonl') -> dict[str, float]:
    """Parse one row of `metrics.jsonl`: numbers by name.

    Raises:
        InputError: it is not such a row.
    """
    row = numbers_of(where, parse_object(line, where))
    if 'time_s' in row:
        finite_of(f'{where}: time_s', row['time_s'])
    return row


def tail(path: Path) -> bytes:
    """Read the last bytes of a file, in a long file from the start of a line; empty if there is no file.

    Raises:
        InputError: it is not a regular file, or cannot be read.
    """
    try:
        return read_tail(path, _TAIL_BYTES)
    except Missing:
        return b''
