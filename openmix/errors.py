"""The one error that a wrong recipe, file or argument ends in."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable, Iterable


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do; commands exit with code 2."""


_MOST_LISTED = 40


def close_to(name: str, valid: Iterable[str], cutoff: float = 0.75) -> str | None:
    """The valid name that `name` was probably meant to be, if one is near."""
    close = difflib.get_close_matches(name, sorted(set(valid)), n=1, cutoff=cutoff)
    return close[0] if close else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """The tail of an error line about an unknown `name`: the closest valid name, then all, if they are few."""
    valid = sorted(set(valid))
    close = close_to(name, valid, cutoff=0.5)
    hint = f"did you mean '{close}'? " if close else ''
    if close and len(valid) > _MOST_LISTED:
        return f"did you mean '{close}'?"
    return f'{hint}valid: {", ".join(valid)}'


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Wrap a command's `main`: an `InputError` becomes one line on stderr and exit code 2."""

    @functools.wraps(main)
    def run() -> None:
        try:
            main()
        except InputError as error:
            # Raised in a loader's worker, the line is the last of a traceback that torch made its message.
            line = str(error).strip().splitlines()[-1].removeprefix(f'{__name__}.InputError: ')
            print(f'error: {line}', file=sys.stderr)
            sys.exit(2)

    return run
