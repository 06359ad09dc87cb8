"""Every scalar that an algorithm's `loss` returns is recorded; only losses are trained on, diagnostics are not."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from openmix.config import load_config
from openmix.engine import launch
from openmix.errors import InputError
from openmix.models.classifier import MixClassifier
from openmix.registry import MODELS

ROOT = Path(__file__).parent.parent.parent
# Two iterations a pass over the data.
RECIPE = f"""
_base_ = '{ROOT}/configs/classification/digits/resnet20.py'
model = dict(type='Telling', backbone=dict(depth=8, width=4))
train_dataloader = dict(dataset=dict(subset=40), batch_size=20)
val_dataloader = dict(dataset=dict(subset=20))
default_hooks = dict(checkpoint=dict(interval=1, by_epoch=False, max_keep_ckpts=-1))
vis_backends = []
"""
WITHOUT = 'val_dataloader = None\nval_cfg = None\nval_evaluator = None\n'
ITERATIONS = "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=8, val_interval=3)\n"
EPOCHS = 'train_cfg = dict(max_epochs=4)\n'


class Telling(MixClassifier):
    """An algorithm with diagnostics: in every step, in every second step as a number, and in step 4 only."""

    named = 'mask_rate'

    def before_step(self, step, steps):
        super().before_step(step, steps)
        self.step = step

    def loss(self, batch):
        found = super().loss(batch)
        step = vars(self).get('step', 0)
        found |= {self.named: torch.tensor(float(step))}
        found |= {'mask_accuracy': torch.tensor(float('nan') if step % 2 else float(step))}
        return found | ({'late': torch.tensor(float(step))} if step == 4 else {})


@pytest.fixture
def train(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS._module_dict, 'Telling', Telling)

    def run(text, name='run', resume=None):
        (tmp_path / 'mine.py').write_text(RECIPE + text)
        cfg = launch.prepare(load_config(tmp_path / 'mine.py'))
        cfg.work_dir = str(tmp_path / name)
        return json.loads(launch.train(cfg, resume).read_text())

    return run


def mean(steps):
    return sum(steps) / len(steps)


@pytest.mark.parametrize(
    ('loop', 'ends'), [(ITERATIONS, [3, 6, 8]), (WITHOUT + ITERATIONS, [3, 6, 8]), (EPOCHS, [2, 4, 6, 8])]
)
def test_a_line_has_the_means_since_the_last_one(train, loop, ends):
    result = train(loop)
    rows = result['history']
    assert [row['iter'] for row in rows] == ends
    assert (result['iterations'], result['epochs']) == (8, 4)
    assert all(('accuracy/top1' in row) == ('val_dataloader' not in loop) for row in rows)
    for first, row in zip([0, *ends], rows):
        steps = range(first, row['iter'])
        assert row['mask_rate'] == mean(steps)
        # What an iteration does not tell, or not as a number, is no value of it.
        assert row['mask_accuracy'] == mean([step for step in steps if step % 2 == 0])
        assert ('late', 4.0) in row.items() if 4 in steps else 'late' not in row
        assert row['loss'] > 0
    assert result['metrics']['mask_rate'] == rows[-1]['mask_rate']
    assert result['readouts']['mask_rate']['best'] == max(row['mask_rate'] for row in rows)
    # Diagnostics are not trained on: the sum has the only loss in it.
    assert all(row['loss'] == pytest.approx(row['mix_loss']) for row in rows if 'mix_loss' in row)


@pytest.mark.parametrize('at', [3, 5])
@pytest.mark.parametrize('validation', ['', WITHOUT])
def test_a_resumed_run_tells_the_same(train, tmp_path, at, validation):
    whole = train(validation + ITERATIONS)
    again = tmp_path / 'again'
    again.mkdir()
    shutil.copy(tmp_path / f'run/iter_{at}.pth', again)
    lines = (tmp_path / 'run/metrics.jsonl').read_text().splitlines(keepends=True)
    # The line of a checkpoint's own iteration is written after it, and may be missing.
    (again / 'metrics.jsonl').write_text(''.join(line for line in lines if json.loads(line)['iter'] < at))
    resumed = train(validation + ITERATIONS, 'again', 'auto')
    timeless = [[{**row, 'time_s': 0} for row in result['history']] for result in (whole, resumed)]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize(
    ('named', 'line'),
    [('lr', "the model's loss gives 'lr'"), ('accuracy/top1', "a metric of the validation both give 'accuracy/top1'")],
)
def test_a_name_has_one_meaning(train, monkeypatch, named, line):
    monkeypatch.setattr(Telling, 'named', named)
    with pytest.raises(InputError, match=line):
        train(ITERATIONS)
