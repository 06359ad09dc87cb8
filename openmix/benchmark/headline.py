"""The first lines of a table's page: the best of each column beside the first row, and what measured them."""

from __future__ import annotations

from collections.abc import Sequence

from openmix.benchmark.escape import html as escape
from openmix.benchmark.made_for import told
from openmix.benchmark.markup import attributes, element
from openmix.benchmark.records import Record
from openmix.benchmark.render import spread
from openmix.benchmark.table import Table, table_names

_MOST_CARDS = 4
_MOST_NAMES = 3


def headline(table: Table, records: Sequence[Record]) -> str:
    """Write a card for each of the first columns, and date, machine, commit and command; '' without a number."""
    known = [record for record in records if record.mean is not None and not record.cell.measure]
    columns = [column for column in table.columns if any(record.cell.column == column for record in known)]
    if not columns:
        return ''
    cards = [_card(table, column, [r for r in known if r.cell.column == column]) for column in columns[:_MOST_CARDS]]
    more = f'<p class="soft">and {len(columns) - _MOST_CARDS} more columns below</p>' if columns[_MOST_CARDS:] else ''
    return f'<div class="cards">\n{"".join(cards)}</div>\n{more}<p class="soft by">{_measured_by(table, known)}</p>\n'


def _card(table: Table, column: str, records: Sequence[Record]) -> str:
    pick = min if records[0].cell.lower_is_better else max
    best = pick(records, key=lambda record: record.mean or 0.0)
    base = next((record for record in records if record.cell.row == table.rows[0]), None)
    beside = ''
    if base is not None and base is not best:
        beside = f'{escape(base.cell.row)} {spread(base.values)}'
    elif base is not None and len(records) > 1:
        beside = f'the first row is the best of {len(records)}'
    below = element('span', beside, class_='sub') if beside else ''
    lower = ', the lowest is the best' if best.cell.lower_is_better else ''
    name = element('span', escape(column + lower), class_='of')
    # A single trial tells no difference, so it is not made to look like one.
    row = element('b' if len(best.values) > 1 else 'span', escape(best.cell.row))
    html = f'{name}{row} <span class="number">{spread(best.values)}</span>{below}'
    return f'<div{attributes(class_="card", data_column=column)}>{html}</div>\n'


def _measured_by(table: Table, records: Sequence[Record]) -> str:
    results = [result for record in records for result in record.results]
    days = sorted({result.finished[:10] for result in results if result.finished})
    machines = dict.fromkeys(result.environment.get('gpu0') or result.environment.get('cpu', '') for result in results)
    commits = dict.fromkeys((result.commit or '')[:10] for result in results)
    said = [' to '.join(dict.fromkeys((days[0], days[-1]))) if days else '']
    said += [_some(list(filter(None, machines))), _some([f'commit {one}' for one in commits if one])]
    # A table that openmix does not ship is named by its file.
    named = table.name if table.name in table_names() else f'{table.name}.yaml'
    words = ' '.join(filter(None, ('python tools/benchmark.py run', named, told(table.said))))
    command = element('code', escape(words))
    return '; '.join([*map(escape, filter(None, said)), command])


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ', '.join(names[:_MOST_NAMES]) + (f' and {rest} more' if rest > 0 else '')
