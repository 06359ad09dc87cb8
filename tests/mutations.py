"""Damage files as disks, copies, editors, other programs or attackers do."""

from __future__ import annotations

import copy
import math
import os
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from openmix.errors import InputError

# The number of damaged files per reader; a nightly job sets more.
MUTANTS = int(os.environ.get('OPENMIX_FUZZ', 200))

_SPLICES = (
    *(b'\x00', b'\xff\xfe', b'\xef\xbb\xbf', b'\xed\xa0\x80', b'\n', b'\r', b'"', b"'", b'{', b'[', b'- ', b': '),
    *(b'9' * 400, b'[' * 5000, b'{"a":' * 5000),
)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 2**70, -(2**70), 0.5, 1e308, math.nan, math.inf, -math.inf),
    *('', 'word', '\x00', '\n', '../..', '=1+1', '<script>', 'x' * 5000, '1e400', '2026-02-30'),
    *([], {}, [[]], [None], {'': {}}, {'type': 'os.system'}, ['word'] * 3, {'key': 1}),
)
_ODD_TENSORS = (
    lambda: torch.zeros(()),
    lambda: torch.zeros(0),
    lambda: torch.full((2, 3), math.nan),
    lambda: torch.zeros(2, dtype=torch.complex64),
    lambda: torch.zeros(2, dtype=torch.bool),
    lambda: torch.eye(3).to_sparse(),
    lambda: torch.zeros(1).expand(7, 7),
)


def deep(levels: int = 100) -> list:
    """Return a deeply nested list."""
    nested: list = []
    for _ in range(levels):
        nested = [nested]
    return nested


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Damage the bytes of a file in one to three ways."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 8, 64, 1000)))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + rng.randbytes(to - at) + data[to:]
        elif kind == 2:
            data = data[:at]
        elif kind == 3:
            data = data[:at] + data[to:]
        elif kind == 4:
            data = data[:to] + data[at:]
        elif kind == 5:
            data = data[:at] + rng.choice(_SPLICES) + data[at:]
        else:
            data = data[:at] + bytes(to - at) + data[to:]
    return data


class Door:
    """Count the results of a reader for damaged files; anything but a value or one error line fails the test."""

    def __init__(self, name: str) -> None:
        self.name, self.answered, self.refused = name, 0, 0

    def tried(self, number: int, read: Callable[[], Any]) -> None:
        """Read one damaged file."""
        line = ''
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                read()
            except InputError as error:
                line = str(error)
            except BaseException as error:
                raise AssertionError(f'{self.name}, mutant {number}: {type(error).__name__}: {error}') from error
        assert line == '' or line.isprintable(), f'{self.name}, mutant {number}: {line!r}'
        self.refused += line != ''
        self.answered += line == ''

    def looked(self) -> None:
        """Check that more than a tenth of the damaged files were rejected; otherwise the reader checks too little."""
        assert self.answered + self.refused == MUTANTS
        assert self.refused > MUTANTS // 10, f'{self.name} refused {self.refused} of {MUTANTS}'


def _places(node: Any, path: tuple = ()) -> Iterator[tuple]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def altered(value: Any, rng: random.Random, tensors: bool = False) -> Any:
    """Change one to three values of a document of dicts, lists, plain values and tensors."""
    value = copy.deepcopy(value)
    odd: list[Callable[[], Any]] = [lambda x=x: copy.deepcopy(x) for x in _ODD]
    odd += _ODD_TENSORS if tensors else [deep]
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return rng.choice(odd)()
        *above, last = rng.choice(places)
        holder = value
        for key in above:
            holder = holder[key]
        kind = rng.randrange(6)
        if kind == 0:
            del holder[last]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(('extra', '', 'type', '\x00', 'a.b', '_delete_'))] = rng.choice(odd)()
        elif kind == 2 and isinstance(holder, dict) and isinstance(last, str):
            holder[last + rng.choice('xs ')] = holder.pop(last)
        else:
            holder[last] = rng.choice(odd)()
    return value
