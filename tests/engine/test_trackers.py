"""Curves given to Weights & Biases: every record has its epoch. A module in its place writes down what it is told."""

import json

import pytest

TRACKER = """
import json

class run:
    log_code = staticmethod(lambda **options: None)

class config:
    update = staticmethod(lambda found, **options: tell('config', sorted(found)))

def tell(what, told):
    with open('told.jsonl', 'a') as file:
        file.write(json.dumps([what, told]) + '\\n')

init = lambda **options: tell('init', options)
define_metric = lambda **options: tell('define_metric', options)
log = lambda found, commit: tell('log', found)
join = finish = lambda *words: tell('end', [])
"""
RECIPE = """
_base_ = 'openmix::classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=2))
train_cfg = dict(max_epochs=2)
vis_backends = [
    dict(
        type='WandbVisBackend',
        init_kwargs=dict(project='mixing', mode='offline'),
        define_metric_cfg=[dict(name='epoch'), dict(name='*', step_metric='epoch')],
    )
]
"""


@pytest.mark.slow
def test_every_record_has_its_epoch(tmp_path, nursery):
    (tmp_path / 'mine.py').write_text(RECIPE)
    (tmp_path / 'wandb.py').write_text(TRACKER)
    done = nursery.run(['train.py', 'mine.py', '--work-dir', 'run'], tmp_path, {'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (tmp_path / 'told.jsonl').read_text().splitlines()]
    logs = [found for what, found in told if what == 'log']
    assert [found['epoch'] for found in logs] == [1, 1, 2, 2]
    result = json.loads((tmp_path / 'run/result.json').read_text())
    assert [found['val/accuracy/top1'] for found in logs[1::2]] == [row['accuracy/top1'] for row in result['history']]
    assert [found['train/loss'] for found in logs[::2]] == [row['loss'] for row in result['history']]
    assert ['define_metric', {'name': '*', 'step_metric': 'epoch'}] in told
    assert 'model' in next(found for what, found in told if what == 'config')
