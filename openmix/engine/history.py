"""`metrics.jsonl`: one line per epoch or validation; damaged lines are skipped when reading."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from openmix.regular_file import read_bytes

Row = dict[str, float]
_MOST_BYTES = 2**30  # a row has a few hundred


def read_history(path: Path) -> tuple[list[Row], int]:
    """Read the rows of a run's metrics in the order of the file, and the number of damaged lines.

    A path that is not a regular file counts as one damaged line; a missing file has none.

    Raises:
        InputError: the file is not readable, or is too large.
    """
    if not path.is_file():
        return [], int(path.is_symlink() or path.exists())
    rows = [_row(line) for line in read_bytes(path, _MOST_BYTES).split(b'\n') if line.strip()]
    good = [row for row in rows if row is not None]
    return good, len(rows) - len(good)


def _row(line: bytes) -> Row | None:
    """Parse a line into numbers by name, including iteration, epoch and time; None if it is damaged."""
    try:
        found: Any = json.loads(line.decode('utf-8'))
    except (ValueError, RecursionError):  # cut short, or of another encoding
        return None
    if not isinstance(found, dict) or any(type(value) not in (int, float) for value in found.values()):
        return None
    counts = all(type(found.get(key)) is int and found[key] > 0 for key in ('iter', 'epoch'))
    time_s = found.get('time_s', math.nan)
    return found if counts and math.isfinite(time_s) and time_s >= 0 else None


def text_of(rows: dict[int, Row]) -> str:
    """Write rows, by iteration, as the text of the file."""
    return ''.join(f'{json.dumps(rows[key])}\n' for key in sorted(rows))
