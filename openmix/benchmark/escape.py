"""Escape text for every output format, with one function per format.

Every string that is written passes through one of them, because tables, results and work folders may come from
other people.
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

# Spreadsheets treat a field that starts with one of these as a formula.
_FORMULA = ('=', '+', '-', '@', '\t', '\r')
_MARKDOWN = re.compile(r'([\\`*_{}\[\]<>&|~$])')
# Markers that start a heading, a list or a quotation at the beginning of a line.
_OPENS_BLOCK = re.compile(r'^(\s*)(?:([#+=-])(?=[\s#=-]|$)|(\d+)([.)])(?=\s|$))')
_LATEX = {
    '\\': r'\textbackslash{}',
    '^': r'\textasciicircum{}',
    '~': r'\textasciitilde{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    # At the start of a row these would be parsed as arguments of the line break before it.
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
    """Escape characters that have an effect instead of a glyph: controls, direction marks, unpaired surrogates.

    Args:
        text: the text.
        keep: such characters that are not escaped, for example a line break.
    """
    if text.isprintable():
        return text
    return ''.join(ascii(c)[1:-1] if acts(c) and c not in keep else c for c in text)


def acts(character: str) -> bool:
    """Return true for control characters, line separators, surrogates and marks of writing direction."""
    return unicodedata.category(character) in ('Cc', 'Cs', 'Zl', 'Zp') or character in _DIRECTION


def _one_line(text: str) -> str:
    return visible(re.sub(r'\s+', ' ', text))


def terminal(text: str, style: str = '') -> Text:
    """Prepare a text for the terminal, in one style; markup, colour codes and emoji names in it have no effect."""
    return Text(visible(text, '\n'), style)


def html(text: str) -> str:
    """Escape a text for HTML, between tags or inside a quoted attribute."""
    return _html.escape(visible(text, '\n\t'))


def markdown(text: str) -> str:
    """Escape a text for a paragraph, a list item or a table cell in Markdown, on one line."""
    escaped = _MARKDOWN.sub(r'\\\1', _one_line(text))
    return _OPENS_BLOCK.sub(lambda m: f'{m[1]}\\{m[2]}' if m[2] else f'{m[1]}{m[3]}\\{m[4]}', escaped)


def latex(text: str) -> str:
    """Escape a text for LaTeX, on one line."""
    return _LATEX_PATTERN.sub(lambda found: _LATEX[found[0]], _one_line(text))


def csv(value: object) -> object:
    """Escape a field of a CSV file: a text that a spreadsheet would treat as a formula gets a leading apostrophe.

    Numbers stay numbers, also negative ones.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def link(path: Path | str, root: Path) -> str:
    """Make the URL of a file relative to the folder of the page, for HTML and Markdown."""
    return quote(os.path.relpath(path, root).replace(os.sep, '/'), errors='surrogateescape')


def slurm_name(where: str, text: str) -> str:
    """Check and return a name for Slurm, such as a partition.

    Raises:
        InputError: it has other characters than letters, digits and `. , _ -`, which could start another directive.
    """
    if not _SLURM_NAME.fullmatch(text):
        raise InputError(f'{where} must be a name of letters, digits and . , _ -, got {text!r}')
    return text


def slurm_path(path: Path) -> Path:
    """Check and return a folder for a directive of Slurm.

    Raises:
        InputError: it has a quote, a backslash, a control character, or a % that Slurm would replace.
    """
    if re.search(r'["\'\\%]', str(path)) or visible(str(path)) != str(path):
        raise InputError(f'Slurm cannot write to {str(path)!r}; give a --work-dir without quotes, % and backslashes')
    return path
