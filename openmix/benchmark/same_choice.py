"""Write the command of another verb for the cells that this command was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def same_choice(verb: str, words: Sequence[str], without: Sequence[str] = (), further: Sequence[str] = ()) -> str:
    """Return `python tools/benchmark.py VERB ...` with the words of a command line.

    Args:
        verb: the other verb.
        words: the words after the verb of this command.
        without: options with their values, which are left out; so is `--out`, whose value may be any.
        further: words that are added.
    """
    values = {'--out': 1} | _values(without)
    kept: list[str] = []
    skip = 0
    for word in words:
        option = word.partition('=')[0]
        if option in values:
            skip = 0 if '=' in word else values[option]
        elif skip:
            skip -= 1
        else:
            kept.append(word)
    return shlex.join(['python', 'tools/benchmark.py', verb, *kept, *further])


def _values(words: Sequence[str]) -> dict[str, int]:
    """Count the values behind each option."""
    found: dict[str, int] = {}
    for word in words:
        if word.startswith('--'):
            found[word] = 0
        else:
            found[next(reversed(found))] += 1
    return found
