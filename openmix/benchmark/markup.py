"""The pieces of HTML that the page is made of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from openmix.benchmark.escape import html as escape
from openmix.benchmark.escape import link


def attributes(**values: object) -> str:
    """' data-row="Mixup"' for data_row='Mixup'; None and '' are left out, a trailing underscore too."""
    found = {key.rstrip('_').replace('_', '-'): value for key, value in values.items() if value not in (None, '')}
    return ''.join(f' {key}="{escape(str(value))}"' for key, value in found.items())


def element(tag: str, html: str, **values: object) -> str:
    """`<tag ...>html</tag>`; `html` is markup already."""
    return f'<{tag}{attributes(**values)}>{html}</{tag}>'


def href(path: Path | str, root: Path) -> str:
    """A link to a file relative to the folder that the page lies in."""
    return link(path, root)


def cell(html: str, value: object = None, kind: str = '') -> str:
    """A table's cell, sorted by `value`, else by what it shows."""
    return element('td', html, class_=kind, data_value=value)


def sortable(heads: Iterable[str], rows: Iterable[str], label: str, text_columns: int = 1) -> str:
    """A table that sorts by any column.

    Args:
        heads: words.
        rows: whole `<tr>` elements.
        label: what it is, for who does not see it.
        text_columns: how many of the first columns hold words.
    """
    cells = ''.join(
        f'<th scope="col"{" class=text" if i < text_columns else ""}><button type="button">{escape(head)}</button></th>'
        for i, head in enumerate(heads)
    )
    body = '\n'.join(rows)
    return scrolled(f'<table><thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody></table>', label)


def scrolled(html: str, label: str) -> str:
    """Content that scrolls sideways by itself where it is wider than the page; with the keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0"{attributes(aria_label=label)}>{html}</div>\n'


def section(title: str, html: str, note: str = '', folded: bool | None = None) -> str:
    """A heading, a line about what follows, and what follows; nothing where there is nothing.

    Args:
        folded: None: always shown; else whether it is folded away at first.
    """
    if not html:
        return ''
    about = f'<p class="soft">{escape(note)}</p>\n' if note else ''
    if folded is None:
        return f'<section>\n<h2>{escape(title)}</h2>\n{about}{html}</section>\n'
    state = '' if folded else ' open'
    return (
        f'<section><details{state}>\n<summary><h2>{escape(title)}</h2></summary>\n{about}{html}</details></section>\n'
    )
