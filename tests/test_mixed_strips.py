"""Test tools/mixed_strips.py: pairs of validation images, mixed by the policies of trained networks."""

import pytest
import torch
from PIL import Image

from openmix.config import load_config
from openmix.config_files import configs_dir
from openmix.engine.launch import fill_from_data
from openmix.evaluation import draw
from openmix.registry import MODELS

MIXUP = f"""
_base_ = '{configs_dir()}/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4), policy=dict(_delete_=True, type='Mixup'))
"""
CONTRAST = f"""
_base_ = '{configs_dir()}/selfsup/digits/moco_v2_cutmix.py'
"""
CLEAN = f"""
_base_ = '{configs_dir()}/selfsup/digits/moco_v2.py'
"""


@pytest.fixture
def run(tmp_path):
    """Write a recipe and a checkpoint of its initial weights; return both."""

    def write(name, text):
        recipe, weights = tmp_path / f'{name}.py', tmp_path / f'{name}.pth'
        recipe.write_text(text)
        torch.manual_seed(0)
        model = MODELS.build(fill_from_data(load_config(str(recipe))).model)
        names = tuple(map(str, range(10)))
        torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': names}}}, weights)
        return recipe, weights

    return write


def test_a_column_for_each_network_of_the_same_pairs(call, run, tmp_path, monkeypatch):
    kept, whole = {}, draw.draw_columns

    def recorded(columns):
        kept.update(columns)
        return whole(columns)

    monkeypatch.setattr(draw, 'draw_columns', recorded)
    given = [*run('mixup', MIXUP), *run('contrast', CONTRAST)]
    options = ['--names', 'labels', 'no labels', '--lam', '0.25', '--count', '3', '--out', tmp_path / 'strips.png']
    code, _, said = call('mixed_strips.py', *given, *options)
    assert code == 0, said
    first, second, labels, no_labels = kept.values()
    assert [*kept] == ['image A, λ = 0.25', 'image B', 'labels', 'no labels']
    torch.testing.assert_close(labels, 0.25 * first + 0.75 * second, atol=1e-5, rtol=0)
    from_first = torch.isclose(no_labels, first, atol=1e-5).all(1)
    assert (from_first | torch.isclose(no_labels, second, atol=1e-5).all(1)).all()
    assert Image.open(tmp_path / 'strips.png').width > 300
    before = {name: images.clone() for name, images in kept.items()}
    assert call('mixed_strips.py', *given, *options)[0] == 0
    assert all(torch.equal(kept[name], images) for name, images in before.items())


def test_what_cannot_be_drawn_is_one_line(call, run, tmp_path):
    mixup, clean = run('mixup', MIXUP), run('clean', CLEAN)
    out = ['--out', tmp_path / 'strips.png']
    for words, line in (
        ([mixup[0], *out], 'give a CONFIG and a CHECKPOINT for each column; there are 1 words'),
        ([*mixup, *clean, *out], 'MoCo has no policy'),
        ([*mixup, '--names', 'a', 'b', *out], '1 columns need as many different --names, got 2'),
        ([mixup[0], tmp_path / 'none.pth', *out], 'no checkpoint'),
        ([*mixup, '--count', '1000', *out], '--count'),
        ([*mixup, '--lam', '2', *out], '--lam'),
        ([*mixup, '--out', tmp_path / 'strips.jpg'], 'the picture is one of'),
    ):
        code, _, said = call('mixed_strips.py', *words)
        assert code == 2, said
        assert line in said.splitlines()[-1]
    assert not (tmp_path / 'strips.png').exists()
