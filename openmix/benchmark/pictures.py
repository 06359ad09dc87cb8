"""Figures of mixed batches, made by `tools/show_mix.py` for one cell of every row."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from openmix.benchmark.cell import Cell
from openmix.benchmark.records import Record
from openmix.config_hash import config_hash
from openmix.errors import InputError
from openmix.regular_file import read_bytes

_TIMEOUT_S = 300
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Picture:
    """A figure of a batch mixed by the policy of one row: a PNG, or the reason why there is none."""

    row: str
    png: bytes | None
    why_not: str = ''


def draw_pictures(records: Sequence[Record], work_dir: Path, script: Path) -> list[Picture]:
    """Draw one figure per row, for its first column; figures are cached by config in `pictures/`.

    Args:
        records: records of the table; cells without code are left out.
        work_dir: the table's work folder.
        script: a script with the arguments `CONFIG --out FILE`, as `tools/show_mix.py`.
    """
    cells: dict[str, Cell] = {}
    for record in records:
        if record.cell.implemented:
            cells.setdefault(record.cell.row, record.cell)
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda cell: _draw(cell, work_dir, script), cells.values()))


def _draw(cell: Cell, work_dir: Path, script: Path) -> Picture:
    stem = work_dir / 'pictures' / f'{cell.folder.replace("/", "_")}_{config_hash(cell.resolve())}'
    config, out = Path(f'{stem}.py'), Path(f'{stem}.png')
    if not os.path.lexists(out):
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(cell.config_text(), encoding='utf-8')
        command = [sys.executable, str(script), str(config), '--out', str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Picture(cell.row, None, f'{script.name} took more than {_TIMEOUT_S} s')
        if done.returncode or not os.path.lexists(out):
            last = (done.stderr.strip().splitlines() or [f'{script.name} wrote no picture'])[-1]
            return Picture(cell.row, None, last)
    try:
        return Picture(cell.row, read_bytes(out, _MOST_BYTES))
    except InputError as error:
        return Picture(cell.row, None, str(error))
