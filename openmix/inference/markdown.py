"""Write texts that come from recipes, checkpoints and names of folders into Markdown, where they stay plain text."""

from __future__ import annotations

import re

from openmix.errors import printable

_MARKS = re.compile(r'([\\`*_{}\[\]<>&|~$#!])')


def _one_line(text: object) -> str:
    return printable(' '.join(str(text).split()))


def words(text: object) -> str:
    """Escape a text for a heading, a paragraph or a cell of a table, on one line."""
    return _MARKS.sub(r'\\\1', _one_line(text))


def code(text: object) -> str:
    """Write a text as code on one line, also in a cell of a table; more backticks around it than in it."""
    line = _one_line(text)
    marks = '`' * (max(map(len, re.findall('`+', line)), default=0) + 1)
    blank = ' ' if line[:1] == '`' or line[-1:] == '`' or not line else ''
    return f'{marks}{blank}{line}{blank}{marks}'.replace('|', '\\|')
