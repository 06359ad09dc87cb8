"""One function a format: what a name, a note or an error line must become before it stands in it.

Every string that is written comes through one of these, whoever wrote it: tables, results and work
folders are often those of others.
"""

from __future__ import annotations

import html as _html
import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import quote

from rich.text import Text

from openmix.errors import InputError

# A formula opens with one of these in a spreadsheet.
_FORMULA = ('=', '+', '-', '@', '\t', '\r')
_MARKDOWN = re.compile(r'([\\`*_{}\[\]<>&|~$])')
# What opens a heading, a list or a quotation where it stands first in a line.
_OPENS_BLOCK = re.compile(r'^(\s*)(?:([#+=-])(?=[\s#=-]|$)|(\d+)([.)])(?=\s|$))')
_LATEX = {
    '\\': r'\textbackslash{}',
    '^': r'\textasciicircum{}',
    '~': r'\textasciitilde{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    # First in a row these would be arguments of the line break before it.
    '[': '{[}',
    ']': '{]}',
    '*': '{*}',
    '–': '--',
    '−': '$-$',
    '±': r'$\pm$',
    '×': r'$\times$',
    '≥': r'$\geq$',
    '≤': r'$\leq$',
    'λ': r'$\lambda$',
    'α': r'$\alpha$',
    'η': r'$\eta$',
    'ξ': r'$\xi$',
    '†': r'\textdagger{}',
    '--': '-{}-',
    **{character: f'\\{character}' for character in '&%$#_{}'},
}
_LATEX_PATTERN = re.compile('|'.join(re.escape(key) for key in sorted(_LATEX, key=len, reverse=True)))
_DIRECTION = '\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069'
_SLURM_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.,-]*')


def visible(text: str, keep: str = '') -> str:
    """A text without characters that act instead of showing: controls, turns of direction, halves of pairs are spelled.

    Args:
        keep: of them, the ones that stay, such as a line break.
    """
    if text.isprintable():
        return text
    return ''.join(ascii(c)[1:-1] if acts(c) and c not in keep else c for c in text)


def acts(character: str) -> bool:
    """True for control characters, line separators and marks of writing direction."""
    return unicodedata.category(character) in ('Cc', 'Cs', 'Zl', 'Zp') or character in _DIRECTION


def _one_line(text: str) -> str:
    return visible(re.sub(r'\s+', ' ', text))


def terminal(text: str, style: str = '') -> Text:
    """A text for the terminal, in one style; nothing in it is markup, a colour code or an emoji."""
    return Text(visible(text, '\n'), style)


def html(text: str) -> str:
    """A text for HTML, between tags or inside a quoted attribute."""
    return _html.escape(visible(text, '\n\t'))


def markdown(text: str) -> str:
    """A text for a paragraph, a list item or a cell of a table in Markdown, on one line."""
    escaped = _MARKDOWN.sub(r'\\\1', _one_line(text))
    return _OPENS_BLOCK.sub(lambda m: f'{m[1]}\\{m[2]}' if m[2] else f'{m[1]}{m[3]}\\{m[4]}', escaped)


def latex(text: str) -> str:
    """A text for LaTeX, on one line."""
    return _LATEX_PATTERN.sub(lambda found: _LATEX[found[0]], _one_line(text))


def csv(value: object) -> object:
    """A field of a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe.

    Numbers stay numbers, also negative ones.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def link(path: Path | str, root: Path) -> str:
    """The address of a file, relative to the folder that the page lies in, for HTML and Markdown."""
    return quote(os.path.relpath(path, root).replace(os.sep, '/'), errors='surrogateescape')


def slurm_name(where: str, text: str) -> str:
    """A name of something of Slurm's, such as a partition, as it is.

    Raises:
        InputError: it holds anything but letters, digits and `. , _ -`, which end a directive or begin another.
    """
    if not _SLURM_NAME.fullmatch(text):
        raise InputError(f'{where} must be a name of letters, digits and . , _ -, got {text!r}')
    return text


def slurm_path(path: Path) -> Path:
    """A folder for a directive of Slurm's, as it is.

    Raises:
        InputError: it holds a quote, a backslash, a control character, or a % that Slurm would replace.
    """
    if re.search(r'["\'\\%]', str(path)) or visible(str(path)) != str(path):
        raise InputError(f'Slurm cannot write to {str(path)!r}; give a --work-dir without quotes, % and backslashes')
    return path
