"""`Result`: the checked content of a finished run's `result.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmix.errors import InputError, acts, brief
from openmix.json_file import (
    finite_of,
    list_of,
    mapping_of,
    number_of,
    read_object,
    text_of,
    texts_of,
    whole_of,
)
from openmix.metrics import MOST_OF_FACT, Right

# The mean minutes of training of an epoch, without validation: one number of the whole run.
MINUTES = 'time/minutes_per_epoch'
_SCALARS = (str, int, float, bool, type(None))
_MOST_OF_PATH = 5000
_MOST_FACTS = 200


@dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
        seed: seed of the run.
        config_hash: see `openmix.provenance.Provenance.digest`.
        readouts: metric -> readout -> number; `MINUTES` is among the metrics where the run had a timer.
        history: one mapping of names to numbers for each epoch or validation, oldest first.
        right: metric -> which images of the last validation it counts as right; empty if not recorded.
        version: version of openmix; None if not recorded.
        data: fingerprint of the data set's files; None if not recorded.
        commit: commit of the checkout.
        environment: versions and hardware, as text.
        precision: of the forward passes: 'float32', 'bfloat16' or 'float16'; None if not recorded.
        world_size: number of training processes.
        duration_s: seconds of training; None if not recorded.
        finished: time of the end, as text.
        weights: the initial weights of the backbone: `file`, 12 hex digits over the file's bytes, and `run` and `seed`
            of the run that wrote it if the recipe names one; empty if it was initialised at random.
    """

    seed: int
    config_hash: str
    readouts: Mapping[str, Mapping[str, float]] = field(hash=False)
    history: tuple[Mapping[str, float], ...] = field(default=(), hash=False)
    right: Mapping[str, Right] = field(default_factory=dict, hash=False)
    version: str | None = None
    data: str | None = None
    commit: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    precision: str | None = None
    world_size: int = 1
    duration_s: float | None = None
    finished: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict, hash=False)


def read_result(path: Path) -> Result | None:
    """Read a result from a file; None if there is no file.

    Raises:
        InputError: the file cannot be read or does not hold a result; the line names it.
    """
    found = read_object(path)
    return None if found is None else parse_result(found, str(path))


def parse_result(found: Mapping[str, Any], where: str = 'result.json') -> Result:
    """Check a JSON object and convert it to a `Result`; unknown keys are ignored.

    Args:
        found: the object.
        where: start of the error line.

    Raises:
        InputError: a value is missing or has the wrong type.
    """
    missing = [key for key in ('seed', 'config_hash', 'readouts') if key not in found]
    if missing:
        raise InputError(f"{where}: '{missing[0]}' is missing")
    history = list_of(f'{where}: history', found.get('history', []))
    seconds, minutes = found.get('duration_s'), found.get('minutes_per_epoch')
    readouts = _readouts(f'{where}: readouts', found['readouts'])
    if minutes is not None:
        readouts[MINUTES] = {'last': finite_of(f'{where}: minutes_per_epoch', minutes)}
    return Result(
        seed=whole_of(f'{where}: seed', found['seed']),
        config_hash=fact_of(f'{where}: config_hash', found['config_hash']),
        readouts=readouts,
        history=tuple(numbers_of(f'{where}: history {i}', row) for i, row in enumerate(history)),
        right=_right(f'{where}: right', found.get('right') or {}),
        environment=_facts(f'{where}: environment', found.get('environment') or {}, MOST_OF_FACT),
        world_size=whole_of(f'{where}: world_size', found.get('world_size', 1), 1),
        duration_s=None if seconds is None else finite_of(f'{where}: duration_s', seconds),
        weights=_facts(f'{where}: weights', found.get('weights') or {}, _MOST_OF_PATH),
        **{
            key: fact_of(f'{where}: {key}', text)
            for key, text in texts_of(where, found, ('version', 'data', 'commit', 'finished', 'precision')).items()
        },
    )


def _readouts(where: str, value: Any) -> dict[str, dict[str, float]]:
    return {
        fact_of(where, metric): numbers_of(f'{where} of {brief(metric)}', of_metric)
        for metric, of_metric in mapping_of(where, value).items()
    }


def _right(where: str, value: Any) -> dict[str, Right]:
    found = {}
    for metric, entry in mapping_of(where, value).items():
        at = f'{where} of {brief(metric)}'
        known = mapping_of(at, entry)
        images = whole_of(f'{at}: images', known.get('images'), 1)
        ids, bits = (text_of(f'{at}: {key}', known.get(key)) for key in ('ids', 'bits'))
        # No digit more or less than the images fill, and none of the bits that fill the last byte is set.
        if (
            not re.fullmatch(r'[0-9a-f]*', bits)
            or len(bits) != 2 * -(-images // 8)
            or int(bits, 16) % 2 ** (-images % 8)
        ):
            raise InputError(f'{at}: bits must be one bit for each of {images} images, in hex digits')
        found[fact_of(where, metric)] = Right(images, ids, bits)
    return found


def _facts(where: str, value: Any, most: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, fact in mapping_of(where, value).items():
        if not isinstance(fact, _SCALARS):
            raise InputError(f'{where}: {brief(key)} must be text or a number, got {brief(fact)}')
        found[fact_of(where, key)] = fact_of(f'{where}: {brief(key)}', str(fact), most)
    if len(found) > _MOST_FACTS:
        raise InputError(f'{where} has {len(found)} entries; at most {_MOST_FACTS} are read')
    return found


def fact_of(where: str, value: Any, most: int = MOST_OF_FACT) -> str:
    """Return a text about a run, which pages show: a line of bounded length, without control characters.

    Args:
        where: start of the error line.
        value: the text.
        most: the largest number of characters.

    Raises:
        InputError: it is not.
    """
    text = text_of(where, value)
    if len(text) > most:
        raise InputError(f'{where} has {len(text)} characters; at most {most} are read')
    if not text.isprintable() and (found := next(filter(acts, text), None)):
        raise InputError(f'{where} holds the control character {found!a}')
    return text


def numbers_of(where: str, value: Any) -> dict[str, float]:
    """Check an object that maps names to numbers, such as the row of an epoch; `epoch` and `iter` are integers.

    Raises:
        InputError: it is not an object, or a value is not a number.
    """
    found = {}
    for name, number in mapping_of(where, value).items():
        place = f'{where}: {brief(name)}'
        counts = name in ('epoch', 'iter')
        found[fact_of(where, name)] = whole_of(place, number) if counts else number_of(place, number)
    return found
