"""The report, the plan and the status work with any damaged file in a table's folder."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from mutations import MUTANTS, Door, altered, damaged
from rich.console import Console

from openmix.benchmark import progress
from openmix.benchmark.report import FORMATS, as_text
from openmix.benchmark.run_folder import log_tail

CELL = 'mixup/mce/trial0'
FILES = ('result.json', 'metrics.jsonl', 'cell.json', 'exit_code', '../trial0.lease', 'log.txt')


def mutant(text: bytes, rng: random.Random) -> bytes:
    """Damage the bytes of a file, or change the document that it contains."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if document is None or rng.random() < 0.5:
        return damaged(text, rng)
    return json.dumps(altered(document, rng)).encode('utf-8', 'surrogatepass')


@pytest.mark.slow
def test_no_file_of_a_run_takes_the_others_down(bench):
    bench.run(trials=1)
    whole = {}
    for name in FILES:
        path = bench.work_dir / CELL / name
        whole[name] = path.read_bytes() if path.is_file() else b'1\n' if name == 'exit_code' else b''
    whole['../trial0.lease'] = json.dumps(
        {'host': 'a', 'machine': 'b', 'pid': 1, 'since': '2026-01-01', 'token': 'c'}
    ).encode()
    shown = 0
    for number in range(MUTANTS):
        rng = random.Random(number)
        name = rng.choice(FILES)
        path = Path(bench.work_dir / CELL / name)
        path.write_bytes(mutant(whole[name], rng))
        try:
            records = bench.records(trials=1)
            shown += 'Vanilla' in as_text(bench.table, records, rng.choice(FORMATS), bench.work_dir, full=True)
            with open(bench.said, 'w', encoding='utf-8') as file:
                Console(file=file, width=100).print(progress.status(bench.table, bench.trials(trials=1)))
            log_tail(bench.work_dir / CELL)
            bench.trials(trials=1)[0].last_row()
        except BaseException as error:
            raise AssertionError(f'{name}, mutant {number}: {type(error).__name__}: {error}') from error
        finally:
            path.unlink() if name in ('exit_code', '../trial0.lease') else path.write_bytes(whole[name])
    assert shown == MUTANTS


@pytest.mark.slow
def test_an_imported_result_is_read_or_named(bench, tmp_path):
    bench.run(trials=1)
    whole = (bench.work_dir / CELL / 'result.json').read_bytes()
    theirs = tmp_path / 'theirs' / CELL / 'result.json'
    theirs.parent.mkdir(parents=True)
    named: list[bool] = []
    door = Door('import')
    for number in range(MUTANTS):
        theirs.write_bytes(mutant(whole, random.Random(number)))

        def read():
            records = bench.records(trials=1, imports=[tmp_path / 'theirs'])
            named.append(any(record.bad for record in records))
            as_text(bench.table, records, 'html', bench.work_dir, full=True)

        door.tried(number, read)
    assert sum(named) + door.refused > MUTANTS // 10
