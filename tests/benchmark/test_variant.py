"""The variant `published`: options of every part, settings of recipes, and settings of a cell's printed run alone."""

import json

import pytest
import yaml
from mmengine.config import Config

from openmix.benchmark import variant
from openmix.benchmark.as_published import without_printed
from openmix.benchmark.cell import _recipe, layered
from openmix.benchmark.plan import needs, summary
from openmix.benchmark.published_settings import published_settings
from openmix.benchmark.records import read_records
from openmix.benchmark.render import remarks
from openmix.benchmark.trials import trials_of
from openmix.benchmark.variant import add_published
from openmix.declared import value_of
from openmix.errors import InputError
from openmix.registry import LOSSES, MIXUPS, MODELS
from openmix.signatures import arguments

CUTMIX = '  CutMix: {model.policy: {type: CutMix, alpha: 1e-1, _delete_: true}}'


SOURCE = """
HALF = 0.5

@R.register_module()
def loss(x):
    return x

loss.published = {'eta': 1}
loss.other = HALF
elsewhere.published = 3

@R.register_module(name='Named')
def built(x):
    return x

built.published = {'a': 2}

@R.register_module(name='Renamed')
class Part:
    published = {'b': 3}

@R.register_module()
class Around:
    published = theirs.published
    other = theirs.other
"""


OTHER = """
@R.register_module()
def its(x):
    return x

its.published = {'c': 4}
its.other = len('')
"""


@pytest.fixture(autouse=True)
def _fresh():
    _recipe.cache_clear()


@pytest.fixture
def declares(monkeypatch):
    """Let parts declare options of published runs, by name."""
    options = {}
    of_source = value_of

    def value(folder, name, attribute, otherwise=None):
        return (
            options[name]
            if name in options and attribute == 'published'
            else of_source(folder, name, attribute, otherwise)
        )

    monkeypatch.setattr(variant, 'value_of', value)
    return options.update


def test_every_part_gets_its_options_however_deep(declares):
    declares({'mix_ce': {'smoothing': 0.5}, 'LinearHead': {'init_std': 0.5}, 'WideResNet': {'depth': 10}})
    loss, backbone = {'type': 'mix_ce'}, {'type': 'WideResNet'}
    first = Config({'model': {
        'type': 'MixClassifier', 'backbone': dict(backbone), 'head': {'type': 'LinearHead', 'loss': dict(loss)},
        'heads': {'a': {'type': 'LinearHead', 'loss': dict(loss)}},
        'policy': {'type': 'OneOf', 'policies': [
            {'type': 'CutMix', 'share': 'sample'},
            {'type': 'AMix', 'heads': 'split', 'mixer_losses': [{'type': 'mix_ce', 'weight': 2.0}]},
            {'type': 'SuperMix', 'teacher': {'backbone': dict(backbone), 'head': {'type': 'LinearHead'}}},
        ]},
    }})  # fmt: skip
    model = add_published(first).model
    assert model.backbone == {'type': 'WideResNet', 'depth': 10}
    assert model.head == {'type': 'LinearHead', 'init_std': 0.5, 'loss': {'type': 'mix_ce', 'smoothing': 0.5}}
    assert model.heads.a.loss.smoothing == 0.5
    cut, learned, taught = model.policy.policies
    assert cut.share == 'sample'
    assert learned.share == 'batch'
    assert learned.mixer_losses == [{'type': 'mix_ce', 'weight': 2.0, 'smoothing': 0.5}]
    # The weights of a trained network decide its form.
    assert taught.teacher == {'backbone': backbone, 'head': {'type': 'LinearHead'}}


def test_what_a_recipe_states_stays_and_a_name_becomes_a_dict(declares):
    declares({'mix_ce': {'smoothing': 0.5}})
    for said, made in [
        ({'type': 'mix_ce', 'smoothing': 0.0}, {'type': 'mix_ce', 'smoothing': 0.0}),
        ('mix_ce', {'type': 'mix_ce', 'smoothing': 0.5}),
        ('mix_bce', 'mix_bce'),
        (('mix_ce', 'mix_bce'), [{'type': 'mix_ce', 'smoothing': 0.5}, 'mix_bce']),
    ]:
        cfg = add_published(Config({'model': {'type': 'MixClassifier', 'head': {'type': 'LinearHead', 'loss': said}}}))
        assert cfg.model.head.loss == made


def test_declared_options_are_arguments_of_their_parts():
    """Read from source, as a table reads them, and equal to what the imported part has."""
    found = 0
    for registry, folder in ((MIXUPS, 'mixups'), (LOSSES, 'losses'), (MODELS, 'models')):
        registry.import_from_location()
        for name, part in registry.module_dict.items():
            if not part.__module__.startswith(f'openmix.{folder}'):
                continue
            read = value_of(folder, name, 'published', {})
            assert read == getattr(part, 'published', {}), name
            known = arguments(part)
            assert known is None or set(known) >= read.keys(), name
            found += bool(read)
    assert found >= 5


def test_a_function_declares_behind_itself_and_a_renamed_part_is_found(tmp_path, monkeypatch):
    from openmix import declared

    (tmp_path / 'parts').mkdir()
    (tmp_path / 'parts/one.py').write_text('from openmix.others.a import its as theirs\n' + SOURCE)
    (tmp_path / 'others').mkdir()
    (tmp_path / 'others/a.py').write_text(OTHER)
    monkeypatch.setattr(declared, '_PACKAGE', tmp_path)
    declared._classes.cache_clear()
    try:
        assert value_of('parts', 'loss', 'published') == {'eta': 1}
        assert value_of('parts', 'loss', 'other') == 0.5
        assert value_of('parts', 'Named', 'published') == {'a': 2}
        assert value_of('parts', 'Renamed', 'published') == {'b': 3}
        with pytest.raises(KeyError):
            value_of('parts', 'built', 'published')
        assert value_of('parts', 'Around', 'published') == {'c': 4}
        with pytest.raises(KeyError):  # computed there
            value_of('parts', 'Around', 'other')
    finally:
        declared._classes.cache_clear()


def test_a_recipes_settings_come_before_a_cells(bench):
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text() + "published = {'train_cfg.max_epochs': 6, 'model.head.init_std': 0.5}\n")
    bench.edit(CUTMIX, CUTMIX.replace('}}', '}, train_cfg.max_epochs: 5}'))
    table = bench.table
    told = [(row, table.cell(row, 'MCE').resolve()) for row in ('Vanilla', 'CutMix')]
    assert [(row, cfg.train_cfg.max_epochs, cfg.model.head.init_std) for row, cfg in told] == [
        ('Vanilla', 6, 0.5),
        ('CutMix', 5, 0.5),
    ]
    assert 'published' not in table.cell('Vanilla', 'MCE').config_text().split('"""')[2]
    plain = table.as_variant('corrected').cell('Vanilla', 'MCE').resolve()
    assert plain.train_cfg.max_epochs == 4
    assert 'init_std' not in plain.model.head
    done = table.with_options({'train_cfg.max_epochs': 8}).cell('Vanilla', 'MCE').resolve()
    assert done.train_cfg.max_epochs == 8


def test_an_earlier_stage_has_them_in_the_same_variant(bench):
    (bench.root / 'first.py').write_text(
        (bench.root / 'recipe.py').read_text() + "published = {'train_cfg.max_epochs': 9}\n"
    )
    said = 'published: {model.policy.alpha: 0.3}, model.policy: {type: Mixup}'
    stage = f', from: {{config: {bench.root}/first.py, {said}}}'
    bench.edit(CUTMIX, CUTMIX.replace('}}', '}' + stage + '}'))
    for name, epochs, alpha in (('published', 9, 0.3), ('corrected', 4, None)):
        stage = bench.table.as_variant(name).cell('CutMix', 'MCE').earlier.cell
        first = stage.resolve()
        assert stage.own_settings.get('model.policy.alpha') == alpha
        assert (first.train_cfg.max_epochs, first.model.policy.get('alpha')) == (epochs, alpha)


def test_a_cell_says_what_its_printed_run_alone_had(bench):
    bench.edit(
        '    model.policy.alpha: 0.2\n', '    model.policy.alpha: 0.2\n    published: {model.head.loss.eta: 0.7}\n'
    )
    table = bench.table
    for name, eta in (('published', 0.7), ('corrected', 0.1)):
        cfg = table.as_variant(name).cell('Mixup', 'DM(CE)').resolve()
        assert (cfg.model.head.loss.eta, cfg.model.policy.alpha) == (eta, 0.2)
    # A row is nearer than a column.
    bench.edit(
        'type: Mixup, alpha: 1.0, _delete_: true}', 'type: Mixup, _delete_: true}, published.model.head.loss.eta: 0.9'
    )
    assert bench.table.cell('Mixup', 'DM(CE)').resolve().model.head.loss.eta == 0.9


@pytest.mark.parametrize(
    ('said', 'told'),
    [
        ('published: 3', 'published must be a mapping of dotted keys, got 3'),
        ('published: {config: other.py}', "holds settings of the recipe, such as model.policy.alpha, got 'config'"),
        ('published: {from.train_cfg.max_epochs: 3}', "got 'from.train_cfg.max_epochs'"),
        ('published: {randomness.seed: 3}', 'randomness.seed is not read'),
        ('published: {model.policy.type: os.system}', 'is a path to code'),
        ('publishd: {model.policy.alpha: 3}', "did you mean 'published'"),
        ('published: {model.policy.alpha: 3}, published.model.policy.alpha: 3', 'is given twice'),
        ('published: {model.policy.alpha: 3}, grid: {model.policy.alpha: [1, 2]}', 'searched by the grid and set by'),
    ],
)
def test_what_a_cell_may_not_say(bench, said, told):
    bench.edit(CUTMIX, CUTMIX.replace('}}', '}, ' + said + '}'))
    with pytest.raises(InputError, match=told):
        bench.table.cell('CutMix', 'MCE').resolve()


def test_a_wrong_key_of_a_cell_is_told(bench):
    bench.edit(CUTMIX, CUTMIX.replace('}}', '}, published: {modle.policy.alpha: 3}}'))
    with pytest.raises(InputError, match="did you mean 'model'"):
        bench.table.cell('CutMix', 'MCE').resolve()


def test_what_recipes_have_as_published_is_said(bench, benchmark_py):
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text() + "published = {'train_cfg.max_epochs': 6}\n")
    told = f'{recipe} as published: train_cfg.max_epochs=6'
    for name in ('published', 'corrected'):
        table = bench.table.as_variant(name)
        trials = trials_of(table, table.cells, bench.work_dir)
        records = read_records(table.cells, trials)
        for lines in (remarks(table, records), summary(trials, records, needs(table, trials, records, None))):
            assert (told in lines) == (name == 'published')
    done = benchmark_py('plan', bench.path, '--work-dir', bench.root / 'work', '--variant', 'published')
    assert done.returncode == 0, done.stderr
    assert told in ' '.join(done.stdout.split())


def test_only_what_a_cell_takes_is_said_and_what_is_lost_too(bench):
    """Settings of earlier stages are among them, and not what every cell states itself."""
    recipe, other = bench.root / 'recipe.py', bench.root / 'other.py'
    loss = "model['head']['loss'] = dict(type='decoupled_ce', eta=0.1)\n"
    first = "published = {'train_cfg.max_epochs': 6, 'model.head.loss.eta': 0.3, 'model.policy.share': 'batch'}\n"
    recipe.write_text(recipe.read_text() + loss + first)
    lost = ' without these published settings, whose place it replaces: '
    gone = f"'CutMix / MCE'{lost}model.head.loss.eta=0.3, model.policy.share='batch'"
    assert published_settings([bench.table.cell('CutMix', 'MCE')]) == [
        f'{recipe} as published: train_cfg.max_epochs=6', gone
    ]  # fmt: skip
    # The cell's own share is stated, not lost; its stage takes what its recipe has left.
    other.write_text(f"_base_ = '{recipe}'\ntrain_cfg = dict(_delete_=True, type='EpochBasedTrainLoop')\n")
    stage = f', share: sample, _delete_: true}}, train_cfg.max_epochs: 5, from: {{config: {other}}}}}'
    bench.edit(CUTMIX, CUTMIX.replace(', _delete_: true}}', stage))
    assert published_settings([bench.table.cell('CutMix', 'MCE')]) == [
        f"{other} as published: model.head.loss.eta=0.3, model.policy.share='batch'",
        f"'CutMix / MCE'{lost}model.head.loss.eta=0.3",
        f'{other}{lost}train_cfg.max_epochs=6',
    ]


def test_cells_that_differ_in_the_printed_run_alone_train_once_where_they_are_corrected(bench):
    other = CUTMIX.replace('CutMix:', 'Other:').replace('}}', '}, published: {train_cfg.max_epochs: 9}}')
    bench.edit(CUTMIX, f'{CUTMIX}\n{other}')
    for name, count in (('published', 2), ('corrected', 1), ('published', 2)):
        table = bench.table.as_variant('corrected').as_variant(name)
        assert len({table.cell(row, 'MCE').folder for row in ('CutMix', 'Other')}) == count
    said = {'from.config': 'a', 'from.published.model.policy.alpha': 1, 'published.model.policy.alpha': 2}
    assert without_printed(said, 'published') == said
    assert without_printed(said, 'corrected') == {'from.config': 'a'}
    own = {**said, 'from.variant': 'published'}
    assert without_printed(own, 'corrected') == {key: own[key] for key in own if key.startswith('from.')}


@pytest.mark.parametrize(
    ('under', 'over', 'left'),
    [
        ('published.model.head.loss.eta: 9', 'model.head.loss: {type: mix_ce, _delete_: true}', False),
        ('published.model.head.loss.eta: 9', 'model.head: null', False),
        ('published.model.head.loss.eta: 9', 'model.head.loss.eta: 8', False),
        ('published.param_scheduler.0.power: 9', 'param_scheduler: [{type: StepLR}]', False),
        ('published.model.head.loss.eta: 9', 'model.head.loss: {smoothing: 0.1}', True),
        ('published.model.head.loss.eta: 9', 'model.head.loss.smoothing: 0.1', True),
        ('from.published.model.policy.alpha: 9', 'from.model.policy: {type: NoMix, _delete_: true}', False),
        ('from.published.model.policy.alpha: 9', 'model.policy: {type: NoMix, _delete_: true}', True),
        ('published.model.policy.alpha: 9', 'published.model.policy: {type: NoMix, _delete_: true}', False),
    ],
)
def test_a_cell_that_replaces_a_part_has_none_of_its_printed_settings(under, over, left):
    under, over = yaml.safe_load(f'{{{under}}}'), yaml.safe_load(f'{{{over}}}')
    assert layered(under, over) == (under | over if left else over)


def test_a_published_result_is_another_than_a_corrected_one(bench):
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text() + "published = {'train_cfg.max_epochs': 4, 'model.head.init_std': 0.5}\n")
    bench.run(rows='Vanilla', trials=1)
    made = json.loads((bench.work_dir / 'vanilla/mce/trial0/cell.json').read_text())
    assert made['variant'] == 'published'
    (record,) = bench.records(rows='Vanilla', columns='MCE', trials=1)
    assert [trial.state() for trial in record.trials] == ['done']
    recipe.write_text(recipe.read_text().replace('0.5', '0.25'))
    _recipe.cache_clear()
    (record,) = bench.records(rows='Vanilla', columns='MCE', trials=1)
    assert [trial.state() for trial in record.trials] == ['stale']
