"""Tables as data: what a file expands to, and how a wrong one is refused."""

import pytest

from openmix.benchmark.table import load_table, slugs, table_names
from openmix.config import load_config
from openmix.errors import InputError


def test_expands_to_the_cells_that_exist(bench):
    table = bench.table
    assert [(cell.row, cell.column) for cell in table.cells] == [
        ('Vanilla', 'MCE'),
        ('Mixup', 'MCE'),
        ('Mixup', 'DM(CE)'),
        ('CutMix', 'MCE'),
        ('CutMix', 'DM(CE)'),
    ]
    assert [cell.published for cell in table.cells] == [None, 79.12, 80.44, 78.17, None]
    assert (table.name, table.trials, table.variant, table.notes) == ('small', 2, 'published', ('first note',))


def test_overrides_resolve(bench):
    resolved = {cell.name: cell.resolve().model for cell in bench.table.cells}
    assert resolved['Vanilla / MCE'].policy.to_dict() == {'type': 'NoMix'}
    assert resolved['CutMix / MCE'].policy.to_dict() == {'type': 'CutMix', 'alpha': 0.1}
    # The column refines the row's policy; an exception that replaces the policy stands alone.
    assert resolved['Mixup / DM(CE)'].policy.to_dict() == {'type': 'Mixup', 'alpha': 0.2}
    assert resolved['CutMix / DM(CE)'].policy.to_dict() == {'type': 'CutMix', 'alpha': 2.0}
    assert resolved['CutMix / DM(CE)'].head.loss.to_dict() == {'type': 'decoupled_ce', 'eta': 0.1}


def test_recipe_of_a_column(bench):
    other = bench.root / 'other.py'
    other.write_text(bench.root.joinpath('recipe.py').read_text().replace('max_epochs=4', 'max_epochs=9'))
    bench.edit('  MCE: {', f'  MCE: {{config: {other}, ')
    epochs = {cell.name: cell.resolve().train_cfg.max_epochs for cell in bench.table.cells}
    assert (epochs['Mixup / MCE'], epochs['Mixup / DM(CE)']) == (9, 4)


def test_config_text_is_a_recipe(bench, tmp_path):
    cell = bench.table.cell('mixup', 'dm-ce')  # slugs are names too
    path = tmp_path / 'cell.py'
    path.write_text(cell.config_text())
    assert load_config(path).to_dict() == cell.resolve().to_dict()
    assert all(line in path.read_text() for line in ('Table: small', 'Row: Mixup', 'Column: DM(CE)'))


def test_config_text_quotes_names(bench, tmp_path):
    bench.edit('  Mixup: {model', '  \'a """ \\ b\': {model')
    bench.edit('  Mixup: [', '  \'a """ \\ b\': [')
    path = tmp_path / 'cell.py'
    path.write_text(bench.table.cells[1].config_text())
    assert load_config(path).model.policy.type == 'Mixup'


def test_slugs_are_distinct_folders():
    names = ['Mixup', 'Mixup*', 'DM(CE)', 'ÄÖ', '***', 'R-18 / 400 ep']
    found = slugs(names)
    assert len(set(found.values())) == len(names)
    assert found['DM(CE)'] == 'dm-ce'
    assert found['R-18 / 400 ep'] == 'r-18-400-ep'
    assert all(slug and set(slug) <= set('abcdefghijklmnopqrstuvwxyz0123456789-') for slug in found.values())
    assert slugs(reversed(names)) == found


def test_select_by_glob(bench):
    table = bench.table
    assert [cell.name for cell in table.select('*mix*', 'mce')] == ['Mixup / MCE', 'CutMix / MCE']
    assert len(table.select()) == 5
    assert [cell.name for cell in table.select('Vanilla')] == ['Vanilla / MCE']
    with pytest.raises(InputError, match=r"no row matches 'Cutmx'; did you mean 'CutMix'\?"):
        table.select('Cutmx')
    with pytest.raises(InputError, match=r"no column matches 'MBCE'; did you mean 'MCE'\?"):
        table.select(None, 'MBCE')
    with pytest.raises(InputError, match='only in absent cells'):
        table.select('Vanilla', 'DM*')


def test_unknown_cell(bench):
    with pytest.raises(InputError, match=r"no row 'Mixip'; did you mean 'Mixup'\?"):
        bench.table.cell('Mixip', 'MCE')
    with pytest.raises(InputError, match=r"no column 'CE'; did you mean 'MCE'\?"):
        bench.table.cell('Mixup', 'CE')
    with pytest.raises(InputError, match="no cell 'Vanilla / DM\\(CE\\)'"):
        bench.table.cell('Vanilla', 'DM(CE)')


def test_unknown_table():
    with pytest.raises(InputError, match=r"no table 'quickstrat'; did you mean 'quickstart'\?"):
        load_table('quickstrat')


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('readout: ', 'readuot: ', r"unknown field 'readuot'; did you mean 'readout'\?"),
        ('metric: accuracy/top1\n', '', "field 'metric' is missing"),
        ('median_last3', 'median_last0', "readout 'median_last0'"),
        ('trials: 2', 'trials: 0', 'trials must be an integer >= 1'),
        ('trials: 2', 'trials: 2\nseeds: [1, 1]', 'different seeds'),
        ('trials: 2', 'variant: corected', r"did you mean 'corrected'\?"),
        ('[79.12, 80.44]', '[79.12]', "row 'Mixup' needs 2 published values, got 1"),
        ('[79.12, 80.44]', '[79.12, many]', "published value 'many'"),
        ('  Mixup: [', '  Mixpu: [', r"unknown row 'Mixpu'; did you mean 'Mixup'\?"),
        ('  Vanilla: {DM(CE): null}', '  Vanilla: {DMCE: null}', r"unknown column 'DMCE'; did you mean 'MCE'\?"),
        ('  Vanilla: {DM(CE): null}', '  Mixup: {DM(CE): null}', 'declared absent but has the number 80.44'),
        ('{DM(CE): MCE}', '{DM(CE): CE}', r"unknown column 'CE'; did you mean 'MCE'\?"),
        ('rows:', 'rows: 3\nold:', "unknown field 'old'"),
    ],
)
def test_wrong_tables_are_refused_in_one_line(bench, old, new, message):
    bench.edit(old, new)
    with pytest.raises(InputError, match=message) as error:
        load_table(bench.path)
    assert '\n' not in str(error.value)


def test_override_that_does_not_fit_names_the_cell(bench):
    bench.edit('model.policy.alpha', 'model.polcy.alpha')
    with pytest.raises(InputError, match=r"cell 'Mixup / DM\(CE\)'.*did you mean 'policy'\?"):
        bench.table.cell('Mixup', 'DM(CE)').resolve()


def test_seeds(bench):
    assert [bench.table.seed(k) for k in range(4)] == [0, 1, 2, 3]
    bench.edit('trials: 2', 'seeds: [7, 3]')
    assert [bench.table.seed(k) for k in range(4)] == [7, 3, 8, 9]


@pytest.mark.parametrize('name', table_names())
def test_shipped_tables_resolve(name):
    hashes = {cell.config_text().split('Hash: ')[1].split()[0] for cell in load_table(name).cells}
    assert len(hashes) == len(load_table(name).cells)


def test_quickstart():
    table = load_table('quickstart')
    models = {cell.name: cell.resolve().model for cell in table.cells}
    assert len(models) == 7
    assert 'Vanilla / DM(CE)' not in models
    assert {models[f'{row} / MCE'].policy.alpha for row in table.rows[1:]} == {1.0}
    assert {models[f'{row} / DM(CE)'].policy.alpha for row in table.rows[1:]} == {0.2}
    assert {models[f'{row} / DM(CE)'].head.loss.type for row in table.rows[1:]} == {'decoupled_ce'}
