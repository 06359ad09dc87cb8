"""The files in a trial's folder, each read at one place; what cannot be read is named and taken for absent."""

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

_TAIL_BYTES = 1 << 16  # the last lines of a file; one line of metrics has a few hundred
_MOST_CODES = 1000
_T = TypeVar('_T')
CHECKPOINTS = ('epoch_*.pth', 'iter_*.pth', 'latest.pth')  # what a run can be resumed from
_POINTER = 'last_checkpoint'  # names the newest


@dataclass(frozen=True)
class TrialFiles:
    """The parsed files of a trial's folder.

    Attributes:
        result: of `result.json`, whatever run made it; None where there is none that can be read.
        has_result: True if there is such a file, readable or not.
        made_for: of `cell.json`.
        codes: the exit codes of the runs that failed, oldest first.
        has_failed: True if there is a file of them, readable or not.
        has_log: True if there is a `log.txt`: a run has begun.
        last_row: the newest row of `metrics.jsonl` by name; empty where there is none.
        bad: one line a file that cannot be read.
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
    """Read every file of a trial; a bad one takes nothing else down."""
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
    """The newest checkpoint in a run's folder: the one that it names, else the one with the largest number."""
    with contextlib.suppress(InputError):
        if named := Path(tail(folder / _POINTER).decode(errors='replace').strip()).name:
            found = folder / named  # the folder may have been moved
            if found.is_file():
                return found
    numbered = [path for kind in CHECKPOINTS[:2] for path in folder.glob(kind) if path.is_file()]
    return max(numbered, key=lambda path: int(re.sub(r'\D', '', path.stem) or 0), default=None)


def read_exit_codes(path: Path) -> tuple[int, ...]:
    """The exit codes in a file, one a line; none where there is no file.

    Raises:
        InputError: it holds something else.
    """
    return parse_exit_codes(tail(path), str(path))


def parse_exit_codes(raw: bytes, where: str = 'exit_code') -> tuple[int, ...]:
    """The exit codes in a text.

    Raises:
        InputError: it holds something else.
    """
    words = raw.split()
    if len(words) > _MOST_CODES or not all(word.removeprefix(b'-').isdigit() and len(word) <= 4 for word in words):
        raise InputError(f'{where} must hold exit codes, got {brief(raw)}')
    return tuple(map(int, words))


def read_last_row(path: Path) -> dict[str, float]:
    """The newest row of `metrics.jsonl`; empty where there is none.

    Raises:
        InputError: its last line is no row of numbers.
    """
    lines = tail(path).splitlines()
    return parse_row(lines[-1], f'{path}, last line') if lines else {}


def parse_row(line: str | bytes, where: str = 'metrics.jsonl') -> dict[str, float]:
    """One row of `metrics.jsonl`: an epoch or validation, numbers by name.

    Raises:
        InputError: it is no such row.
    """
    row = numbers_of(where, parse_object(line, where))
    if 'time_s' in row:
        finite_of(f'{where}: time_s', row['time_s'])
    return row


def tail(path: Path) -> bytes:
    """The last bytes of a file, from the beginning of a line where it is long; empty where there is none.

    Raises:
        InputError: it is no regular file, or cannot be read.
    """
    try:
        return read_tail(path, _TAIL_BYTES)
    except Missing:
        return b''
