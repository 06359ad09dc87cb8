"""Format a table's records as text, and as a leaderboard for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from openmix.benchmark.cell import Cell
from openmix.benchmark.claims import Verdict
from openmix.benchmark.escape import terminal as words
from openmix.benchmark.foundation import HEADS, foundations
from openmix.benchmark.made_for import told
from openmix.benchmark.published_settings import published_settings
from openmix.benchmark.records import READOUTS, Record, deviation, mean
from openmix.benchmark.statistics import Gain, agreement, difference, gains, over_first_row, verdicts
from openmix.benchmark.submitted import submitted
from openmix.benchmark.table import Table
from openmix.benchmark.text_table import ENDLESS, blocks, text_table
from openmix.benchmark.variant import VARIANTS, without_published

OTHER_SOURCE = '†'
_VERDICTS = {'better': 'green', 'worse': 'red', 'agrees': 'dim', '': 'dim'}
_OUTCOMES = {'held': 'green', 'not held': 'red', 'not yet run': 'dim'}


def spread(values: Sequence[float], asked: int | None = None) -> str:
    """Format mean, deviation and number of values: '97.22 ± 0.10 (3)', or '(2 of 3)' if more were requested."""
    average, std = mean(values), deviation(values)
    if average is None:
        return ''
    count = f'{len(values)}' if asked is None or len(values) >= asked else f'{len(values)} of {asked}'
    return f'{average:.2f}{"" if std is None else f" ± {std:.2f}"} ({count})'


def measured(record: Record) -> str:
    """Format the measured number; without one, an old number with its config hash; '' if there is neither."""
    if not record.values and record.old is not None:
        return f'{spread(record.old.values)}, as of {record.old.as_of}'
    return spread(record.values, len(record.trials))


def theirs(record: Record) -> list[str]:
    """Format the imported numbers, each with its source."""
    return [f'{spread(numbers.values)} from {numbers.source}{numbers.remark}' for numbers in record.theirs]


def printed(cell: Cell, digits: int = 2) -> str:
    """Format the published number: '79.12', '79.12 ± 0.10', or '78.84†' from another source; '' if there is none."""
    number, mark = (cell.other_source, OTHER_SOURCE) if cell.published is None else (cell.published, '')
    if number is None:
        return ''
    return f'{number:.{digits}f}{"" if cell.spread is None else f" ± {cell.spread:.2f}"}{mark}'


def printed_digits(records: Sequence[Record]) -> dict[str, int]:
    """Return the number of decimals of published numbers by column, because YAML drops the last zero of 80.10."""
    digits: dict[str, int] = {}
    for record in records:
        for number in (record.cell.published, record.cell.other_source):
            need = 0 if number is None else len(str(float(number)).rstrip('0').partition('.')[2])
            digits[record.cell.column] = max(need, digits.get(record.cell.column, 0))
    return digits


def signed(value: float | None) -> str:
    """Format a difference as '+0.62' or '−0.62', never '−0.00'; '' for None."""
    return '' if value is None else f'{round(value, 2) + 0.0:+.2f}'.replace('-', '−')


def tested(gain: Gain) -> str:
    """Format the test of a gain as 'p 0.012, d 1.4': p value by Holm's method and Cohen's d; '' without a test."""
    if gain.p_holm is None:
        return ''
    p = 'p < 0.001' if gain.p_holm < 0.001 else f'p {gain.p_holm:.3f}'
    return p + ('' if gain.effect is None else f', d {gain.effect:.1f}'.replace('-', '−'))


def gained(gain: Gain) -> str:
    """Format a gain as '+0.62 ± 0.31 (3)': mean, half of its 95 % confidence interval, number of paired trials."""
    if gain.ours is None:
        return ''
    return signed(gain.ours) + (f' ± {gain.half_width:.2f} ({gain.pairs})' if gain.half_width is not None else '')


def known_gains(table: Table, records: Sequence[Record]) -> list[Gain]:
    """List the gains of a table that have a measured or published number."""
    return [gain for gain in gains(table, records) if gain.ours is not None or gain.published is not None]


def best_of_columns(table: Table, records: Sequence[Record]) -> set[tuple[str, str]]:
    """Find (row, column) of the best measured mean in every column; all means that tie to two digits count.

    A single trial is never marked: a column whose best number is one has no best.
    """
    best: dict[str, float] = {}
    means = [(record.cell, round(record.mean, 2), len(record.values)) for record in records if record.mean is not None]
    for cell, value, _ in means:
        pick = min if cell.lower_is_better else max
        best[cell.column] = pick(best.get(cell.column, value), value)
    return {(cell.row, cell.column) for cell, value, trials in means if value == best[cell.column] and trials > 1}


def readout_heads() -> list[str]:
    """Return the readouts that are shown side by side, in words."""
    return [readout.replace('median_last', 'median of the last ') for readout in READOUTS]


def shown(table: Table, records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """Return the rows and columns that the records cover, in the table's order; columns of evaluations stand last."""
    rows = {record.cell.row for record in records}
    columns = dict.fromkeys(record.cell.column for record in records)
    further = [column for column in columns if column not in table.columns]
    return (
        [row for row in table.rows if row in rows],
        [column for column in table.columns if column in columns] + further,
    )


def by_place(records: Sequence[Record]) -> dict[tuple[str, str], Record]:
    """Map (row, column) to records."""
    return {(record.cell.row, record.cell.column): record for record in records}


def caption(table: Table) -> str:
    """Write one line that names the metric, the readout and the statistic of the numbers."""
    readout = table.readout.replace('median_last', 'median of the last ')
    of = ' validations' if readout != table.readout else ''
    others = {(cell.metric, cell.readout) for cell in table.cells} - {(table.metric, table.readout)}
    also = ''.join(f'; some cells {metric}, {how}' for metric, how in sorted(others))
    return f'{table.metric}, {readout}{of}{also}; ours: mean ± sample standard deviation (finished trials)'


def has_published(records: Sequence[Record]) -> bool:
    """Return true if any of the cells has a published number."""
    return any(printed(record.cell) for record in records)


def footnote(records: Sequence[Record]) -> str:
    """Write the line that explains marks of numbers and stale cells; '' without any."""
    marked = any(record.cell.published is None and record.cell.other_source is not None for record in records)
    said = [f'{OTHER_SOURCE} not printed in the source, but in another one'] if marked else []
    if any(record.state == 'stale' for record in records):
        said.append(
            'stale: of another config, seed, version of openmix or data than the table has now; run trains these cells '
            'again and keeps the old folders'
        )
    return '; '.join(said)


def remarks(table: Table, records: Sequence[Record]) -> list[str]:
    """List remarks on the numbers: the variant, policies without published options, options, unreadable files."""
    said = [f'{table.variant} variant: {VARIANTS[table.variant]}']
    if table.variant == 'published':
        ran = [record.finished[0].cell.resolve() for record in records if record.finished]
        own = dict.fromkeys(kind for cfg in ran for kind in without_published(cfg))
        said += [f'{kind} declares no options of published runs: it ran as the recipe says' for kind in own]
        said += published_settings(record.cell for record in records)
    if table.said:
        said.append(f'with {told(table.said)}')
    if table.steps is not None:
        said.append(f'shortened to {table.steps} iterations: these runs do not repeat the printed ones')
    for source, runs, cells, version, *_, note in submitted(table, records):
        said.append(f'{source} submitted {runs} runs of {cells} cells, openmix {version}{f": {note}" if note else ""}')
    counts = Counter(result.precision for record in records for result in record.results if result.precision)
    if len(counts) > 1:
        runs = ', '.join(f'{precision} {count}' for precision, count in sorted(counts.items()))
        said.append(
            f'runs were trained in different precisions: {runs}; differences of a few tenths may come from that'
        )
    return said + [f'cannot be read: {line}' for record in records for line in record.bad]


def terminal(table: Table, records: Sequence[Record], full: bool = True, width: int = ENDLESS) -> Group:
    """Draw the leaderboard, with measured above published number and difference in each cell.

    Args:
        table: the table.
        records: its records.
        full: add gains, claims and earlier stages.
        width: width of the terminal; a wider table is split into several.
    """
    rows, columns = shown(table, records)
    places, best, digits = by_place(records), best_of_columns(table, records), printed_digits(records)

    def cell(row: str, column: str) -> Text:
        record = places.get((row, column))
        return words('–', 'dim') if record is None else _cell(record, (row, column) in best, digits[column])

    heads = [column.replace(' / ', '\n') for column in columns]
    lines = [(row, [cell(row, column) for column in columns]) for row in rows]
    parts: list[RenderableType] = [words(table.title, 'bold')]
    parts += blocks(heads, lines, width, has_published(records))
    parts.append(words(caption(table), 'dim'))
    if any(agreement(record) for record in records):
        parts.append(Text('below: published (ours − published; coloured beyond max(0.2, 2 std))', 'dim'))
    parts += [words(footnote(records), 'dim')] if footnote(records) else []
    parts += [words(line, 'dim') for line in remarks(table, records)]
    more = [
        _gains('Gains', known_gains(table, records)),
        _gains(f'Over {table.rows[0]}', over_first_row(table, records)),
        _claims(table, records),
        _foundations(records),
    ]
    # A blank line stands before each table, and nothing for one that would be empty.
    parts += [part for found in more if found is not None for part in (Text(), found)] if full else []
    return Group(*parts)


def _cell(record: Record, bold: bool, digits: int) -> Text:
    ours = measured(record)
    lines = [words(ours, 'bold' if bold else '') if ours else words(record.status, 'dim')]
    if ours and record.state == 'stale':
        lines.append(words(record.status, 'yellow'))
    number = printed(record.cell, digits)
    if number:
        off = signed(difference(record))
        beside = Text(f' ({off})', _VERDICTS[agreement(record)]) if off else Text()
        lines.append(Text.assemble(words(number, 'dim'), beside))
    lines += [words(text, 'cyan') for text in theirs(record)]
    return Text('\n').join(lines)


def _gains(title: str, found: Sequence[Gain]) -> RenderableType | None:
    if not found:
        return None
    lines = [(gain.row, gain.name, gained(gain), tested(gain), signed(gain.published)) for gain in found]
    return text_table(['', 'gain', 'ours ± 95 % interval (pairs)', 'Holm, effect', 'published'], lines, title)


def _claims(table: Table, records: Sequence[Record]) -> RenderableType | None:
    if not table.claims:
        return None
    lines = [
        (words(found.claim.text), words(found.outcome, _OUTCOMES[found.outcome]), words(why(found)))
        for found in verdicts(table, records)
    ]
    return text_table(['claim', 'ours', 'why'], lines, 'Claims')


def _foundations(records: Sequence[Record]) -> RenderableType | None:
    found = foundations(records)
    return text_table(HEADS, [each.words() for each in found], 'Earlier stages') if found else None


def why(found: Verdict, most: int = 3) -> str:
    """List the first few pairs that fail, or else the cells that are missing."""
    kind, names = ('', found.failing) if found.failing else ('missing: ', found.missing)
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return f'{kind}{"; ".join(names[:most])}{more}' if names else ''
