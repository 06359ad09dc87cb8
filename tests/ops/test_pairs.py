"""Test the draw of partners."""

import math
from collections import Counter

import torch

from openmix.ops.pairs import other_partners


def test_every_pairing_without_own_partners_is_drawn_alike():
    """Of 4 rows there are 9 permutations without fixed points."""
    torch.manual_seed(0)
    n = 4500
    found = Counter(tuple(other_partners(4).tolist()) for _ in range(n))
    assert len(found) == 9
    for drawn, times in found.items():
        assert sorted(drawn) == [0, 1, 2, 3]
        assert all(row != partner for row, partner in enumerate(drawn))
        # The shifts are drawn a little more often: they stand in where 16 permutations have fixed points.
        assert abs(times - n / 9) < 4 * math.sqrt(n / 9) + n * (1 - 1 / math.e) ** 16


def test_rows_are_shifted_where_every_try_has_a_fixed_point(monkeypatch):
    monkeypatch.setattr(torch, 'rand', lambda tries, n, device=None: torch.arange(float(n)).expand(tries, n))
    for n in (2, 5, 64):
        partner, rows = other_partners(n), torch.arange(n)
        assert partner.sort().values.tolist() == rows.tolist()
        assert not (partner == rows).any()


def test_one_row_stays_alone():
    assert other_partners(1).tolist() == [0]
