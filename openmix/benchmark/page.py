"""`report.html`: one self-contained page for large and small screens, with a light and a dark mode."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from openmix.benchmark.charts import difference_chart, time_chart
from openmix.benchmark.curves import draw_curves, draw_diagnostics
from openmix.benchmark.escape import html as escape
from openmix.benchmark.foundation import foundations
from openmix.benchmark.gains_table import first_row_table, gains_table
from openmix.benchmark.grid import label
from openmix.benchmark.headline import headline
from openmix.benchmark.leaderboard import leaderboard, toolbar
from openmix.benchmark.made_for import told
from openmix.benchmark.markup import cell, element, href, opens, section, sortable
from openmix.benchmark.pictures import Picture
from openmix.benchmark.records import Record, mean, side_by_side
from openmix.benchmark.render import (
    caption,
    footnote,
    has_published,
    readout_heads,
    spread,
    why,
)
from openmix.benchmark.statistics import difference, verdicts
from openmix.benchmark.submissions_table import submissions
from openmix.benchmark.table import Table
from openmix.benchmark.times import clock
from openmix.benchmark.trial import STATES
from openmix.benchmark.trials import choose
from openmix.benchmark.variant import VARIANTS

# Files relative to a trial's folder; the cell's config is in the parent folder.
_FILES = {'folder': '.', 'config': '../config.py', 'log': 'log.txt', 'result': 'result.json'}
_OUTCOMES = {'held': ('up', '✓'), 'not held': ('down', '✗'), 'not yet run': ('soft', '○')}
_MOST_OPEN = 24  # rows of a table that is not folded away


def page(
    table: Table,
    records: Sequence[Record],
    root: Path,
    pictures: Sequence[Picture] = (),
    now: tuple[int, str] | None = None,
) -> str:
    """Write the whole page.

    Args:
        table: the table.
        records: its records.
        root: folder of the page; links are relative to it.
        pictures: mixed batches to show.
        now: of a page that is served, the number of runs that are done, and HTML of the others, which is renewed.
    """
    ours, served = any(record.values for record in records), now is not None
    print_note = 'A line to each side: one standard deviation. Shaded: ±0.2. ▲ better, ▼ worse by more than '
    print_note += 'max(0.2, 2 standard deviations); ● agrees; ○ a single trial, which tells neither.'
    curves_note = (
        'Validations while training: means, in a band from the lowest to the highest trial; a point shows its value.'
    )
    diagnostics_note = (
        'What the algorithms measure while training: means, in a band from the lowest to the highest trial.'
    )
    gains_note = (
        'Intervals hold for one gain, over seeds, and over test images where runs recorded which they classified '
        "rightly. Coloured where the p value by Holm's method, of all tested together, is at most 5 %; a single pair "
        'has none and stays plain. d is the difference over the standard deviation of trials.'
    )
    sections = [
        _head(table, records),
        _now(now),
        section(
            'Leaderboard', toolbar(table, records) + leaderboard(table, records, root, served), _legend(table, records)
        ),
        submissions(table, records),
        section('Ours minus published', difference_chart(table, records), print_note),
        _readouts(records),
        section('Gains', gains_table(table, records), gains_note),
        section(f'Over {table.rows[0]}', first_row_table(table, records), gains_note, folded=False),
        section('Claims', _claims(table, records), 'What the source says of its table, held against our numbers.'),
        section('Result against training time', time_chart(records), 'Means over trials.'),
        section('Learning curves', draw_curves(table, records), curves_note)
        if ours
        else section('Learning curves', '<p class="soft">No run is finished yet.</p>\n'),
        section('Diagnostics', draw_diagnostics(table, records), diagnostics_note),
        section('Mixed batches', _pictures(pictures)),
        section('Notes', _notes(table)),
        _searches(records),
        _foundations(records, root, served),
        _runs(table, records, root),
        section('Machines', _machines(records), folded=True),
    ]
    names = ('page.css', 'page.js', 'now.js')
    style, script, renew = ((files('openmix.benchmark') / name).read_text('utf-8') for name in names)
    script += '' if now is None else renew
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(table.title)}</title>\n'
        f'<style>\n{style}</style>\n</head>\n<body>\n<main>\n{"".join(sections)}</main>\n<script>\n{script}</script>\n'
        '</body>\n</html>\n'
    )


def _head(table: Table, records: Sequence[Record]) -> str:
    states = Counter(record.state for record in records)
    counts = ', '.join(
        f'{states[state]} {state}' for state in dict.fromkeys(('done', *STATES, *states)) if states[state]
    )
    facts = {'Source': table.source, 'Table': table.name, 'Variant': f'{table.variant}: {VARIANTS[table.variant]}'}
    facts['Options'] = told(table.said)
    facts['Length'] = '' if table.steps is None else f'shortened to {table.steps} iterations, unlike the printed runs'
    facts |= {'Cells': f'{len(records)}: {counts}', 'Trials': f'{table.trials} a cell'}
    facts['Imported'] = '; '.join(dict.fromkeys(numbers.source for record in records for numbers in record.theirs))
    listed = ''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in facts.items() if value)
    bad = ''.join(f'<li>{escape(line)}</li>' for record in records for line in record.bad)
    unread = f'<p>Files that cannot be read:</p>\n<ul>{bad}</ul>\n' if bad else ''
    return f'<h1>{escape(table.title)}</h1>\n{headline(table, records)}<dl>{listed}</dl>\n{unread}'


def _now(now: tuple[int, str] | None) -> str:
    if now is None:
        return ''
    done, html = now
    return section('Runs now', element('div', html, id='now', data_done=done))


def _legend(table: Table, records: Sequence[Record]) -> str:
    said = [caption(table), 'best of each column in bold, never a single trial']
    if any(record.trials and record.values for record in records):
        said.append('a number opens its runs, {} its config')
    if has_published(records):
        known = any(difference(record) is not None for record in records)
        off = ' and ours minus it, coloured beyond max(0.2, 2 standard deviations)' if known else ''
        said.append(f'below: the published number{off}')
    return '; '.join([*said, *([footnote(records)] if footnote(records) else [])]) + '.'


def _readouts(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        if found := side_by_side(record):
            html = f'<th scope="row">{escape(record.cell.row)}</th>' + cell(escape(record.cell.column), kind='text')
            html += ''.join(cell(escape(spread(values)), mean(values)) for values in found.values())
            rows.append(element('tr', html, data_row=record.cell.row, data_column=record.cell.column))
    table = sortable(['Method', 'Column', *readout_heads()], rows, 'Readouts', text_columns=2) if rows else ''
    note = 'Of the runs with at least 20 validations. The best validation is chosen by the images that it is read on.'
    return section('Readouts', table, note, folded=len(rows) > _MOST_OPEN)


def _claims(table: Table, records: Sequence[Record]) -> str:
    items = []
    for found in verdicts(table, records):
        kind, sign = _OUTCOMES[found.outcome]
        outcome = element('span', f'{sign} {found.outcome}', class_=f'outcome {kind}')
        more = [why(found), '' if found.claim.printed else 'the printed numbers do not bear it out', found.claim.note]
        text = escape('; '.join(part for part in more if part))
        items.append(f'<li>{outcome}<div>{escape(found.claim.text)}<span class="sub">{text}</span></div></li>')
    return f'<ul class="claims">{"".join(items)}</ul>\n' if items else ''


def _pictures(pictures: Sequence[Picture]) -> str:
    drawn, missing = '', ''
    for picture in pictures:
        row = escape(picture.row)
        if picture.png is None:
            missing += f'<p class="soft">No picture of {row}: {escape(picture.why_not)}</p>\n'
            continue
        data = base64.b64encode(picture.png).decode()
        image = f'<img alt="A batch mixed by {row}" loading="lazy" src="data:image/png;base64,{data}">'
        button = f'<button type="button" class="zoom" aria-label="Enlarge the batch mixed by {row}">{image}</button>'
        drawn += element('figure', f'<figcaption>{row}</figcaption>{button}', data_row=picture.row) + '\n'
    return (f'<div class="gallery">\n{drawn}</div>\n' if drawn else '') + missing


def _notes(table: Table) -> str:
    items = ''.join(f'<li>{escape(note)}</li>' for note in table.notes)
    return f'<ul>{items}</ul>\n' if items else ''


def _searches(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        searches = () if record.cell.measure else record.searches  # a measure has those of its column
        chosen = choose(searches) if searches else None
        for search in searches:
            value, mark = search.value(), ' (chosen)' if search.point == chosen else ''
            html = f'<th scope="row">{escape(record.cell.row)}</th>' + cell(escape(record.cell.column), kind='text')
            html += cell(escape(label(search.point) + mark), kind='text')
            html += cell(escape(search.state()) if value is None else f'{value:.2f}', '' if value is None else value)
            rows.append(element('tr', html, data_row=record.cell.row, data_column=record.cell.column))
    table = sortable(['Method', 'Column', 'Point', 'Validation'], rows, 'Searches', text_columns=3) if rows else ''
    return section('Search on held-out images', table, folded=len(rows) > _MOST_OPEN)


def _foundations(records: Sequence[Record], root: Path, served: bool) -> str:
    rows = []
    for found in foundations(records):
        stage, config, overrides, run, _, cells = found.words()
        links = ' '.join(opens(f'seed {each.seed}', each.folder, root, served) for each in found.trials)
        html = f'<th scope="row">{escape(config)}</th>' + cell(escape(overrides), kind='text')
        html += cell(escape(cells), kind='text') + cell(stage, found.trials[0].stage) + cell(f'<code>{run}</code>')
        rows.append(element('tr', html + cell(links)))
    heads = ['Recipe', 'With', 'Cells', 'Stage', 'Run', 'Seeds']
    table = sortable(heads, rows, 'Earlier stages', text_columns=3) if rows else ''
    note = 'What the numbers stand on: runs that cells start from.'
    if served and rows:
        folders = dict.fromkeys(str(trial.folder.parent) for found in foundations(records) for trial in found.trials)
        note += f' Other tables share them, so they lie outside the folder that is served: {", ".join(folders)}.'
    return section('Earlier stages', table, note)


def _runs(table: Table, records: Sequence[Record], root: Path) -> str:
    rows = []
    for record in records:
        for trial, result, value in zip(record.finished, record.results, record.values, strict=True):
            links = ' '.join(f'<a href="{href(trial.folder, root)}/{path}">{name}</a>' for name, path in _FILES.items())
            seconds, commit, digest = result.duration_s, escape(result.commit or ''), escape(result.config_hash)
            html = f'<th scope="row">{escape(record.cell.row)}</th>' + cell(escape(record.cell.column), kind='text')
            html += cell(str(trial.seed)) + cell(f'{value:.2f}', value)
            html += cell('' if seconds is None else clock(seconds), '' if seconds is None else seconds)
            html += cell(f'<code title="{commit}">{commit[:10]}</code>') + cell(f'<code>{digest}</code>')
            rows.append(element('tr', html + cell(links), data_row=record.cell.row, data_column=record.cell.column))
    heads = ['Method', 'Column', 'Seed', table.readout, 'Duration', 'Commit', 'Config hash', 'Files']
    found = sortable(heads, rows, 'Runs', text_columns=2) if rows else ''
    return section('Runs', found, folded=len(rows) > _MOST_OPEN)


def _machines(records: Sequence[Record]) -> str:
    """Write each distinct environment once, with its number of runs."""
    counted = Counter(tuple(result.environment.items()) for record in records for result in record.results)
    return ''.join(
        f'<p class="soft">{count} {"run" if count == 1 else "runs"}</p>\n<dl>'
        + ''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in facts)
        + '</dl>\n'
        for facts, count in counted.items()
        if facts
    )
