"""Who may import whom inside openmix; a policy's name stays in its own file."""

import ast
import re
from pathlib import Path

import pytest

from openmix.registry import LOSSES, MIXUPS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'openmix'

BASE = {'mix', 'ops', 'registry', 'config', 'errors', 'files', 'check', 'yaml_file', 'recipe_file'}
MAY_IMPORT = {
    'mix': BASE,
    'ops': BASE,
    'registry': BASE | {'stock'},
    'config': BASE | {'options', 'settle'},
    'check': BASE | {'recipe_schema', 'signatures'},
    'recipe_schema': {'registry'},
    'errors': set(),
    'signatures': set(),
    'yaml_file': {'errors'},
    'options': {'errors', 'yaml_file'},
    'arguments': {'errors', 'options'},
    'settle': {'check', 'config', 'errors', 'options', 'signatures'},
    'recipe_file': {'errors', 'yaml_file'},
    'files': set(),
    'metrics': set(),
    'lease': set(),
    'declared': set(),
    'json_file': {'errors'},
    'weights_file': {'errors'},
    'result': {'errors', 'json_file'},
    'provenance': {'config', 'declared', 'registry'},
    'stock': set(),
    'losses': {'mix', 'ops', 'registry', 'errors'},
    'mixups': {'mix', 'ops', 'registry', 'errors', 'losses'},
    'models': {'mix', 'ops', 'registry', 'errors', 'losses', 'mixups', 'weights_file'},
    'data': {'mix', 'ops', 'registry', 'errors', 'files', 'losses'},
    'engine': BASE | {'lease', 'options', 'losses', 'metrics', 'provenance', 'weights_file'},
    'evaluation': {'mix', 'ops', 'registry', 'errors', 'losses', 'mixups', 'models', 'data'},
    'benchmark': {
        *('registry', 'config', 'declared', 'errors', 'files', 'json_file', 'lease', 'metrics', 'provenance'),
        *('result', 'yaml_file'),
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
    for path in [*FILES, *(ROOT / 'configs').rglob('*.py')]:
        assert not re.search(r'^\s*(from|import) tools\b', path.read_text(), re.MULTILINE), path


def test_no_policy_is_named_outside_its_file():
    """Code in no file but its own tells policies apart; docstrings and comments may explain by example."""
    for name, cls in MIXUPS.module_dict.items():
        home = cls.__module__.rpartition('.')[2]
        for path in FILES:
            if path == PACKAGE / 'mixups' / f'{home}.py':
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                literal = isinstance(node, ast.Constant) and node.value == name
                symbol = isinstance(node, ast.Name) and node.id == name
                named = literal or symbol
                assert not named, f'{path}:{node.lineno} names the policy {name}'


def test_losses_are_functions_of_logits_labels_and_mix():
    for loss in LOSSES.module_dict.values():
        assert loss.__code__.co_varnames[:3] == ('logits', 'y', 'mix')
