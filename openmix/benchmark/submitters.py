"""Names of submissions: each is one visible line, and no head, column or other name of a report looks like it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openmix.benchmark.limits import MOST_OF_SUBMITTER
from openmix.benchmark.values import check_name
from openmix.errors import InputError, brief

if TYPE_CHECKING:
    from openmix.benchmark.submission import Submission

# The heads of the table that has a column for each submission.
HEADS = ('Method', 'Column', 'Published', 'Ours')
_UNSEEN = ('Cc', 'Cf', 'Cn', 'Co', 'Cs', 'Zl', 'Zp')
# Characters of other categories that show nothing: joiners, fillers, selectors of variants, the empty Braille pattern.
_EMPTY = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)}
_EMPTY |= {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}


def as_seen(text: str) -> str:
    """Return what readers tell a name by: without case, width, and characters that show nothing."""
    plain = unicodedata.normalize('NFKC', unicodedata.normalize('NFKC', text).casefold())
    kept = (c for c in plain if ord(c) not in _EMPTY and (c.isspace() or unicodedata.category(c) not in _UNSEEN))
    return ' '.join(''.join(kept).split())


def check_submitter(where: str, name: str, columns: Iterable[str] = ()) -> None:
    """Check whose runs a submission says it has.

    Args:
        where: start of the error line.
        name: the name.
        columns: names of the columns of the table, which a report shows beside it.

    Raises:
        InputError: it is no line of a few words, shows nothing, or looks like a head or a column of the report.
    """
    check_name(where, name)
    if len(name) > MOST_OF_SUBMITTER:
        raise InputError(f'{where} has {len(name)} characters; at most {MOST_OF_SUBMITTER} are allowed')
    seen = as_seen(name)
    if not any(unicodedata.category(character)[0] in 'LNPS' for character in seen):
        raise InputError(f'{where} must say whose runs these are, got {name!a}, which shows nothing')
    for kind, taken in (('head', HEADS), ('column', columns)):
        if same := next((one for one in taken if as_seen(one) == seen), None):
            raise InputError(f"{where}: {brief(name)} looks like the {kind} '{same}' of the report; take another name")


def sources(submissions: Sequence[Submission], folders: Sequence[Path] = ()) -> list[str]:
    """Return the names under which submissions are shown: their own, with the file where two look alike.

    Raises:
        InputError: two imports would still have one name; the line names the file.
    """
    seen = [as_seen(one.name) for one in submissions]
    names = [
        one.name if seen.count(look) == 1 else f'{one.name} ({one.file})'
        for one, look in zip(submissions, seen, strict=True)
    ]
    taken = {as_seen(str(folder)) for folder in folders}
    for one, name in zip(submissions, names, strict=True):
        if as_seen(name) in taken:
            raise InputError(f'{one.file}: its name {brief(name)} looks like that of another import; leave one out')
        taken.add(as_seen(name))
    return names
