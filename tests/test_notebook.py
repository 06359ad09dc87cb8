"""Test the notebook: its cells run in order, train a network that recognises digits, and load it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))


def cells(notebook: Path, kind: str) -> list[dict]:
    content = json.loads(notebook.read_text(encoding='utf-8'))
    assert (content['nbformat'], content['nbformat_minor']) == (4, 5)
    return [cell for cell in content['cells'] if cell['cell_type'] == kind]


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(notebook):
    assert cells(notebook, 'markdown')
    assert all(cell['outputs'] == [] and cell['execution_count'] is None for cell in cells(notebook, 'code'))


def test_first_steps_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {'__name__': '__main__'}
    with torch.random.fork_rng():
        for number, cell in enumerate(cells(ROOT / 'notebooks' / 'first_steps.ipynb', 'code')):
            exec(compile(''.join(cell['source']), f'cell {number}', 'exec'), names)
    assert names['accuracy'] > 90
    assert names['losses'][-1] < names['losses'][0] / 2
    right = names['everything']['labels'][:5].tolist()
    assert [int(found.classes[0]) for found in names['predictions']] == names['logits'][:5].argmax(1).tolist()
    assert sum(int(found.classes[0]) == label for found, label in zip(names['predictions'], right)) >= 4
    assert len(names['figure'].axes) == 4 * 8
    assert {path.name for path in tmp_path.iterdir()} == {'digits.pth'}
    assert f'{names["accuracy"]:.1f} % of 355 test images' in capsys.readouterr().out
