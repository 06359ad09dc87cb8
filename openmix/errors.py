"""The one error that a wrong recipe, file or argument ends in."""

from __future__ import annotations

import difflib
import errno
import math
import os
import re
import sysconfig
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def printable(text: object) -> str:
    """Escape the characters of a text that cannot be printed on one line of a terminal."""
    text = str(text)
    return text if text.isprintable() else ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def acts(character: str) -> bool:
    """Return true for control characters, line separators, surrogates and marks of writing direction."""
    return unicodedata.category(character) in ('Cc', 'Cs', 'Zl', 'Zp') or character in _DIRECTION


def visible(text: str, keep: str = '') -> str:
    """Escape characters that have an effect instead of a glyph: controls, direction marks, unpaired surrogates.

    Args:
        text: the text.
        keep: such characters that are not escaped, for example a line break.
    """
    if text.isprintable():
        return text
    return ''.join(ascii(c)[1:-1] if acts(c) and c not in keep else c for c in text)


class InputError(Exception):
    """An error in the input: one line says what is wrong, where, and what to do; commands exit with code 2.

    Characters that cannot be printed are escaped, because file names, recipes and library messages may contain them.
    """

    def __init__(self, line: str) -> None:
        # Torch raises an error of a loader's worker again, with the worker's traceback as message: keep its lines.
        keep = '\n' if _WORKER_TRACE.search(line) else ''
        super().__init__('\n'.join(map(printable, line.split('\n'))) if keep else printable(line))


class Stopped(Exception):
    """A run stopped on a signal after saving a checkpoint; commands exit with 128 + the signal's number."""

    def __init__(self, line: str, number: int) -> None:
        super().__init__(line)
        self.code = 128 + number


# On the package index, the name `openmix` belongs to another project.
DISTRIBUTION = 'openmix-bench'


_MOST_LISTED = 40


_DIRECTION = '\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069'


# The message of an error from a loader's worker, which contains the worker's traceback.
_WORKER_TRACE = re.compile(r'in DataLoader worker process \d+\.\nOriginal (Traceback .*)', re.DOTALL)


_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ('stdlib', 'purelib', 'platlib'))


_PACKAGE = str(Path(__file__).resolve().parent)


# Errors of a write when the disk is full, or a quota or a limit on the size of files is reached.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def install_hint(extra: str) -> str:
    """Return the command that installs an extra of `setup.py`, to be run in the folder of the checkout."""
    return f"pip install -e '.[{extra}]'"


def close_to(name: str, valid: Iterable[str], cutoff: float = 0.75) -> str | None:
    """Find the valid name closest to `name`; None if none is close."""
    close = difflib.get_close_matches(name, sorted(set(valid)), n=1, cutoff=cutoff)
    return close[0] if close else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """Write the end of an error line about an unknown `name`: the closest valid name, then all, if there are few."""
    valid = sorted(set(valid))
    close = close_to(name, valid, cutoff=0.5)
    hint = f"did you mean '{close}'? " if close else ''
    if close and len(valid) > _MOST_LISTED:
        return f"did you mean '{close}'?"
    more = f' and {len(valid) - _MOST_LISTED} more' if len(valid) > _MOST_LISTED else ''
    return f'{hint}valid: {", ".join(valid[:_MOST_LISTED])}{more}'


def close_to_any(name: str, valid: Iterable[str], most: int = 3) -> str:
    """Write the end of an error line about an unknown file: only the nearest names, as all would be too many.

    Names are compared as a whole and by their last part, so that a file name without its folder is found too.
    """
    name = name[:200].strip('/')
    last = re.split('[/.]', name.removesuffix('.py'))[-1]

    def likeness(one: str) -> float:
        parts = re.split('[/.]', one.removesuffix('.py'))
        alike = max(difflib.SequenceMatcher(None, last, part).ratio() for part in parts) if last else 0.0
        return difflib.SequenceMatcher(None, name, one).ratio() + alike

    close = sorted(set(valid), key=likeness, reverse=True)[:most]
    return f'did you mean {" or ".join(map(repr, close))}?' if close else 'there are none'


def check_number(
    where: str, value: Any, low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> None:
    """Raise an `InputError` unless `value` is a finite number in [low, high].

    Args:
        where: class and argument for the message, as in 'CutMix: alpha'.
        value: the value to check.
        low, high: bounds; if one of them is an integer, the number must be one.
        above, below: exclude the lower, the upper bound itself.
    """
    whole = isinstance(low, int) or isinstance(high, int)
    kind = 'an integer ' if whole else 'a number '
    if isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        kind = ''
        enough = value > low if above else value >= low
        if enough and (value < high if below else value <= high):
            return
    lowest, highest = (f'{bound:g}' if isinstance(bound, float) else str(bound) for bound in (low, high))
    allowed = 'finite'
    if math.isfinite(low) and math.isfinite(high):
        allowed = f'in {"(" if above else "["}{lowest}, {highest}{")" if below else "]"}'
    elif math.isfinite(low):
        allowed = f'{">" if above else ">="} {lowest}'
    elif math.isfinite(high):
        allowed = f'{"<" if below else "<="} {highest}'
    raise InputError(f'{where} must be {kind}{allowed}, got {brief(value)}')


def check_range(where: str, value: Any, low: float, high: float, *, above: bool = False, equal: bool = False) -> None:
    """Raise an `InputError` unless `value` is a pair of numbers in [low, high], the lower one first.

    Args:
        where: class and argument for the message.
        value: the value to check.
        low, high: bounds.
        above: exclude the lower bound itself.
        equal: allow two equal numbers.
    """
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        for end in value:
            check_number(f'{where}: both numbers', end, low, high, above=above)
        if value[0] < value[1] or (equal and value[0] == value[1]):
            return
    raise InputError(f'{where} must be two numbers, lowest first, got {brief(value)}')


def check_choice(where: str, value: Any, valid: Iterable[str]) -> None:
    """Raise an `InputError` unless `value` is one of the `valid` words; the line names the nearest one.

    Args:
        where: class and argument for the message.
        value: the value to check.
        valid: the allowed words.
    """
    valid = list(valid)
    if not isinstance(value, str) or value not in valid:
        hint = f'; {nearest(value, valid)}' if isinstance(value, str) and close_to(value, valid, 0.5) else ''
        raise InputError(f'{where} must be {" or ".join(map(repr, valid))}, got {brief(value)}{hint}')


def number_from_environment(name: str, default: int) -> int:
    """Read an integer >= 0 from an environment variable of a launcher; `default` if it is unset or empty.

    Raises:
        InputError: the variable holds something else.
    """
    text = os.environ.get(name) or str(default)
    if not re.fullmatch('[0-9]{1,9}', text):
        raise InputError(f'the environment variable {name} must be a whole number >= 0, got {brief(text)}')
    return int(text)


def brief(value: Any) -> str:
    """Format a value for an error message, on one line of at most 80 characters."""
    text = ' '.join(repr(value).split())
    return text if len(text) <= 80 else f'{text[:77]}...'


def from_library(error: BaseException) -> bool:
    """Return true if an installed library raised the error, not openmix or the user's own code."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    file = frame.tb_frame.f_code.co_filename if frame is not None else ''
    if (inner := in_worker(error)) is not None:
        file = inner[0]
    # Python's frozen modules and compiled extensions have no path in a traceback, only a name.
    library = file.startswith((*_LIBRARIES, '<frozen')) or file.endswith('.pyx')
    return library and not file.startswith(_PACKAGE)


def message_of(error: BaseException) -> str:
    """Format an error's message on one line of at most 400 characters, without the traceback of a loader's worker."""
    inner = in_worker(error)
    text = ' '.join((str(error) if inner is None else inner[1]).split()) or type(error).__name__
    return f'no {text}'[:400] if isinstance(error, KeyError) else text[:400]


def in_worker(error: BaseException) -> tuple[str, str] | None:
    """Find the file that raised an error in a loader's worker, and its message; None for other errors."""
    if not (found := _WORKER_TRACE.search(str(error))):
        return None
    lines = found[1].splitlines()
    last = max(i for i, line in enumerate(lines) if line.startswith('  '))
    files = re.findall(r'^  File "([^"]+)", line \d+', found[1], re.MULTILINE)
    return files[-1] if files else '', '\n'.join(lines[last + 1 :]).partition(': ')[2]
