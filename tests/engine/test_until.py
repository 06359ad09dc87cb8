"""A policy learns the epoch of the run that it is in, also of one by iteration and of one that is resumed."""

import json
from types import SimpleNamespace

import pytest

from openmix.engine.algorithm_hook import AlgorithmHook
from openmix.mixups import Until
from openmix.models.classifier import MixClassifier

SMALL = ['model.backbone.depth=8', 'model.backbone.width=4', 'train_dataloader.batch_size=240']


def test_the_hook_tells_the_epoch_once_by_the_length_of_the_data():
    head = {'type': 'LinearHead', 'num_classes': 3, 'loss': {'type': 'mix_ce'}}
    policy = {'type': 'Until', 'policy': {'type': 'Mixup'}, 'epoch': 2}
    model = MixClassifier({'type': 'ThinResNet', 'depth': 8, 'width': 4}, head, policy)
    hook, told = AlgorithmHook(), []
    model.policy.policy.before_epoch = lambda epoch: told.append((runner.iter, epoch))
    optimizer = SimpleNamespace(register_step_post_hook=lambda call: None)
    runner = SimpleNamespace(model=model, iter=4, train_dataloader=range(3), planned_iters=9)
    runner.optim_wrapper = SimpleNamespace(optimizer=optimizer)
    hook.before_train(runner)
    mixes = []
    for runner.iter in range(4, 9):  # resumed in the middle of the second epoch
        hook.before_train_iter(runner, 0)
        mixes.append(not isinstance(model.policy.pick()[0], Until))
    assert told == [(4, 1), (6, 2)]
    assert mixes == [True, True, False, False, False]


@pytest.mark.slow
def test_a_run_mixes_until_the_epoch(nursery, tmp_path):
    """By its losses: the first epoch is that of the policy alone, the second is not."""
    text = "_base_ = 'configs/classification/digits/resnet20.py'\nmodel = dict(policy=dict(_delete_=True, {}))\n"
    losses = {}
    for name, policy in (
        ('alone', "type='CutMix'"),
        ('until', "type='Until', policy=dict(type='CutMix'), epoch=1"),
    ):
        (tmp_path / f'{name}.py').write_text(text.format(policy))
        words = ['train.py', f'{name}.py', '--work-dir', name, '--cfg-options', *SMALL, 'train_cfg.max_epochs=2']
        done = nursery.run(words, tmp_path, {'CUDA_VISIBLE_DEVICES': ''})
        assert done.returncode == 0, done.stderr[-2000:]
        losses[name] = [row['loss'] for row in json.loads((tmp_path / name / 'result.json').read_text())['history']]
    assert losses['alone'][0] == losses['until'][0]
    assert losses['alone'][1] != losses['until'][1]
