"""The gains of a table on its page: a list with bars, or where they are many a matrix of methods by columns."""

from __future__ import annotations

from collections.abc import Sequence

from openmix.benchmark.escape import html as escape
from openmix.benchmark.facets import SEPARATOR, parts
from openmix.benchmark.markup import cell, element, scrolled, sortable
from openmix.benchmark.records import Record
from openmix.benchmark.render import by_place, gained, known_gains, signed, tested
from openmix.benchmark.statistics import Gain, over_first_row
from openmix.benchmark.table import Table

_MOST_LISTED = 12
_LEVEL = 0.05


def gains_table(table: Table, records: Sequence[Record]) -> str:
    """Write the gains; '' if there are none."""
    return _as_table(known_gains(table, records), records)


def first_row_table(table: Table, records: Sequence[Record]) -> str:
    """Write what every cell has over the first row; '' where nothing is tested."""
    return _as_table(over_first_row(table, records), records)


def _as_table(found: Sequence[Gain], records: Sequence[Record]) -> str:
    if len(found) > _MOST_LISTED and len({_pair(gain) for gain in found}) > 1:
        return _matrix(found, by_place(records))
    return _list(found, by_place(records)) if found else ''


def _list(found: Sequence[Gain], places: dict[tuple[str, str], Record]) -> str:
    ours = [abs(gain.ours) for gain in found if gain.ours is not None]
    published = [abs(gain.published) for gain in found if gain.published is not None]
    # The interval of two pairs can be very wide; the scale ignores intervals, so that other bars stay visible.
    scale = max(ours + published) * 1.25 or 1.0
    rows = []
    any_tested = any(gain.p_holm is not None for gain in found)
    for gain in found:
        html = f'<th scope="row">{escape(gain.row)}</th>' + cell(escape(_pair(gain)), kind='text')
        if ours:
            html += _bar(gain.ours, gain.half_width, gained(gain), _kind(gain, places), scale)
        if any_tested:
            html += cell(tested(gain), '' if gain.p_holm is None else gain.p_holm)
        if published:
            html += _bar(gain.published, None, signed(gain.published), 'soft', scale)
        rows.append(element('tr', html, data_row=gain.row, data_column=gain.column))
    bars = f'; bars: −{scale:.2g} to +{scale:.2g}'
    heads = ['Method', 'Columns']
    heads += [f'Ours ± 95 % interval (pairs){bars}'] * bool(ours)
    heads += ["p by Holm's method, effect d"] * any_tested
    heads += ['Published' + ('' if ours else bars)] * bool(published)
    return sortable(heads, rows, 'Gains', text_columns=2)


def _matrix(found: Sequence[Gain], places: dict[tuple[str, str], Record]) -> str:
    pairs, rows = list(dict.fromkeys(map(_pair, found))), list(dict.fromkeys(gain.row for gain in found))
    at = {(gain.row, _pair(gain)): gain for gain in found}
    columns = {_pair(gain): gain.column for gain in found}

    def one(row: str, pair: str) -> str:
        gain = at.get((row, pair))
        if gain is None:
            return element('td', '', data_column=columns[pair])
        html = element('span', escape(gained(gain)), class_=_kind(gain, places), title=tested(gain))
        if gain.published is not None:
            kind = 'sub' if gain.ours is not None else 'await'
            html += element('span', signed(gain.published), class_=kind, title='published')
        value = gain.ours if gain.ours is not None else gain.published
        return element('td', html, data_value=value, data_column=columns[pair])

    button = '<button type="button">{}</button>'
    heads = '<th scope="col" class="text">' + button.format('Method') + '</th>'
    heads += ''.join(
        element('th', button.format(escape(pair)), scope='col', data_column=columns[pair], class_='pair')
        for pair in pairs
    )
    body = '\n'.join(
        element('tr', f'<th scope="row">{escape(row)}</th>' + ''.join(one(row, pair) for pair in pairs), data_row=row)
        for row in rows
    )
    return scrolled(f'<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>', 'Gains')


def _pair(gain: Gain) -> str:
    """Write the pair of columns with their common part once: 'CIFAR-100 / R-18: DM(CE) − MCE'."""
    if gain.beside:
        return gain.name
    new, old = parts(gain.column), parts(gain.over)
    shared = next((i for i, (a, b) in enumerate(zip(new, old)) if a != b), 0)
    common = f'{SEPARATOR.join(new[:shared])}: ' if shared else ''
    after = 0
    while after < min(len(new), len(old)) - shared - 1 and new[-1 - after] == old[-1 - after]:
        after += 1
    behind = f', {SEPARATOR.join(new[len(new) - after :])}' if after else ''
    left, right = new[shared : len(new) - after], old[shared : len(old) - after]
    return f'{common}{SEPARATOR.join(left)} − {SEPARATOR.join(right)}{behind}'


def _kind(gain: Gain, places: dict[tuple[str, str], Record]) -> str:
    """Return 'up' or 'down' if a gain is told from zero, of all that are tested with it; '' otherwise."""
    if gain.ours is None or gain.p_holm is None or round(gain.ours, 2) == 0 or gain.p_holm > _LEVEL:
        return ''
    lower_is_better = places[gain.row, gain.column].cell.lower_is_better
    return 'up' if (gain.ours < 0) == lower_is_better else 'down'


def _bar(value: float | None, half: float | None, words: str, kind: str, scale: float) -> str:
    if value is None:
        return cell('', '')
    side = 'left' if value >= 0 else 'right'
    bar = f'<i style="{side}:50%;width:{abs(value) / scale * 50:.1f}%"></i>'
    if half is not None:
        start = 50 + (value - half) / scale * 50
        bar += f'<b style="left:{start:.1f}%;width:{half / scale * 100:.1f}%"></b>'
    track = f'<span class="track {kind}" aria-hidden="true">{bar}</span>'
    return cell(f'<span class="gain">{track}<span class="figure {kind}">{words}</span></span>', value)
