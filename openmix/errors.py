"""The one error that a wrong recipe, file or argument ends in."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable, Iterable


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do; commands exit with code 2."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The tail of an error line about an unknown `name`: the closest valid name, then all of them."""
    valid = sorted(set(valid))
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ''
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
