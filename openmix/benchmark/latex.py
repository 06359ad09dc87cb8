r"""Write a table's records as a LaTeX table; the document needs \usepackage{booktabs}."""

from __future__ import annotations

from collections.abc import Sequence

from openmix.benchmark.escape import latex as escape
from openmix.benchmark.records import Record, deviation
from openmix.benchmark.render import best_of_columns, by_place, caption, has_published, printed_digits, shown
from openmix.benchmark.table import Table


def latex(table: Table, records: Sequence[Record]) -> str:
    """Write the leaderboard; with two sub-columns, measured and published, if there are published numbers."""
    rows, columns = shown(table, records)
    places, best = by_place(records), best_of_columns(table, records)
    published, digits = has_published(records), printed_digits(records)
    width = 2 if published else 1
    heads = [f'\\multicolumn{{{width}}}{{c}}{{{escape(column)}}}' for column in columns]
    lines = [
        '\\begin{table}',
        '\\centering',
        f'\\caption{{{escape(table.title)}. {escape(caption(table))}; {escape(table.variant)} variant.}}',
    ]
    lines += [f'\\begin{{tabular}}{{l{"r" * width * len(columns)}}}', '\\toprule', _line(['', *heads])]
    if published:
        lines += [f'\\cmidrule(lr){{{i}-{i + 1}}}' for i in range(2, 2 + 2 * len(columns), 2)]
        lines.append(_line(['', *['ours', 'published'] * len(columns)]))
    lines.append('\\midrule')
    for row in rows:
        line = [escape(row)]
        for column in columns:
            record = places.get((row, column))
            line.append('--' if record is None else _ours(record, (row, column) in best))
            if published:
                line.append('' if record is None else _printed(record, digits[column]))
        lines.append(_line(line))
    return '\n'.join([*lines, '\\bottomrule', '\\end{tabular}', '\\end{table}']) + '\n'


def _line(cells: Sequence[str]) -> str:
    return f'{" & ".join(cells)} \\\\'


def _number(value: float, spread: float | None, digits: int, bold: bool = False) -> str:
    text = f'\\mathbf{{{value:.{digits}f}}}' if bold else f'{value:.{digits}f}'
    around = '' if spread is None else f' \\pm {spread:.2f}'
    return f'${text}{around}$'


def _ours(record: Record, bold: bool) -> str:
    if record.mean is None:
        return ''
    partial = len(record.values) < len(record.trials)
    return _number(record.mean, deviation(record.values), 2, bold) + ('*' if partial else '')


def _printed(record: Record, digits: int) -> str:
    cell = record.cell
    if cell.published is not None:
        return _number(cell.published, cell.spread, digits)
    return '' if cell.other_source is None else _number(cell.other_source, None, digits) + escape('†')
