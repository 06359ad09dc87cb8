"""Test claims: which cells are compared, and whether the numbers support the claim."""

import pytest

from openmix.benchmark.claims import on_print, pairs_of
from openmix.benchmark.report import as_text
from openmix.benchmark.statistics import verdicts
from openmix.benchmark.table import load_table
from openmix.errors import InputError

CLAIM = """
claims:
  - {{text: a claim, higher: {higher}, lower: {lower}, pair: {pair}{more}}}
"""


def claimed(bench, higher, lower, pair, more=''):
    bench.path.write_text(bench.path.read_text() + CLAIM.format(higher=higher, lower=lower, pair=pair, more=more))
    table = bench.table
    return table, table.claims[0]


@pytest.mark.parametrize(
    ('higher', 'lower', 'pair', 'expected'),
    [
        # Vanilla has no cell under DM(CE).
        ("{columns: 'DM*'}", '{columns: MCE}', 'row', ['Mixup', 'CutMix']),
        ("{rows: [Mixup, 'cut*']}", '{rows: Vanilla}', 'column', ['Mixup', 'CutMix']),
        ('{rows: Mixup}', '{rows: CutMix}', 'column', ['Mixup', 'Mixup']),
        ('{rows: Mixup}', '{rows: CutMix}', 'each', ['Mixup'] * 4),
        ('{rows: Mixup, columns: MCE}', '{rows: CutMix}', 'each', ['Mixup'] * 2),
    ],
)
def test_pairs(bench, higher, lower, pair, expected):
    table, claim = claimed(bench, higher, lower, pair)
    pairs = pairs_of(claim, table.cells, table.gains)
    assert [above.row for above, _ in pairs] == expected
    for above, below in pairs:
        if pair == 'row':
            assert (above.row, above.column, below.column) == (below.row, 'DM(CE)', 'MCE')
        if pair == 'column':
            assert above.column == below.column


@pytest.mark.parametrize(
    ('higher', 'lower', 'pair', 'more', 'outcome'),
    [
        ('{columns: DM*}', '{columns: MCE}', 'row', '', 'held'),  # 80.44 over 79.12; CutMix is not printed
        ('{columns: DM*}', '{columns: MCE}', 'row', ', margin: 1.32', 'held'),  # whatever binary makes of it
        ('{columns: DM*}', '{columns: MCE}', 'row', ', margin: 1.33', 'not held'),
        ('{columns: MCE}', '{columns: DM*}', 'row', '', 'not held'),
        ('{rows: Mixup}', '{rows: CutMix}', 'column', '', 'held'),
        ('{rows: Mixup}', '{rows: Vanilla}', 'column', '', 'not yet run'),
    ],
)
def test_on_the_print(bench, higher, lower, pair, more, outcome):
    table, claim = claimed(bench, higher, lower, pair, more)
    assert on_print(claim, table.cells, table.gains).outcome == outcome


def test_on_our_numbers(bench):
    table, _ = claimed(bench, '{columns: DM*}', '{columns: MCE}', 'row', ', margin: 0')
    bench.run(rows='Mixup', trials=1)
    (found,) = verdicts(table, bench.records(trials=1))
    assert (found.outcome, found.failing) == ('not yet run', ())
    assert found.missing == ('CutMix / DM(CE)', 'CutMix / MCE')
    path = bench.work_dir / 'mixup/dm-ce/trial0/result.json'
    path.write_text(path.read_text().replace('"median_last3": 90.0', '"median_last3": 89.5'))
    (found,) = verdicts(table, bench.records(trials=1))
    assert found.outcome == 'not held'
    assert found.failing == ('Mixup / DM(CE) 89.50 over Mixup / MCE 90.00',)
    path.write_text(path.read_text().replace('"median_last3": 89.5', '"median_last3": 90.5'))
    bench.run(rows='CutMix', trials=1)
    (found,) = verdicts(table, bench.records(trials=1))
    assert (found.outcome, found.missing) == ('held', ())


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{higher: {rows: Mixup}, lower: {rows: CutMix}, pair: row}', r"claims 0: field 'text' is missing"),
        (
            '{text: t, higher: {row: Mixup}, lower: {rows: CutMix}, pair: row}',
            r"unknown field 'row'; did you mean 'rows'",
        ),
        (
            '{text: t, higher: {rows: Mixup}, lower: {rows: CutMix}, pair: rows}',
            r"unknown pair 'rows'; did you mean 'row'",
        ),
        ('{text: t, higher: {rows: Mixpu}, lower: {rows: CutMix}, pair: each}', 'choose no pair of cells'),
        (
            '{text: t, higher: {rows: Mixup}, lower: {rows: CutMix}, pair: each, margin: some}',
            'margin must be a number',
        ),
        ('{text: t, higher: {rows: 3}, lower: {rows: CutMix}, pair: each}', 'rows must be a glob or a list of globs'),
    ],
)
def test_wrong_claims_are_refused(bench, text, message):
    bench.path.write_text(bench.path.read_text() + f'claims: [{text}]\n')
    with pytest.raises(InputError, match=message) as error:
        load_table(bench.path)
    assert '\n' not in str(error.value)
    assert "table 'small'" in str(error.value)


def test_claims_are_reported(bench):
    table, _ = claimed(bench, '{rows: Mixup}', '{rows: CutMix}', 'column')
    bench.run(columns='MCE', trials=1)
    for form in ('md', 'terminal'):
        text = as_text(table, bench.records(trials=1), form, bench.work_dir, full=True)
        assert 'a claim' in text
        assert 'not held' in text
        assert 'Mixup / MCE 90.00 over CutMix / MCE 90.00' in text
