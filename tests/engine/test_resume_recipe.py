"""On `--resume`, allowed changes of the recipe are applied; others give an error line and leave the run unchanged."""

import itertools
import json
import shutil
import types
from pathlib import Path

import kill_and_resume as harness
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from openmix.config import load_config
from openmix.config_hash import config_hash
from openmix.engine import launch
from openmix.engine.checkpoint import Checkpoint, Meta, load_checkpoint, read_checkpoint
from openmix.engine.resumable import Decision, changes, check_resumable, decide, plain_recipe, recipe_hash
from openmix.engine.resume import replay
from openmix.engine.runner import Runner
from openmix.errors import InputError


def copied(alone: Path, folder: Path) -> Path:
    shutil.copytree(alone, folder)
    return folder


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.slow
def test_a_longer_run_has_the_schedule_of_its_new_length(recipe, alone, tmp_path):
    length = ['--cfg-options', 'train_cfg.max_epochs=5']
    harness.said(recipe, tmp_path / 'planned', *length)
    longer = copied(alone, tmp_path / 'longer')
    harness.said(recipe, longer, '--resume', *length)
    planned, found = rows(tmp_path / 'planned'), rows(longer)
    assert [row['lr'] for row in found[2:]] == [row['lr'] for row in planned[2:]]
    assert [row['lr'] for row in found[:2]] == [row['lr'] for row in rows(alone)]
    # Its weights are not those of a run that was planned so, and its result says so.
    result, straight, before = (
        json.loads((folder / 'result.json').read_text()) for folder in (longer, tmp_path / 'planned', alone)
    )
    assert result['earlier_plans'] == [{'until_iter': 6, 'train_cfg.max_epochs': 2}]
    assert 'earlier_plans' not in straight
    assert len({found['config_hash'] for found in (result, straight, before)}) == 3
    # Killed and resumed once more it is still the same run.
    (longer / 'result.json').unlink()
    harness.said(recipe, longer, '--resume', *length)
    assert json.loads((longer / 'result.json').read_text())['earlier_plans'] == result['earlier_plans']


@pytest.mark.slow
def test_what_the_run_computes_may_not_change(recipe, alone, tmp_path):
    folder = copied(alone, tmp_path / 'run')
    plain = tmp_path / 'no_average.py'
    plain.write_text(recipe.read_text().replace(", dict(type='EMAHook', momentum=0.01)", ''))
    before = content(folder)
    start = f"load_from='{folder}/epoch_2.pth'"
    for given, options, said in (
        (recipe, ['optim_wrapper.optimizer.lr=0.05'], 'optim_wrapper.optimizer.lr was 0.1 and is 0.05'),
        (plain, [], 'holds a moving average of the weights, and the recipe keeps none'),
        (recipe, ['train_cfg.max_epochs=1'], 'train_cfg.max_epochs is 1, and'),
    ):
        line = harness.said(
            given, folder, '--resume', *(['--cfg-options', *options] if options else []), code=2
        ).splitlines()[-1]
        assert said in line
        assert start in line or 'train for at least as long' in line
        assert content(folder) == before


@pytest.mark.slow
def test_an_average_that_was_not_kept(recipe, tmp_path):
    plain = tmp_path / 'no_average.py'
    plain.write_text(recipe.read_text().replace(", dict(type='EMAHook', momentum=0.01)", ''))
    harness.said(plain, tmp_path / 'run')
    before = content(tmp_path / 'run')
    line = harness.said(recipe, tmp_path / 'run', '--resume', code=2).splitlines()[-1]
    assert 'holds no moving average of the weights, and the recipe keeps one' in line
    assert content(tmp_path / 'run') == before


@pytest.mark.slow
def test_how_the_run_is_run_may_change(recipe, alone, tmp_path):
    free = ['train_dataloader.num_workers=1', 'default_hooks.logger.interval=1', 'train_cfg.val_interval=2']
    harness.said(recipe, tmp_path / 'run', '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=-1')
    (tmp_path / 'run/epoch_2.pth').unlink()
    harness.said(recipe, tmp_path / 'run', '--resume', '--cfg-options', *free)
    left, right = (read_checkpoint(folder / 'epoch_2.pth') for folder in (alone, tmp_path / 'run'))
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert harness._unequal(left[key], right[key]) == []


@pytest.fixture
def cfg(recipe):
    return launch.prepare(load_config(recipe))


def checkpoint_of(cfg, average=True, **meta):
    known = dict(epoch=1, iteration=6, batches=3, world_size=1, recipe_hash=recipe_hash(cfg), recipe=plain_recipe(cfg))
    weights = {'w': torch.ones(1)}
    return Checkpoint(Path('a.pth'), Meta(**{**known, **meta}), weights, weights if average else None, {})


def refusal(checkpoint, cfg, **given):
    with pytest.raises(InputError) as caught:
        check_resumable(checkpoint, cfg, **{'processes': 1, 'data': None, **given})
    assert '\n' not in str(caught.value)
    return str(caught.value)


def changed(cfg, **options):
    cfg = Config(cfg.to_dict())
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return cfg


def test_the_recipe_is_plain_data(alone, cfg):
    meta = read_checkpoint(alone / 'epoch_2.pth')['meta']
    assert json.loads(json.dumps(meta['resolved_recipe'])) == meta['resolved_recipe']
    differing = {change.key for change in changes(meta['resolved_recipe'], plain_recipe(cfg))}
    assert {decide(key) for key in differing} <= {Decision.FREE}


def test_a_key_that_the_recipe_lost_is_a_change():
    old, new = {'a': 1, 'optim_wrapper': {'clip_grad': {'max_norm': 1.0}}}, {'a': 1, 'optim_wrapper': {'type': 'AdamW'}}
    assert list(changes(old, new)) == [
        ('optim_wrapper.type', 'not set', 'AdamW'),
        ('optim_wrapper.clip_grad.max_norm', 1.0, 'not set'),
    ]
    assert list(changes({'a': 1}, {'a': 2})) == [('a', 1, 2)]


def test_variables_of_the_recipe_may_change(cfg):
    check_resumable(checkpoint_of(cfg), changed(cfg, a_name_of_mine=3), 1, None)


def test_every_change_is_named(cfg):
    checkpoint = checkpoint_of(cfg)
    check_resumable(checkpoint, cfg, 1, None)
    line = refusal(checkpoint, changed(cfg, optim_wrapper__optimizer__weight_decay=0.3, model__head__loss__eta=0.2))
    assert 'model.head.loss.eta was 0.1 and is 0.2' in line
    assert 'optim_wrapper.optimizer.weight_decay was 0.0001 and is 0.3' in line
    first, _, *others = cfg.model.policy.policies
    policies = [first, dict(type='CutMix', alpha=0.5), *others]
    line = refusal(checkpoint, changed(cfg, model__policy__policies=policies))
    assert "model.policy.policies.1.alpha was 'not set' and is 0.5" in line
    hooks = [dict(type='EmptyCacheHook'), *cfg.custom_hooks]
    check_resumable(checkpoint, changed(cfg, custom_hooks=hooks), 1, None)
    assert 'custom_hooks.MixedAccuracyHook.type' in refusal(
        checkpoint, changed(cfg, custom_hooks=[dict(type='MixedAccuracyHook'), *cfg.custom_hooks])
    )


def test_the_global_batch_is_what_counts(cfg):
    checkpoint = checkpoint_of(cfg)
    check_resumable(checkpoint, changed(cfg, train_dataloader__batch_size=4), 2, None)
    assert 'train_dataloader.batch_size was 8 and is 4' in refusal(
        checkpoint, changed(cfg, train_dataloader__batch_size=4)
    )


def test_the_data_are_the_files_not_their_place(cfg):
    checkpoint, moved = checkpoint_of(cfg, data='abc'), changed(cfg, train_dataloader__dataset__root='elsewhere')
    check_resumable(checkpoint, moved, 1, 'abc')
    assert 'train_dataloader.dataset.root was' in refusal(checkpoint, moved, data='other')
    assert 'have changed since' in refusal(checkpoint, cfg, data='other')
    check_resumable(checkpoint, cfg, 1, None)  # nothing to compare with


def test_a_list_of_images_is_its_content_not_its_place(cfg):
    listed, moved = (changed(cfg, train_dataloader__dataset__subset=name) for name in ('a.txt', 'b.txt'))
    checkpoint = checkpoint_of(listed, data='abc')
    check_resumable(checkpoint, moved, 1, 'abc')
    assert 'train_dataloader.dataset.subset was' in refusal(checkpoint, moved, data='other')
    for other in (4, 0.5, None):
        cut = changed(cfg, train_dataloader__dataset__subset=other)
        assert 'train_dataloader.dataset.subset was' in refusal(checkpoint, cut, data='abc')
        assert 'train_dataloader.dataset.subset was' in refusal(checkpoint_of(cut, data='abc'), listed, data='abc')
    assert 'subset was 4 and is 8' in refusal(
        checkpoint_of(changed(cfg, train_dataloader__dataset__subset=4), data='abc'),
        changed(cfg, train_dataloader__dataset__subset=8),
        data='abc',
    )


def test_a_checkpoint_without_its_recipe(cfg):
    check_resumable(checkpoint_of(cfg, recipe=None), cfg, 1, None)
    longer = changed(cfg, train_cfg__max_epochs=9)
    assert 'only its hash' in refusal(checkpoint_of(cfg, recipe=None), longer)
    assert 'nor its hash' in refusal(checkpoint_of(cfg, recipe=None, recipe_hash=None), cfg)


def test_choosing_and_loading_is_one_act(alone, cfg, tmp_path):
    """A file that is replaced meanwhile is not what the run goes on from."""
    path = tmp_path / 'epoch_2.pth'
    path.write_bytes((alone / 'epoch_2.pth').read_bytes())
    cfg.work_dir = str(tmp_path)
    chosen = launch.resume_from(cfg, 'auto')
    other = read_checkpoint(path)
    other['meta']['iter'] = 3
    torch.save(other, path)
    runner = types.SimpleNamespace(chosen=chosen)
    assert Runner._take(runner, cfg.load_from).meta.iteration == 6
    assert load_checkpoint(path).meta.iteration == 3


SCHEDULES = {
    'cosine': [dict(type='CosineAnnealingLR', eta_min=0.0, convert_to_iter_based=True)],
    'warm-up and cosine': [
        dict(type='LinearLR', start_factor=1e-3, begin=0, end=2, convert_to_iter_based=True),
        dict(type='CosineAnnealingLR', eta_min=1e-5, begin=2, convert_to_iter_based=True),
    ],
    'by epoch': [dict(type='CosineAnnealingLR', T_max=9), dict(type='MultiStepLR', milestones=[2, 4], gamma=0.3)],
    'epochs and iterations': [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
        dict(type='ExponentialLR', gamma=0.7),
    ],
    'momentum': [dict(type='CosineAnnealingMomentum', eta_min=0.5, by_epoch=False), dict(type='StepLR', step_size=2)],
}


def planned(schedules, epochs, batches=5):
    """Build an optimiser and its schedules like a runner, for a number of epochs."""
    torch.manual_seed(0)
    optim = OptimWrapper(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9))
    built = []
    for one in schedules:
        end = epochs if one.get('by_epoch', True) else epochs * batches
        defaults = dict(optimizer=optim, epoch_length=batches)
        built.append(PARAM_SCHEDULERS.build({'end': end, **one}, default_args=defaults))
    return optim, built


def trained(optim, built, iterations, batches=5):
    """Step the schedules like mmengine's hook; yield the values with which each iteration is trained."""
    for done in itertools.count(1):
        yield [(group['lr'], group['momentum']) for group in optim.param_groups]
        for own in built:
            if not own.by_epoch:
                own.step()
        if done % batches == 0:
            for own in built:
                if own.by_epoch:
                    own.step()
        if done == iterations:
            return


@pytest.mark.filterwarnings('ignore:Detected call')
@pytest.mark.parametrize('name', SCHEDULES)
@pytest.mark.parametrize('reached', [1, 5, 13, 20])
def test_schedules_made_anew_are_those_of_the_new_length(name, reached):
    optim, built = planned(SCHEDULES[name], 4)
    list(trained(optim, built, reached))
    states = [own.state_dict() for own in built]
    truth = [*trained(*planned(SCHEDULES[name], 8), 40)][reached:]
    optim, built = planned(SCHEDULES[name], 8)
    replay(list(zip(built, states, strict=True)), batches=5)
    found = []
    for done in range(reached, 40):
        found.append([(group['lr'], group['momentum']) for group in optim.param_groups])
        for own in sorted(built, key=lambda own: own.by_epoch):
            if not own.by_epoch or (done + 1) % 5 == 0:
                own.step()
    assert found == truth


def test_a_hook_under_its_former_name_is_no_change():
    """One rule for the hash and for resuming: a recipe of before the hook was renamed goes on, to the same hash."""
    old, new = (
        {'custom_hooks': [{'type': 'StepSeedHook'}, {'type': name}, {'type': 'EMAHook', 'momentum': 0.1}]}
        for name in ('MixPolicyHook', 'AlgorithmHook')
    )
    assert config_hash(Config(old)) == config_hash(Config(new))
    assert not list(changes(old, new))
    assert not list(changes(new, old))
    (change,) = changes(old, {'custom_hooks': [*new['custom_hooks'][:2], {'type': 'EMAHook', 'momentum': 0.2}]})
    assert change.key == 'custom_hooks.EMAHook.momentum'
