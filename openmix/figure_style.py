"""One style for all figures: readable in grey and by colour-blind people, and the same file for the same data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmix.files import appearing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people tell apart; markers, dashes and hatches tell them apart in grey.
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#D55E00', '#CC79A7', '#56B4E9', '#000000', '#7F7F7F')
MARKERS = 'osD^vPX*'
DASHES = ('-', '--', '-.', ':')
HATCHES = ('', '///', '...', 'xxx', '\\\\\\', '++', 'oo', '--')
STYLE: dict[Any, Any] = {
    'font.size': 8,
    'axes.titlesize': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '0.9',
    'hatch.linewidth': 0.5,
    'legend.framealpha': 0.8,
    'legend.edgecolor': 'none',
    'legend.fontsize': 7,
    'svg.hashsalt': 'openmix',  # else an unchanged figure is another file each time
}


def look(i: int) -> dict[str, Any]:
    """Return colour, marker and dash of the i-th line of a figure, as arguments of matplotlib's functions."""
    shown_as = {'color': COLOURS[i % len(COLOURS)], 'marker': MARKERS[i % len(MARKERS)]}
    # Colours and markers come in pairs; the next round of them has rings.
    shown_as |= {'markerfacecolor': 'none'} if i // len(COLOURS) % 2 else {}
    return shown_as | {'markersize': 4, 'linestyle': DASHES[i % len(DASHES)], 'linewidth': 1.2}


def save(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to files, each in the format of its suffix."""
    for path in paths:
        with appearing(path) as partial:
            # Without a date an unchanged figure is the same file.
            figure.savefig(partial, dpi=200, metadata={'Date': None} if path.suffix == '.svg' else None)
