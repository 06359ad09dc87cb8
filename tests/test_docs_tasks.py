"""Test the page of tasks: its recipes train a step as they stand, and none has more lines than it promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_bad_input import run
from test_docs import recipes

PAGE = Path(__file__).parent.parent / 'docs' / 'tasks.md'
TEXTS = [text for _, text in recipes(PAGE)]


def test_no_recipe_is_longer_than_ten_lines():
    assert len(TEXTS) == 5
    assert max(text.strip().count('\n') + 1 for text in TEXTS) <= 10


@pytest.mark.parametrize(
    'text', [text for text in TEXTS if 'detection/' not in text], ids=lambda text: text.split("'")[1]
)
def test_it_trains(text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(text)
    code, said, fault = run(capsys, 'train.py', 'mine.py', '--dry-run', 2)
    assert code == 0, fault
    assert 'dry run: ' in said
