"""Test the allowed imports inside openmix, and that a policy is named only in its own file."""

import ast
import re
from pathlib import Path

import pytest
from registered import registered

from openmix.registry import LOSSES, MIXUPS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'openmix'

BASE = {'mix', 'ops', 'registry', 'config', 'errors', 'files', 'check', 'yaml_file', 'recipe_file', 'overrides'}
# What registers its files by its folder.
FOLDER = {'import_folder', 'registry', 'errors', 'small'}
MAY_IMPORT = {
    'mix': BASE,
    'ops': BASE,
    'registry': BASE | {'stock'},
    'config': BASE | {'config_files', 'options', 'recipe_keys', 'recipe_published', 'settle'},
    'config_files': {'errors', 'recipe_file', 'regular_file', 'shipped'},
    'config_hash': set(),
    'overrides': {'config_files', 'errors', 'recipe_file', 'regular_file', 'yaml_file'},
    '__main__': {'entry_point', 'errors', 'shipped'},
    'entry_point': {'errors'},
    'completion': {'arguments', 'shipped'},
    'check': BASE | {'recipe_keys', 'recipe_numbers', 'recipe_schema', 'recipe_whole', 'signatures'},
    'recipe_schema': {'registry'},
    'recipe_numbers': {'errors', 'recipe_schema'},
    'recipe_whole': {'errors', 'recipe_numbers', 'recipe_schema', 'registry'},
    'errors': set(),
    'import_folder': {'errors'},
    'facts': {'errors'},
    'memory': {'errors', 'ops'},
    'batch': set(),
    'algorithm': {'batch', 'errors', 'facts', 'network', 'registry'},
    'network': set(),
    'uncompiled': set(),
    'signatures': set(),
    'small': set(),
    'parts': {'check', 'errors', 'recipe_schema', 'registry', 'signatures'},
    'regular_file': {'errors'},
    'yaml_file': {'errors', 'regular_file'},
    'options': {'errors', 'yaml_file'},
    'arguments': {'errors', 'options'},
    'measurements': {'arguments', 'errors'},
    'settle': {'check', 'config_hash', 'errors', 'options', 'signatures'},
    'recipe_file': {'errors', 'recipe_published', 'recipe_text', 'regular_file', 'yaml_file'},
    'recipe_keys': set(),
    'recipe_published': {'errors'},
    'recipe_text': {'yaml_file'},
    'files': set(),
    'csv_text': {'errors'},
    'figure_style': {'files'},
    'metrics': set(),
    'lease': set(),
    'declared': set(),
    'json_file': {'errors', 'regular_file'},
    'weights_file': {'errors', 'regular_file'},
    'result': {'errors', 'json_file', 'metrics'},
    'provenance': {'config', 'config_hash', 'declared', 'registry'},
    'shipped': set(),
    'stock': set(),
    'losses': FOLDER | {'mix', 'ops'},
    'mixups': FOLDER | {'losses', 'memory', 'mix', 'network', 'ops', 'uncompiled'},
    'models': FOLDER | {'algorithm', 'batch', 'facts', 'memory', 'mix', 'ops', 'losses', 'mixups', 'weights_file'},
    'data': FOLDER | {'batch', 'facts', 'mix', 'ops', 'files', 'losses', 'regular_file'},
    'engine': {
        *BASE,
        *FOLDER,
        *('algorithm', 'config_hash', 'facts', 'memory'),
        *('lease', 'losses', 'metrics', 'options', 'provenance', 'recipe_keys', 'recipe_schema', 'recipe_text'),
        'regular_file',
        'weights_file',
    },
    'evaluation': FOLDER
    | {'algorithm', 'figure_style', 'files', 'metrics', 'mix', 'ops', 'losses', 'mixups', 'models', 'data'},
    'integrations': {'errors', 'losses', 'mix', 'mixups', 'ops', 'registry'},
    'inference': {
        *('algorithm', 'config', 'config_files', 'data', 'engine', 'errors', 'memory', 'mixups', 'models', 'ops'),
        *('network', 'registry', 'weights_file'),
    },
    'benchmark': {
        *('config_files', 'config_hash', 'overrides'),
        *('arguments', 'registry', 'config', 'csv_text', 'declared', 'errors', 'figure_style', 'files', 'json_file'),
        *('lease', 'measurements', 'metrics'),
        *(
            'options',
            'parts',
            'provenance',
            'recipe_published',
            'regular_file',
            'result',
            'shipped',
            'signatures',
            'small',
        ),
        'yaml_file',
        'weights_file',
    },
}


def imported(source: str) -> set[str]:
    """Top-level packages of openmix that a file imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'relative imports hide the layer'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        found |= {name.split('.')[1] for name in names if name.startswith('openmix.')}
    return found - {'__version__'}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


FILES = [path for path in PACKAGE.rglob('*.py') if path != PACKAGE / '__init__.py']


def test_every_package_has_a_rule():
    assert {layer_of(path) for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_layers(path):
    layer = layer_of(path)
    wrong = imported(path.read_text()) - MAY_IMPORT[layer] - {layer}
    assert not wrong, f'{path} may not import openmix.{", openmix.".join(sorted(wrong))}'


def test_the_rule_sees_a_violation():
    assert imported('def f():\n    from openmix.models import sites') == {'models'}


def test_nothing_imports_tools():
    recipes = list((ROOT / 'configs').rglob('*.py'))
    assert recipes
    for path in [*FILES, *recipes]:
        assert not re.search(r'^\s*(from|import) tools\b', path.read_text(), re.MULTILINE), path


def named(source: str, names: set[str]) -> dict[str, int]:
    """Of `names`, those that code in a file holds as a symbol or as a text of its own, and where last."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        name = node.value if isinstance(node, ast.Constant) else node.id if isinstance(node, ast.Name) else None
        if isinstance(name, str) and name in names:
            found[name] = node.lineno
    return found


# They have the names that other libraries give to policies.
OF_OTHERS = (
    'openmix/integrations/timm_mixup.py',
    'openmix/integrations/openmixup/policies.py',
    'openmix/integrations/openmixup/learned.py',
)


def test_no_policy_is_named_outside_its_file():
    """Code in no file but its own tells policies apart; docstrings and comments may explain by example."""
    home = {name: cls.__module__.replace('.', '/') + '.py' for name, cls in registered(MIXUPS).items()}
    files = {path.relative_to(ROOT).as_posix(): path for path in FILES}
    assert {where for where in home.values() if where.startswith('openmix/mixups/')} <= files.keys()
    for where, path in files.items():
        for name, line in named(path.read_text(), set(home)).items():
            assert where in (home[name], *OF_OTHERS), f'{path}:{line} names the policy {name}'


def test_the_rule_sees_a_policy_that_is_named():
    """One that is registered by its own file alone, and by nothing that this test imports."""
    policies = set(registered(MIXUPS))
    assert len(policies) >= 10
    for name in policies:
        for planted in (f"def f(policy):\n    return policy == '{name}'", f'x = isinstance(y, {name})'):
            assert named(planted, policies) == {name: len(planted.splitlines())}
        assert named(f'"""As {name} does."""  # {name}', policies) == {}


def test_losses_are_functions_of_logits_labels_and_mix():
    for loss in registered(LOSSES).values():
        assert loss.__code__.co_varnames[:3] == ('logits', 'y', 'mix')
