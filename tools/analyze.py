"""Analyse the errors of a checkpoint on a recipe's test images: tools/analyze.py CONFIG CHECKPOINT [options]."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from openmix.arguments import CommandParser, check_out
from openmix.config import load_config
from openmix.config_files import work_dir_of
from openmix.csv_text import field
from openmix.entry_point import command
from openmix.errors import InputError, check_number
from openmix.files import write_text

_FILES = ('confusion.csv', 'classes.csv', 'reliability.csv', 'calibration.json')
_CLASSES = ('class', 'images', 'right', 'accuracy')
_BINS = ('fit', 'low', 'high', 'images', 'confidence', 'accuracy')


def parse_args() -> argparse.Namespace:
    parser = CommandParser('Analyse where a classifier errs: confusion, classes, reliability and temperature.')
    parser.add_recipe()
    parser.add_argument('checkpoint', help='a file written by tools/train.py')
    parser.add_argument('--bins', type=int, default=15, metavar='N', help='bins of confidence (default: 15)')
    parser.add_ema()
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='the folder of the files (default: analysis/ in the run)'
    )
    parser.add_cfg_options()
    return parser.parse_args()


def as_csv(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(map(field, row) for row in (head, *rows))
    return text.getvalue()


@command
def main() -> None:
    args = parse_args()
    check_number('--bins', args.bins, 1)
    cfg = load_config(args.config, args.cfg_options)
    out = args.out or Path(cfg.get('work_dir') or work_dir_of(args.config)) / 'analysis'
    for name in _FILES:
        check_out('--out', out / name)
    from openmix.engine import launch
    from openmix.engine.answers import check_answers
    from openmix.evaluation import analysis
    from openmix.evaluation.calibration import calibration_errors, check_torchmetrics
    from openmix.evaluation.logits_hook import Answers, read_answers
    from openmix.registry import DATASETS

    check_torchmetrics('tools/analyze.py')
    cfg = launch.prepare(cfg)
    cfg.work_dir = cfg.get('work_dir') or str(work_dir_of(args.config))
    if cfg.get('test_dataloader') is None:
        raise InputError('the recipe has no test_dataloader, which says what to analyse')
    check_answers(cfg, {'logits'}, '', 'analyze')
    classes = list(DATASETS.build(dict(cfg.test_dataloader.dataset)).known.classes)
    with TemporaryDirectory() as folder:
        file = Path(folder) / 'answers.npz'
        launch.evaluate(cfg, args.checkpoint, args.ema, hooks=[{'type': 'SaveLogitsHook', 'out': str(file)}])
        answers = read_answers(file)
    classes += [f'class {i}' for i in range(len(classes), answers.logits.shape[1])]
    counts = analysis.confusion(answers)
    # Fitted on one half of the images and measured on the other, else the temperature would know the answers.
    fitted = answers.ids % 2 == 0
    if not fitted.any() or fitted.all():
        raise InputError('a temperature is fitted on one half of the test images and measured on the other: take two')
    half = answers.logits[fitted], answers.labels[fitted]
    why = analysis.no_temperature(*half)
    temperature = None if why else analysis.fit_temperature(*half)
    held_out = Answers(*(values[~fitted] for values in answers))
    found, bins = {}, {}
    for name, scale in {'as trained': 1.0, 'scaled': temperature}.items():
        if scale is None:
            continue
        confidence, right, nll = analysis.confidence(held_out, scale)
        found[name] = {'nll': nll, **calibration_errors(confidence, right, args.bins)}
        bins[name] = analysis.reliability(confidence, right, args.bins)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / 'confusion.csv', as_csv(['', *classes], ([a, *b] for a, b in zip(classes, counts.tolist()))))
    totals, hits = counts.sum(1).tolist(), counts.diag().tolist()
    accuracy = [100 * hit / total if total else '' for hit, total in zip(hits, totals)]
    write_text(out / 'classes.csv', as_csv(_CLASSES, zip(classes, totals, hits, accuracy)))
    write_text(out / 'reliability.csv', as_csv(_BINS, ([name, *one] for name in bins for one in bins[name])))
    said = {'checkpoint': args.checkpoint, 'ema': args.ema, 'temperature': temperature, **found}
    write_text(out / 'calibration.json', json.dumps(said, indent=1) + '\n')
    kinds = ('png', 'svg')
    analysis.draw_confusion(counts, classes, [out / f'confusion.{kind}' for kind in kinds])
    names = {'as trained': 'as trained', 'scaled': f'T = {temperature or 1:.2f}'}
    curves = {names[name]: one for name, one in bins.items()}
    analysis.draw_reliability(curves, [out / f'reliability.{kind}' for kind in kinds])
    if why:
        print(f'no temperature: {why}', file=sys.stderr)
    print(out)


if __name__ == '__main__':
    main()
    from openmix.engine.launch import end_process

    end_process()
