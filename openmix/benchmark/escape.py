"""Escape text for every output format, with one function per format; CSV has `openmix.csv_text`.

Every string that is written passes through one of them, because tables, results and work folders may come from
other people.
"""

from __future__ import annotations

import html as _html
import os
import re
from pathlib import Path
from urllib.parse import quote

from rich.text import Text

from openmix.errors import InputError, visible

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
_SLURM_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.,-]*')


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
