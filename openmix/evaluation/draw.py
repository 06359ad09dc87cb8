"""Pictures of mixed batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from openmix.mix import Mix


@dataclass(frozen=True)
class MixedBatch:
    """One policy's work on a batch, ready to draw.

    Attributes:
        title: of the row, the policy.
        pixels: (N, 3, H, W) in [0, 1] before mixing.
        mixed: (N, 3, H, W) in [0, 1] after; None where a hidden site was mixed.
        labels: (N,) int64.
        mix: how.
    """

    title: str
    pixels: Tensor
    mixed: Tensor | None
    labels: Tensor
    mix: Mix


def draw_mixes(batches: Sequence[MixedBatch], classes: Sequence[str], count: int = 8) -> Figure:
    """A figure with three rows a policy: the samples, their partners, and what came of them.

    Args:
        batches: one a policy.
        classes: names, by label.
        count: how many samples to show.
    """
    count = min(count, *(len(batch.labels) for batch in batches))
    rows = 3 * len(batches)
    figure = Figure(figsize=(1.35 * count + 0.9, 1.45 * rows + 0.25 * len(batches)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, count, squeeze=False)
    for b, batch in enumerate(batches):
        _draw_one(axes[3 * b : 3 * b + 3], batch, classes)
    return figure


def _draw_one(axes: np.ndarray, batch: MixedBatch, classes: Sequence[str]) -> None:
    own, partner, lam = batch.mix.source[:, 0].tolist(), batch.mix.partner.tolist(), batch.mix.lam.tolist()
    names = [classes[label] for label in batch.labels.tolist()]
    for n in range(len(axes[0])):
        _show(axes[0][n], batch.pixels[own[n]], names[own[n]])
        _show(axes[1][n], batch.pixels[partner[n]], names[partner[n]])
        share = ''.join(f'\n{names[s]} {w:.2f}' for s, w in zip(batch.mix.source[n], batch.mix.weight[n].tolist()))
        _show(axes[2][n], None if batch.mixed is None else batch.mixed[n], f'λ = {lam[n]:.2f}{share}')
    for row, text in enumerate(('sample', 'partner', batch.title)):
        axes[row][0].set_ylabel(text, fontsize=8, fontweight='bold' if row == 2 else 'normal')


def _show(ax: Axes, image: Tensor | None, title: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title, fontsize=6.5, pad=2)
    if image is None:
        ax.set_facecolor('0.93')
        ax.text(0.5, 0.5, 'features', ha='center', va='center', fontsize=7, transform=ax.transAxes)
        ax.set_aspect('equal')
    else:
        ax.imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy(), interpolation='nearest')


def to_array(figure: Figure) -> Tensor:
    """(3, H, W) uint8, for TensorBoard."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)
