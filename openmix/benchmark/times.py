"""Format durations."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Format a duration: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole // 60 % 60:02d} min'
