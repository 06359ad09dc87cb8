"""Flags of the commands: each says what it does, and one name means one thing in all commands."""

import contextlib
import io
import re
import runpy
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from openmix.arguments import CommandParser
from openmix.benchmark.command_line import VERBS

TOOLS = Path(__file__).parent.parent / 'tools'
COMMANDS = [(path.name,) for path in sorted(TOOLS.glob('*.py')) if path.name != 'benchmark.py']
COMMANDS += [('benchmark.py', verb) for verb in VERBS]
# Of one name, a file in one command and a folder in another.
FILE_OR_FOLDER = {'--out': {'FILE', 'DIR'}}
# Of one name, another thing in this command.
OTHER_PLACE = {('convert_openmixup.py', 'CONFIG'), ('prepare_dataset.py', 'name')}


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


def first_clause(told):
    """Return the part of a help text before what only one command adds: ': of that', '(default: ...)' or '; with'."""
    return re.split(r'[:;(]|, (?=in every cell)', told)[0].strip()


def test_one_name_is_one_thing_by_its_help(known):
    told = defaultdict(dict)
    for command, text in known.items():
        for name, takes, said in options(text):
            of_file = takes if name in FILE_OR_FOLDER else ''
            told[name, of_file].setdefault(first_clause(said), command)
    shared = {name: by for name, by in told.items() if len(by) > 1}
    assert not shared, shared
    assert {'--count', '--seed', '--work_dir', '--format', '--checkpoint'} <= {name for name, _ in told}


def test_places_of_one_name_are_one_thing(known):
    told = defaultdict(set)
    for (script, *_), text in known.items():
        for line in text.partition('positional arguments:\n')[2].partition('\n\n')[0].splitlines():
            name, _, said = line.strip().partition('  ')
            if (script, name) not in OTHER_PLACE:
                told[name].add(re.split(r'[:;(,]', said.strip())[0])
    assert {name: by for name, by in told.items() if len(by) > 1} == {}
    assert {'config', 'checkpoint', 'table'} <= told.keys()


class _ParserError(Exception):
    pass


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_a_default_is_told(command, monkeypatch):
    found = []

    def parse_args(parser, *_args, **_kwargs):
        found.append(parser)
        raise _ParserError

    monkeypatch.setattr(CommandParser, 'parse_args', parse_args)
    script, *verb = command
    with contextlib.suppress(_ParserError):
        help_of(script, *verb)
    (parser,) = found
    for action in parser._actions:
        if action.option_strings and action.default not in (None, False, [], {}, '==SUPPRESS=='):
            assert '(default: ' in action.help or ', the default' in action.help, action.option_strings
            number = isinstance(action.default, (int, float))
            assert not number or f'(default: {action.default:g}' in action.help, action.option_strings
