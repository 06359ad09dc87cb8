"""Tests of differences between two cells: over seeds, and over seeds and test images where both are recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from openmix.benchmark.records import deviation, mean

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """The mean of paired differences, with its uncertainty.

    Attributes:
        mean: mean over the pairs.
        half_width: half of its 95 % confidence interval; None for fewer than two pairs.
        p: p value of the two-sided test that the mean is zero; None for fewer than two pairs.
    """

    mean: float
    half_width: float | None
    p: float | None


def over_seeds(differences: Sequence[float]) -> Difference:
    """Test paired differences, one a seed, by Student's paired t test."""
    spread = deviation(differences)
    average = mean(differences)
    if average is None or spread is None:
        return Difference(average or 0.0, None, None)
    n = len(differences)
    return _by_student(average, spread / n**0.5, n - 1)


def over_seeds_and_images(differences: np.ndarray) -> Difference:
    """Test paired differences whose seeds and test images are both drawn at random.

    The variance of the mean is that of a two-way layout with one value a cell,
    (MS_seeds + MS_images - MS_rest) / (S N), and not below the larger of the two; its degrees of freedom are
    Satterthwaite's.

    Args:
        differences: (S, N), of S >= 2 seeds and N >= 2 images; the same images for every seed.
    """
    seeds, images = differences.shape
    average = float(differences.mean())
    of_seed, of_image = differences.mean(1), differences.mean(0)
    rest = differences - of_seed[:, None] - of_image[None] + average
    parts = [
        (images * float(((of_seed - average) ** 2).sum()) / (seeds - 1), seeds - 1),
        (seeds * float(((of_image - average) ** 2).sum()) / (images - 1), images - 1),
        (float((rest**2).sum()) / ((seeds - 1) * (images - 1)), (seeds - 1) * (images - 1)),
    ]
    (ms_seeds, _), (ms_images, _), (ms_rest, _) = parts
    both = ms_seeds + ms_images - ms_rest
    if both <= max(ms_seeds, ms_images):
        both, freedom = max(parts[:2])
        return _by_student(average, math.sqrt(both / differences.size), freedom)
    freedom = both**2 / sum(square**2 / own for square, own in parts)
    return _by_student(average, math.sqrt(both / differences.size), freedom)


def _by_student(average: float, error: float, freedom: float) -> Difference:
    from scipy.special import stdtr, stdtrit  # slow to import

    if error == 0:
        return Difference(average, 0.0, 1.0 if average == 0 else 0.0)
    wide = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return Difference(average, wide, float(2 * stdtr(freedom, -abs(average) / error)))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p values for their number by Holm's step-down method, in the order given.

    It bounds the probability of one false finding or more, whatever the dependence of the tests; tests of one table
    share their baseline, so methods that assume independence do not apply.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    found, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[i]))
        found[i] = least
    return found


def effect(new: Sequence[float], old: Sequence[float]) -> float | None:
    """Compute Cohen's d: the difference of means over the pooled standard deviation of trials.

    None for fewer than two values on a side, or without a spread.
    """
    spreads = deviation(new), deviation(old)
    if spreads[0] is None or spreads[1] is None:
        return None
    n, m = len(new), len(old)
    pooled = math.sqrt(((n - 1) * spreads[0] ** 2 + (m - 1) * spreads[1] ** 2) / (n + m - 2))
    return None if pooled == 0 else (sum(new) / n - sum(old) / m) / pooled


class Ranks(NamedTuple):
    """Mean ranks of methods over tables, 1 for the best.

    Attributes:
        mean: one a method.
        p: p value of Friedman's test that all methods rank alike; None for fewer than three methods or two tables.
        critical: Nemenyi's critical difference of two mean ranks at 5 %; None likewise.
    """

    mean: tuple[float, ...]
    p: float | None
    critical: float | None


def ranks(numbers: np.ndarray) -> Ranks:
    """Rank methods in every table and compare the means (Demsar, 2006).

    Args:
        numbers: (T, K), of T tables and K methods; higher is better, ties share their mean rank.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    tables, methods = numbers.shape
    by_table = rankdata(-numbers, axis=1)
    means = tuple(map(float, by_table.mean(0)))
    if tables < 2 or methods < 3:
        return Ranks(means, None, None)
    p = float(friedmanchisquare(*numbers.T).pvalue)
    q = float(studentized_range.ppf(CONFIDENCE, methods, np.inf)) / math.sqrt(2)
    return Ranks(means, None if math.isnan(p) else p, q * math.sqrt(methods * (methods + 1) / (6 * tables)))
