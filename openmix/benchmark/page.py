"""`report.html`: one self-contained page, for a desk or a phone, by day or by night."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from openmix.benchmark.pictures import Picture
from openmix.benchmark.records import Record
from openmix.benchmark.render import best_of_columns, by_place, caption, has_published, measured, shown, signed
from openmix.benchmark.run import clock
from openmix.benchmark.statistics import gains
from openmix.benchmark.table import Table

# In a trial's folder; the cell's config is above it.
_FILES = {'config': '../config.py', 'log': 'log.txt', 'result': 'result.json'}

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --soft: #66707c; --line: #dfe3e8; --page: #fcfcfb; --card: #fff;
  --accent: #0b6fb8; --up: #1a8a5c; --down: #c0432f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #98a2ad; --line: #30363e; --page: #14171b;
  --card: #1b1f24; --accent: #6cb6f2; --up: #4cc38a; --down: #f08a76; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(1.4rem, 4vw, 1.9rem); line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.4rem;
  text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 3rem 0 0.6rem; }
p { margin: 0.3rem 0; max-width: 46rem; }
.soft, figcaption, .sub { color: var(--soft); font-size: 0.86rem; }
a { color: var(--accent); text-underline-offset: 0.15em; }
code { font: 0.85em ui-monospace, SFMono-Regular, Menlo, monospace; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  margin: 0.9rem 0 0.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.55rem 0.9rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
tbody tr:hover > * { background: color-mix(in srgb, var(--accent) 7%, var(--card)); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
th.text, td.text { text-align: left; }
tbody th { font-weight: 500; }
thead th { font-weight: 600; font-size: 0.84rem; }
thead button { all: unset; cursor: pointer; }
thead button:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 3px; }
thead button::after { content: '\\2195'; opacity: 0.35; margin-left: 0.3em; font-size: 0.9em; }
th[aria-sort=ascending] button::after { content: '\\2191'; opacity: 1; }
th[aria-sort=descending] button::after { content: '\\2193'; opacity: 1; }
.best { font-weight: 700; }
.sub { display: block; font-weight: 400; font-size: 0.8rem; }
.up { color: var(--up); } .down { color: var(--down); }
.gain { display: flex; align-items: center; gap: 0.6rem; justify-content: flex-end; }
.figure { min-width: 3.4em; }
.track { position: relative; width: clamp(5rem, 24vw, 15rem); height: 0.7rem; background: linear-gradient(var(--soft),
  var(--soft)) center / 1px 100% no-repeat; }
.track i { position: absolute; top: 0; bottom: 0; border-radius: 2px; background: currentColor; }
.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem;
  margin-top: 0.9rem; }
figure { margin: 0; } figure img { width: 100%; height: auto; border-radius: 8px; border: 1px solid var(--line);
  background: #fff; display: block; }
figcaption { margin-top: 0.35rem; }
.curves { padding: 1rem; }
.curves svg { display: block; width: 100%; min-width: 34rem; height: auto; color: var(--ink); }
.curves svg text { font-family: inherit !important; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1.2rem; font-size: 0.88rem; margin: 0.7rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ul { padding-left: 1.1rem; max-width: 46rem; }
@media print { body { background: #fff; } .scroll { overflow: visible; } }
"""

_SCRIPT = """
for (const table of document.querySelectorAll('table')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector('button')?.addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') !== 'descending';
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const compare = (a, b) => {
      if (key(a) === '' || key(b) === '') return (key(a) === '') - (key(b) === '');
      const order = key(a).localeCompare(key(b), undefined, {numeric: true});
      const byNumber = Number(key(a)) - Number(key(b));
      return (down ? -1 : 1) * (Number.isNaN(byNumber) ? order : byNumber);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
"""


def page(
    table: Table, records: Sequence[Record], curves: str | None, pictures: Sequence[Picture], work_dir: Path
) -> str:
    """The whole page.

    Args:
        curves: inline SVG; None where no run is finished.
        work_dir: the folder that the page lies in; links are relative to it.
    """
    sections = [_head(table), _leaderboard(table, records), _gains(table, records)]
    sections += [_curves(curves), _pictures(pictures), _facts(table, records, work_dir), _machines(records)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(table.title)}</title>\n'
        f'<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{"".join(sections)}</main>\n<script>{_SCRIPT}</script>\n'
        '</body>\n</html>\n'
    )


def _head(table: Table) -> str:
    notes = ''.join(f'<li>{escape(note)}</li>' for note in table.notes)
    source = f'<p class="soft">Source: {escape(table.source)}</p>\n' if table.source else ''
    return f'<h1>{escape(table.title)}</h1>\n{source}' + (f'<ul class="soft">{notes}</ul>\n' if notes else '')


def _td(html: str, value: object = None, kind: str = '') -> str:
    attributes = f' class="{kind}"' if kind else ''
    attributes += '' if value is None else f' data-value="{escape(str(value))}"'
    return f'<td{attributes}>{html}</td>'


def _table(heads: Iterable[str], rows: Iterable[str], text_columns: int = 1) -> str:
    """A sortable table; the first `text_columns` columns hold words."""
    cells = ''.join(
        f'<th scope="col"{" class=text" if i < text_columns else ""}><button>{escape(head)}</button></th>'
        for i, head in enumerate(heads)
    )
    body = '\n'.join(f'<tr>{row}</tr>' for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n'


def _leaderboard(table: Table, records: Sequence[Record]) -> str:
    rows, columns = shown(table, records)
    places, best, published = by_place(records), best_of_columns(table, records), has_published(records)

    def cell(row: str, column: str) -> str:
        record = places.get((row, column))
        if record is None:
            return _td('<span class="soft">–</span>', '')
        html = escape(measured(record)) or f'<span class="soft">{escape(record.status)}</span>'
        if published:
            number = record.cell.published
            html += f'<span class="sub">{"" if number is None else f"published {number:g}"}</span>'
        mean = '' if record.mean is None else record.mean
        return _td(html, mean, 'best' if (row, column) in best else '')

    lines = (f'<th scope="row">{escape(row)}</th>' + ''.join(cell(row, column) for column in columns) for row in rows)
    return (
        f'<h2>Leaderboard</h2>\n<p class="soft">{escape(caption(table))}; best of each column in bold.</p>\n'
        + _table(['Method', *columns], lines)
    )


def _gains(table: Table, records: Sequence[Record]) -> str:
    found = [gain for gain in gains(table, records) if gain.ours is not None or gain.published is not None]
    if not found:
        return ''
    published = any(gain.published is not None for gain in found)
    scale = max(abs(value) for gain in found for value in (gain.ours, gain.published) if value is not None) or 1.0

    def cell(value: float | None) -> str:
        if value is None:
            return _td('', '')
        side = 'left' if value >= 0 else 'right'
        kind = '' if round(value, 2) == 0 else 'up' if (value < 0) == table.lower_is_better else 'down'
        bar = f'<span class="track {kind}"><i style="{side}:50%;width:{abs(value) / scale * 50:.1f}%"></i></span>'
        return _td(f'<span class="gain">{bar}<span class="figure {kind}">{signed(value)}</span></span>', value)

    rows = (
        f'<th scope="row">{escape(gain.row)}</th>{_td(escape(f"{gain.column} − {gain.over}"), None, "text")}'
        f'{cell(gain.ours)}{cell(gain.published) if published else ""}'
        for gain in found
    )
    heads = ['Method', 'Columns', 'Ours', *(['Published'] if published else [])]
    return '<h2>Gains</h2>\n' + _table(heads, rows, text_columns=2)


def _curves(curves: str | None) -> str:
    if curves is None:
        return '<h2>Learning curves</h2>\n<p class="soft">No run is finished yet.</p>\n'
    note = 'Validation after every epoch, mean over trials; values far below the end of training are cut off.'
    return f'<h2>Learning curves</h2>\n<p class="soft">{note}</p>\n<div class="scroll curves">{curves}</div>\n'


def _pictures(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ''
    drawn = ''.join(
        f'<figure><img alt="A batch mixed by {escape(picture.row)}" loading="lazy" '
        f'src="data:image/png;base64,{base64.b64encode(picture.png).decode()}">'
        f'<figcaption>{escape(picture.row)}</figcaption></figure>\n'
        for picture in pictures
        if picture.png is not None
    )
    missing = ''.join(
        f'<p class="soft">No picture of {escape(picture.row)}: {escape(picture.why_not)}</p>\n'
        for picture in pictures
        if picture.png is None
    )
    return f'<h2>Mixed batches</h2>\n<div class="gallery">\n{drawn}</div>\n{missing}'


def _facts(table: Table, records: Sequence[Record], work_dir: Path) -> str:
    rows = []
    for record in records:
        for trial, result, value in zip(record.finished, record.results, record.values, strict=True):
            folder = escape(os.path.relpath(trial.folder, work_dir))
            links = ' '.join(f'<a href="{folder}/{path}">{name}</a>' for name, path in _FILES.items())
            seconds = result.get('duration_s')
            commit = escape(str(result.get('commit') or ''))
            rows.append(
                f'<th scope="row">{escape(record.cell.row)}</th>'
                + _td(escape(record.cell.column), None, 'text')
                + _td(str(trial.seed))
                + _td(f'{value:.2f}', value)
                + _td('' if seconds is None else clock(seconds), '' if seconds is None else seconds)
                + _td(f'<code title="{commit}">{commit[:10]}</code>')
                + _td(f'<code>{trial.config_hash}</code>')
                + _td(links)
            )
    if not rows:
        return ''
    heads = ['Method', 'Column', 'Seed', table.readout, 'Duration', 'Commit', 'Config hash', 'Files']
    return f'<h2>Runs</h2>\n<p class="soft">{escape(table.metric)}</p>\n' + _table(heads, rows, text_columns=2)


def _machines(records: Sequence[Record]) -> str:
    """Each distinct environment once, with how many runs it holds for."""
    counted: dict[tuple[tuple[str, str], ...], int] = {}
    for result in (result for record in records for result in record.results):
        facts = tuple((str(key), str(value)) for key, value in (result.get('environment') or {}).items())
        counted[facts] = counted.get(facts, 0) + 1
    blocks = [
        f'<p class="soft">{count} {"run" if count == 1 else "runs"}</p>\n<dl>'
        + ''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in facts)
        + '</dl>\n'
        for facts, count in counted.items()
        if facts
    ]
    return f'<h2>Machine</h2>\n{"".join(blocks)}' if blocks else ''
