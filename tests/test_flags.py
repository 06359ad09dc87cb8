"""Flags of the commands: each says what it does, and one name means one thing in all commands."""

import contextlib
import io
import re
import runpy
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from openmix.benchmark.command_line import VERBS

TOOLS = Path(__file__).parent.parent / 'tools'
COMMANDS = [(path.name,) for path in sorted(TOOLS.glob('*.py')) if path.name != 'benchmark.py']
COMMANDS += [('benchmark.py', verb) for verb in VERBS]
# Of one name, a file in one command and a folder in another.
FILE_OR_FOLDER = {'--out': {'FILE', 'DIR'}}


def help_of(script, *verb):
    """Return the help of a command, every argument on one line."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setenv('COLUMNS', '1000')
        patch.setattr(sys, 'argv', [script, *verb, '--help'])
        patch.setattr(sys, 'path', list(sys.path))
        with pytest.raises(SystemExit):
            runpy.run_path(str(TOOLS / script), run_name='__main__')
    # A long name stands on a line of its own.
    return re.sub(r'^(  -\S.*\S|  [a-z]\S*)\n {20,}(?=\S)', r'\1   ', out.getvalue(), flags=re.MULTILINE)


def options(text):
    """Return (name, what it takes, help) of every option in a help text."""
    found = []
    for line in text.splitlines():
        if line.startswith('  -'):
            names, _, told = line.strip().partition('  ')
            name, _, takes = names.rpartition(', ')[2].partition(' ')
            found.append((name, takes, told.strip()))
    return found


@pytest.fixture(scope='module')
def known():
    return {command: help_of(*command) for command in COMMANDS}


def test_every_argument_says_what_it_is(known):
    for command, text in known.items():
        assert '\n  -h, --help' in text, command
        for name, _, told in options(text):
            assert told, f'{command}: {name}'
        places = text.partition('positional arguments:\n')[2].partition('\n\n')[0]
        for line in places.splitlines():
            assert re.fullmatch(r'  \S.*?  +\S.*', line), f'{command}: {line}'


def test_one_name_takes_one_thing(known):
    taken = defaultdict(dict)
    for command, text in known.items():
        for name, takes, _ in options(text):
            if not takes.startswith('{'):
                taken[name].setdefault(takes, command)
    assert len(taken) > 40
    for name, by in taken.items():
        assert len(by) == 1 or by.keys() == FILE_OR_FOLDER.get(name), f'{name}: {by}'


def test_a_command_that_takes_a_recipe_takes_options_for_it_and_shows_how(known):
    with_recipe = [text for text in known.values() if re.search(r'^  (config|--config RECIPE) ', text, re.MULTILINE)]
    assert len(with_recipe) > 10
    of_cells = [known['benchmark.py', verb] for verb in ('plan', 'run', 'show')]
    for text in [*with_recipe, *of_cells]:
        (told,) = [told for name, _, told in options(text) if name == '--cfg-options']
        assert 'model.policy.alpha=0.2 train_cfg.max_epochs=5' in told
