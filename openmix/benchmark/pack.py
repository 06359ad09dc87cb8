"""Pack the finished runs of a table into one file, for others to show beside theirs."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmix import __version__
from openmix.benchmark.limits import MOST_OF_NOTE
from openmix.benchmark.made_for import told
from openmix.benchmark.submission import (
    FORM,
    MANIFEST,
    MOST_BYTES,
    MOST_OF_LOG,
    MOST_OF_MEMBER,
    read_submission,
)
from openmix.benchmark.submitters import check_submitter
from openmix.benchmark.table import Table
from openmix.benchmark.trial import Trial
from openmix.benchmark.trials import distinct
from openmix.benchmark.values import check_text
from openmix.errors import InputError
from openmix.files import appearing
from openmix.regular_file import Missing, read_bytes, read_tail
from openmix.result import Result

_DATE = (1980, 1, 1, 0, 0, 0)  # the same runs give the same bytes
_HOMES = r'/(?:home|Users)/[^/\s\'",:;()\[\]]+'


def table_hash(table: Table) -> str:
    """Hash what a table asks for, to 12 hex digits: its cells with recipe, overrides, metric and readout, and seeds."""
    cells = [
        (c.row, c.column, c.config, c.overrides, c.metric, c.readout, c.grid, c.implemented, c.variant)
        for c in table.cells
    ]
    asked = json.dumps([cells, table.seeds, table.validation, table.said], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode()).hexdigest()[:12]


def without_home(text: str, home: Path | None = None) -> str:
    """Replace the user's home folder, and those of other users, in a text by `~`."""
    own = str(home or Path.home())
    found = re.escape(own) + '|' + _HOMES if own.strip('/') else _HOMES
    return re.sub(rf'(?<![\w.~-])(?:{found})(?![\w.-])', '~', text)


def pack(table: Table, trials: Sequence[Trial], out: Path, name: str, note: str = '', commit: str | None = None) -> int:
    """Write the finished runs among trials into a file, and return their number.

    Of each run the file has `result.json`, which names the environment, and the end of `log.txt`; of each cell
    `config.py`. It has no weights, and nothing from outside these folders.

    Args:
        table: the table.
        trials: final trials of its cells, see `trials_of`.
        out: the file, which is replaced.
        name: whose runs these are.
        note: what to say of them.
        commit: commit of openmix's checkout.

    Raises:
        InputError: no run is finished, a file is missing or not readable, or all are too large for one file.
    """
    check_submitter('--name', name, table.columns)
    check_text('--note', note, MOST_OF_NOTE)
    done = [trial for trial in distinct(trials) if trial.kind == 'final' and trial.state() == 'done']
    if not done:
        raise InputError(f"table '{table.name}': none of the {len(distinct(trials))} chosen runs is finished")
    manifest: dict[str, Any] = {'format': FORM, 'table': table.name, 'table_hash': table_hash(table)}
    manifest |= {'variant': table.variant, 'options': without_home(told(table.said)), 'version': __version__}
    manifest |= {'commit': commit, 'name': name, 'note': without_home(note)}
    manifest['runs'] = [_listed(table, trial, result) for trial in done if (result := trial.result()) is not None]
    files = {MANIFEST: json.dumps(manifest, indent=1, ensure_ascii=False) + '\n'}
    for trial, listed in zip(done, manifest['runs'], strict=True):
        folder = f'{listed["place"]}/trial{trial.index}'
        files[f'{listed["place"]}/config.py'] = _text(read_bytes(trial.config_path, MOST_OF_MEMBER))
        files[f'{folder}/result.json'] = _text(read_bytes(trial.folder / 'result.json', MOST_OF_MEMBER))
        try:
            files[f'{folder}/log.txt'] = _text(read_tail(trial.folder / 'log.txt', MOST_OF_LOG))
        except Missing:
            continue
    out.parent.mkdir(parents=True, exist_ok=True)
    with appearing(out) as partial:
        with zipfile.ZipFile(partial, 'w', zipfile.ZIP_DEFLATED) as archive:
            for member, text in files.items():
                info = zipfile.ZipInfo(member, _DATE)
                info.external_attr = 0o100644 << 16
                archive.writestr(info, text, zipfile.ZIP_DEFLATED)
        if (size := partial.stat().st_size) > MOST_BYTES:
            raise InputError(f'the runs take {size} bytes, at most {MOST_BYTES} are read: choose some by --rows')
        read_submission(partial)  # what others would refuse is not written
    return len(done)


def _listed(table: Table, trial: Trial, result: Result) -> dict[str, Any]:
    cell = table.cell(trial.cell.row, trial.cell.column)
    return {
        'row': cell.row,
        'column': cell.column,
        'place': cell.folder,
        'trial': trial.index,
        'seed': trial.seed,
        'config_hash': result.config_hash,
        'point': dict(trial.point),
    }


def _text(raw: bytes) -> str:
    return without_home(raw.decode('utf-8', 'replace'))
