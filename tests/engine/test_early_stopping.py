"""A run that ends early has a last checkpoint, a last validation, and a result that says so."""

import json
import types
from pathlib import Path

import pytest
from mmengine.logging import MessageHub

from openmix.engine import results
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.early_stopping import EarlyStoppingHook
from openmix.errors import InputError
from openmix.metrics import lower_is_better

ROOT = Path(__file__).parent.parent.parent
# Three iterations an epoch.
RECIPE = f"""
_base_ = '{ROOT}/configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4))
train_dataloader = dict(batch_size=500)
vis_backends = []
"""
STOP = """
from mmengine.hooks import Hook
from openmix.registry import HOOKS

@HOOKS.register_module(force=True)
class StopAfter(Hook):
    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iterations:
            runner.train_loop.stop_training = True
"""


def runner(name, iteration=0):
    return types.SimpleNamespace(
        iter=iteration,
        message_hub=MessageHub(name),
        train_loop=types.SimpleNamespace(stop_training=False),
        logger=types.SimpleNamespace(info=lambda text: None),
    )


def validations_until_the_end(values, monitor='accuracy/top1', **options):
    """Return the number of validations of a run; None if it continues after the last value."""
    hook, at = EarlyStoppingHook(monitor, **options), runner(f'{values}{options}{monitor}')
    hook.before_train(at)
    for at.iter, value in enumerate(values, 1):
        hook.after_val_epoch(at, {monitor: value})
        if at.train_loop.stop_training:
            return at.iter
    return None


def test_the_metric_says_which_way_is_better():
    """Of accuracy what rises, of the cross-entropy what falls, though both are named accuracy/..."""
    rising, falling = [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]
    for monitor in ('accuracy/top1', 'accuracy/nll', 'accuracy/raw/nll', 'val_loss', 'error_rate'):
        better, worse = (falling, rising) if lower_is_better(monitor) else (rising, falling)
        assert validations_until_the_end(better, monitor, patience=2) is None
        assert validations_until_the_end(worse, monitor, patience=2) == 3
    assert validations_until_the_end(rising, 'mine/score', rule='less', patience=2) == 3


def test_when_a_run_ends():
    assert validations_until_the_end([1.0, 1.05, 1.09], patience=2) == 3
    assert validations_until_the_end([1.0, 1.05, 1.09], patience=2, min_delta=0.01) is None
    assert validations_until_the_end([1.0, 9.0, 99.0], stopping_threshold=9.0) == 2
    assert validations_until_the_end([9.0, 3.0, 1.0], 'accuracy/nll', stopping_threshold=3.0) == 2
    assert validations_until_the_end([1.0, float('nan')]) == 2
    assert validations_until_the_end([float('nan'), 1.0, 1.0, 1.0], check_finite=False, patience=2) == 4


def test_the_count_goes_on_over_a_resume():
    before = runner('before', 5)
    EarlyStoppingHook('accuracy/top1', patience=2).after_val_epoch(before, {'accuracy/top1': 50.0})
    EarlyStoppingHook('accuracy/top1', patience=2).after_val_epoch(before, {'accuracy/top1': 40.0})
    resumed, hook = runner('resumed', 5), EarlyStoppingHook('accuracy/top1', patience=2)
    resumed.message_hub.load_state_dict(before.message_hub.state_dict())
    hook.before_train(resumed)
    assert not resumed.train_loop.stop_training
    hook.after_val_epoch(resumed, {'accuracy/top1': 45.0})
    assert resumed.train_loop.stop_training


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(rule='more'), 'rule must be'),
        (dict(patience=0), 'patience must be'),
        (dict(min_delta=-1.0), 'min_delta must be'),
        (dict(stopping_threshold='x'), 'stopping_threshold must be'),
    ],
)
def test_wrong_arguments_are_one_line(options, line):
    with pytest.raises(InputError, match=line):
        EarlyStoppingHook('accuracy/top1', **options)


def test_a_metric_that_is_not_measured_is_named():
    with pytest.raises(InputError, match="no metric 'accuracy/nll' was measured; valid: loss"):
        EarlyStoppingHook('accuracy/nll').after_val_epoch(runner('none'), {'loss': 1.0})


@pytest.fixture(autouse=True)
def result_is_last(monkeypatch):
    """A result says that all is done: the checkpoint that it belongs to is there before it."""
    write = results.write_text

    def watched(path, text):
        if path.name == 'result.json':
            (checkpoint,) = path.parent.glob('*.pth')
            assert read_checkpoint(checkpoint)['meta']['iter'] == json.loads(text)['history'][-1]['iter']
        write(path, text)

    monkeypatch.setattr(results, 'write_text', watched)


def outcome(folder):
    """Return the result of a run without its clock readings, and the iteration of its checkpoint."""
    result = json.loads((folder / 'result.json').read_text())
    (checkpoint,) = folder.glob('*.pth')
    assert (folder / 'last_checkpoint').read_text() == str(checkpoint)
    rows = [{key: value for key, value in row.items() if key != 'time_s'} for row in result['history']]
    early = {key: result[key] for key in ('epochs', 'ended_early')}
    return checkpoint.name, read_checkpoint(checkpoint)['meta']['iter'], early, rows


@pytest.mark.slow
@pytest.mark.parametrize('interval', [1, -1])
def test_a_run_that_stops_early_is_saved_and_ends_there_again(tmp_path, monkeypatch, call, interval):
    """With a list of hooks that leaves out those of the base, and whether or not the last epoch was saved anyway."""
    monkeypatch.chdir(tmp_path)
    stopping = dict(type='EarlyStoppingHook', monitor='accuracy/nll', min_delta=1000.0, patience=2)
    recipe = f'{RECIPE}custom_hooks = [{stopping}]\ndefault_hooks = dict(checkpoint=dict(interval={interval}))\n'
    Path('early.py').write_text(recipe)
    found = []
    for options in ((), ('--resume',), ('--resume',)):
        code, said, err = call('train.py', 'early.py', '--work-dir', tmp_path / 'run', *options)
        assert code == 0, said + err
        found.append(outcome(tmp_path / 'run'))
        # In the files: two starts within a second share their log.
        logs = [log.read_text() for log in (tmp_path / 'run').glob('*/*.log')]
        line = 'ends early by accuracy/nll: 2 validations in a row did not improve'
        assert sum(log.count(line) for log in logs) == len(found)
    assert found[0][:3] == ('epoch_3.pth', 9, {'epochs': 3, 'ended_early': True})
    assert [row['epoch'] for row in found[0][3]] == [1, 2, 3]
    assert all('accuracy/nll' in row and 'loss' in row for row in found[0][3])
    assert found[1] == found[2] == found[0]


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_run_that_any_hook_ends_is_validated_and_saved(tmp_path, monkeypatch, call, by_epoch):
    """A loop of epochs ends its epoch, one of iterations at once; a validation was not due by the interval."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path('stop_after.py').write_text(STOP)
    loop = "type='EpochBasedTrainLoop', max_epochs=9" if by_epoch else "type='IterBasedTrainLoop', max_iters=27"
    lines = [
        RECIPE,
        "custom_imports = dict(imports=['stop_after'])",
        "custom_hooks = [dict(type='StopAfter', iterations=5)]",
        f'train_cfg = dict(_delete_=True, {loop}, val_interval=9)',
        'default_hooks = dict(checkpoint=dict(interval=-1))',
    ]
    Path('early.py').write_text('\n'.join(lines))
    code, said, err = call('train.py', 'early.py', '--work-dir', tmp_path / 'run')
    assert code == 0, said + err
    name, iteration, early, rows = outcome(tmp_path / 'run')
    iterations = 6 if by_epoch else 5
    assert (name, iteration) == ('epoch_2.pth', iterations)
    assert early == {'epochs': round(iterations / 3, 3), 'ended_early': True}
    assert 'accuracy/top1' in rows[-1]
    assert rows[-1]['iter'] == iterations
