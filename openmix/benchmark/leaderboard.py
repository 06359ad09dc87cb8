"""The leaderboard of the HTML page: one row per method, measured above published numbers, and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from openmix.benchmark.escape import html as escape
from openmix.benchmark.facets import SEPARATOR, facets, parts
from openmix.benchmark.markup import attributes, element, href, opens, scrolled
from openmix.benchmark.records import Numbers, Record
from openmix.benchmark.render import (
    best_of_columns,
    by_place,
    measured,
    printed,
    printed_digits,
    shown,
    signed,
    spread,
)
from openmix.benchmark.statistics import agreement, difference
from openmix.benchmark.table import Table

_MARKS = {'better': '▲', 'worse': '▼', 'agrees': '', '': ''}
_SORTED_BY = ('ours', 'published', 'difference')


def toolbar(table: Table, records: Sequence[Record]) -> str:
    """Write the filters: a text box for methods and buttons for each part of column names; '' for a single cell."""
    rows, columns = shown(table, records)
    if len(rows) < 2 and len(columns) < 2:
        return ''
    groups = [
        _group(
            facet.title, [f'<button type="button"{_chip(facet.position, v)}>{escape(v)}</button>' for v in facet.values]
        )
        for facet in facets([record.cell for record in records])
    ]
    if any(difference(record) is not None for record in records):
        groups.append(_group('Sort by', [_radio(name) for name in _SORTED_BY]))
    search = '<input type="search" placeholder="mixup, cut" autocomplete="off" spellcheck="false">'
    return (
        '<form class="tools" role="search" aria-label="Choose rows and columns" hidden>\n'
        f'<label class="group"><span class="name">Method</span>{search}</label>\n{"".join(groups)}'
        f'<output{attributes(data_rows=len(rows), data_columns=len(columns))}></output>\n</form>\n'
    )


def _chip(position: int, value: str) -> str:
    return attributes(class_='chip', data_part=position, data_is=value, aria_pressed='false')


def _radio(name: str) -> str:
    checked = attributes(checked='checked' if name == 'ours' else '')
    return f'<label><input type="radio" name="sort" value="{name}"{checked}>{name}</label>'


def _group(title: str, items: Sequence[str]) -> str:
    name = f'<span class="name">{escape(title)}</span>'
    return f'<div class="group" role="group"{attributes(aria_label=title)}>{name}{"".join(items)}</div>\n'


def leaderboard(table: Table, records: Sequence[Record], root: Path, served: bool = False) -> str:
    """Write the leaderboard as HTML; links are relative to `root`, see `openmix.benchmark.markup.opens`."""
    rows, columns = shown(table, records)
    places, best, digits = by_place(records), best_of_columns(table, records), printed_digits(records)
    compared = {record.cell.column for record in records if difference(record) is not None}
    sources = _short({n.source for record in records for n in record.theirs if n.submission is None})

    def cell(row: str, column: str) -> str:
        record = places.get((row, column))
        if record is None:
            return element('td', '<span class="soft" title="no such cell">–</span>', data_column=column)
        found = {
            'data_ours': record.mean,
            'data_published': record.cell.published if record.cell.published is not None else record.cell.other_source,
            'data_difference': difference(record),
        }
        kind = 'best' if (row, column) in best else ''
        html = _lines(record, digits[column], column in compared, root, sources, served)
        return element('td', html, class_=kind, data_column=column, **found)

    lower = {record.cell.column: record.cell.lower_is_better for record in records}
    groups = grouped(columns)
    heads = ''.join(
        element(
            'th',
            f'<button type="button">{"<br>".join(map(escape, words))}</button>',
            scope='col',
            data_column=column,
            data_lower='' if not lower[column] else 1,
        )
        for _, found in groups
        for column, words in found
    )
    method = '<button type="button">Method</button>'
    above = ''
    if any(name for name, _ in groups):
        above = '<td></td>' + ''.join(
            element('th', escape(name), scope='colgroup', colspan=len(found), class_='above', data_group=i)
            for i, (name, found) in enumerate(groups)
        )
        above = f'<tr class="groups">{above}</tr>\n'
    heads = f'{above}<tr><th scope="col" class="text">{method}</th>{heads}</tr>'
    body = '\n'.join(
        f'<tr{attributes(data_row=row)}><th scope="row">{escape(row)}</th>'
        + ''.join(cell(row, column) for column in columns)
        + '</tr>'
        for row in rows
    )
    grid = f'<table id="leaderboard"><thead>{heads}</thead>\n<tbody>\n{body}\n</tbody></table>'
    return scrolled(grid, 'Leaderboard')


def grouped(columns: Sequence[str]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Group neighbouring columns by all parts of their names but the last.

    Returns:
        (name of the group, its columns with the words of their heads); the name is '' where no column has a neighbour
        of its group, whose heads then have all parts.
    """
    found: list[tuple[str, list[tuple[str, list[str]]]]] = []
    for column in columns:
        *above, last = parts(column)
        name = SEPARATOR.join(above)
        if not found or found[-1][0] != name:
            found.append((name, []))
        found[-1][1].append((column, [last]))
    if not any(name and len(of_group) > 1 for name, of_group in found):
        return [('', [(column, parts(column)) for column in columns])]
    return found


def _lines(record: Record, digits: int, compared: bool, root: Path, sources: Mapping[str, str], served: bool) -> str:
    """Write a cell: measured number, published number with the difference, status if not done, imported numbers."""
    number = printed(record.cell, digits)
    if number and not measured(record):
        # What is not run yet shows what it is to be compared with.
        lines = [element('span', escape(number), class_='await', title=f'published {number}')]
        lines.append(element('span', escape(record.status), class_='sub'))
        return ''.join([*lines, *(_theirs(record, numbers, root, sources, served) for numbers in record.theirs)])
    lines = [_ours(record, root)]
    if number:
        found, off = agreement(record), signed(difference(record))
        glyph = element('span', _MARKS[found], class_='glyph')
        # Keep its space if there is no difference, so that published numbers are aligned.
        mark = ' ' + element('span', off + glyph if off else '', class_=f'mark {found}'.strip()) if compared else ''
        lines.append(element('span', escape(number) + mark, class_='sub', title=f'published {number}'))
    if (record.values or record.old) and record.status != 'done':
        lines.append(element('span', escape(record.status), class_='sub state'))
    lines += [_theirs(record, numbers, root, sources, served) for numbers in record.theirs]
    return ''.join(lines)


def _ours(record: Record, root: Path) -> str:
    text = measured(record)
    if not text:
        return element('span', escape(record.status), class_='soft')
    if not record.trials:
        return escape(text)
    first = record.trials[0]
    folder = first.folder.parent
    config = element(
        'a',
        '{}',
        class_='config',
        href=href(folder / 'config.py', root),
        title=f'config, hash {first.config_hash}',
        aria_label=f'Config of {record.cell.name}',
    )
    partial = 0 < len(record.values) < len(record.trials)
    return element('a', escape(text), href=href(folder, root), class_='partial' if partial else '') + config


def _theirs(record: Record, numbers: Numbers, root: Path, sources: Mapping[str, str], served: bool) -> str:
    link = escape(spread(numbers.values))
    if numbers.submission is not None:
        where = numbers.source
    else:
        link = opens(link, Path(numbers.source) / record.cell.folder, root, served)
        where = f'imported from {sources[numbers.source]}' if len(sources) > 1 else 'imported'
    who = element('span', escape(where), class_='who')
    html = f'{who} {link}{escape(numbers.remark)}'
    return element('span', html, class_='sub theirs', title=f'from {numbers.source}')


def _short(sources: set[str]) -> dict[str, str]:
    """Map each folder to its last name if that is unique, else to its path."""
    names = [Path(source).name for source in sources]
    return {source: name if names.count(name) == 1 else source for source, name in zip(sources, names, strict=True)}
