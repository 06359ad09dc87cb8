"""Everything about one GPU in one call: benchmarks/gpu.py [--minutes N] [--out FILE].

Tests marked `cuda`, the speed suites with their breakdown, and rows of openmixup/cifar10_resnet18 at 200 epochs, each
in its share of the time; what a part did not finish, the next call goes on with. Writes a page with the card's name.
Without a GPU the same parts run on the CPU, shrunk.
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from openmix.engine.environment import commit, environment
from openmix.entry_point import command
from openmix.errors import InputError
from openmix.files import write_text
from openmix.json_file import read_object

ROOT = Path(__file__).parent.parent
_GRACE_S = 90  # in which a training saves itself
_STATE = 'gpu.json'


@dataclass(frozen=True)
class Part:
    """A command with its share of the time.

    Attributes:
        name: heading of its section.
        words: the command, after the interpreter.
        share: of the time that is left when it starts.
        resumes: the command goes on where it stopped; else it is run anew until it has ended once on this commit.
        page: makes the section from what the command printed.
    """

    name: str
    words: tuple[str, ...]
    share: float
    resumes: bool
    page: Callable[[str], str]


def as_code(text: str) -> str:
    """Keep the end of an output as a block."""
    # Torch's profiler writes these of its own on stderr.
    lines = [line for line in text.rstrip().splitlines() if not line.startswith(('USDT:', 'ERROR:20'))][-25:]
    return '```text\n' + '\n'.join(lines) + '\n```\n'


def as_markdown(text: str) -> str:
    """Keep an output that is Markdown already."""
    return text


def tests_told(text: str) -> str:
    """Keep the counts of pytest, and the names of tests that failed."""
    failed = re.findall(r'^(?:FAILED|ERROR) (\S+)', text, re.MULTILINE)
    counts = re.findall(r'^\d+ (?:passed|failed|skipped|error)[^\n]*$', text, re.MULTILINE)
    said = counts[-1:] or ['did not end']
    return ''.join(f'- {line}\n' for line in [*said, *failed])


def parts_of(on_gpu: bool, work: Path) -> list[Part]:
    """List the parts, shrunk without a GPU."""
    bench = ['benchmarks/run.py', '--json', str(work / 'speed.jsonl')]
    tables = ['tools/benchmark.py', 'run']
    if on_gpu:
        tests: tuple[str, ...] = ()
        suites = [*bench, '--suite', 'epoch', 'large', 'dynamic', 'step', 'loss', 'policies', '--rounds', '3']
        breakdown = ['benchmarks/breakdown.py', '--steps', '20']
        rows = [*tables, 'openmixup/cifar10_resnet18', '--columns', '200*', '--trials', '1']
    else:
        tests = ('-k', 'NoMix-0 or mix_ce or cuts')
        suites = [*bench, '--suite', 'loss', '--rounds', '1', '--seconds', '0.01', '--quick']
        breakdown = ['benchmarks/breakdown.py', '--steps', '2', '--quick']
        rows = [*tables, 'quickstart', '--rows', 'Vanilla', '--trials', '1', '--cfg-options', 'train_cfg.max_epochs=5']
        rows += ['model.backbone.depth=8', 'model.backbone.width=4', 'train_dataloader.batch_size=240']
    rows += ['--work-dir', str(work / 'table'), '--jobs', '1']
    return [
        Part(
            'Tests',
            ('-m', 'pytest', 'tests/test_cuda.py', '-m', 'cuda', '-p', 'no:xdist', *tests),
            0.3,
            False,
            tests_told,
        ),
        Part('Speed', tuple(suites), 0.4, False, as_markdown),
        Part('Breakdown of a step', tuple(breakdown), 0.3, False, as_code),
        Part('Rows', tuple(rows), 1.0, True, as_code),
    ]


def run(words: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Run a command at most so long; return its exit code, None if it was stopped, and what it printed."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'COLUMNS': '120'}
    out = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=env, stdout=out[0], stderr=out[1], text=True, start_new_session=True
    )
    try:
        text, _ = process.communicate(timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        try:
            text, _ = process.communicate(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
        return None, text
    return process.returncode, text


def section(part: Part, known: dict[str, str], code: str) -> str:
    """Write what is known of a part."""
    called = f'```bash\n{shlex.join(["python", *part.words])}\n```\n'
    return f'## {part.name}\n\n{called}\n{code}: {known["seconds"]} s, commit `{known["commit"]}`\n\n{known["text"]}'


def page(parts: Sequence[Part], state: dict[str, dict[str, str]], facts: dict[str, str], on_gpu: bool) -> str:
    """Write the page: the machine, and a section a part."""
    name = facts.get('gpu0', facts['cpu'])
    lines = [f'# One call on {name}\n', 'Written by `make gpu`.\n']
    if not on_gpu:
        lines.append('No GPU: the parts ran on the CPU, shrunk. These numbers say nothing about speed or accuracy.\n')
    told = ('torch', 'python', 'cpu', 'gpu0', 'cuda')
    lines.append(', '.join(f'{key} {facts[key]}' for key in told if facts.get(key)) + '\n')
    for part in parts:
        known = state.get(part.name)
        lines.append(section(part, known, known['code']) if known else f'## {part.name}\n\nNot run yet.\n')
    return '\n'.join(lines)


def read_state(path: Path) -> dict[str, dict[str, str]]:
    """Read what earlier calls found."""
    found = read_object(path) or {}
    return {name: known for name, known in found.items() if isinstance(known, dict) and 'text' in known}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test, time and train on one GPU within a given time.')
    parser.add_argument('--minutes', type=float, default=25.0, metavar='N', help='time of the whole call')
    parser.add_argument('--work-dir', type=Path, metavar='DIR', help='what the next call goes on from')
    parser.add_argument('--out', type=Path, metavar='FILE', help='the page (default: docs/results/gpu_<card>.md)')
    return parser.parse_args()


@command
def main() -> None:
    args = parse()
    if not 0 < args.minutes <= 24 * 60:
        raise InputError(f'--minutes must be above 0 and at most a day, got {args.minutes}')
    ends = time.monotonic() + 60 * args.minutes
    on_gpu, facts = torch.cuda.is_available(), {key: str(value) for key, value in environment().items()}
    card = re.sub(r'[^a-z0-9]+', '_', facts.get('gpu0', 'none').lower()).strip('_')
    work = (args.work_dir or ROOT / 'work_dirs' / 'gpu' / card).resolve()
    out = args.out or (ROOT / 'docs/results' / f'gpu_{card}.md' if on_gpu else work / 'page.md')
    work.mkdir(parents=True, exist_ok=True)
    parts, state, now = parts_of(on_gpu, work), read_state(work / _STATE), commit() or 'unknown'
    failed = []
    for part in parts:
        known = state.get(part.name)
        if known and known['code'] == 'done' and known['commit'] == now:
            print(f'{part.name}: done before', flush=True)
            continue
        left = ends - time.monotonic()
        if left < 1:
            print(f'{part.name}: no time left; the next call goes on', flush=True)
            continue
        started = time.monotonic()
        # A training is asked to save itself within the time.
        code, text = run(part.words, part.share * left - (min(30.0, left / 4) if part.resumes else 0))
        outcome = 'stopped' if code is None else 'done' if code == 0 else f'failed, exit code {code}'
        if code not in (0, None):
            failed.append(part.name)
        state[part.name] = {
            'code': outcome,
            'seconds': f'{time.monotonic() - started:.0f}',
            'commit': now,
            'text': part.page(text),
        }
        write_text(work / _STATE, json.dumps(state, indent=1) + '\n')
        write_text(out, page(parts, state, facts, on_gpu))
        print(f'{part.name}: {outcome} after {state[part.name]["seconds"]} s', flush=True)
    write_text(out, page(parts, state, facts, on_gpu))
    print(out)
    if failed:
        raise SystemExit(1)


if __name__ == '__main__':
    main()
