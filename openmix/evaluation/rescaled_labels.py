"""Draw the rescaled label r(lam) of DM(BCE) over lam, as in Decoupled Mixup, Figure 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from openmix.figure_style import STYLE, look, save
from openmix.losses.decoupled import rescale

# (xi, t): two-hot encoding, the linear one, and the grid of section 4.5 along each of both.
OF_THE_PAPER = ((0.0, 0.0), (1.0, 1.0), (0.8, 1.0), (1.0, 0.5), (1.0, 2.0), (0.8, 0.5))


def rescaled(xi: float, t: float, count: int) -> list[tuple[float, float]]:
    """Return (lam, r(lam, t, xi)) at `count` shares, evenly from 0 to 1, see `rescale`."""
    lam = torch.linspace(0, 1, count, dtype=torch.float64)
    return list(zip(lam.tolist(), rescale(lam, t, xi).tolist(), strict=True))


def draw_rescaled(pairs: Sequence[tuple[float, float]], paths: Sequence[Path], count: int = 101) -> None:
    """Draw a curve for each (xi, t); at lam = 0, where the class is not in the image, the label is 0.

    Args:
        pairs: (xi, t) of each curve.
        paths: files to write.
        count: number of shares.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 3.4), layout='constrained')
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        for i, (xi, t) in enumerate(pairs):
            x, y = zip(*rescaled(xi, t, count)[1:], strict=True)
            ax.plot(x, y, label=f'ξ = {xi:g}, t = {t:g}', markevery=max(1, count // 10), **look(i))
        ax.set(xlabel='λ', ylabel='rescaled label r(λ)', xlim=(0, 1), ylim=(0, 1.04))
        ax.legend()
        save(figure, paths)
