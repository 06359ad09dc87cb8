"""Export a table's records as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from openmix.benchmark.records import Record, deviation, mean, side_by_side
from openmix.benchmark.statistics import agreement, difference, gains, over_first_row, verdicts
from openmix.benchmark.submitted import submissions_in
from openmix.benchmark.table import Table
from openmix.benchmark.trial import Trial
from openmix.benchmark.variant import VARIANTS
from openmix.csv_text import field

FIELDS = ('row', 'column', 'published', 'measured', 'std', 'trials', 'status', 'config')


def as_dicts(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Make one dict of `FIELDS` per cell; `trials` is the number behind `measured`; absent cells are left out.

    A cell that only has results of another config shows those, with the status 'stale'.
    """
    return [_numbers(record) for record in records]


def _numbers(record: Record) -> dict[str, Any]:
    values = record.values or (record.old.values if record.old and record.state == 'stale' else ())
    return {
        'row': record.cell.row,
        'column': record.cell.column,
        'published': record.cell.published,
        'measured': mean(values),
        'std': deviation(values),
        'trials': len(values),
        'status': record.status,
        'config': record.cell.config,
    }


def report(table: Table, records: Sequence[Record]) -> dict[str, Any]:
    """Collect everything about a table: cells with their runs, gains with their intervals, claims."""
    return {
        'table': table.name,
        'title': table.title,
        'source': table.source,
        'variant': table.variant,
        'variant_means': VARIANTS[table.variant],
        'options': table.options,
        'steps': table.steps,
        'cannot_be_read': [line for record in records for line in record.bad],
        'cells': [_numbers(record) | _more(record) for record in records],
        'submissions': [
            {
                'from': source,
                'note': one.note,
                'file': one.file,
                'version': one.version,
                'commit': one.commit,
                'runs': len(one.runs),
                'table_hash': one.table_hash,
            }
            for source, one in submissions_in(records).items()
        ],
        'gains': [gain._asdict() for gain in gains(table, records)],
        'over_first_row': [gain._asdict() for gain in over_first_row(table, records)],
        'claims': [
            {
                'text': found.claim.text,
                'outcome': found.outcome,
                'failing': found.failing,
                'missing': found.missing,
            }
            for found in verdicts(table, records)
        ],
    }


def _more(record: Record) -> dict[str, Any]:
    cell = record.cell
    return {
        'metric': cell.metric,
        'readout': cell.readout,
        'readouts': {
            readout: {'mean': mean(values), 'std': deviation(values)}
            for readout, values in side_by_side(record).items()
        },
        'spread': cell.spread,
        'other_source': cell.other_source,
        'difference': difference(record),
        'verdict': agreement(record),
        'as_of': record.old.as_of if record.old and not record.values else None,
        'runs': [
            {
                'seed': trial.seed,
                'value': value,
                'folder': str(trial.folder),
                'config': str(trial.config_path),
                'config_hash': result.config_hash,
                'commit': result.commit,
                'chosen': trial.point,
                **({'from': stands_on(trial)} if trial.earlier is not None else {}),
            }
            for trial, value, result in zip(record.finished, record.values, record.results, strict=True)
        ],
        'theirs': [
            {
                'from': numbers.source,
                'as_of': numbers.as_of,
                'differs': numbers.differs,
                'measured': mean(numbers.values),
                'std': deviation(numbers.values),
                'trials': len(numbers.values),
            }
            for numbers in record.theirs
        ],
    }


def stands_on(trial: Trial) -> list[dict[str, Any]]:
    """List the earlier stages of a run, the last one first: recipe, hash, seed and folder."""
    before = trial.earlier
    if before is None:
        return []
    found = {'config': before.cell.config, 'run': before.provenance.recipe, 'seed': before.seed}
    return [{**found, 'overrides': before.cell.own_settings, 'folder': str(before.folder)}, *stands_on(before)]


def as_json(found: Any) -> str:
    """Write indented JSON."""
    return json.dumps(found, indent=1, ensure_ascii=False) + '\n'


def as_csv(found: Sequence[dict[str, Any]]) -> str:
    """Write dicts with the same keys as CSV; missing values are empty, and text as by `openmix.csv_text.field`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]) if found else FIELDS, lineterminator='\n')
    writer.writeheader()
    writer.writerows({key: field(value) for key, value in row.items()} for row in found)
    return text.getvalue()
