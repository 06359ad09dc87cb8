"""`MadeFor`: what `cell.json` in a trial's folder says of the run that the folder was made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmix.json_file import mapping_of, parse_object, read_object, text_of, whole_of


@dataclass(frozen=True)
class MadeFor:
    """The run that a folder was made for.

    Attributes:
        row, column: names in the table at that time.
        seed: of the run.
        config_hash, version, data: see `openmix.provenance.Provenance`.
        options: dotted keys that `--cfg-options` set on top of the table.
    """

    row: str
    column: str
    seed: int
    config_hash: str
    version: str | None = None
    data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """How messages call its cell."""
        return f'{self.row} / {self.column}'

    @property
    def made_by(self) -> dict[str, str | None]:
        """What `Provenance.made` compares."""
        return {'config_hash': self.config_hash, 'data': self.data}


def read_made_for(path: Path) -> MadeFor | None:
    """What a trial's `cell.json` says; None where there is no such file.

    Raises:
        InputError: the file cannot be read or does not say what it must; the line names it.
    """
    found = read_object(path)
    return None if found is None else _made_for(found, str(path))


def parse_made_for(text: str | bytes, where: str = 'cell.json') -> MadeFor:
    """What the text of a `cell.json` says.

    Args:
        where: begins the error line.

    Raises:
        InputError: it does not say what it must.
    """
    return _made_for(parse_object(text, where), where)


def _made_for(found: Mapping[str, Any], where: str) -> MadeFor:
    texts = {key: text_of(f'{where}: {key}', found.get(key)) for key in ('row', 'column', 'config_hash')}
    others = {key: text_of(f'{where}: {key}', found[key]) for key in ('version', 'data') if found.get(key) is not None}
    options = dict(mapping_of(f'{where}: options', found.get('options') or {}))
    return MadeFor(seed=whole_of(f'{where}: seed', found.get('seed')), options=options, **texts, **others)
