"""Others' results on the page: a row for each submission, and published numbers, ours and theirs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from openmix.benchmark.escape import html as escape
from openmix.benchmark.markup import cell, element, section, sortable
from openmix.benchmark.records import Record
from openmix.benchmark.render import measured, printed, printed_digits, spread
from openmix.benchmark.submitted import SUBMITTED, submitted
from openmix.benchmark.submitters import HEADS
from openmix.benchmark.table import Table

# Heads whose words may be many.
_LONG = ('Machines', 'File', 'Note')


def beside(records: Sequence[Record]) -> tuple[list[str], list[tuple[Record, tuple[str, ...]]]]:
    """Set the numbers of cells that others have measured side by side.

    Returns:
        the names of the others; of each cell its record and the words of `HEADS`, and of each of the others.
    """
    sources = list(dict.fromkeys(numbers.source for record in records for numbers in record.theirs))
    digits = printed_digits(records)
    rows = []
    for record in records:
        if record.theirs:
            words = [record.cell.row, record.cell.column, printed(record.cell, digits[record.cell.column])]
            words.append(measured(record) or record.status)
            for source in sources:
                found = [numbers for numbers in record.theirs if numbers.source == source]
                words.append('; '.join(f'{spread(numbers.values)}{numbers.remark}' for numbers in found))
            rows.append((record, tuple(words)))
    return sources, rows


def submissions(table: Table, records: Sequence[Record]) -> str:
    """Write the section of the page; '' where nothing of others is shown."""
    sources, numbers = beside(records)
    rows = []
    for record, words in numbers:
        html = f'<th scope="row">{escape(words[0])}</th>' + cell(escape(words[1]), kind='text')
        html += ''.join(cell(escape(word)) for word in words[2:])
        rows.append(element('tr', html, data_row=record.cell.row, data_column=record.cell.column))
    grid = sortable([*HEADS, *sources], rows, 'Published, ours and others', text_columns=2) if rows else ''
    grid = element('div', grid, class_='others') if grid else ''
    known = [_row(words) for words in submitted(table, records)]
    of_each = sortable(SUBMITTED, known, 'Submissions', text_columns=len(SUBMITTED)) if known else ''
    of_each = element('div', of_each, class_='stacked') if of_each else ''
    note = 'Each by its own runs: mean ± sample standard deviation (runs). Nobody here has checked the runs of others.'
    return section('Submissions', of_each + grid, note)


def _row(words: Sequence[str]) -> str:
    """Write what is known of a submission; on a phone its facts stand below each other, each with its head."""
    first, *rest = words
    html = ''.join(
        element('td', escape(word), class_='text' if head in _LONG else 'short', data_head=head)
        for head, word in zip(SUBMITTED[1:], rest, strict=True)
    )
    return element('tr', f'<th scope="row">{escape(first)}</th>{html}')
