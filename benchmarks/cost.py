"""Estimate the cost of tables: benchmarks/cost.py [TABLE ...] [--tflops RATE ...] [--gpus N ...] [--least-batch M].

FLOPs of a training step are counted, not timed, by running each policy on two images of the recipe's size.
"""

import argparse
import heapq
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.flops import recipe_flops
from openmix.benchmark.cell import Cell
from openmix.benchmark.chain import WEIGHTS, earlier_of
from openmix.benchmark.table import Table, load_table, table_names
from openmix.benchmark.trial import Trial
from openmix.entry_point import command
from openmix.errors import InputError, check_number
from openmix.registry import DATASETS

GPUS_A_NODE = 8


class Training(NamedTuple):
    """Runs of a table with the same cost.

    Attributes:
        recipe, policy: name of the recipe, and of the policy or another algorithm, which determine the cost.
        flops: FLOPs of one whole training.
        batch: images per step.
        runs: number of such runs in the table.
    """

    recipe: str
    policy: str
    flops: float
    batch: int
    runs: int


def images_trained(cfg: Config) -> int | None:
    """Count the images that a training draws, of all pools; None if its data have no official size."""
    loop, each = cfg.get('train_cfg') or {}, images_an_epoch(dict(cfg.train_dataloader.dataset))
    if not each:
        return None
    if 'max_iters' in loop:
        return loop['max_iters'] * batch_of(cfg)
    return each * loop['max_epochs'] if loop.get('max_epochs') else None


def images_an_epoch(dataset: Mapping[str, Any]) -> int | None:
    """Count the images that an epoch draws, of all pools; None if they have no official size, or a file lists them."""
    given = {key: value for key, value in dataset.items() if key != 'type'}
    cls = DATASETS.get(dataset['type'])
    if pools := cls.pools(**given):
        # As `PoolSampler` draws them: every image of both pools.
        labelled, unlabelled = (images_an_epoch(pool) for pool in pools.values())
        group = cls.group(**given)
        return labelled and unlabelled and max(labelled, -(-unlabelled // (group - 1))) * group
    official, subset = getattr(cls, 'OFFICIAL', {}).get(given.get('split', 'train')), given.get('subset')
    if not official or isinstance(subset, str):
        return None
    return round(official * subset) if isinstance(subset, float) else subset or official


def kind_of(model: Mapping[str, Any]) -> str:
    """Return the policy of a recipe's model, or the algorithm if it has none of its own."""
    return str((model.get('policy') or model)['type'])


def passes_of(cfg: Config) -> str:
    """Return what the cost of a step depends on, as text: the model without alpha and the loss of its head."""

    def kept(node: Any, place: str = '') -> Any:
        if isinstance(node, Mapping):
            inner = {key: kept(value, f'{place}.{key}') for key, value in node.items()}
            return {key: value for key, value in inner.items() if key != 'alpha' and f'{place}.{key}' != '.head.loss'}
        return [kept(one, f'{place}[]') for one in node] if isinstance(node, (list, tuple)) else node

    return json.dumps(kept(cfg.model.to_dict()), sort_keys=True, default=str)


def batch_of(cfg: Config) -> int:
    """Return the number of images per step, over all processes."""
    return (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or cfg.train_dataloader.batch_size


def trainings(table: Table, known: dict[tuple[str, str, str], float]) -> list[Training]:
    """List the trainings of a table: cells of one folder count once, and so does an earlier stage that they share.

    A cell of data without an official size is left out with its stages. `known` caches FLOPs per image.
    """
    found: Counter[tuple[str, str, str, int, int]] = Counter()
    stages: dict[Path, Trial] = {}

    def add(cell: Cell, runs: int) -> bool:
        cfg = cell.resolve()
        images, key = images_trained(cfg), (cell.config, kind_of(cfg.model), passes_of(cfg))
        if images is None:
            return False
        if key not in known:
            known[key] = recipe_flops(cfg)
        found[(*key, images, batch_of(cfg))] += runs
        return True

    for cell in {cell.folder: cell for cell in table.cells if cell.implemented}.values():
        for index in range(table.trials if add(cell, table.trials) else 0):
            stage = earlier_of(cell, table.seed(index), WEIGHTS)
            while stage is not None:
                stages[stage.folder] = stage
                stage = stage.earlier
    for stage in stages.values():
        if not add(stage.cell, 1):
            raise InputError(f'{stage.cell.config}, an earlier stage, reads data of no official size')
    return [Training(r, p, known[r, p, m] * n, batch, runs) for (r, p, m, n, batch), runs in found.items()]


def makespan(found: Sequence[Training], gpus: int, rate: float, least_batch: int) -> float:
    """Estimate the hours until the last run ends, scheduling runs with the most GPUs first, then the longest.

    Args:
        found: the trainings.
        gpus: number of GPUs.
        rate: FLOPs per second of one GPU; the GPUs of a run are assumed to scale perfectly.
        least_batch: smallest number of images per GPU and step.
    """
    ends = [0.0] * gpus
    runs = [
        (width := gpus_of(t, gpus, least_batch), t.flops / rate / 3600 / width) for t in found for _ in range(t.runs)
    ]
    for width, hours in sorted(runs, reverse=True):
        taken = [heapq.heappop(ends) for _ in range(width)]
        for _ in taken:
            heapq.heappush(ends, taken[-1] + hours)
    return max(ends)


def gpus_of(training: Training, gpus: int, least_batch: int) -> int:
    """Return the number of GPUs of one run: a power of two, at most the eight of a node."""
    most = max(1, min(training.batch // least_batch, GPUS_A_NODE, gpus))
    return 1 << (most.bit_length() - 1)


def lines_of(name: str, found: Sequence[Training], args: Any) -> str:
    """Write one row of the Markdown table."""
    total = sum(training.flops * training.runs for training in found)
    cells = [name, str(sum(training.runs for training in found)), f'{total / 1e18:,.1f}']
    cells += [f'{total / rate / 3.6e15:,.0f}' for rate in args.tflops]
    rate = args.tflops[-1] * 1e12
    cells += [f'{makespan(found, gpus, rate, args.least_batch):,.1f}' for gpus in args.gpus]
    return '| ' + ' | '.join(cells) + ' |'


@command
def main() -> None:
    parser = argparse.ArgumentParser(description='Count what the trainings of tables cost.')
    parser.add_argument('tables', nargs='*', help='all with an official data set unless named')
    parser.add_argument('--tflops', type=float, nargs='+', default=[795.0, 80.0], help='sustained by one GPU')
    parser.add_argument('--gpus', type=int, nargs='+', default=[8, 64, 512], help='at the last rate')
    parser.add_argument('--least-batch', type=int, default=64, help='images of a step that a GPU should have')
    args = parser.parse_args()
    for key, values in (('--tflops', args.tflops), ('--gpus', args.gpus), ('--least-batch', [args.least_batch])):
        for value in values:
            check_number(key, value, 0.0 if key == '--tflops' else 1, above=key == '--tflops')
    init_default_scope('openmix')
    known: dict[tuple[str, str, str], float] = {}
    rows = []
    for name in track(args.tables or table_names(), 'counting', console=Console(stderr=True)):
        found = trainings(load_table(name), known)
        if found:
            rows.append(lines_of(name, found, args))
        elif args.tables:
            raise InputError(f"table '{name}' has no training whose data set has an official size")
    heads = ['table', 'trainings', 'EFLOPs', *(f'GPU-hours at {rate:g} TFLOP/s' for rate in args.tflops)]
    heads += [f'hours on {gpus}' for gpus in args.gpus]
    print('| ' + ' | '.join(heads) + ' |\n|' + '|'.join(['---'] + ['---:'] * (len(heads) - 1)) + '|')
    print('\n'.join(rows))
    print('\n| recipe | policy | GFLOPs an image |\n|---|---|---:|')
    for (recipe, policy, _), flops in sorted(known.items()):
        print(f'| {recipe} | {policy} | {flops / 1e9:,.2f} |')


if __name__ == '__main__':
    main()
