"""Kill a training run at random times, resume it each time, and compare it with an uninterrupted run.

    python tests/engine/kill_and_resume.py --kills 100
    python tests/engine/kill_and_resume.py --kills 20 --processes 2
    python tests/engine/kill_and_resume.py --kills 20 --images data/cifar10_images

The run has everything that could break on resuming: per-image augmentation in two loader workers, randomly chosen
policies at hidden layers, a moving average of the weights, accumulated and clipped gradients, bfloat16, batch norm,
and checkpoints by epoch and by time. Every attempt is a new process, which is killed by SIGKILL.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import json
import os
import random
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from nursery import read_declarations
from PIL import Image

import openmix.engine.launch
import openmix.evaluation
import openmix.files
import openmix.models
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.checkpoint_folder import checkpoints_in, position_of
from openmix.engine.runner import Runner

# Generous timeouts, so that a test on a loaded machine fails only if something hangs.
SECONDS = 300
ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = """
_base_ = ['{root}/configs/_base_/schedules/sgd_cosine.py', '{root}/configs/_base_/runtime.py']
def images(split, pipeline):
    return dict(
        batch_size=8,
        num_workers=2,
        persistent_workers=True,
        dataset=dict(type='ImageFolder', root='{images}', split=split, subset={subset}, pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
        collate_fn=dict(type='identity_collate'),
    )
train_dataloader = images('train', [
    dict(type='torchvision/RandomResizedCrop', size=16, scale=(0.5, 1.0)),
    dict(type='torchvision/ColorJitter', brightness=0.4),
    dict(type='torchvision/RandomHorizontalFlip'),
])
val_dataloader = images('{held_out}', [dict(type='torchvision/Resize', size=(16, 16))])
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
model = dict(
    type='MixClassifier',
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomCrop', padding=2, mode='zero')]),
    backbone=dict(type='ThinResNet', depth=8, width=8),
    head=dict(type='LinearHead', loss=dict(type='decoupled_ce', eta=0.1)),
    policy=dict(type='OneOf', policies=[
        dict(type='Mixup', sites=('', 'layer1', 'layer2')), dict(type='CutMix'), dict(type='FMix'),
    ]),
)
optim_wrapper = dict(type='AutocastOptimWrapper', accumulative_counts=2, clip_grad=dict(max_norm=1.0))
train_cfg = {schedule}
default_hooks = dict(checkpoint=dict(minutes=0.001), logger=dict(interval=5))
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.01)]
vis_backends = []
visualizer = dict(vis_backends=vis_backends)
"""
# Clock readings, which differ between equal runs.
_CLOCK = ('duration_s', 'minutes_per_epoch', 'finished', 'time_s')


def write_images(root: Path, classes: int = 3, per_class: int = 25) -> None:
    """Write random images in one folder per class; the last batch of an epoch is incomplete."""
    rng = np.random.default_rng(0)
    for split, count in (('train', per_class), ('val', 6)):
        for label in range(classes):
            for i in range(count):
                path = root / split / f'class{label}' / f'{i:03d}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)


def write_recipe(folder: Path, images: Path, schedule: str, subset: int | None = None) -> Path:
    """The recipe of this module's first lines, on a folder of images.

    Args:
        schedule: the recipe's `train_cfg`, as text.
        subset: number of training images.
    """
    held_out = 'val' if (images / 'val').is_dir() else 'test'
    known = dict(images=images.resolve(), subset=subset, schedule=schedule, held_out=held_out)
    recipe = folder / 'recipe.py'
    recipe.write_text(RECIPE.format(root=ROOT, **known))
    return recipe


def slow_writes(seconds: float) -> None:
    """Stretch every write in this process, so that some kills fall into one."""
    fsync = os.fsync

    def slow(file: int) -> None:
        time.sleep(seconds)
        fsync(file)

    openmix.files.os.fsync = slow


def stop_before(iteration: int) -> None:
    """Let this process suspend itself (SIGSTOP) before an iteration, at a moment when it writes no file."""
    usual = Runner.call_hook

    def call_hook(runner: Runner, name: str, **given: Any) -> None:
        if name == 'before_train_iter' and runner.iter == iteration:
            os.kill(os.getpid(), signal.SIGSTOP)
        usual(runner, name, **given)

    Runner.call_hook = call_hook


def start(
    recipe: Path,
    work_dir: Path,
    processes: int = 1,
    options: Sequence[str] = (),
    stops_before: int | None = None,
    write_s: float = 0.0,
) -> list[int]:
    """Fork the processes of one attempt of `tools/train.py`; return their ids, rank 0 first.

    Args:
        stops_before: the iteration, counted from 0, before which each process suspends itself.
        write_s: seconds that every write of a file takes longer.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    work_dir.with_suffix('.rank0.log').unlink(missing_ok=True)
    read_declarations()  # a second, which each process would take again
    sys.stdout.flush()
    return [
        _fork(lambda rank=rank: _attempt(recipe, work_dir, rank, processes, port, options, stops_before, write_s))
        for rank in range(processes)
    ]


def _fork(run: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    # What the parent wants done at its own end, not at the child's.
    atexit._clear()
    gc.freeze()  # a collection would copy the memory of all that the parent has imported
    code = 1
    try:
        run()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _attempt(
    recipe: Path,
    work_dir: Path,
    rank: int,
    processes: int,
    port: str,
    options: Sequence[str],
    stops_before: int | None,
    write_s: float,
) -> None:
    log = os.open(work_dir.with_suffix(f'.rank{rank}.log'), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # pytest's own streams would keep the text to themselves.
    sys.stdout = sys.stderr = os.fdopen(log, 'w', buffering=1)
    torch.set_num_threads(1)
    if write_s:
        slow_writes(write_s)
    if stops_before is not None:
        stop_before(stops_before)
    sys.argv = [str(ROOT / 'tools/train.py'), str(recipe), '--work-dir', str(work_dir), '--seed', '7', *options]
    if processes > 1:
        os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(processes)}
        os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'GLOO_SOCKET_IFNAME': 'lo'}
        sys.argv += ['--launcher', 'pytorch']
    runpy.run_path(sys.argv[0], run_name='__main__')


def wait_until_stopped(children: list[int]) -> None:
    """Wait until each process has suspended itself, see `start`."""
    end = time.monotonic() + SECONDS
    for child in children:
        done, status = 0, 0
        while not done and time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            time.sleep(0.005)
        assert done, f'{child} was not suspended in time'
        assert os.WIFSTOPPED(status), f'{child} ended with {os.waitstatus_to_exitcode(status)}'


def wait(children: list[int], seconds: float) -> list[int | None]:
    """Wait for the children; return their exit codes, None for those that still run after the timeout."""
    codes: dict[int, int | None] = dict.fromkeys(children)
    end = time.monotonic() + seconds
    while None in codes.values():
        for child in [child for child, code in codes.items() if code is None]:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes[child] = os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            break
        time.sleep(0.002)
    return list(codes.values())


def finish(recipe: Path, work_dir: Path, processes: int = 1, options: Sequence[str] = ()) -> float:
    """Run to the end; return the seconds of training."""
    codes = wait(start(recipe, work_dir, processes, options), seconds=2 * SECONDS)
    assert codes == [0] * processes, log_of(work_dir)
    return json.loads((work_dir / 'result.json').read_text())['duration_s']


def said(recipe: Path, work_dir: Path, *options: str, code: int = 0) -> str:
    """Train in one process; check its exit code and that it prints no traceback; return its output."""
    codes = wait(start(recipe, work_dir, options=options), SECONDS)
    printed = work_dir.with_suffix('.rank0.log').read_text()
    assert codes == [code], printed[-3000:]
    assert 'Traceback' not in printed
    return printed


def log_of(work_dir: Path) -> str:
    """Return the end of the output of rank 0 in the last attempt."""
    log = work_dir.with_suffix('.rank0.log')
    return log.read_text()[-3000:] if log.is_file() else 'nothing'


def resume_options(work_dir: Path) -> list[str]:
    """Return `--resume` if there is a checkpoint; else no option."""
    return ['--resume'] if checkpoints_in(work_dir) else []


def kill(recipe: Path, work_dir: Path, kills: int, iterations: int, seed: int, processes: int = 1) -> dict[str, int]:
    """Start a run, kill it `kills` times and resume it each time; return the number of kills in each situation.

    The times are drawn in iterations, so that they do not depend on the speed of the machine.

    Args:
        iterations: at most the length of the whole run; the kills fall into the first two thirds of them, and between
            two of them it trains half of iterations / kills on average.
    """
    rng = random.Random(seed)
    fell = {'before the first checkpoint': 0, 'inside a write': 0, 'elsewhere': 0}
    while sum(fell.values()) < kills:
        # Not near the end, where the run could finish before the kill.
        goal = min(saved(work_dir) + rng.randint(0, iterations // kills), 2 * iterations // 3)
        children = start(recipe, work_dir, processes, resume_options(work_dir), write_s=0.1)
        wait_for_log('Checkpoints go to', work_dir, children)
        _wait_for(lambda goal=goal: saved(work_dir) >= goal, work_dir, children)
        # If the run ends first, this script is wrong.
        codes = wait(children, rng.uniform(0, 0.1))
        assert codes == [None] * processes, f'left with {codes}: {log_of(work_dir)}'
        if rng.random() < 0.3:
            _wait_for(lambda: any(work_dir.glob('.partial-*.pth')), work_dir, children)
        for child in rng.sample(children, len(children)):
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        if any(work_dir.glob('.partial-*')):
            fell['inside a write'] += 1
        else:
            fell['elsewhere' if checkpoints_in(work_dir) else 'before the first checkpoint'] += 1
    return fell


def saved(work_dir: Path) -> int:
    """Return the number of iterations in the newest checkpoint; 0 without one."""
    return max((position_of(path).iteration or 0 for path in work_dir.glob('*.pth')), default=0)


def _wait_for(condition: Callable[[], bool], work_dir: Path, children: list[int]) -> None:
    """Wait until a condition is true, while all children run."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f'nothing came: {log_of(work_dir)}'
        codes = wait(children, 0.001)
        assert codes == [None] * len(children), f'left with {codes}: {log_of(work_dir)}'


def wait_for_log(text: str, work_dir: Path, children: list[int]) -> None:
    """Wait until rank 0 has printed `text`; the training loop starts with 'Checkpoints go to'."""
    log = work_dir.with_suffix('.rank0.log')
    _wait_for(lambda: log.is_file() and text in log.read_text(), work_dir, children)


def differences(one: Path, other: Path) -> list[str]:
    """List the differences of two finished runs except clock readings; empty if they are equal bit for bit."""
    (a,), (b,) = one.glob('epoch_*.pth'), other.glob('epoch_*.pth')
    found = [] if a.name == b.name else [f'{a.name} and {b.name}']
    left, right = read_checkpoint(a), read_checkpoint(b)
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        found += [f'{key}: {place}' for place in _unequal(left.get(key), right.get(key))]
    left, right = (json.loads((folder / 'result.json').read_text()) for folder in (one, other))
    return found + [f'result: {place}' for place in _unequal(left, right)]


def _unequal(a: Any, b: Any, place: str = '') -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a if key not in _CLOCK for found in _unequal(a[key], b[key], f'{place}.{key}')]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [found for i, pair in enumerate(zip(a, b, strict=True)) for found in _unequal(*pair, f'{place}.{i}')]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b
    return [] if same else [place]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--epochs', type=int, default=40)
    parser.add_argument('--images', type=Path, help='a folder of images (default: random ones, written)')
    parser.add_argument('--subset', type=int, help='as many training images of it')
    parser.add_argument('--seed', type=int, default=0, help='of the moments of the kills')
    args = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.images is None:
            args.images = folder / 'images'
            write_images(args.images)
        recipe = write_recipe(folder, args.images, f'dict(max_epochs={args.epochs})', args.subset)
        training_s = finish(recipe, folder / 'alone', args.processes)
        iterations = saved(folder / 'alone')
        print(
            f'left alone: {training_s:.1f} s of training, {args.epochs} epochs, {args.processes} process(es)',
            flush=True,
        )
        began = time.monotonic()
        fell = kill(recipe, folder / 'killed', args.kills, iterations, args.seed, args.processes)
        finish(recipe, folder / 'killed', args.processes, resume_options(folder / 'killed'))
        where = ', '.join(f'{count} {name}' for name, count in fell.items())
        print(f'killed {sum(fell.values())} times in {time.monotonic() - began:.0f} s: {where}')
        found = differences(folder / 'alone', folder / 'killed')
    print(
        '\n'.join(found)
        if found
        else 'weights, moving average, optimiser, schedules and result.json: equal bit for bit'
    )
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
