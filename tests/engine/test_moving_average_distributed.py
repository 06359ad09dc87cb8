"""With two processes and a moving average, the recorded metrics of both networks are those of the saved weights."""

import json

import pytest
from processes import ROOT, all_end

RECIPE = """
_base_ = '{root}/configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=8))
optim_wrapper = dict(accumulative_counts=2)
train_dataloader = dict(batch_size=16)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=5, val_interval=5)
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.3)]
"""


@pytest.mark.slow
def test_both_networks_are_validated_as_they_are_saved(tmp_path, call, nursery):
    """With batch norm in training each process has statistics of its own; those of the first are saved."""
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(RECIPE.format(root=ROOT))
    words = ['train.py', recipe, '--work-dir', tmp_path / 'run']
    all_end(nursery.ranks(2, words, tmp_path / 'log', {'CUDA_VISIBLE_DEVICES': ''}), 0)
    recorded = json.loads((tmp_path / 'run/result.json').read_text())
    assert recorded['world_size'] == 2
    (checkpoint,) = (tmp_path / 'run').glob('epoch_*.pth')
    for name, options in (('raw/', ()), ('', ('--ema',))):
        code, said, err = call('test.py', recipe, checkpoint, '--out', tmp_path / 'found.json', *options)
        assert code == 0, said + err
        tested = json.loads((tmp_path / 'found.json').read_text())['metrics']
        for metric in ('top1', 'top5'):
            assert tested[f'accuracy/{metric}'] == recorded['metrics'][f'accuracy/{name}{metric}']
        assert tested['accuracy/nll'] == pytest.approx(recorded['metrics'][f'accuracy/{name}nll'], rel=1e-6)
    assert recorded['metrics']['accuracy/raw/nll'] != pytest.approx(recorded['metrics']['accuracy/nll'], rel=1e-5)
