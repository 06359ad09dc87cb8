"""Every cell has a folder of its own; runs that were trained under an old name are found or reported."""

import json
import re

import pytest

from openmix.benchmark import progress
from openmix.benchmark.folders import layout, plain_slug, slug
from openmix.benchmark.grid import point_folder
from openmix.benchmark.table import load_table, table_names
from openmix.benchmark.text_table import as_plain
from openmix.benchmark.trials import distinct
from openmix.errors import InputError


def states(bench, **chosen):
    return [trial.state() for trial in distinct(bench.trials(trials=1, **chosen))]


@pytest.mark.parametrize('other', ['CutMix+', 'CUTMIX', 'cut mix', 'CutMix ', 'Cut-Mix', 'CutMix(1)'])
def test_a_row_added_beside_another_renames_nothing(bench, other):
    bench.run(trials=1)
    bench.edit('rows:\n', f'rows:\n  "{other}": {{model.policy: {{type: FMix, _delete_: true}}}}\n')
    assert states(bench, rows='CutMix', columns='MCE') == ['done']
    assert states(bench, rows=other) == ['pending'] * 2
    bench.run(trials=1)
    assert states(bench) == ['done'] * 7


def test_names_never_share_a_folder_also_where_a_disk_ignores_case():
    names = ['A', 'a', 'A+', 'A-', '-A', 'A ', 'a.', 'Ä', 'mixup', 'Mixup', 'MixUp', 'MIXUP', 'CON', '.', '..', '*']
    names += [slug(name) for name in names]  # not even the folders of others
    folders = [slug(name) for name in dict.fromkeys(names)]
    assert len({folder.lower() for folder in folders}) == len(folders)
    assert all(re.fullmatch(r'[a-z0-9]([a-z0-9-]*[a-z0-9])?', folder) for folder in folders)
    assert len(slug('x' * 200 + '!')) < 100


def test_tables_that_ship_keep_their_folders():
    """All but those whose name another has without a digest; their runs are found where they lie, see below."""
    names = {name for table in table_names() for name in (*load_table(table).rows, *load_table(table).columns)}
    longer = {name for name in names if slug(name) != plain_slug(name)}
    recent = {*load_table('few/settings').rows, *load_table('few/settings').columns} - {'Vanilla'}
    recent |= {'250 labels', 'Random', 'logistic regression', 'MoCo v2', 'same view only', 'cross view only'}
    recent |= {'MixUp, A', 'MixUp, B', 'SwAV', 'AMix-C'}
    later = [
        f'openmixup/{name}'
        for name in ('cifar100', 'cifar100_vit', 'imagenet_resnet', 'imagenet_rsb_a3', 'imagenet_vit')
    ]
    later += [f'few/digits_100_{name}' for name in ('further', 'attention')]
    recent |= {name for table in map(load_table, later) for name in (*table.rows, *table.columns)} & longer - {'MixUp'}
    assert longer == {'MixUp', '+MCE', '+MCE+AS(λ≥0.5)', '+MCE+AS(λ≤0.5)'} | recent


def test_runs_in_the_folder_of_an_older_version_are_found(bench):
    bench.edit('  CutMix: {model', '  Cut mix!: {model')
    bench.edit('  CutMix: [', '  Cut mix!: [')
    bench.edit('  CutMix: {DM', '  Cut mix!: {DM')
    bench.run(trials=1)
    own = bench.table.cell('Cut mix!', 'MCE').folder
    (bench.work_dir / own).parent.rename(bench.work_dir / 'cut-mix')
    assert states(bench) == ['done'] * 5
    assert {trial.folder.parent.parent.name for trial in bench.trials('Cut mix!')} == {'cut-mix'}
    bench.edit('1e-1', '3e-1')  # the cell is another now, its folder the same
    assert states(bench, rows='Cut mix!', columns='MCE') == ['stale']


def test_a_renamed_row_goes_on_where_it_was(bench):
    bench.run(trials=1)
    for old, new in (
        ('  CutMix: {model', '  Ours: {model'),
        ('  CutMix: [', '  Ours: ['),
        ('  CutMix: {DM', '  Ours: {DM'),
    ):
        bench.edit(old, new)
    assert states(bench) == ['done'] * 5
    places = layout(bench.table.cells, bench.work_dir)
    assert "'CutMix / MCE' is now 'Ours / MCE': its runs stay in cutmix/mce" in places.remarks()
    said = as_plain(progress.status(bench.table, bench.trials(trials=1), places.remarks()))
    assert "'CutMix / MCE' is now 'Ours / MCE'" in said
    _, said = bench.run(trials=1)
    assert '5 trials done before, 0 to run' in said


def test_runs_of_a_cell_that_is_gone_are_named(bench):
    bench.run(trials=1, rows='CutMix', columns='MCE')
    bench.edit(
        '  CutMix: {model.policy: {type: CutMix, alpha: 1e-1', '  Ours: {model.policy: {type: CutMix, alpha: 2e-1'
    )
    bench.edit('  CutMix: [', '  Ours: [')
    bench.edit('  CutMix: {DM', '  Ours: {DM')
    assert states(bench) == ['pending'] * 5
    assert layout(bench.table.cells, bench.work_dir).remarks() == [
        "cutmix/mce holds runs of 'CutMix / MCE', which the table does not have"
    ]


def test_links_in_a_work_folder_are_not_followed(bench):
    bench.run(trials=1, rows='Mixup', columns='MCE')
    for name in ('one', 'two'):
        (bench.work_dir / name).symlink_to('.')
        (bench.work_dir / 'mixup' / name).symlink_to('.')
    assert states(bench, rows='Mixup', columns='MCE') == ['done']
    assert layout(bench.table.cells, bench.work_dir).strays == ()


def test_imports_of_a_renamed_row_are_found(bench, tmp_path):
    bench.run(trials=1, rows='CutMix', columns='MCE')
    bench.work_dir.rename(tmp_path / 'theirs')
    for old, new in (
        ('  CutMix: {model', '  Ours: {model'),
        ('  CutMix: [', '  Ours: ['),
        ('  CutMix: {DM', '  Ours: {DM'),
    ):
        bench.edit(old, new)
    record = bench.records(trials=1, imports=[tmp_path / 'theirs'])[3]
    assert (record.cell.name, [numbers.values for numbers in record.theirs]) == ('Ours / MCE', [(90.0,)])


def test_points_of_a_search_have_folders_of_their_own():
    values = [0.2, 2, '0.2', 'a', 'A', -1, 1, 1.0, True, 1e-5, None, [1], {'a': 1}]
    folders = [point_folder({'model.policy.alpha': value}) for value in values]
    assert len({folder.lower() for folder in folders}) == len(values)
    assert folders[0] == 'alpha-0p2'
    assert point_folder({'a.x': 1, 'b.x': 2}) != point_folder({'b.x': 1, 'a.x': 2})


def test_a_search_in_a_folder_of_an_older_version_is_found(bench):
    bench.edit('gains: {DM(CE): MCE}', 'grid: {model.policy.alpha: [1e-5, 0.5]}\nvalidation: {train_cfg.max_epochs: 4}')
    first = bench.trials('CutMix', 'MCE')[0]
    assert first.kind == 'search'
    old = first.folder.parent.with_name('alpha-1e-05') / 'trial0'
    old.mkdir(parents=True)
    (old / 'cell.json').write_text(json.dumps(first.identity))
    assert bench.trials('CutMix', 'MCE')[0].folder == old


def test_two_names_with_one_folder_are_refused(bench, monkeypatch):
    monkeypatch.setattr('openmix.benchmark.folders.slug', lambda name: 'same')
    with pytest.raises(InputError, match=r"rows 'Vanilla' and 'Mixup' have the same folder 'same'; rename one"):
        _ = bench.table
