"""Write a table's records as the `model-index` of a Hugging Face model card, with one entry per finished cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from openmix.benchmark.cell import value_at
from openmix.benchmark.records import Record
from openmix.benchmark.table import Table
from openmix.registry import DATASETS, find

# Task by the first folder in the recipe's name.
_TASKS = {'detection': 'object-detection'}


def model_index(table: Table, records: Sequence[Record]) -> str:
    """Write YAML for the front matter of a model card; cells without a finished run are left out."""
    entries = [
        {'name': record.cell.name, 'results': [_result(table, record, record.mean)]}
        for record in records
        if record.mean is not None
    ]
    return yaml.safe_dump({'model-index': entries}, sort_keys=False, allow_unicode=True)


def _result(table: Table, record: Record, value: float) -> dict[str, Any]:
    cell = record.cell
    stated = value_at(cell.resolve(), 'train_dataloader.dataset')
    dataset = dict(stated) if isinstance(stated, Mapping) else {}
    name = dataset.pop('type', None)
    trials = f'mean of {len(record.values)} trials' if len(record.values) > 1 else '1 trial'
    metric = {'type': cell.metric.partition('/')[0], 'value': round(value, 4)}
    metric['name'] = f'{cell.metric}, {cell.readout}, {trials}'
    return {
        'task': {'type': _TASKS.get(cell.config.partition('/')[0], 'image-classification')},
        'dataset': _dataset(name, dataset),
        'metrics': [metric],
        'source': {'name': f'openmix, table {table.name}, {table.variant} variant'},
    }


def _dataset(kind: Any, arguments: dict[str, Any]) -> dict[str, str]:
    if kind is None:
        return {'name': 'unknown', 'type': 'unknown'}
    return {'name': _facts_name(kind, arguments), 'type': str(kind).lower()}


def _facts_name(name: str, dataset: dict[str, Any]) -> str:
    try:
        return str(find(DATASETS, name).facts(**dataset).name)
    except Exception:  # some data sets need files that may be on another machine
        return str(name)
