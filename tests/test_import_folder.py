"""Test registration by folder: every file in it is registered, and a broken file is named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openmix.errors import InputError
from openmix.import_folder import import_folder

ROOT = Path(__file__).parent.parent
HEAD = 'from openmix.registry import MODELS\n\n'
FILES = {
    'mixups/dropped_in.py': (
        'from openmix.mixups.mixup import Mixup\nfrom openmix.registry import MIXUPS\n\n\n'
        '@MIXUPS.register_module()\nclass DroppedIn(Mixup):\n    pass\n'
    ),
    'losses/dropped_in.py': (
        'from openmix.registry import LOSSES\n\n\n'
        '@LOSSES.register_module()\ndef dropped_in(logits, y, mix):\n    return logits.sum()\n'
    ),
    'models/backbones/dropped_in.py': f'{HEAD}\n@MODELS.register_module()\nclass DroppedIn:\n    pass\n',
    'models/heads/dropped_in.py': f'{HEAD}\n@MODELS.register_module()\nclass DroppedInHead:\n    pass\n',
    'models/task/__init__.py': '"""A folder of algorithms."""\n',
    'models/task/dropped_in.py': f'{HEAD}\n@MODELS.register_module()\nclass DroppedInAlgorithm:\n    pass\n',
    'data/dropped_in.py': (
        'from openmix.data.digits import Digits\nfrom openmix.registry import DATASETS\n\n\n'
        '@DATASETS.register_module()\nclass DroppedIn(Digits):\n    pass\n'
    ),
    'engine/dropped_in.py': (
        'from mmengine.hooks import Hook\nfrom openmix.registry import HOOKS\n\n\n'
        '@HOOKS.register_module()\nclass DroppedIn(Hook):\n    pass\n'
    ),
    'evaluation/dropped_in.py': (
        'from openmix.evaluation.accuracy import Accuracy\nfrom openmix.registry import METRICS\n\n\n'
        '@METRICS.register_module()\nclass DroppedIn(Accuracy):\n    pass\n'
    ),
}
NAMED = """
from openmix.registry import DATASETS, HOOKS, LOSSES, METRICS, MIXUPS, MODELS
for registry in (DATASETS, HOOKS, METRICS, MIXUPS):
    print(registry.get('DroppedIn').__module__)
print(LOSSES.get('dropped_in').__module__)
for name in ('DroppedIn', 'DroppedInHead', 'DroppedInAlgorithm'):
    print(MODELS.get(name).__module__)
from openmix.mixups import DroppedIn
from openmix.losses import dropped_in
from openmix.models.backbones import DroppedIn
from openmix.models.heads import DroppedInHead
"""


def run(words, package):
    """Run a command with another copy of the package."""
    env = {**os.environ, 'PYTHONPATH': str(package.parent), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=300, env=env, cwd=package.parent
    )


@pytest.fixture
def package(tmp_path):
    for part in ('openmix', 'configs', 'tools'):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'setup.py', tmp_path)
    return tmp_path / 'openmix'


@pytest.mark.slow
def test_a_new_file_is_registered_with_no_other_touched(package):
    for name, text in FILES.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(text)
    done = run(['-c', NAMED], package)
    assert done.returncode == 0, done.stderr
    modules = ['data', 'engine', 'evaluation', 'mixups', 'losses', 'models.backbones', 'models.heads', 'models.task']
    assert done.stdout.split() == [f'openmix.{module}.dropped_in' for module in modules]


@pytest.mark.slow
def test_a_broken_file_is_named_by_the_command(package):
    broken = package / 'models' / 'heads' / 'broken.py'
    broken.write_text(f'{HEAD}import absent_module  # for register_module\n')
    done = run([package.parent / 'tools' / 'train.py', 'classification/digits/resnet20.py', '--dry-run', '1'], package)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: {broken}, line 3: ModuleNotFoundError: No module named 'absent_module'; "
        'mend the file or take it out of the folder'
    )
    assert 'Traceback' not in done.stderr


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make an empty package `dropped`."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'dropped').mkdir()
    (tmp_path / 'dropped' / '__init__.py').touch()
    yield tmp_path / 'dropped'
    for name in [name for name in sys.modules if name.partition('.')[0] == 'dropped']:
        del sys.modules[name]


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('register_module = absent\n', r'one.py, line 1: NameError: '),
        ('# register_module\ndef (\n', r'one.py, line 2: SyntaxError: '),
        ('# register_module\nfrom dropped import helper\n', r'helper.py, line 1: ZeroDivisionError: '),
        ('# register_module\nimport json\njson.loads("{")\n', r'one.py, line 3: JSONDecodeError: '),
    ],
)
def test_the_place_of_a_fault_is_told(folder, text, told):
    (folder / 'helper.py').write_text('1 / 0\n')
    (folder / 'one.py').write_text(text)
    with pytest.raises(InputError, match=told) as error:
        import_folder('dropped', [str(folder)])
    assert len(str(error.value).splitlines()) == 1


def test_files_that_register_nothing_are_left_alone(folder):
    (folder / 'helper.py').write_text('1 / 0\n')
    (folder / 'inner').mkdir()
    (folder / 'inner' / '__init__.py').touch()
    (folder / 'inner' / 'one.py').write_text('REGISTERED = "register_module"\n')
    import_folder('dropped', [str(folder)])
    assert 'dropped.inner.one' in sys.modules
    assert 'dropped.helper' not in sys.modules
