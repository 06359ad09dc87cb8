"""Where a classifier errs: confusion of classes, accuracy by class, reliability, and temperature scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from openmix.errors import InputError, check_number
from openmix.evaluation.logits_hook import Answers
from openmix.figure_style import COLOURS, STYLE, save

_MOST_NUMBERS = 20  # largest number of classes whose counts are written into the squares


class Bin(NamedTuple):
    """Images whose confidence is in (low, high]: their number, mean confidence and accuracy; nan without images."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


def confusion(answers: Answers) -> Tensor:
    """Count the images of each class by predicted class: (C, C) int64, true classes in rows."""
    classes = answers.logits.shape[1]
    place = answers.labels * classes + answers.logits.argmax(1)
    return torch.bincount(place, minlength=classes**2).reshape(classes, classes)


def confidence(answers: Answers, temperature: float = 1.0) -> tuple[Tensor, Tensor, float]:
    """Return (N,) largest probabilities, (N,) 1 where their class is right and else 0, and the mean cross-entropy.

    Args:
        answers: of N images.
        temperature: what logits are divided by.
    """
    share = (answers.logits.double() / temperature).log_softmax(1)
    largest, likeliest = share.exp().max(1)
    return largest, (likeliest == answers.labels).long(), F.nll_loss(share, answers.labels).item()


def reliability(confidence: Tensor, right: Tensor, bins: int) -> list[Bin]:
    """Sort images into `bins` bins of equal width by confidence (Guo et al., 2017, section 2).

    Args:
        confidence: (N,) largest probabilities.
        right: (N,) 1 where the most probable class is right, else 0.

    Raises:
        InputError: `bins` is no positive integer.
    """
    check_number('bins', bins, 1)
    found = []
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = (confidence > low) & (confidence <= high)
        means = [values[inside].double().mean().item() for values in (confidence, right)]
        found.append(Bin(low, high, int(inside.sum()), *means))
    return found


def no_temperature(logits: Tensor, labels: Tensor) -> str | None:
    """Say why no temperature is best, or return None where one is.

    In 1 / T the cross-entropy is convex. Its slope at 0 is the mean of (mean_c z_c - z_y), and its slope at infinity
    the mean of (max_c z_c - z_y); a minimum between them needs the first below and the second above 0.

    Args:
        logits, labels: see `fit_temperature`.
    """
    z = logits.double()
    own = z.gather(1, labels[:, None])[:, 0]
    if (z.amax(1) <= own).all():
        return 'every image that it is fitted on is classified rightly, so lower ones are ever better'
    if (z.mean(1) - own).mean() >= 0:
        return (
            'the logits of the images that it is fitted on say nothing of their classes, so higher ones are ever better'
        )
    return None


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature T > 0 of softmax(z / T) with the least cross-entropy (Guo et al., 2017, section 4.2).

    Args:
        logits: (N, C).
        labels: (N,) int64.

    Raises:
        InputError: there is none, see `no_temperature`.
    """
    why = no_temperature(logits, labels)
    if why:
        raise InputError(f'no temperature is best: {why}')
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)  # log T
    optimizer = torch.optim.LBFGS([scale], max_iter=200, line_search_fn='strong_wolfe')
    z = logits.double()

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(z * (-scale).exp(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return scale.exp().item()


def draw_confusion(counts: Tensor, classes: Sequence[str], paths: Sequence[Path]) -> None:
    """Draw a confusion matrix, each row as percent of its class."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    share = 100 * counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    side = max(4.0, 0.4 * min(len(classes), 40) + 1.5)
    with rc_context(STYLE):
        figure = Figure(figsize=(side + 0.8, side), layout='constrained')
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        image = ax.imshow(share.numpy(), cmap='cividis', vmin=0, vmax=100)
        ax.grid(visible=False)
        if len(classes) <= _MOST_NUMBERS:
            for row, values in enumerate(share.tolist()):
                for column, value in enumerate(values):
                    colour = 'white' if value < 50 else 'black'
                    ax.text(column, row, f'{value:.0f}', ha='center', va='center', color=colour, fontsize=7)
            ax.set_xticks(range(len(classes)), classes, rotation=45, ha='right')
            ax.set_yticks(range(len(classes)), classes)
        ax.set(xlabel='predicted', ylabel='true')
        figure.colorbar(image, ax=ax, label='% of the true class', shrink=0.8)
        save(figure, paths)


def draw_reliability(bins: Mapping[str, Sequence[Bin]], paths: Sequence[Path]) -> None:
    """Draw accuracy over confidence, with the share of images in each bin.

    Args:
        bins: by name of a curve, such as before and after temperature scaling.
        paths: files to write.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.2), layout='constrained')
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for (name, shown), colour, marker in zip(bins.items(), COLOURS, 'os'):
            taken = [one for one in shown if one.images]
            x, y = [one.confidence for one in taken], [one.accuracy for one in taken]
            upper.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2, label=name)
            total = sum(one.images for one in taken)
            middles = [(one.low + one.high) / 2 for one in taken]
            lower.step(middles, [100 * one.images / total for one in taken], color=colour, where='mid')
        upper.plot([0, 1], [0, 1], color='0.5', linewidth=0.8, label='calibrated')
        upper.set(ylabel='accuracy', xlim=(0, 1), ylim=(0, 1))
        upper.legend()
        lower.set(xlabel='confidence', ylabel='images (%)')
        save(figure, paths)
