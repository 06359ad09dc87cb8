"""Building blocks of the HTML page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from openmix.benchmark.escape import html as escape
from openmix.benchmark.escape import link


def attributes(**values: object) -> str:
    """Write HTML attributes, ' data-row="A"' for data_row='A'; None, '' and trailing underscores are dropped."""
    found = {key.rstrip('_').replace('_', '-'): value for key, value in values.items() if value not in (None, '')}
    return ''.join(f' {key}="{escape(str(value))}"' for key, value in found.items())


def element(tag: str, html: str, **values: object) -> str:
    """Write `<tag ...>html</tag>`; `html` must be escaped already."""
    return f'<{tag}{attributes(**values)}>{html}</{tag}>'


def href(path: Path | str, root: Path) -> str:
    """Make the URL of a file relative to the folder of the page."""
    return link(path, root)


def opens(html: str, path: Path, root: Path, served: bool, title: str = '') -> str:
    """Make a link to a file or folder; of a page that is served, only below `root`, the rest of which has no address.

    Args:
        html: the text of the link, escaped already.
        path: where it leads.
        root: folder of the page.
        served: a server shows the page, and of files those below `root` alone.
        title: what a pointer shows over the link.
    """
    if served and not path.resolve().is_relative_to(root.resolve()):
        return element('span', html, title=f'{path}: not below the folder that is served')
    return element('a', html, href=href(path, root), title=title)


def cell(html: str, value: object = None, kind: str = '') -> str:
    """Write a table cell, which is sorted by `value` if given, else by its text."""
    return element('td', html, class_=kind, data_value=value)


def sortable(heads: Iterable[str], rows: Iterable[str], label: str, text_columns: int = 1) -> str:
    """Write a table that can be sorted by any column.

    Args:
        heads: texts of the heads.
        rows: complete `<tr>` elements.
        label: description for screen readers.
        text_columns: number of leading columns with text instead of numbers.
    """
    cells = ''.join(
        f'<th scope="col"{" class=text" if i < text_columns else ""}><button type="button">{escape(head)}</button></th>'
        for i, head in enumerate(heads)
    )
    body = '\n'.join(rows)
    return scrolled(f'<table><thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody></table>', label)


def scrolled(html: str, label: str) -> str:
    """Wrap content so that it scrolls horizontally if it is wider than the page, also by keyboard."""
    return f'<div class="scroll" role="region" tabindex="0"{attributes(aria_label=label)}>{html}</div>\n'


def section(title: str, html: str, note: str = '', folded: bool | None = None) -> str:
    """Write a section with heading, note and content; '' without content.

    Args:
        title: heading.
        html: content, escaped already.
        note: a line above the content.
        folded: initial state of a section that can be folded; None: it cannot be folded.
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
