"""A table's records as text: for the terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from openmix.benchmark.records import Record, Trial, gains
from openmix.benchmark.run import clock
from openmix.benchmark.table import Table

FIELDS = ('row', 'column', 'published', 'measured', 'std', 'trials', 'status', 'config')
_COLOURS = {'done': 'green', 'running': 'cyan', 'failed': 'red', 'interrupted': 'yellow', 'stale': 'yellow'}


def measured(record: Record) -> str:
    """'97.22 ± 0.10 (3)', without the deviation below two trials; '' where nothing is measured."""
    if record.mean is None:
        return ''
    spread = '' if record.std is None else f' ± {record.std:.2f}'
    return f'{record.mean:.2f}{spread} ({len(record.values)})'


def signed(value: float | None) -> str:
    """'+0.62' or '−0.62', never '−0.00'; '' for None."""
    return '' if value is None else f'{round(value, 2) + 0.0:+.2f}'.replace('-', '−')


def best_of_columns(table: Table, records: Sequence[Record]) -> set[tuple[str, str]]:
    """(row, column) of the best measured mean of every column; ties to two digits all count."""
    pick = min if table.lower_is_better else max
    means = [(record.cell, round(record.mean, 2)) for record in records if record.mean is not None]
    best: dict[str, float] = {}
    for cell, mean in means:
        best[cell.column] = pick(best.get(cell.column, mean), mean)
    return {(cell.row, cell.column) for cell, mean in means if mean == best[cell.column]}


def shown(table: Table, records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """The rows and columns that the records cover, in the table's order."""
    rows, columns = {record.cell.row for record in records}, {record.cell.column for record in records}
    return [row for row in table.rows if row in rows], [column for column in table.columns if column in columns]


def by_place(records: Sequence[Record]) -> dict[tuple[str, str], Record]:
    """(row, column) -> record."""
    return {(record.cell.row, record.cell.column): record for record in records}


def caption(table: Table) -> str:
    """What the numbers are."""
    readout = table.readout.replace('median_last', 'median of the last ')
    epochs = ' epochs' if readout != table.readout else ''
    return (
        f'{table.metric}, {readout}{epochs}; ours: mean ± sample standard deviation (finished trials); '
        f'{table.variant} variant'
    )


def has_published(records: Sequence[Record]) -> bool:
    """Whether any of the cells has a printed number."""
    return any(record.cell.published is not None for record in records)


def terminal(table: Table, records: Sequence[Record]) -> Group:
    """The leaderboard for a terminal."""
    rows, columns = shown(table, records)
    places, best, published = by_place(records), best_of_columns(table, records), has_published(records)
    grid = Grid()
    grid.add_column('')
    for column in columns:
        grid.add_column(escape(column), justify='right')
        if published:
            grid.add_column('[dim]published[/dim]', justify='right')
    for row in rows:
        line = [escape(row)]
        for column in columns:
            record = places.get((row, column))
            text = '[dim]–[/dim]'
            if record is not None:
                text = measured(record) or f'[dim]{record.status}[/dim]'
            line.append(f'[bold]{text}[/bold]' if (row, column) in best else text)
            if published:
                number = None if record is None else record.cell.published
                line.append('' if number is None else f'[dim]{number:g}[/dim]')
        grid.add_row(*line)
    return Group(Text(table.title, 'bold'), grid, Text(caption(table), 'dim'))


def _md(text: str) -> str:
    return text.replace('|', '\\|').replace('\n', ' ')


def markdown(table: Table, records: Sequence[Record]) -> str:
    """The leaderboard and the gains as Markdown."""
    rows, columns = shown(table, records)
    places, best, published = by_place(records), best_of_columns(table, records), has_published(records)
    heads = ['', *(head for column in columns for head in ([column, 'published'] if published else [column]))]
    lines = [f'# {_md(table.title)}', '', *([f'Source: {table.source}', ''] if table.source else [])]
    lines += [caption(table), '', _md_row(heads), _md_row(['---', *['---:'] * (len(heads) - 1)])]
    for row in rows:
        line = [row]
        for column in columns:
            record = places.get((row, column))
            text = '–' if record is None else measured(record) or record.status
            line.append(f'**{text}**' if (row, column) in best else text)
            if published:
                number = None if record is None else record.cell.published
                line.append('' if number is None else f'{number:g}')
        lines.append(_md_row(line))
    lines += _md_gains(table, records, published)
    lines += ['', *(f'- {note}' for note in table.notes)] if table.notes else []
    return '\n'.join(lines) + '\n'


def _md_row(cells: Sequence[str]) -> str:
    return f'| {" | ".join(_md(cell) for cell in cells)} |'


def _md_gains(table: Table, records: Sequence[Record], published: bool) -> list[str]:
    found = [gain for gain in gains(table, records) if gain.ours is not None or gain.published is not None]
    if not found:
        return []
    heads = ['Gain', 'ours', *(['published'] if published else [])]
    lines = ['', _md_row(heads), _md_row(['---', *['---:'] * (len(heads) - 1)])]
    for gain in found:
        name = f'{gain.row}: {gain.column} − {gain.over}'
        lines.append(_md_row([name, signed(gain.ours), *([signed(gain.published)] if published else [])]))
    return lines


def as_dicts(records: Sequence[Record]) -> list[dict]:
    """One dict of `FIELDS` a cell; `trials` counts those behind `measured`, absent cells are left out."""
    return [
        {
            'row': record.cell.row,
            'column': record.cell.column,
            'published': record.cell.published,
            'measured': record.mean,
            'std': record.std,
            'trials': len(record.values),
            'status': record.status,
            'config': record.cell.config,
        }
        for record in records
    ]


def as_json(records: Sequence[Record]) -> str:
    """`as_dicts` as JSON."""
    return json.dumps(as_dicts(records), indent=1, ensure_ascii=False) + '\n'


def as_csv(records: Sequence[Record]) -> str:
    """`as_dicts` as CSV; what is missing is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(as_dicts(records))
    return text.getvalue()


def plan(table: Table, trials: Sequence[Trial], records: Sequence[Record]) -> tuple[Grid, str]:
    """What `run` would do with every trial, and one line that sums it up."""
    actions = {'done': 'skip', 'running': 'leave alone', 'stale': 'set aside, run'}
    grid = Grid(title=escape(table.title), title_justify='left')
    for head in ('row', 'column', 'trial', 'seed', 'epochs', 'action', 'recipe'):
        grid.add_column(head)
    ahead = 0
    for trial in trials:
        state = trial.state()
        ahead += state not in ('done', 'running')
        action = actions.get(state, 'resume' if trial.resumable() else 'run')
        cells = (trial.cell.row, trial.cell.column, trial.index, trial.seed, trial.epochs or '', action)
        grid.add_row(*(escape(str(cell)) for cell in (*cells, trial.cell.config)))
    durations = [result['duration_s'] for record in records for result in record.results if 'duration_s' in result]
    cost = ''
    if ahead and durations:
        mean = sum(durations) / len(durations)
        cost = f', about {clock(ahead * mean)} one after another ({clock(mean)} each so far)'
    return grid, f'{len(trials)} trials, {ahead} to run{cost}'


def status(table: Table, trials: Sequence[Trial]) -> Grid:
    """Where every trial stands."""
    grid = Grid(title=escape(table.title), title_justify='left')
    for head in ('row', 'column', 'trial', 'seed', 'state', 'epoch', 'folder'):
        grid.add_column(head)
    for trial in trials:
        state, epoch = trial.state(), trial.last_epoch().get('epoch')
        colour = _COLOURS.get(state, 'dim')
        at = f'{epoch}/{trial.epochs or "?"}' if epoch else ''
        place = (escape(trial.cell.row), escape(trial.cell.column), str(trial.index), str(trial.seed))
        grid.add_row(*place, f'[{colour}]{state}[/{colour}]', at, escape(str(trial.folder)))
    return grid
