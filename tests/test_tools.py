"""Run the commands in `tools/` as a user does, on real digits."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
RECIPE = 'classification/digits/resnet20.py'
SMALL = ['model.backbone.depth=8', 'model.backbone.width=8', 'train_dataloader.batch_size=240']

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def tool(nursery):
    """Return a function that runs a command of `tools/` in a folder, on the CPU."""

    def run(name, *args, cwd, code=0):
        done = nursery.run([name, *args], cwd, {'CUDA_VISIBLE_DEVICES': ''})
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope='module')
def run(tool, tmp_path_factory):
    """Train a run of three epochs with a moving average of the weights."""
    cwd = tmp_path_factory.mktemp('run')
    recipe = cwd / 'mine.yaml'
    hooks = ['StepSeedHook', 'AlgorithmHook', 'RankZeroBuffersHook', 'ResultHook']
    lines = [f'_base_: {ROOT}/configs/{RECIPE}', 'model:', '  policy: {type: CutMix, alpha: 0.2, _delete_: true}']
    lines += ['train_cfg: {max_epochs: 3}', 'custom_hooks:', *(f'  - {{type: {name}}}' for name in hooks)]
    lines += ['  - {type: EMAHook, momentum: 1e-1}']
    recipe.write_text('\n'.join(lines) + '\n')
    done = tool('train.py', recipe, '--seed', 5, '--cfg-options', *SMALL, cwd=cwd)
    return cwd, recipe, done


def test_a_run_leaves_what_the_docs_say(run):
    cwd, _, done = run
    folder = cwd / 'work_dirs/mine'
    assert done.stdout.strip().endswith('work_dirs/mine/result.json')
    result = json.loads((folder / 'result.json').read_text())
    assert result['seed'] == 5
    assert len(result['history']) == 3
    assert result['history'][-1]['accuracy/top1'] == result['metrics']['accuracy/top1']
    assert result['readouts']['accuracy/top1'].keys() == {
        'last',
        'best',
        'median_last3',
    }
    assert result['environment']['torch']
    assert 0 < result['minutes_per_epoch'] * 60 * 3 < result['duration_s']
    assert len((folder / 'metrics.jsonl').read_text().splitlines()) == 3
    assert (folder / 'mine.yaml').is_file()
    assert list(folder.glob('*/vis_data/events.out.tfevents.*'))
    assert [path.name for path in folder.glob('*.pth')] == ['epoch_3.pth']


def test_test_reads_raw_and_averaged_weights(tool, run):
    cwd, recipe, _ = run
    folder = cwd / 'work_dirs/mine'
    checkpoint = folder / 'epoch_3.pth'
    options = ['--cfg-options', *SMALL]
    tool('test.py', recipe, checkpoint, '--ema', '--out', cwd / 'ema.json', *options, cwd=cwd)
    raw = tool('test.py', recipe, checkpoint, '--work-dir', cwd / 'test', *options, cwd=cwd)
    ema = json.loads((cwd / 'ema.json').read_text())['metrics']
    raw_metrics = json.loads(raw.stdout.splitlines()[-1])
    # The hook validates the average, and the raw weights beside it.
    reported = json.loads((folder / 'result.json').read_text())['metrics']
    for name in ('top1', 'nll'):
        assert ema[f'accuracy/{name}'] == pytest.approx(reported[f'accuracy/{name}'])
        assert raw_metrics[f'accuracy/{name}'] == pytest.approx(reported[f'accuracy/raw/{name}'])
    assert raw_metrics['accuracy/nll'] != pytest.approx(ema['accuracy/nll'], rel=1e-3)


def test_resume_goes_on_from_the_newest(tool, run):
    cwd, recipe, _ = run
    tool('train.py', recipe, '--work-dir', 'again', '--cfg-options', *SMALL, 'train_cfg.max_epochs=1', cwd=cwd)
    first = json.loads((cwd / 'again/result.json').read_text())['history']
    done = tool('train.py', recipe, '--work-dir', 'again', '--resume', '--cfg-options', *SMALL, cwd=cwd)
    history = json.loads((cwd / 'again/result.json').read_text())['history']
    assert [row['epoch'] for row in history] == [1, 2, 3]
    assert {**history[0], 'time_s': None} == {**first[0], 'time_s': None}
    # The state after the epoch's last iteration, before its end and its validation, which are done again.
    assert f'Resumed after iteration {first[0]["iter"]}, in epoch 1' in done.stdout + done.stderr


def test_amp_and_dry_run_keep_nothing(tool, run):
    cwd, recipe, _ = run
    before = sorted(cwd.rglob('*'))
    done = tool('train.py', recipe, '--amp', '--dry-run', 4, '--cfg-options', *SMALL, cwd=cwd)
    assert 's an iteration, about' in done.stdout.splitlines()[-1]
    assert sorted(cwd.rglob('*')) == before


def test_deterministic_runs_repeat(tool, run):
    cwd, recipe, _ = run
    losses = []
    for name in ('a', 'b'):
        options = ['--deterministic', '--cfg-options', *SMALL, 'train_cfg.max_epochs=1']
        tool('train.py', recipe, '--work-dir', name, *options, cwd=cwd)
        losses.append(json.loads((cwd / name / 'result.json').read_text())['metrics'])
    assert losses[0] == losses[1]


def test_print_config_shows_what_changed(tool, run):
    cwd, recipe, _ = run
    lines = tool('print_config.py', recipe, '--diff', cwd=cwd).stdout.splitlines()
    assert "- model.policy.type = 'NoMix'" in lines
    assert "+ model.policy.type = 'CutMix'" in lines
    assert not [line for line in lines if 'batch_size' in line]
    assert "type='CutMix'" in tool('print_config.py', recipe, cwd=cwd).stdout


def test_show_mix_draws_every_policy(tool, run):
    cwd, recipe, _ = run
    out = cwd / 'picture/mix.png'
    tool('show_mix.py', recipe, '--policy', 'Mixup', 'FMix', 'SaliencyMix', '--out', out, cwd=cwd)
    assert out.read_bytes()[:4] == b'\x89PNG'
    assert list((cwd / 'picture/show_mix').glob('events.out.tfevents.*'))


def test_show_mix_draws_maps_and_strips(tool, run):
    """Higher for every row of maps; one row a pair for a strip, with trained weights."""
    cwd, recipe, _ = run
    heights = []
    for option in ((), ('--maps',)):
        out = cwd / f'maps{len(option)}.png'
        tool('show_mix.py', recipe, '--policy', 'PuzzleMix', '--count', '2', '--out', out, *option, cwd=cwd)
        heights.append(Image.open(out).height)
    assert heights[1] > 1.5 * heights[0]
    weights = next(cwd.rglob('epoch_*.pth'))
    options = ('--strip', '--checkpoint', weights, '--count', '1', '--out', cwd / 'strip.png', '--cfg-options', *SMALL)
    tool('show_mix.py', recipe, *options, cwd=cwd)
    assert Image.open(cwd / 'strip.png').width > 5 * Image.open(cwd / 'strip.png').height


def test_collect_env_names_versions(tool, run):
    cwd, _, _ = run
    assert 'torch: ' in tool('collect_env.py', cwd=cwd).stdout


def test_slurm_hands_its_options_to_srun(tmp_path):
    """A stand-in for srun prints what it would start."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    env = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'GPUS': '4', 'SRUN_ARGS': '-t 10 --qos=low'}
    call = [str(ROOT / 'tools/slurm_train.sh'), 'gpu', 'name', RECIPE, '--amp']
    said = subprocess.run(call, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {'--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4', '--job-name=name', '--qos=low'} <= set(said)
    assert said[-5:] == [str(ROOT / 'tools/train.py'), RECIPE, '--launcher', 'slurm', '--amp']


@pytest.mark.parametrize(
    ('args', 'line'),
    [
        (['train.py', 'classification/digits/resnet02.py'], "did you mean 'classification/digits/resnet20.py'"),
        (['train.py', RECIPE, '--resume'], 'nothing to resume'),
        (['train.py', RECIPE, '--cfg-options', 'model.polcy.type=CutMix'], "did you mean 'policy'"),
        (['train.py', RECIPE, '--cfg-options', 'model.policy.type=CutMx'], "did you mean 'CutMix'"),
        (['train.py', RECIPE, '--cfg-options', 'model.head.loss.type=mix_ec'], "did you mean 'mix_ce'"),
        (['train.py', RECIPE, '--cfg-options', 'train_dataloader.dataset.type=Digit'], "did you mean 'Digits'"),
        (['train.py', RECIPE, '--dry-run', 0], 'at least 1'),
        (['test.py', RECIPE, 'none.pth'], "no checkpoint 'none.pth'"),
        (['test.py', RECIPE, '.'], "'.' is a folder, not a file; name a checkpoint in it (it has none)"),
        (['show_mix.py', RECIPE, '--policy', 'Mxup'], "did you mean 'Mixup'"),
        (['print_config.py', 'digits'], 'no config file'),
    ],
    ids=lambda value: ' '.join(map(str, value)) if isinstance(value, list) else '',
)
def test_bad_input_is_one_line_and_exit_code_2(tool, tmp_path, args, line):
    done = tool(*args, cwd=tmp_path, code=2)
    (said,) = [text for text in done.stderr.splitlines() if text.startswith('error: ')]
    assert line in said
    assert 'Traceback' not in done.stdout + done.stderr
