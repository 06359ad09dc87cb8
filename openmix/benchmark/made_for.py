"""`MadeFor`: the run that a trial's folder was made for, as recorded in its `cell.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmix.errors import InputError
from openmix.json_file import mapping_of, read_object, text_of, texts_of, whole_of

if TYPE_CHECKING:
    from openmix.benchmark.trial import Trial

STEPS = '--steps'


def told(said: Mapping[str, Any]) -> str:
    """Write the changes from the command line as they are typed; '' without changes.

    Args:
        said: dotted keys of `--cfg-options`, and '--steps'.
    """
    options = ' '.join(f'{key}={value}' for key, value in said.items() if key != STEPS)
    words = [f'{STEPS} {said[STEPS]}'] if STEPS in said else []
    return ' '.join([*words, f'--cfg-options {options}'] if options else words)


@dataclass(frozen=True)
class MadeFor:
    """The run that a folder was made for.

    Attributes:
        row, column: names in the table at that time.
        seed: seed of the run.
        config_hash, version, data: see `openmix.provenance.Provenance`.
        options: dotted keys that `--cfg-options` set on top of the table, and '--steps' where it was given.
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
        """The name of the cell in messages: 'ROW / COLUMN'."""
        return f'{self.row} / {self.column}'


def read_made_for(path: Path) -> MadeFor | None:
    """Read a trial's `cell.json`; None if there is no such file.

    Raises:
        InputError: the file cannot be read, or a value is missing or has the wrong type; the line names it.
    """
    found = read_object(path)
    return None if found is None else parse_made_for(found, str(path))


def parse_made_for(found: Mapping[str, Any], where: str = 'cell.json') -> MadeFor:
    """Check the object of a `cell.json`.

    Args:
        found: the object.
        where: start of the error line.

    Raises:
        InputError: a value is missing or has the wrong type.
    """
    return MadeFor(
        seed=whole_of(f'{where}: seed', found.get('seed')),
        options=dict(mapping_of(f'{where}: options', found.get('options') or {})),
        **{key: text_of(f'{where}: {key}', found.get(key)) for key in ('row', 'column', 'config_hash')},
        **texts_of(where, found, ('version', 'data')),
    )


def check_own_folder(trials: Sequence[Trial]) -> None:
    """Check that the work folder holds no runs with other options: they would be renamed.

    Raises:
        InputError: it does.
    """
    for trial in trials:
        made_for = trial.files().made_for
        asked = trial.cell.said
        if made_for is not None and dict(made_for.options) != asked:
            said = told(made_for.options)
            others = ' and '.join(dict.fromkeys(key if key == STEPS else '--cfg-options' for key in asked))
            raise InputError(
                f'{trial.folder} was trained {f"with {said}" if said else f"without {others}"}; '
                'give another --work-dir, or none'
            )
