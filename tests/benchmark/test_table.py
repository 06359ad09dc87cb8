"""Test the files of tables: the cells that they expand to, and the error lines of invalid ones."""

import re
from pathlib import Path

import pytest

from openmix.benchmark.as_data import FIELDS as FIELDS_OF_JSON
from openmix.benchmark.claims import on_print
from openmix.benchmark.folders import slugs
from openmix.benchmark.report import FORMATS
from openmix.benchmark.schema import FIELDS, RESERVED, VALIDATION
from openmix.benchmark.table import default_work_dir, load_table
from openmix.benchmark.trial import NOT_IMPLEMENTED, STATES
from openmix.config import load_config
from openmix.errors import InputError
from openmix.registry import MIXUPS
from openmix.signatures import arguments


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
    assert resolved['CutMix / MCE'].policy.to_dict() == {'type': 'CutMix', 'alpha': 0.1, 'share': 'batch'}
    # The column refines the row's policy; an exception that replaces the policy stands alone.
    assert resolved['Mixup / DM(CE)'].policy.to_dict() == {'type': 'Mixup', 'alpha': 0.2, 'share': 'batch'}
    assert resolved['CutMix / DM(CE)'].policy.to_dict() == {'type': 'CutMix', 'alpha': 2.0, 'share': 'batch'}
    released = {'scale': 'share', 'least_share': 0.001, 'skip_half': True}
    assert resolved['CutMix / DM(CE)'].head.loss.to_dict() == {'type': 'decoupled_ce', 'eta': 0.1, **released}


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
    found = slugs('row', names)
    assert len(set(found.values())) == len(names)
    assert found['DM(CE)'] == 'dm-ce'
    assert re.fullmatch(r'r-18-400-ep-[0-9a-f]{6}', found['R-18 / 400 ep'])
    assert all(slug and set(slug) <= set('abcdefghijklmnopqrstuvwxyz0123456789-') for slug in found.values())
    assert slugs('row', reversed(names)) == found
    assert all(slugs('row', [name]) == {name: found[name]} for name in names)


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
        ('trials: 2', 'trials: 0', 'trials must be in \\[1, 1000\\], got 0'),
        ('trials: 2', 'trials: 2\nseeds: [1, 1]', 'different seeds'),
        ('trials: 2', 'variant: corected', r"did you mean 'corrected'\?"),
        ('[79.12, 80.44]', '[79.12]', "row 'Mixup' needs 2 published values, got 1"),
        ('[79.12, 80.44]', '[79.12, many]', "published value 'many'"),
        ('  Mixup: [', '  Mixpu: [', r"unknown row 'Mixpu'; did you mean 'Mixup'\?"),
        ('  Vanilla: {DM(CE): null}', '  Vanilla: {DMCE: null}', r"unknown column 'DMCE'; did you mean 'MCE'\?"),
        ('  Vanilla: {DM(CE): null}', '  Mixup: {DM(CE): null}', 'declared absent but has the number 80.44'),
        ('{DM(CE): MCE}', '{DM(CE): CE}', r"unknown column 'CE'; did you mean 'MCE'\?"),
        ('base:', 'config:', r"unknown field 'config'; did you mean 'base'\?"),
        ('rows:', 'rows: 3\nold:', "unknown field 'old'"),
        ('[79.12, 80.44]', '[79.12, .nan]', 'published value nan'),
        ('[79.12, 80.44]', '[79.12, true]', 'published value True'),
        ('notes:', 'spread: {Mixup: [0.1]}\nnotes:', "row 'Mixup' needs 2 spread values, got 1"),
        ('notes:', 'other_source: {Mixup: {MCEE: 1.0}}\nnotes:', r"unknown column 'MCEE'; did you mean 'MCE'\?"),
        ('notes:', 'other_source: {Mixup: {MCE: x}}\nnotes:', "'Mixup / MCE' has the other_source value 'x'"),
        (
            '  CutMix: {model',
            '  CutMix: {metirc: a/b, model',
            r"row 'CutMix': unknown word 'metirc'; did you mean 'metric'",
        ),
        ('  CutMix: {model', '  CutMix: {implemented: 0, model', 'implemented must be true or false, got 0'),
        ('  CutMix: {model', '  CutMix: {metric: 3, model', 'metric must be text, got 3'),
        ('  CutMix: {model', '  CutMix: {readout: median, model', "row 'CutMix': readout 'median'"),
        ('title: A <small> table', 'title: 3', "field 'title' must be text, got 3"),
        ('notes:', 'claims: {text: x}\nnotes:', 'claims: expected a list'),
        ('first note', 'first: note', r"notes: expected text, got {'first': 'note'}; put"),
        ('notes:', 'validation: [1]\nnotes:', r'validation: expected a mapping, got \[1\]'),
    ],
)
def test_wrong_tables_are_refused_in_one_line(bench, old, new, message):
    bench.edit(old, new)
    with pytest.raises(InputError, match=message) as error:
        load_table(bench.path)
    assert '\n' not in str(error.value)
    assert str(error.value).startswith("table 'small'")


def test_override_that_does_not_fit_names_the_cell(bench):
    bench.edit('model.policy.alpha', 'model.polcy.alpha')
    with pytest.raises(InputError, match=r"cell 'Mixup / DM\(CE\)'.*did you mean 'policy'\?"):
        bench.table.cell('Mixup', 'DM(CE)').resolve()


def test_seeds(bench):
    assert [bench.table.seed(k) for k in range(4)] == [0, 1, 2, 3]
    bench.edit('trials: 2', 'seeds: [7, 3]')
    assert [bench.table.seed(k) for k in range(4)] == [7, 3, 8, 9]


def test_quickstart():
    table = load_table('quickstart')
    models = {cell.name: cell.resolve().model for cell in table.cells}
    assert len(models) == 7
    assert 'Vanilla / DM(CE)' not in models
    assert {models[f'{row} / MCE'].policy.alpha for row in table.rows[1:]} == {1.0}
    assert {models[f'{row} / DM(CE)'].policy.alpha for row in table.rows[1:]} == {1.0}
    assert {models[f'{row} / DM(CE)'].head.loss.type for row in table.rows[1:]} == {'decoupled_ce'}


def test_words_about_a_cell(bench):
    bench.edit('  DM(CE):\n', '  DM(CE):\n    metric: fgsm/error\n    readout: best\n')
    bench.edit('  CutMix: {model', '  CutMix: {implemented: false, model')
    bench.edit('notes:', 'spread: {Mixup: [0.1, null]}\nother_source: {CutMix: {DM(CE): 79.09}}\nnotes:')
    cells = {cell.name: cell for cell in bench.table.cells}
    assert (cells['Mixup / MCE'].metric, cells['Mixup / MCE'].readout) == ('accuracy/top1', 'median_last3')
    error = cells['Mixup / DM(CE)']
    assert (error.metric, error.readout, error.lower_is_better) == ('fgsm/error', 'best', True)
    assert 'metric' not in error.overrides
    assert [cell.implemented for cell in bench.table.cells] == [True, True, True, False, False]
    assert (cells['Mixup / MCE'].spread, cells['CutMix / DM(CE)'].other_source) == (0.1, 79.09)
    with pytest.raises(InputError, match="cell 'CutMix / MCE': not implemented yet"):
        cells['CutMix / MCE'].resolve()


def test_an_exception_may_be_implemented(bench):
    bench.edit('  CutMix: {model', '  CutMix: {implemented: false, model')
    bench.edit('CutMix: {DM(CE): {model', 'CutMix: {DM(CE): {implemented: true, model')
    assert [cell.implemented for cell in bench.table.cells] == [True, True, True, False, True]


def test_a_cell_without_code_may_name_what_is_not_there(bench):
    bench.edit('  CutMix: {model', '  CutMix: {implemented: false, config: nowhere/to/be/found.py, model')
    assert [trial.cell.row for trial in bench.trials(trials=1)] == ['Vanilla', 'Mixup', 'Mixup']
    assert [record.status for record in bench.records(trials=1)][3:] == ['not implemented'] * 2


def test_cells_of_one_run_share_its_folder(bench):
    bench.edit('rows:\n', '  error: {metric: fgsm/error, model.head.loss: {type: mix_ce, _delete_: true}}\nrows:\n')
    loss = 'model.head.loss: {type: decoupled_ce, eta: 9, _delete_: true}, model.head.loss.eta: 0.1'
    bench.edit('rows:\n', f'  refined: {{{loss}, model.policy.alpha: 0.2}}\nrows:\n')
    bench.edit('published:\n  Mixup: [79.12, 80.44]\n  CutMix: [78.17, null]\n', '')
    folders = {cell.name: cell.folder for cell in bench.table.cells}
    assert folders['Mixup / error'] == folders['Mixup / MCE'] == 'mixup/mce'
    assert folders['Mixup / DM(CE)'] == folders['Mixup / refined'] == 'mixup/dm-ce'
    _, said = bench.run(rows='Mixup', trials=1)
    assert '2 to run' in said


def test_variants(bench):
    published, corrected = bench.table, bench.table.as_variant('corrected')
    assert published.cell('CutMix', 'MCE').resolve().model.policy.share == 'batch'
    assert 'share' not in corrected.cell('CutMix', 'MCE').resolve().model.policy
    assert 'Variant: corrected' in corrected.cell('CutMix', 'MCE').config_text()
    assert default_work_dir(published).name == 'small'
    assert default_work_dir(corrected).name == 'small@corrected'
    assert published.as_variant(None) is published
    with pytest.raises(InputError, match="did you mean 'corrected'"):
        published.as_variant('corected')


def test_a_cell_keeps_what_it_states(bench):
    bench.edit('type: CutMix, alpha: 1e-1,', 'type: CutMix, alpha: 1e-1, share: sample,')
    assert bench.table.cell('CutMix', 'MCE').resolve().model.policy.share == 'sample'


def test_policies_of_the_recipe_and_children_count_too(bench):
    recipe = bench.root / 'recipe.py'
    one_of = "dict(type='OneOf', policies=[dict(type='FMix'), dict(type='NoMix'), dict(type='Mixup', share='sample')])"
    recipe.write_text(recipe.read_text().replace("dict(type='NoMix')", one_of))
    bench.edit('  Vanilla: {model.policy: {type: NoMix, _delete_: true}}', '  Vanilla: {}')
    policies = bench.table.cell('Vanilla', 'MCE').resolve().model.policy.policies
    assert policies[0] == {'type': 'FMix', 'share': 'batch', 'spectrum': 'two_harmonics'}
    assert policies[1] == {'type': 'NoMix'}
    assert policies[2] == {'type': 'Mixup', 'share': 'sample'}


def published_lines():
    """Return the options that the documentation lists as published, by policy."""
    text = (Path(__file__).parents[2] / 'docs' / 'policies.md').read_text()
    sections = re.findall(r'^## (\w+)\n(.*?)(?=^## |\Z)', text, re.MULTILINE | re.DOTALL)
    found = {name: re.search(r'\*Published:\* `(\w+=[^`]*)`', section) for name, section in sections}
    return {name: eval(f'dict({line[1]})') for name, line in found.items() if line}


def test_published_options_are_those_of_the_documentation():
    MIXUPS.import_from_location()
    documented = published_lines()
    assert len(documented) >= 5
    assert {name: MIXUPS.get(name).published for name in documented} == documented
    for policy in MIXUPS.module_dict.values():
        assert set(arguments(policy) or policy.published) >= policy.published.keys()


def test_columns_that_differ_only_in_the_loss_gain(bench):
    bench.edit('gains: {DM(CE): MCE}\n', '')
    bench.edit('    model.policy.alpha: 0.2\n', '')
    assert bench.table.gains == {'DM(CE)': 'MCE'}
    bench.edit('    model.head.loss: {type: decoupled', '    metric: a/b\n    model.head.loss: {type: decoupled')
    assert bench.table.gains == {}


def test_the_documented_table(tmp_path):
    """It loads, uses every field, and its claims are as it says."""
    text = (Path(__file__).parents[2] / 'docs' / 'tables.md').read_text()
    (block,) = re.findall(r'^```yaml\n(title: .*?)^```$', text, re.MULTILINE | re.DOTALL)
    path = tmp_path / 'documented.yaml'
    path.write_text(block)
    assert set(re.findall(r'^(\w+):', block, re.MULTILINE)) | {'seeds'} == set(FIELDS)
    assert all(f'`{word}`' in text for word in RESERVED)
    table = load_table(path)
    assert table.validation == VALIDATION
    assert [on_print(claim, table.cells, table.gains).outcome for claim in table.claims] == ['held', 'not yet run']
    for cell in table.cells:
        if cell.implemented:
            cell.resolve()


def test_documented_formats_and_states():
    text = (Path(__file__).parents[2] / 'docs' / 'tables.md').read_text()
    assert all(f'`{word}`' in text for word in (*FORMATS, *STATES, NOT_IMPLEMENTED, *FIELDS_OF_JSON))
