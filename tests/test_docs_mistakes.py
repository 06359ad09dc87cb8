"""Test the page of mistakes in recipes: each is made, and gives the line that the page prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_bad_input import run

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / 'docs' / 'recipe_mistakes.md').read_text(encoding='utf-8')
DIGITS = 'classification/digits/resnet20.py'
# A block of `py`, which the tests of all pages leave alone, is wrong on purpose; its line is the next block.
MADE = re.findall(r'^```py\n(.*?)^```$.*?^```text\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
TYPED = re.findall(r'^\| `([^`]+)` \| `([^`]+)` \|', PAGE, re.MULTILINE)


def pattern(line: str) -> str:
    """Match a line of the page, in which dots stand for what is left out."""
    return '.*?'.join(re.escape(part) for part in line.strip().split('...'))


def told(capsys, *words: str) -> str:
    code, _, said = run(capsys, 'train.py', *words, '--dry-run', 1)
    assert code == 2, said
    return said.strip()


def test_every_mistake_has_a_line():
    assert len(MADE) == PAGE.count('```py\n') >= 10
    assert len(TYPED) == PAGE.split('| wrong |')[1].split('\n\n')[0].count('\n') - 1 >= 5


@pytest.mark.parametrize('number', range(len(MADE)))
def test_a_wrong_recipe(number, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, line = MADE[number]
    (tmp_path / 'mine.py').write_text(recipe)
    said = told(capsys, 'mine.py').replace(f'{tmp_path}/', '').replace(f'{ROOT}/', '')
    assert re.fullmatch(pattern(line), said), said
    assert [path.name for path in tmp_path.iterdir() if path.name != '__pycache__'] == ['mine.py']


@pytest.mark.parametrize(('option', 'line'), TYPED)
def test_a_wrong_option(option, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = told(capsys, DIGITS, '--cfg-options', *option.split())
    assert re.fullmatch('error: ' + pattern(line), said), said


def test_what_gives_no_error_is_shown_by_diff(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(
        f"_base_ = 'configs/{DIGITS}'\nloss = dict(type='decoupled_ce')\n"
        "model = dict(data_preprocessor=dict(augment=[dict(type='BatchRandomFlip')]))\n"
    )
    code, shown, said = run(capsys, 'print_config.py', 'mine.py', '--diff')
    assert code == 0, said
    assert 'loss' in shown
    assert 'decoupled_ce' in shown
    assert re.search(r'^-.*BatchRandomCrop', shown, re.MULTILINE), shown
    assert re.search(r'^\+.*BatchRandomFlip', shown, re.MULTILINE), shown
