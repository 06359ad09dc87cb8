"""Escape the fields of CSV files, which people open in spreadsheets."""

from __future__ import annotations

import unicodedata

from openmix.errors import visible

_FORMULA = ('=', '+', '-', '@')


def field(value: object) -> object:
    """Escape a field of a CSV file, on one line: a text that a spreadsheet would treat as a formula gets an apostrophe.

    It treats as one what begins with = + - or @, also behind blanks or in their full-width form. Numbers stay numbers,
    also negative ones.
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if unicodedata.normalize('NFKC', value[:100]).lstrip().startswith(_FORMULA) else text
