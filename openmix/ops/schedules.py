"""Schedules: values that change over training, as functions of the iteration alone."""

from __future__ import annotations

import math


def linear_ramp(progress: float, over: float) -> float:
    """Rise from 0 at progress 0 to 1 at progress `over`, and stay there; 1 throughout if `over` is 0."""
    return min(1.0, progress / over) if over else 1.0


def cosine(start: float, end: float, progress: float) -> float:
    """Anneal along half a cosine from `start` at progress 0 to `end` at progress 1."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2


def compounded_cosine(step: int, steps: int) -> float:
    """Compute the product of (1 + cos(pi s / steps)) / 2 over s = 0 .. step, which falls to zero in a few epochs.

    This is a cosine schedule that is applied to its own previous value at every iteration. With
    x = pi s / (2 steps) a factor is cos(x)^2 = exp(-x^2 - x^4 / 6 - ...). The sums of these two powers have
    a closed form; the neglected terms are below 1 % while the product is above 0.1.

    Args:
        step: the iteration, from 0.
        steps: number of iterations in total.
    """
    unit = (math.pi / (2 * steps)) ** 2
    squares = step * (step + 1) * (2 * step + 1) / 6
    fourths = squares * (3 * step * step + 3 * step - 1) / 5
    return math.exp(-unit * squares - unit * unit * fourths / 6)
