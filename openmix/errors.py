"""The one error that a wrong recipe, file or argument ends in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do; commands exit with code 2."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The tail of an error line about an unknown `name`: the closest valid name, then all of them."""
    valid = sorted(set(valid))
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ''
    return f'{hint}valid: {", ".join(valid)}'
