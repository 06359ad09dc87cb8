"""Read lists of a subset's images, as published with fine-grained benchmarks or written by a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from openmix.data.lists import read_lines
from openmix.errors import InputError, brief

_TAKES = 'subset takes a number of images, a fraction of each class, or a text file of rows or of image files'
_MOST_DIGITS = 18  # Python refuses to read numbers of thousands of digits


def rows_in_list(file: str, labels: Tensor, paths: Sequence[str | Path] | None = None) -> Tensor:
    """Return the rows of an official half that a text file lists, ascending int64.

    A line is a row number, as in `labelled.txt` of a run, or the name of an image file, with as many parent folders
    as are needed to make it unique; a label may follow the name.

    Args:
        file: the list; empty lines are ignored.
        labels: (N,) int64 labels of the half; those of the list are not compared with -1, no label.
        paths: its N image files; None: the images are not files, and lines must be row numbers.

    Raises:
        InputError: the file cannot be read; or a line is not an image of the half, repeats one, or has another label.
    """
    lines = [line.strip() for line in read_lines('subset', Path(file), _TAKES)]
    wanted = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not wanted:
        raise InputError(f'subset: {file} lists no image')
    if all(line.isdecimal() for _, line in wanted):
        long = next((one for one in wanted if len(one[1]) > _MOST_DIGITS), None)
        found = [] if long else [(number, int(line)) for number, line in wanted]
        wrong = long or next((one for one in found if one[1] >= len(labels)), None)
        if wrong is not None:
            raise InputError(
                f'subset: {file}:{wrong[0]}: there is no row {brief(wrong[1])}, rows are 0 to {len(labels) - 1}'
            )
    elif paths is None:
        raise InputError(
            f'subset: {file}:{wanted[0][0]}: {brief(wanted[0][1])} is no row number; images that do not lie in files '
            'of their own have no names'
        )
    else:
        rows_of = _by_name(paths)
        found = [(number, _row_named(f'{file}:{number}', line, rows_of, paths, labels)) for number, line in wanted]
    first: dict[int, int] = {}
    for number, row in found:
        if row in first:
            raise InputError(f'subset: {file}:{number}: the image of line {first[row]} again')
        first[row] = number
    return torch.tensor(sorted(first), dtype=torch.int64)


def _by_name(paths: Sequence[str | Path]) -> dict[str, list[int]]:
    """Map file names without folders to rows."""
    rows_of: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        rows_of.setdefault(os.path.basename(path), []).append(row)
    return rows_of


def _row_named(
    where: str, line: str, rows_of: dict[str, list[int]], paths: Sequence[str | Path], labels: Tensor
) -> int:
    # In a flat folder file names are unique, and folders in the list belong to another layout.
    flat = len({os.path.dirname(path) for path in (paths[0], paths[-1])}) == 1
    name, _, last = line.rpartition(' ')
    # File names may contain blanks, so try the whole line first.
    for named, label in [(line, None), *([(name.rstrip(), last)] if name and last.isdecimal() else [])]:
        rows = rows_of.get(os.path.basename(named), [])
        for depth, above in enumerate(reversed([] if flat else Path(named).parts[:-1]), 1):
            # The top folder in a list may have another name: only the class folder must match.
            if depth > 1 and len(rows) < 2:
                break
            rows = [row for row in rows if Path(paths[row]).parts[-1 - depth] == above]
        if len(rows) > 1:
            raise InputError(
                f'subset: {where}: {brief(named)} names {len(rows)} images; put the class folder before it'
            )
        known = int(labels[rows[0]]) if rows else -1
        if known >= 0 and label is not None and (len(label) > _MOST_DIGITS or int(label) != known):
            raise InputError(
                f'subset: {where}: label {label} there, {known} in the data set; '
                'the list numbers its classes in another order'
            )
        if rows:
            return rows[0]
    raise InputError(f'subset: {where}: no image of the split is called {brief(line)}')
