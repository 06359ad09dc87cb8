"""Test `--cfg-options` of a table, and its variants."""

import json

import pytest

from openmix.benchmark.table import default_work_dir, load_table
from openmix.config_hash import config_hash
from openmix.errors import InputError
from openmix.shipped import tools_path

OWN = """
import torch
from openmix.mixups.base import MixPolicy
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class {name}(MixPolicy):
    {body}
"""


def test_options_stand_on_top_of_every_cell_and_in_its_hash(bench):
    plain, table = bench.table, bench.table.with_options({'train_cfg.max_epochs': 9, 'model.policy.alpha': 0.7})
    cells = [(a.resolve(), b.resolve()) for a, b in zip(plain.cells, table.cells, strict=True)]
    assert all(b.train_cfg.max_epochs == 9 and b.model.policy.alpha == 0.7 for _, b in cells)
    assert all(config_hash(a) != config_hash(b) for a, b in cells)
    assert default_work_dir(plain).name == 'small'
    assert default_work_dir(table).name.startswith('small@options-')
    assert default_work_dir(bench.table.with_options({'train_cfg.max_epochs': 8})) != default_work_dir(table)
    assert plain.with_options(None) is plain


@pytest.mark.parametrize(
    'options', [{'model.policy.type': 'os.system'}, {'custom_imports.imports': ['x']}, {'_base_': 'x'}]
)
def test_options_are_data(bench, options):
    with pytest.raises(InputError, match='--cfg-options'):
        bench.table.with_options(options)


@pytest.mark.parametrize(
    'options', [{'work_dir': 'x'}, {'launcher': 'none'}, {'resume': True}, {'randomness': {'seed': 3}}]
)
def test_what_a_table_says_of_each_run_is_no_option(bench, options):
    """It would be accepted and lost."""
    with pytest.raises(InputError, match=r'--cfg-options: .* is not read'):
        bench.table.with_options(options)
    text = bench.path.read_text()
    bench.path.write_text(text.replace('MCE: {', f'MCE: {{{str(options)[1:-1]}, '))
    with pytest.raises(InputError, match='is not read'):
        load_table(bench.path)


def test_config_and_plan_take_options(bench, benchmark_py):
    done = benchmark_py('config', bench.path, 'CutMix', 'MCE', '--cfg-options', 'train_cfg.max_epochs=9')
    assert done.returncode == 0, done.stderr
    assert 'max_epochs=9' in done.stdout
    done = benchmark_py('plan', bench.path, '--cfg-options', 'train_cfg.max_epochs=9', '--work-dir', bench.work_dir)
    assert done.returncode == 0, done.stderr
    assert '│ 9      │ run' in done.stdout
    again = benchmark_py('plan', '--cfg-options', 'train_cfg.max_epochs=9', bench.path, '--work-dir', bench.work_dir)
    assert again.stdout == done.stdout
    done = benchmark_py('plan', bench.path, '--cfg-options', 'modle.policy.alpha=9', '--work-dir', bench.work_dir)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "did you mean 'model'" in done.stderr


@pytest.mark.slow
def test_runs_of_other_options_are_never_set_aside(bench, benchmark_py):
    """A work folder holds the runs of one set of options; another is refused before anything is moved."""
    bench.run(rows='Mixup', columns='MCE', trials=1)
    before = sorted(path.name for path in bench.work_dir.rglob('*'))
    chosen = ('--rows', 'Mixup', '--columns', 'MCE', '--trials', '1', '--work-dir', bench.work_dir)
    done = benchmark_py('run', bench.path, *chosen, '--cfg-options', 'train_cfg.max_epochs=9')
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert 'was trained without --cfg-options; give another --work-dir' in done.stderr
    assert sorted(path.name for path in bench.work_dir.rglob('*')) == before
    made_for = bench.work_dir / 'mixup/mce/trial0/cell.json'
    made_for.write_text(json.dumps(json.loads(made_for.read_text()) | {'options': {'train_cfg.max_epochs': 9}}))
    done = benchmark_py('run', bench.path, *chosen)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert 'was trained with --cfg-options train_cfg.max_epochs=9' in done.stderr


@pytest.mark.parametrize(
    ('edits', 'variant'),
    [
        ([], 'published'),
        ([('source: nowhere, Table 0\n', '')], 'corrected'),
        ([('source: nowhere, Table 0', 'source: none')], 'corrected'),
        ([('source: nowhere, Table 0', 'source: None; a demonstration')], 'corrected'),
        ([('  Mixup: [79.12, 80.44]\n  CutMix: [78.17, null]', '  Mixup: [null, null]')], 'corrected'),
        ([('source: nowhere, Table 0', 'source: nonesuch et al.')], 'published'),
        ([('source: nowhere, Table 0', 'source: none\nvariant: published')], 'published'),
        ([('trials: 2', 'trials: 2\nvariant: corrected')], 'corrected'),
    ],
)
def test_a_table_is_published_only_where_numbers_of_a_source_are_printed(bench, edits, variant):
    for old, new in edits:
        bench.edit(old, new)
    assert bench.table.variant == variant
    shared = 'share' in bench.table.cell('CutMix', 'MCE').resolve().model.policy
    assert shared == (variant == 'published')


@pytest.mark.parametrize('verb', ['show', 'report', 'plan'])
@pytest.mark.parametrize('variant', ['published', 'corrected'])
def test_the_variant_is_said_and_what_it_means(bench, verb, variant, benchmark_py):
    done = benchmark_py(verb, bench.path, '--variant', variant, '--work-dir', bench.work_dir)
    assert done.returncode == 0, done.stderr
    meaning = {'published': 'options of the printed runs', 'corrected': 'as their papers say or mean'}[variant]
    assert f'{variant} variant: ' in done.stdout
    assert meaning in done.stdout


@pytest.mark.slow
def test_ones_own_policy_in_a_published_table_is_named(bench, monkeypatch, benchmark_py):
    (bench.root / 'own_policies.py').write_text(
        OWN.format(name='Ours', body='pass') + OWN.format(name='Theirs', body="published = {'share': 'batch'}")
    )
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text() + "custom_imports = dict(imports=['own_policies'])\n")
    bench.edit('type: Mixup, alpha: 1.0', 'type: Ours')
    bench.edit('type: CutMix, alpha: 1e-1', 'type: Theirs')
    bench.edit('    model.policy.alpha: 0.2\n', '')
    monkeypatch.setenv('PYTHONPATH', f'{bench.root}:{tools_path("").parent}')
    done = benchmark_py('plan', bench.path, '--work-dir', bench.work_dir)
    assert done.returncode == 0, done.stderr
    assert 'Ours declares no options of published runs: it runs as the recipe says' in done.stdout
    assert 'Theirs declares' not in done.stdout


def test_every_shipped_table_says_or_follows_its_variant():
    """What is recorded under docs/results ran as it says here."""
    demonstrations = ['quickstart', 'cifar10_small', 'cifar10_static', 'cifar10_dynamic', 'digits_dynamic']
    demonstrations += ['tiny_imagenet50', 'tiny_imagenet50_transformers']
    assert {load_table(name).variant for name in demonstrations} == {'corrected'}
    assert {load_table(f'decoupled_mixup/{name}').variant for name in ('figure2', 'figure6', 'table1')} == {'published'}
