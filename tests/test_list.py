"""The list of what recipes can name, and of recipes and tables: complete, filtered, and past files that are broken."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torchvision
from registered import registered

from openmix.algorithm import Algorithm
from openmix.benchmark.table import table_names
from openmix.registry import DATASETS, HOOKS, LOSSES, METRICS, MIXUPS, MODELS

ROOT = Path(__file__).parent.parent
IMPORT = 'from openmix.registry import MIXUPS\n'
OF = {'policies': MIXUPS, 'losses': LOSSES, 'datasets': DATASETS, 'metrics': METRICS, 'hooks': HOOKS}


@pytest.fixture
def listed(call):
    """Return a function that lists in this process, by kind and name."""

    def run(*words):
        code, said, errors = call('list.py', *words, '--format', 'json')
        assert code in (0, None), errors
        found = {}
        for row in json.loads(said):
            found.setdefault(row.pop('kind'), {})[row.pop('name')] = row
        return found

    return run


def ours(registry):
    return {name: found for name, found in registered(registry).items() if found.__module__.startswith('openmix.')}


def of_openmix(rows):
    return {name for name, row in rows.items() if row['library'] == 'openmix'}


def test_everything_that_is_registered_is_listed_with_its_purpose(listed):
    found = listed()
    for kind, registry in OF.items():
        assert ours(registry).keys() <= of_openmix(found[kind]), kind
    models = ours(MODELS)
    kinds = [of_openmix(found[kind]) for kind in ('algorithms', 'backbones', 'parts')]
    assert models.keys() <= set.union(*kinds)
    assert sum(map(len, kinds)) == len(set.union(*kinds))
    assert {name for name, cls in models.items() if isinstance(cls, type) and issubclass(cls, Algorithm)} <= kinds[0]
    assert {'TimmBackbone', 'WideResNet'} <= kinds[1]
    assert {'LinearHead', 'ImagePreprocessor'} <= kinds[2]
    recipes = [path.relative_to(ROOT / 'configs').as_posix() for path in (ROOT / 'configs').rglob('*.py')]
    assert found['recipes'].keys() == {name for name in recipes if not name.startswith('_base_/')}
    assert found['tables'].keys() == set(table_names())
    assert not {'timm', 'torchvision'} & found.keys()
    for kind, rows in found.items():
        for name, row in rows.items():
            assert row['purpose'] or row['library'] not in ('openmix', 'mmengine'), (
                f'{kind} {name} has no docstring or title'
            )
            assert '\n' not in row['purpose']
            assert not row['error']


def test_parts_that_are_refused_are_not_listed(listed):
    hooks = listed('hooks')['hooks']
    assert hooks['IterTimerHook']['library'] == 'mmengine'
    assert 'ProfilerHook' not in hooks
    assert hooks['EMAHook']['library'] == 'openmix'
    assert hooks['MixPolicyHook']['purpose'] == 'another name of AlgorithmHook'


def test_models_of_libraries_are_listed_with_their_weights(listed):
    found = listed('timm', 'torchvision')
    assert set(found['timm']) == set(timm.list_models())
    assert 'a1_in1k' in found['timm']['resnet50']['purpose'].split(', ')
    assert set(found['torchvision']) == set(torchvision.models.list_models(module=torchvision.models))
    assert found['torchvision']['resnet18']['purpose'].startswith('IMAGENET1K_V1')


def test_a_text_filters_names_and_purposes_of_all_kinds(call):
    code, said, _ = call('list.py', '--match', 'ResNeXt50')
    assert not code
    kinds = [line.partition(' ')[0] for line in said.splitlines() if line[:1].isalpha()]
    assert kinds == ['recipes', 'timm', 'torchvision']
    names = [line.split()[0] for line in said.splitlines() if line.startswith('  ')]
    assert names
    assert all('resnext50' in name for name in names)
    assert 'classification/cifar100/resnext50.py' in names


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        (['polices'], "did you mean 'policies'"),
        (['losses', '--match', 'no such loss'], "nothing of losses has 'no such loss'"),
        (['--kind', 'losses'], 'unknown option'),
    ],
)
def test_wrong_words_are_one_line(call, words, line):
    code, said, errors = call('list.py', *words)
    assert code == 2
    assert not said
    assert line in errors
    assert len(errors.splitlines()) == 1


def test_broken_files_are_named_and_the_rest_is_listed(tmp_path):
    for name in ('openmix', 'configs/_base_', 'configs/classification/digits'):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'tools/list.py', 'configs/tables/quickstart.yaml', 'configs/tables/plain_folders.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    broken = {
        'openmix/mixups/mine.py': f'{IMPORT}\n@MIXUPS.register_module()\nclass Mine(Policy):\n    pass\n',
        'openmix/losses/odd.py': 'def odd(:  # register_module\n',
        'configs/classification/mine.py': 'model = dict(\n',
        'configs/tables/mine.yaml': 'title: [\n',
    }
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    (tmp_path / 'configs/classification/good.yaml').write_text('# A recipe in YAML. More of it.\n')
    call = [sys.executable, 'tools/list.py', 'policies', 'losses', 'recipes', 'tables']
    env = {'PYTHONPATH': str(tmp_path), 'OMP_NUM_THREADS': '1', 'PATH': ''}
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith('error: ') for line in lines), done.stderr
    for name in broken:
        assert [name in line for line in lines].count(True) == 1, (name, done.stderr)
    for name in ('CutMix', 'decoupled_ce', 'classification/digits/resnet20.py', 'quickstart', 'A recipe in YAML\n'):
        assert name in done.stdout
