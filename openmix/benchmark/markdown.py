"""Write a table's records as Markdown, with links from measured numbers to their runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openmix.benchmark.escape import link
from openmix.benchmark.escape import markdown as escape
from openmix.benchmark.foundation import HEADS, foundations
from openmix.benchmark.grid import label
from openmix.benchmark.records import Record, side_by_side
from openmix.benchmark.render import (
    best_of_columns,
    by_place,
    caption,
    footnote,
    gained,
    has_published,
    known_gains,
    measured,
    printed,
    printed_digits,
    readout_heads,
    remarks,
    shown,
    signed,
    spread,
    tested,
    theirs,
    why,
)
from openmix.benchmark.statistics import Gain, agreement, difference, over_first_row, verdicts
from openmix.benchmark.submissions_table import beside
from openmix.benchmark.submitted import SUBMITTED, submitted
from openmix.benchmark.submitters import HEADS as BESIDE
from openmix.benchmark.table import Table
from openmix.benchmark.trials import choose

_MARKS = {'better': ' ▲', 'worse': ' ▼', 'agrees': '', '': ''}


def markdown(table: Table, records: Sequence[Record], root: Path) -> str:
    """Write leaderboard, gains, claims, searches and runs; links are relative to `root`."""
    lines = [f'# {escape(table.title)}', '', *([f'Source: {escape(table.source)}', ''] if table.source else [])]
    lines += [escape(caption(table)), '', *_leaderboard(table, records, root)]
    notes = [footnote(records)] if footnote(records) else []
    if any(agreement(record) for record in records):
        notes.append('In brackets: ours − published; ▲ better, ▼ worse by more than max(0.2, 2 std).')
    lines += ['', *notes] if notes else []
    lines += ['', *(f'- {escape(line)}' for line in remarks(table, records))]
    lines += [
        *_theirs(table, records),
        *_readouts(records),
        *_gains('Gain', known_gains(table, records)),
        *_gains(f'Over {table.rows[0]}', over_first_row(table, records)),
        *_claims(table, records),
        *_searches(records),
        *_foundations(records, root),
    ]
    lines += _runs(records, root)
    lines += ['', *(f'- {escape(note)}' for note in table.notes)] if table.notes else []
    return '\n'.join(lines) + '\n'


def _row(cells: Sequence[str]) -> str:
    """Write one row from cells that are already Markdown."""
    return f'| {" | ".join(cells)} |'


def _heads(heads: Sequence[str], words: int = 1) -> list[str]:
    return [_row([*map(escape, heads)]), _row([*['---'] * words, *['---:'] * (len(heads) - words)])]


def _link(text: str, path: Path, root: Path) -> str:
    return f'[{escape(text)}](<{link(path, root)}>)'


def _leaderboard(table: Table, records: Sequence[Record], root: Path) -> list[str]:
    rows, columns = shown(table, records)
    places, best = by_place(records), best_of_columns(table, records)
    published, digits = has_published(records), printed_digits(records)
    lines = _heads(['', *(head for column in columns for head in ([column, 'published'] if published else [column]))])
    for row in rows:
        line = [escape(row)]
        for column in columns:
            record = places.get((row, column))
            line.append('–' if record is None else _ours(record, (row, column) in best, root))
            if published:
                line.append('' if record is None else _printed(record, digits[column]))
        lines.append(_row(line))
    return lines


def _ours(record: Record, best: bool, root: Path) -> str:
    text = escape(measured(record))
    if text and record.trials:
        text = _link(measured(record), record.trials[0].folder.parent, root)
        stale = f' ({record.status})' if record.state == 'stale' else ''
        text = f'**{text}**{stale}' if best else f'{text}{stale}'
    return '<br>'.join([text or record.status, *map(escape, theirs(record))])


def _printed(record: Record, digits: int) -> str:
    off = signed(difference(record))
    return printed(record.cell, digits) + (f' ({off}{_MARKS[agreement(record)]})' if off else '')


def _theirs(table: Table, records: Sequence[Record]) -> list[str]:
    of_each = [_row([*map(escape, words)]) for words in submitted(table, records)]
    sources, numbers = beside(records)
    each_cell = [_row([*map(escape, words)]) for _, words in numbers]
    known = ['', *_heads(SUBMITTED, len(SUBMITTED)), *of_each] if of_each else []
    return [*known, *(['', *_heads([*BESIDE, *sources], 2), *each_cell] if each_cell else [])]


def _readouts(records: Sequence[Record]) -> list[str]:
    lines = [
        _row([escape(record.cell.name), *(escape(spread(values)) for values in found.values())])
        for record in records
        if (found := side_by_side(record))
    ]
    return ['', *_heads(['Readouts', *readout_heads()]), *lines] if lines else []


def _gains(title: str, found: Sequence[Gain]) -> list[str]:
    if not found:
        return []
    heads = [title]
    columns = {'ours ± 95 % interval (pairs)': gained, 'Holm, effect': tested, 'published': _published_gain}
    shown = {head: make for head, make in columns.items() if any(map(make, found))}
    lines = ['', *_heads([*heads, *shown])]
    for gain in found:
        lines.append(_row([escape(f'{gain.row}: {gain.name}'), *(make(gain) for make in shown.values())]))
    return lines


def _published_gain(gain: Gain) -> str:
    return signed(gain.published)


def _claims(table: Table, records: Sequence[Record]) -> list[str]:
    rows = [_row([escape(found.claim.text), found.outcome, escape(why(found))]) for found in verdicts(table, records)]
    return ['', *_heads(['Claim', 'ours', 'why'], 3), *rows] if rows else []


def _searches(records: Sequence[Record]) -> list[str]:
    lines = []
    for record in records:
        searches = () if record.cell.measure else record.searches  # a measure has those of its column
        chosen = choose(searches) if searches else None
        for search in searches:
            value = search.value()
            mark = ' (chosen)' if search.point == chosen else ''
            shown_value = search.state() if value is None else f'{value:.2f}'
            lines.append(_row([escape(record.cell.name), escape(label(search.point) + mark), shown_value]))
    return ['', *_heads(['Search on held-out images', 'point', 'validation'], 2), *lines] if lines else []


def _foundations(records: Sequence[Record], root: Path) -> list[str]:
    lines = []
    for found in foundations(records):
        stage, *words, cells = found.words()
        runs = ' '.join(_link(f'seed {trial.seed}', trial.folder, root) for trial in found.trials)
        lines.append(_row([stage, *map(escape, words[:-1]), runs, escape(cells)]))
    return ['', *_heads(['Earlier stage', *HEADS[1:]], len(HEADS)), *lines] if lines else []


def _runs(records: Sequence[Record], root: Path) -> list[str]:
    lines = [
        _row(
            [
                escape(record.cell.name),
                str(trial.seed),
                f'{value:.2f}',
                _link('run', trial.folder, root),
                _link('config', trial.config_path, root),
            ]
        )
        for record in records
        for trial, value in zip(record.finished, record.values, strict=True)
    ]
    return ['', *_heads(['Run', 'seed', 'value', 'folder', 'config']), *lines] if lines else []
