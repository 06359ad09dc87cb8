"""Test grids: one run per point on held-out images, then the best point on all training images."""

import json
from dataclasses import replace

import pytest

from openmix.benchmark import progress
from openmix.benchmark.grid import best, label, points, search_cells
from openmix.benchmark.plan import needs
from openmix.benchmark.report import as_text
from openmix.benchmark.trials import stages
from openmix.config import load_config
from openmix.errors import InputError

# What the run reads is a function of its alpha: 0.5 is best.
SCORE = "lambda text: {'0.2': 70.0, '0.5': 80.0, '1.0': 75.0}[text.split('alpha=')[1].split(',')[0]]"


@pytest.fixture
def searched(bench):
    """Make a table of one column with a grid of alpha, and a script whose result depends on alpha."""
    bench.edit('gains: {DM(CE): MCE}', 'grid: {model.policy.alpha: [0.2, 0.5, 1.0]}')
    bench.edit('Vanilla: {model.policy', 'Vanilla: {grid: {}, model.policy')
    recipe = bench.root / 'recipe.py'
    loader = "dict(dataset=dict(type='Digits', split='{}'))"
    loaders = f'train_dataloader = {loader.format("train")}\nval_dataloader = {loader.format("test")}\n'
    recipe.write_text(recipe.read_text() + loaders)
    script = bench.script.read_text().replace(
        "'median_last3': 90.0", f"'median_last3': ({SCORE})(text) if 'alpha' in text else 60.0"
    )
    bench.script.write_text(script)
    return bench


def test_points(searched):
    cell = searched.table.cell('Mixup', 'MCE')
    assert [label(point) for point in points(cell)] == ['alpha=0.2', 'alpha=0.5', 'alpha=1.0']
    found = search_cells(cell, searched.table.validation)
    assert [each.folder for each in found] == [f'mixup/mce/search/alpha-{a}' for a in ('0p2', '0p5', '1p0')]
    cfg = found[1].resolve()
    assert cfg.model.policy.alpha == 0.5
    assert cfg.train_dataloader.dataset.to_dict() == {'type': 'Digits', 'split': 'train', 'val_fraction': 0.1}
    assert cfg.val_dataloader.dataset.to_dict() == {'type': 'Digits', 'split': 'val', 'val_fraction': 0.1}
    assert best([1.0, 3.0, 3.0], lower_is_better=False) == 1
    assert best([2.0, 1.0, 3.0], lower_is_better=True) == 1


def test_searches_then_trains_the_best_on_all_images(searched):
    first, second = (
        iter(stages(searched.table, searched.table.select('Mixup', 'MCE'), searched.work_dir)) for _ in '12'
    )
    assert [trial.kind for trial in next(first)] == ['search'] * 3
    assert not [trial for trial in list(second)[-1] if trial.kind == 'final']  # nothing is chosen yet
    (record,) = searched.records('Mixup', 'MCE')
    assert (record.status, record.trials) == ('search pending (0/3)', ())
    failed, said = searched.run(rows='Mixup', columns='MCE')
    assert not failed
    assert '3 to run' in said
    assert '2 to run' in said
    (record,) = searched.records('Mixup', 'MCE')
    assert (record.status, record.values) == ('done', (80.0, 80.0))
    assert [trial.point for trial in record.trials] == [{'model.policy.alpha': 0.5}] * 2
    cfg = load_config(searched.work_dir / 'mixup/mce/config.py')
    assert cfg.model.policy.alpha == 0.5
    assert 'val_fraction' not in cfg.train_dataloader.dataset
    assert cfg.val_dataloader.dataset.split == 'test'
    identity = json.loads((searched.work_dir / 'mixup/mce/search/alpha-0p5/trial0/cell.json').read_text())
    assert identity['kind'] == 'search'
    _, said = searched.run(rows='Mixup', columns='MCE')
    assert said.count('0 to run') == 2


def test_a_row_without_a_grid_searches_nothing(searched):
    _, said = searched.run(rows='Vanilla')
    assert '2 to run' in said
    (record,) = searched.records('Vanilla')
    assert (record.values, record.searches) == ((60.0, 59.0), ())


def test_search_is_reported(searched):
    searched.run(rows='Mixup', columns='MCE')
    text = as_text(searched.table, searched.records('Mixup', 'MCE'), 'md', searched.work_dir)
    assert '| Mixup / MCE | alpha=0.5 (chosen) | 80.00 |' in text
    assert '| Mixup / MCE | alpha=1.0 | 75.00 |' in text
    grid, _ = progress.status(searched.table, searched.trials('Mixup', 'MCE')).renderables
    assert len(grid.rows) == 5


CHOSEN = """columns:
  MCE:
    grid: {model.policy.alpha: [0.2, 0.5, 1.0]}
    model.head.loss: {type: mix_ce, _delete_: true}
  DM(CE):
    grid: {model.policy.alpha: {column: MCE}, model.head.loss.eta: [0.1, 1.0]}
    model.head.loss: {type: decoupled_ce, eta: 0.5, _delete_: true}
rows:"""


@pytest.fixture
def dependent(searched):
    """Make a table whose DM(CE) takes the alpha that the search of MCE chose, and searches for eta at it."""
    text = searched.path.read_text()
    start, end = text.index('columns:'), text.index('rows:') + len('rows:')
    text = text[:start] + CHOSEN + text[end:]
    text = text.replace('grid: {model.policy.alpha: [0.2, 0.5, 1.0]}\nnotes', 'notes')
    text = text.replace(', null]', ', 80.0]').replace(
        '  CutMix: {DM(CE): {model.policy: {type: CutMix, alpha: 2.0, _delete_: true}}}\n', ''
    )
    searched.path.write_text(text)
    return searched


def test_a_column_takes_what_the_search_of_another_chose(dependent):
    (before,) = dependent.records('Mixup', 'DM*')
    assert (before.status, before.searches, before.trials) == ('pending', (), ())
    first = dependent.trials('Mixup', 'DM*')
    assert [trial.cell.column for trial in first] == ['MCE'] * 3  # what it waits for runs first, also if not asked for
    failed, said = dependent.run(rows='Mixup', columns='DM*')
    assert not failed
    assert [f'{n} to run' in said for n in (3, 2)] == [True, True]
    (record,) = dependent.records('Mixup', 'DM*')
    assert record.status == 'done'
    assert [trial.point for trial in record.searches] == [
        {'model.policy.alpha': 0.5, 'model.head.loss.eta': 0.1},
        {'model.policy.alpha': 0.5, 'model.head.loss.eta': 1.0},
    ]
    cfg = load_config(dependent.work_dir / 'mixup/dm-ce/config.py')
    assert (cfg.model.policy.alpha, cfg.model.head.loss.eta) == (0.5, 0.1)
    assert not (dependent.work_dir / 'mixup/mce/trial0').exists()  # only its search was needed


def test_the_plan_counts_searches_that_wait(dependent):
    table = dependent.table
    trials, records = dependent.trials('Mixup'), dependent.records('Mixup')
    # 3 searches and 2 trials of MCE; 2 searches and 2 trials of DM(CE), none of which is listed yet
    assert needs(table, trials, records, None).runs == 9
    dependent.run(rows='Mixup', columns='MCE')
    assert needs(table, dependent.trials('Mixup'), dependent.records('Mixup'), None).runs == 4


def test_a_column_that_only_takes_what_others_chose_has_no_search(dependent):
    dependent.edit(', model.head.loss.eta: [0.1, 1.0]}', '}')
    dependent.run(rows='Mixup', columns='DM*')
    (record,) = dependent.records('Mixup', 'DM*')
    assert (record.status, record.searches) == ('done', ())
    assert [trial.point for trial in record.trials] == [{'model.policy.alpha': 0.5}] * 2


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('{column: MCE}', '{column: MCF}', "unknown column 'MCF'; did you mean 'MCE'"),
        ('{column: MCE}', '{columns: MCE}', 'needs a list of values, or {column: NAME}'),
        ('{column: MCE}', '{column: DM(CE)}', "is chosen for 'Mixup / DM\\(CE\\)', which does not search for it"),
        ('model.policy.alpha: [0.2, 0.5, 1.0]', 'model.policy.share: [batch]', 'does not search for it'),
    ],
)
def test_a_column_that_chooses_nothing_is_refused(dependent, old, new, message):
    dependent.edit(old, new)
    with pytest.raises(InputError, match=message):
        _ = dependent.table


@pytest.mark.parametrize(
    ('grid', 'message'),
    [
        ('{model.policy.alpha: 0.2}', "grid: 'model.policy.alpha' needs a list of values"),
        ('{model.policy.alpha: []}', 'needs a list of values'),
        ('{model.policy.alpha: [1, 1]}', 'lists a value twice'),
        ('[1]', 'expected a mapping'),
    ],
)
def test_wrong_grids_are_refused(bench, grid, message):
    bench.edit('gains: {DM(CE): MCE}', f'grid: {grid}')
    with pytest.raises(InputError, match=message):
        _ = bench.table


def test_a_search_is_listed_once_beside_measures_of_checkpoints(searched):
    searched.run(rows='Mixup', columns='MCE', trials=1)
    (record,) = searched.records('Mixup', 'MCE', trials=1)
    beside = replace(record, cell=replace(record.cell, column='MCE / fgsm/error', measure='fgsm/error'))
    for form in ('md', 'html'):
        alone, both = (
            as_text(searched.table, found, form, searched.work_dir) for found in ([record], [record, beside])
        )
        assert alone.count('alpha=0.5') == both.count('alpha=0.5') > 0, form
