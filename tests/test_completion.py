"""Shell completion: in real shells, what stands behind `openmix` is what the commands take."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openmix.__main__ import scripts
from openmix.benchmark.command_line import VERBS
from openmix.benchmark.report import FORMATS
from openmix.benchmark.table import table_names as tables
from openmix.completion import Takes, describe, quoted, recipe_names, table_names

ROOT = Path(__file__).parent.parent
ASK = """
ask() {
    COMP_WORDS=(openmix "$@"); COMP_CWORD=$#; _openmix
    printf '%s\\n' "[$*]" "${COMPREPLY[@]}"
}
"""


def run(words, cwd=ROOT, stdin=None):
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable, 'HOME': str(cwd)}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, input=stdin)
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Write the completion of each shell; return the folder."""
    folder = tmp_path_factory.mktemp('completion')
    for shell in ('bash', 'zsh', 'fish'):
        (folder / shell).write_text(run([sys.executable, '-m', 'openmix', 'completion', shell]))
    return folder


def in_bash(asked, written, cwd=ROOT):
    """Ask bash for completions; return them by what was asked."""
    calls = '\n'.join('ask ' + ' '.join(f"'{word}'" for word in words) for words in asked)
    said = run(['bash', '--norc', '-c', f'source {written}/bash\n{ASK}{calls}'], cwd)
    found = {}
    for line in said.splitlines():
        if line.startswith('['):
            found[line[1:-1]] = here = []
        elif line:
            here.append(line)
    return found


def kinds():
    said = run([sys.executable, str(ROOT / 'tools/list.py'), '--help'])
    return re.findall(r'^  ([a-z]+) +\w', said.partition('positional')[0], re.MULTILINE)


def flags(script, *verb):
    said = run([sys.executable, str(ROOT / 'tools' / script), *verb, '--help'])
    return set(re.findall(r'^  (?:-h, )?(--[\w-]+)', said, re.MULTILINE))


def test_bash_completes_commands_options_and_values(written):
    found = in_bash(
        [
            ['tra'],
            ['benchmark', 're'],
            ['train', '--'],
            ['publish-model', '--form'],
            ['benchmark', 'submit', '--'],
            ['train', 'x', '--launcher', ''],
            ['publish_model', '--format', 't'],
            ['benchmark', 'run', '--engine', ''],
            ['train', 'classification/digits/res'],
            ['benchmark', 'run', 'quick'],
            ['train', '--seed', ''],
            ['nothing', ''],
            ['benchmark', 'report', '--format', '=', 'ht'],
            ['benchmark', 'report', '--format', '='],
            ['benchmark', 'report', '--format=ht'],
            ['list', ''],
            ['list', 'policies', 'lo'],
        ],
        written,
    )
    assert found['tra'] == ['train']
    assert found['benchmark re'] == ['report']
    assert set(found['train --']) == flags('train.py')
    assert found['publish-model --form'] == ['--format']
    assert set(found['benchmark submit --']) == flags('benchmark.py', 'submit')
    assert found['train x --launcher '] == ['none', 'pytorch', 'slurm']
    assert found['publish_model --format t'] == ['timm', 'torchvision']
    assert found['benchmark run --engine '] == ['local', 'slurm']
    assert 'classification/digits/resnet20.py' in found['train classification/digits/res']
    assert found['benchmark run quick'] == ['quickstart']
    assert found['train --seed '] == found['nothing '] == []
    assert found['benchmark report --format = ht'] == ['html']
    assert found['benchmark report --format ='] == list(FORMATS)
    assert found['benchmark report --format=ht'] == ['--format=html']
    assert found['list '] == kinds()
    assert found['list policies lo'] == ['losses']


def test_bash_completes_every_command_and_verb(written):
    found = in_bash([[''], ['benchmark', '']], written)
    assert set(found['']) == {*scripts(), '--help', '--version'}
    assert set(found['benchmark ']) == {*VERBS, '--help'}
    asked = [[name, '--e'] for name in scripts() if name != 'benchmark']
    assert '--ema' in in_bash(asked, written)['test --e']


def test_bash_completes_files_and_folders(written, tmp_path):
    (tmp_path / 'my recipe.py').touch()
    (tmp_path / 'my_folder').mkdir()
    found = in_bash([['train', 'my'], ['train', '--work-dir', 'my'], ['predict', '--out', 'my']], written, tmp_path)
    assert found['train my'] == found['predict --out my'] == ['my recipe.py', 'my_folder']
    assert found['train --work-dir my'] == ['my_folder']


def test_bash_completes_files_and_folders_behind_import(written, tmp_path):
    (tmp_path / 'anna.zip').touch()
    (tmp_path / 'a folder').mkdir()
    report = ['benchmark', 'report', 'quickstart', '--import']
    found = in_bash([[*report, 'a'], [*report, 'anna.zip', 'a'], [*report, '=', 'an']], written, tmp_path)
    first, second, third = found.values()
    assert sorted(first) == ['a folder', 'anna.zip']
    assert {'a folder', 'anna.zip'} <= set(second)
    assert third == ['anna.zip']


def test_bash_reads_it_from_the_command(tmp_path):
    said = run(['bash', '--norc', '-c', f'source <("$PYTHON" -m openmix completion bash)\n{ASK}ask list'], tmp_path)
    assert said == '[list]\nlist\n'


@pytest.mark.skipif(shutil.which('fish') is None, reason='fish is not installed')
def test_fish_completes(written, tmp_path):
    def ask(line):
        said = run(['fish', '--no-config', '-c', f'source {written}/fish; complete -C "{line}"'], tmp_path)
        return [one.partition('\t')[0] for one in said.splitlines()]

    assert ask('openmix tra') == ['train']
    assert set(ask('openmix benchmark ')) == set(VERBS)
    assert ask('openmix train x --launcher ') == ['none', 'pytorch', 'slurm']
    assert set(ask('openmix train --')) >= flags('train.py')
    assert 'classification/digits/resnet20.py' in ask('openmix train classification/digits/r')
    assert ask('openmix benchmark run quick') == ['quickstart']
    assert ask('openmix benchmark report --format=ht') == ['--format=html']
    assert set(kinds()) <= set(ask('openmix list '))
    (tmp_path / 'anna.zip').touch()
    assert 'anna.zip' in ask('openmix benchmark report x --import a')


@pytest.mark.skipif(shutil.which('zsh') is None, reason='zsh is not installed')
def test_zsh_completes(written):
    # The functions of zsh's own that show what is found print it instead; compset takes off what stands before =.
    stubs = (
        'compdef() { }; _describe() { print -l -- ${(P)@[-1]} }; compadd() { print -l -- ${(P)@[-1]} }; '
        '_files() { print files }; compset() { }'
    )

    def ask(*words):
        typed = ' '.join(quoted(word) for word in ('openmix', *words))
        return run(
            ['zsh', '-f', '-c', f'{stubs}\nsource {written}/zsh\nwords=({typed}); CURRENT={len(words) + 1}; _openmix']
        )

    assert '\ntrain:Train a recipe\n' in ask('')
    assert {line.partition(':')[0] for line in ask('benchmark', '').splitlines()} == set(VERBS)
    assert {line.partition(':')[0] for line in ask('train', '--').splitlines()} == flags('train.py')
    assert ask('train', '--launcher', '').split() == ['none', 'pytorch', 'slurm']
    assert 'quickstart' in ask('benchmark', 'run', '').split()
    assert ask('benchmark', 'report', '--format=').split() == list(FORMATS)
    assert ask('list', '').split() == kinds()
    assert ask('benchmark', 'report', '--import', 'a').split() == ['files']


def test_names_are_those_that_the_commands_take():
    assert table_names() == tables()
    assert 'classification/digits/resnet20.py' in recipe_names()
    assert not any(name.startswith(('_base_', 'tables/')) for name in recipe_names())


def test_a_command_is_described_by_its_parser():
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    parser.add_argument('--out', metavar='FILE', help="the file: it's .png (default: x)")
    parser.add_argument('--hidden', help=argparse.SUPPRESS)
    found = describe(('show',), 'Show', parser)
    assert found.place == Takes('recipe')
    assert found.options == (
        ('--help', Takes('nothing'), 'show this help message and exit'),
        ('--out', Takes('file'), 'the file'),
    )
    assert quoted("it's") == "'it’s'"
