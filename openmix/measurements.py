"""What commands measure of a trained classifier beside its recipe's metrics: options, hooks, columns of tables."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmix.arguments import CommandParser, is_integer, is_name, is_number
from openmix.errors import InputError, check_number

_EPS = '8/255'
_LONGEST = 100  # characters of a name of a file


@dataclass(frozen=True)
class Measurement:
    """One measurement of a checkpoint, by a hook or a metric of a test.

    Attributes:
        columns: names of what a table shows of it -> keys of the metrics.
        options: the words on the command line that ask for it.
        hook, metric, files: registry dict of the hook or of the metric, or arguments of
            `openmix.evaluation.corrupted_files.corrupted_tests`; two of them are None.
        none_if: when a classifier has none of its metrics; '' if each must have them.
    """

    columns: dict[str, str] = field(hash=False)
    options: tuple[str, ...]
    hook: dict[str, Any] | None = field(default=None, hash=False)
    metric: dict[str, Any] | None = field(default=None, hash=False)
    files: dict[str, Any] | None = field(default=None, hash=False)
    none_if: str = ''

    @property
    def name(self) -> str:
        """The name of a file of it, such as 'fgsm-error-8-255'."""
        column = next(iter(self.columns))
        name = re.sub(r'[^a-z0-9]+', '-', column.lower()).strip('-')
        if len(name) <= _LONGEST:
            return name
        # The longest names would be too long for a file, and cut they would be the same.
        return f'{name[:_LONGEST]}-{hashlib.sha256(column.encode()).hexdigest()[:8]}'

    def of_it(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the metrics that are its own."""
        own = {key.partition('/')[0] for key in self.columns.values()}
        return {key: value for key, value in metrics.items() if key.partition('/')[0] in own}


def add_measurements(parser: CommandParser) -> None:
    """Add the options that `measurements_of` reads."""
    parser.add_argument('--attack', choices=('fgsm', 'pgd'), help='also measure the error under this attack')
    parser.add_argument(
        '--eps', metavar='SIZE', help=f'size of the attack for pixels in [0, 1], such as {_EPS}, the default'
    )
    parser.add_argument('--attack-step', metavar='SIZE', help='of pgd: size of a step (default: a quarter of --eps)')
    parser.add_argument('--attack-iterations', type=int, metavar='N', help='of pgd: number of steps (default: 10)')
    told = "also measure the errors on images with these corruptions; 'all': every kind"
    parser.add_list('--corruptions', is_name, metavar='KIND ...', help=told)
    told = 'of corruptions, from 1 to 5 (default: all)'
    parser.add_list('--severities', is_integer, type=int, metavar='N ...', help=told)
    told = 'the folder of their published images, of CIFAR-10-C or ImageNet-C (default: they are computed)'
    parser.add_argument('--corrupted-images', metavar='DIR', help=told)
    told = 'also measure the errors on images of which this share of the patches is black'
    parser.add_list('--occlusion', is_number, type=float, metavar='SHARE ...', help=told)
    parser.add_argument('--calibration', action='store_true', help='also measure calibration errors')
    told = "also measure top-1 and top-2 accuracy on images that the recipe's policy mixes"
    parser.add_argument('--mixed-accuracy', action='store_true', help=told)


def measurements_of(args: argparse.Namespace) -> list[Measurement]:
    """Return what the options of `add_measurements` ask for.

    Raises:
        InputError: an option belongs to another one, which is missing.
    """
    return [*_attack(args), *_corruptions(args), *_occlusion(args), *_calibration(args), *_mixed_accuracy(args)]


def _attack(args: argparse.Namespace) -> list[Measurement]:
    given = {'--eps': args.eps, '--attack-step': args.attack_step, '--attack-iterations': args.attack_iterations}
    said = {option: value for option, value in given.items() if value is not None}
    taken = {'fgsm': ['--eps'], 'pgd': list(given)}.get(args.attack, [])
    for option in said:
        if option not in taken:
            raise InputError(f'{option} belongs to --attack {"fgsm or pgd" if option == "--eps" else "pgd"}; add that')
    if args.attack is None:
        return []
    names = {'--eps': 'eps', '--attack-step': 'step', '--attack-iterations': 'iterations'}
    type_ = {'fgsm': 'FGSMHook', 'pgd': 'PGDHook'}[args.attack]
    hook = {'type': type_, **{names[option]: value for option, value in said.items()}}
    how = [said.get('--eps', _EPS)]
    how += [f'steps of {args.attack_step}'] if args.attack_step else []
    how += [f'{args.attack_iterations} steps'] if args.attack_iterations is not None else []
    key = f'{args.attack}/error'
    options = ('--attack', args.attack, *_words(said))
    return [Measurement({f'{key} ({", ".join(how)})': key}, options, hook=hook)]


def _corruptions(args: argparse.Namespace) -> list[Measurement]:
    if args.corruptions is None:
        for option in ('--severities', '--corrupted-images'):
            if vars(args)[option[2:].replace('-', '_')] is not None:
                raise InputError(f'{option} belongs to --corruptions; add that')
        return []
    kinds = [] if args.corruptions == ['all'] else list(args.corruptions)
    severities = list(args.severities or [])
    said = {**({'kinds': kinds} if kinds else {}), **({'severities': severities} if severities else {})}
    how = [', '.join(kinds)] if kinds else []
    how += [f'severity {", ".join(map(str, severities))}'] if severities else []
    options = ('--corruptions', *args.corruptions, *(['--severities', *map(str, severities)] if severities else []))
    key, root = 'corruption/error', args.corrupted_images
    if root is not None:
        how, options = [Path(root).resolve().name, *how], (*options, '--corrupted-images', root)
    columns = {key + (f' ({"; ".join(how)})' if how else ''): key}
    if root is not None:
        return [Measurement(columns, options, files={'root': root, **said})]
    return [Measurement(columns, options, hook={'type': 'CorruptionHook', **said})]


def _occlusion(args: argparse.Namespace) -> list[Measurement]:
    if args.occlusion is None:
        return []
    for share in args.occlusion:
        check_number('--occlusion: a share of the patches', share, 0.0, 1.0)
    shares = [f'{share:g}' for share in args.occlusion]
    key = 'occlusion/error'
    hook = {'type': 'OcclusionHook', 'shares': list(args.occlusion)}
    return [Measurement({f'{key} ({", ".join(shares)})': key}, ('--occlusion', *shares), hook=hook)]


def _calibration(args: argparse.Namespace) -> list[Measurement]:
    if not args.calibration:
        return []
    keys = [f'calibration/{name}' for name in ('ece', 'rms', 'mce', 'brier')]
    return [Measurement({key: key for key in keys}, ('--calibration',), metric={'type': 'Calibration'})]


def _mixed_accuracy(args: argparse.Namespace) -> list[Measurement]:
    if not args.mixed_accuracy:
        return []
    columns = {key: key for key in ('mixed_accuracy/top1', 'mixed_accuracy/top2')}
    hook, none_if = {'type': 'MixedAccuracyHook'}, 'its policy mixes nothing'
    return [Measurement(columns, ('--mixed-accuracy',), hook=hook, none_if=none_if)]


def _words(said: dict[str, Any]) -> Sequence[str]:
    return [word for option, value in said.items() for word in (option, str(value))]


def hooks_of(measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return the registry dicts of the hooks of measurements."""
    return [measurement.hook for measurement in measured if measurement.hook is not None]


def with_metrics(evaluator: Any, measured: Sequence[Measurement]) -> list[Any]:
    """Return an evaluator of a recipe as a list of metrics, with those of measurements that it does not have yet."""
    metrics = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
    there = {metric['type'] for metric in metrics}
    new = [one.metric for one in measured if one.metric is not None and one.metric['type'] not in there]
    return [*metrics, *new]


def corrupted_files_of(measured: Sequence[Measurement]) -> dict[str, Any] | None:
    """Return the arguments of `corrupted_tests` of measurements; None if none reads files."""
    return next((measurement.files for measurement in measured if measurement.files is not None), None)
