"""Figures of mixed batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from openmix.errors import InputError
from openmix.mix import Mix


@dataclass(frozen=True)
class MixedBatch:
    """A batch before and after mixing by one policy, ready to draw.

    Attributes:
        title: title of the row, the policy.
        pixels: (N, 3, H, W) clean images in [0, 1].
        mixed: (N, 3, H, W) mixed images in [0, 1]; None if a hidden layer was mixed.
        labels: (N,) int64.
        mix: how the batch was mixed.
        maps: intermediate maps such as masks, by name, each (N, 1, h, w).
    """

    title: str
    pixels: Tensor
    mixed: Tensor | None
    labels: Tensor
    mix: Mix
    maps: dict[str, Tensor] = field(default_factory=dict)


def draw_mixes(batches: Sequence[MixedBatch], classes: Sequence[str], count: int = 8) -> Figure:
    """Draw, for every policy, a row each of samples, partners and mixed images, and one row per map.

    Where a policy mixes the same pairs as the one above it, their samples and partners are drawn once.

    Args:
        batches: one batch per policy.
        classes: class names, by label.
        count: number of samples to show.
    """
    count = min(count, *(len(batch.labels) for batch in batches))
    repeated = [bool(b) and _same_pairs(batches[b - 1], batch, count) for b, batch in enumerate(batches)]
    rows = [(1 if again else 3) + len(batch.maps) for again, batch in zip(repeated, batches)]
    figure = Figure(figsize=(1.35 * count + 0.9, 1.45 * sum(rows) + 0.25 * len(batches)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(sum(rows), count, squeeze=False)
    for b, batch in enumerate(batches):
        first = sum(rows[:b])
        _draw_one(axes[first : first + rows[b]], batch, classes, clean=not repeated[b])
    return figure


def _same_pairs(one: MixedBatch, other: MixedBatch, count: int) -> bool:
    """Return true if two batches have the same first samples and partners, with the same labels."""
    for rows, others in ((one.mix.source[:, 0], other.mix.source[:, 0]), (one.mix.partner, other.mix.partner)):
        mine, yours = rows[:count], others[:count]
        if not torch.equal(one.pixels[mine], other.pixels[yours]):
            return False
        if not torch.equal(one.labels[mine], other.labels[yours]):
            return False
    return True


def draw_gallery(batches: Sequence[MixedBatch], classes: Sequence[str], count: int = 6) -> Figure:
    """Draw what many policies make of the same pairs: the samples, their partners, and a row of mixed images a policy.

    Above a mixed image stand the label shares of sample and partner; or its classes, where its sources are others.

    Args:
        batches: one batch per policy, of the same clean images.
        classes: class names, by label.
        count: number of pairs to show.

    Raises:
        InputError: no policy mixed pairs.
    """
    pairs = next((batch.mix for batch in batches if batch.mix.source.shape[1] == 2), None)
    if pairs is None:
        raise InputError('a gallery needs a policy that mixes pairs; draw others one by one')
    count = min(count, len(pairs.source))
    figure = Figure(figsize=(1.1 * count + 1.3, 1.22 * (len(batches) + 2)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(batches) + 2, count, squeeze=False)
    clean = batches[0]
    names = [classes[label] for label in clean.labels.tolist()]
    for row, places in enumerate((pairs.source[:, 0].tolist(), pairs.partner.tolist())):
        for ax, place in zip(axes[row], places):
            _show(ax, clean.pixels[place], names[place])
    for row, batch in zip(axes[2:], batches, strict=True):
        for n, ax in enumerate(row):
            _show(ax, None if batch.mixed is None else batch.mixed[n], _shares(batch.mix, pairs, names, n))
    titles = ['sample', 'partner', *(batch.title for batch in batches)]
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.set_ylabel(title, fontsize=8, rotation=0, ha='right', va='center')
    return figure


def _shares(mix: Mix, pairs: Mix, names: Sequence[str], n: int) -> str:
    """Write the label shares of image n: numbers alone for a pair that is one of `pairs`, else with class names."""
    weight, source = mix.weight[n].tolist(), mix.source[n].tolist()
    if source == pairs.source[n].tolist():
        return ' / '.join(f'{share:.2f}' for share in weight)
    return '\n'.join(f'{names[place]} {share:.2f}' for place, share in zip(source, weight) if share)


def draw_strip(mixed: Tensor, lams: Sequence[float], titles: Sequence[str]) -> Figure:
    """Draw a figure with one row per pair and one column per lam.

    Args:
        mixed: (N, L, 3, H, W) in [0, 1].
        lams: the L values of lam.
        titles: one per pair.
    """
    n, count = mixed.shape[:2]
    figure = Figure(figsize=(1.1 * count + 0.6, 1.25 * n + 0.2), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(n, count, squeeze=False)
    for i, (row, title, images) in enumerate(zip(axes, titles, mixed, strict=True)):
        for ax, lam, image in zip(row, lams, images, strict=True):
            _show(ax, image, '' if i else f'λ = {lam:.1f}')
        row[0].set_ylabel(title, fontsize=7)
    return figure


def draw_columns(columns: Mapping[str, Tensor]) -> Figure:
    """Draw a column of images for each name.

    Args:
        columns: name -> (N, 3, H, W) in [0, 1], of one N.
    """
    n = len(next(iter(columns.values())))
    figure = Figure(figsize=(1.25 * len(columns), 1.25 * n + 0.3), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(n, len(columns), squeeze=False)
    for i, (name, images) in enumerate(columns.items()):
        for j, image in enumerate(images):
            _show(axes[j][i], image, '' if j else name)
    return figure


def _draw_one(axes: np.ndarray, batch: MixedBatch, classes: Sequence[str], clean: bool = True) -> None:
    """Draw the rows of one policy; without `clean` those of samples and partners are left out."""
    own, partner, lam = batch.mix.source[:, 0].tolist(), batch.mix.partner.tolist(), batch.mix.lam.tolist()
    names = [classes[label] for label in batch.labels.tolist()]
    for n in range(len(axes[0])):
        if clean:
            _show(axes[0][n], batch.pixels[own[n]], names[own[n]])
            _show(axes[1][n], batch.pixels[partner[n]], names[partner[n]])
        share = ''.join(f'\n{names[s]} {w:.2f}' for s, w in zip(batch.mix.source[n], batch.mix.weight[n].tolist()) if w)
        for row, (name, maps) in enumerate(batch.maps.items(), 2 if clean else 0):
            _show_map(axes[row][n], maps[n, 0], shares=name == 'mask')
        _show(axes[-1][n], None if batch.mixed is None else batch.mixed[n], f'λ = {lam[n]:.2f}{share}')
    for row, text in enumerate((*(('sample', 'partner') if clean else ()), *batch.maps, batch.title)):
        axes[row][0].set_ylabel(text, fontsize=8, fontweight='bold' if row == len(axes) - 1 else 'normal')


def _show_map(ax: Axes, values: Tensor, shares: bool) -> None:
    """Draw one map: shares in gray from 0 (black, partner) to 1 (white, sample), others in colour over their range."""
    _bare(ax, '')
    low, high = (0.0, 1.0) if shares else (float(values.min()), float(values.max()))
    ax.imshow(values.cpu().numpy(), cmap='gray' if shares else 'magma', vmin=low, vmax=high, interpolation='nearest')


def _bare(ax: Axes, title: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title, fontsize=6.5, pad=2)


def _show(ax: Axes, image: Tensor | None, title: str) -> None:
    _bare(ax, title)
    if image is None:
        ax.set_facecolor('0.93')
        ax.text(0.5, 0.5, 'features', ha='center', va='center', fontsize=7, transform=ax.transAxes)
        ax.set_aspect('equal')
    else:
        ax.imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy(), interpolation='nearest')


def to_array(figure: Figure) -> Tensor:
    """Render a figure as a (3, H, W) uint8 tensor, for TensorBoard."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)
