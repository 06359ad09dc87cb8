"""What a classifier predicts between two images: probabilities of both classes over the share of the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from torch import Tensor

from openmix.algorithm import algorithm_of
from openmix.errors import InputError, check_number
from openmix.evaluation.accuracy import labels_and_ids, rows_of_all
from openmix.figure_style import STYLE, look, save
from openmix.ops.pairs import other_partners
from openmix.registry import HOOKS

NAMES = ('share', 'ratio', 'confidence', 'accuracy')
_LEAST = 1e-12  # a probability below it counts as it, so that a ratio is finite


def shares(count: int) -> list[float]:
    """Return `count` shares of the first image, evenly from 0 to 1 without both ends, rounded to 4 digits."""
    return [round(i / (count + 1), 4) for i in range(1, count + 1)]


def predictions_between(logits_of: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, lam: float) -> Tensor:
    """Predict lam x_a + (1 - lam) x_b for pairs of images of two classes.

    Args:
        logits_of: maps (N, 3, H, W) images to (N, C) logits.
        x: (N, 3, H, W) images, the first of each pair in the first half; N is even.
        y: (N,) int64 classes; those of a pair differ.
        lam: share of the first image.

    Returns:
        (N / 2, 4) float64 by pair: p_a / (p_a + p_b), p_a / p_b, the largest probability, and 1 if the most probable
        class is a or b.
    """
    (first, second), (a, b) = x.chunk(2), y.chunk(2)
    p = logits_of(lam * first + (1 - lam) * second).double().softmax(1)
    p_a, p_b = (p.gather(1, label[:, None])[:, 0].clamp(min=_LEAST) for label in (a, b))
    largest, likeliest = p.max(1)
    return torch.stack([p_a / (p_a + p_b), p_a / p_b, largest, ((likeliest == a) | (likeliest == b)).double()], 1)


@HOOKS.register_module()
class MixedPredictionsHook(Hook):
    """Measure what the evaluated network predicts between the test images of each batch and images of other classes.

    For each share lam of the first image it adds `between/<lam>/<name>` to the metrics of a test: the mean `share`
    p_a / (p_a + p_b), the median `ratio` p_a / p_b, the mean `confidence` (largest probability) and the `accuracy`, the
    part of the pairs whose most probable class is one of the two. Each image begins one pair, unless its partner is of
    its class. Partners are drawn within the batch, so the loader must shuffle classes. No draw is taken from
    training's generators.

    Args:
        count: number of shares, see `shares`.

    Raises:
        InputError: `count` is no positive integer; in a test, no batch has images of two classes.
    """

    priority = 'HIGHEST'

    def __init__(self, count: int = 19) -> None:
        check_number('MixedPredictionsHook: count', count, 1)
        self.lams = shares(count)
        self.rows: list[Tensor] = []

    def before_test_epoch(self, runner: Any) -> None:
        self.rows.clear()

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        model = algorithm_of(runner.model)
        network = model.network('MixedPredictionsHook')
        batch = model.data_preprocessor(data_batch, training=False)
        x, (y, ids) = batch['inputs'], labels_and_ids(batch)
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            torch.manual_seed(batch_idx)
            partner = other_partners(len(x), x.device)
        kept = y != y[partner]
        pairs, labels = torch.cat([x[kept], x[partner[kept]]]), torch.cat([y[kept], y[partner[kept]]])
        if len(pairs):
            found = [predictions_between(network, pairs, labels, lam) for lam in self.lams]
            self.rows.append(torch.cat([ids[kept, None].double(), *found], 1).cpu())

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if not any(all_gather_object(bool(self.rows))):
            raise InputError('MixedPredictionsHook: no batch has images of two classes; shuffle the test images')
        pairs = rows_of_all(self.rows)[:, 1:]
        if metrics is None:
            return
        for lam, rows in zip(self.lams, pairs.chunk(len(self.lams), 1)):
            values = [rows[:, 0].mean(), rows[:, 1].median(), rows[:, 2].mean(), rows[:, 3].mean()]
            metrics |= {f'between/{lam:g}/{name}': value.item() for name, value in zip(NAMES, values)}


def by_share(metrics: Mapping[str, float]) -> dict[float, dict[str, float]]:
    """Sort the metrics of `MixedPredictionsHook` by share: lam -> name -> value."""
    found: dict[float, dict[str, float]] = {}
    for key, value in metrics.items():
        place, *rest = key.split('/')
        if place == 'between':
            lam, name = rest
            found.setdefault(float(lam), {})[name] = value
    return found


def draw_between(curves: Mapping[str, Mapping[float, Mapping[str, float]]], paths: Sequence[Path]) -> None:
    """Draw the ratio of both probabilities against that of both shares, and overconfidence against the share.

    A network that predicts the shares of its images lies on the diagonal of the left panel; one that is as confident as
    it is accurate lies on the line at zero of the right panel.

    Args:
        curves: by name of a checkpoint, see `by_share`.
        paths: files to write.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.4), layout='constrained')
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for i, (name, curve) in enumerate(curves.items()):
            lams, shown_as = list(curve), look(i)
            odds = [lam / (1 - lam) for lam in lams]
            left.plot(odds, [curve[lam]['ratio'] for lam in lams], label=name, **shown_as)
            gaps = [100 * (curve[lam]['confidence'] - curve[lam]['accuracy']) for lam in lams]
            right.plot(lams, gaps, label=name, **shown_as)
        left.plot(odds, odds, color='0.5', linewidth=0.8, label='as mixed')
        left.set(xscale='log', yscale='log', xlabel='λ / (1 - λ)', ylabel='median of $p_a$ / $p_b$')
        right.axhline(0, color='0.5', linewidth=0.8)
        right.set(xlabel='λ, share of image a', ylabel='confidence minus accuracy (points)')
        left.legend()
        right.legend()
        save(figure, paths)
