"""Damaged files of a run are reported by name, and everything else still works."""

import json
import math
import os
import random

import pytest

from openmix.benchmark import progress
from openmix.benchmark.made_for import parse_made_for
from openmix.benchmark.report import FORMATS, as_text, write_report
from openmix.benchmark.text_table import as_plain
from openmix.benchmark.trial_files import parse_exit_codes, parse_row
from openmix.errors import InputError
from openmix.json_file import parse_object

BAD = [
    b'',
    b'null',
    b'[]',
    b'3',
    b'{"seed": "x"}',
    b'\xff\xfe\0',
    b'\0\0\0',
    b'[' * 50_000,
    b'{"a": 1, "a": 2}',
    b'{"seed": 0, "config_hash": "x", "readouts": {"accuracy/top1": 3}}',
    b'{"seed": 0, "config_hash": "x", "readouts": {"accuracy/top1": {"last": "\\ud800"}}}',
]


def texts(bench, records):
    """Return every format of the report, and the status."""
    found = [as_text(bench.table, records, form, bench.work_dir, full=True) for form in FORMATS]
    trials = bench.trials(trials=1)
    return {**dict(zip(FORMATS, found, strict=True)), 'status': as_plain(progress.status(bench.table, trials))}


@pytest.mark.parametrize('text', BAD, ids=range(len(BAD)))
def test_one_bad_result_is_named_and_takes_nothing_down(bench, text):
    bench.run(trials=1, rows='Mixup')
    path = bench.work_dir / 'mixup/mce/trial0/result.json'
    path.write_bytes(text)
    records = bench.records(trials=1)
    states = {record.cell.name: record.state for record in records}
    assert (states['Mixup / MCE'], states['Mixup / DM(CE)']) == ('stale', 'done')
    found = texts(bench, records)
    for form in ('terminal', 'html', 'json', 'status'):
        assert str(path) in found[form], form
    assert 'mixup/mce/trial0/result.json' in found['md'].replace('\\', '')
    assert all('90.0' in found[form] for form in ('terminal', 'html', 'json', 'md', 'csv'))
    write_report(bench.table, records, bench.work_dir)
    _, said = bench.run(trials=1, rows='Mixup')  # nothing is lost: it is set aside
    assert 'the old run is kept in' in said
    assert (bench.work_dir / 'mixup/mce/trial0.old1/result.json').read_bytes() == text


@pytest.mark.parametrize('text', BAD, ids=range(len(BAD)))
def test_bad_imports_are_named_and_take_nothing_down(bench, tmp_path, text):
    bench.run(trials=1, rows='Mixup')
    theirs = bench.work_dir.rename(tmp_path / 'theirs')
    path = theirs / 'mixup/mce/trial0/result.json'
    path.write_bytes(text)
    records = bench.records(trials=1, imports=[theirs])
    found = texts(bench, records)
    assert str(path) in found['terminal']
    assert '90.00 (1) from' in found['terminal']  # the other cell's


@pytest.mark.parametrize('name', ['cell.json', 'exit_code', 'metrics.jsonl'])
@pytest.mark.parametrize('text', BAD[1:], ids=range(1, len(BAD)))
def test_other_bad_files_are_named_beside_a_result_that_stands(bench, name, text):
    bench.run(trials=1, rows='Mixup', columns='MCE')
    path = bench.work_dir / 'mixup/mce/trial0' / name
    path.write_bytes(text)
    (record,) = bench.records(rows='Mixup', columns='MCE', trials=1)
    assert (record.state, record.values) == ('done', (90.0,))
    if not (name == 'exit_code' and text == b'3'):
        assert [str(path) in line for line in record.bad] == [True]
        assert str(path) in texts(bench, [record])['status']


@pytest.mark.parametrize('name', ['result.json', 'cell.json', 'exit_code', 'metrics.jsonl', 'log.txt'])
@pytest.mark.parametrize('kind', ['folder', 'fifo', 'loop', 'dangling'])
def test_what_is_no_file_neither_hangs_nor_fails(bench, name, kind):
    bench.run(trials=1, rows='Mixup', columns='MCE')
    path = bench.work_dir / 'mixup/mce/trial0' / name
    path.unlink(missing_ok=True)
    make = {
        'folder': path.mkdir,
        'fifo': lambda: os.mkfifo(path),
        'loop': lambda: path.symlink_to(path.name),
        'dangling': lambda: path.symlink_to('nowhere'),
    }
    make[kind]()
    records = bench.records(trials=1)
    assert len(records) == 5
    assert texts(bench, records)


def test_a_folder_made_for_something_unreadable_is_set_aside(bench):
    bench.run(trials=1, rows='Mixup', columns='MCE')
    folder = bench.work_dir / 'mixup/mce/trial0'
    (folder / 'result.json').unlink()
    (folder / 'epoch_1.pth').write_text('whose?')
    (folder / 'cell.json').write_text('{}')
    (trial,) = bench.trials('Mixup', 'MCE', 1)
    assert (trial.state(), trial.resumable()) == ('stale', False)
    bench.run(trials=1, rows='Mixup', columns='MCE')
    assert (folder.with_name('trial0.old1') / 'epoch_1.pth').read_text() == 'whose?'


@pytest.mark.parametrize('number', [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_result(bench, number):
    bench.run(trials=1, rows='Mixup')
    path = bench.work_dir / 'mixup/mce/trial0/result.json'
    result = json.loads(path.read_text())
    result['history'][1]['accuracy/top1'] = number
    path.write_text(json.dumps(result))
    assert bench.records('Mixup', 'MCE', 1)[0].state == 'done'  # the readout stands
    assert texts(bench, bench.records(trials=1))
    result['readouts']['accuracy/top1']['median_last3'] = number
    path.write_text(json.dumps(result))
    assert bench.records('Mixup', 'MCE', 1)[0].state == 'failed'
    assert 'NaN' not in texts(bench, bench.records(trials=1))['json']


CELL = {
    'table': 'a',
    'row': 'b',
    'column': 'c',
    'trial': 0,
    'seed': 1,
    'kind': 'final',
    'config_hash': 'x',
    'data': None,
}
DOORS = [
    (lambda text: parse_made_for(parse_object(text, 'cell.json')), json.dumps(CELL).encode()),
    (parse_row, b'{"epoch": 3, "iter": 30, "loss": 0.5, "accuracy/top1": 81.2, "lr": 1e-3, "time_s": 12.5}'),
    (parse_exit_codes, b'1\n137\n-9\n'),
]


def mutated(text: bytes, draw: random.Random) -> bytes:
    """Change, remove or double some bytes or pieces of a text."""
    found = bytearray(text)
    pieces = [b'"', b'{', b'[', b'null', b'1e999', b'-', b'\0', b'\xff', b'9' * 30, b': ', b'\n', b'\\ud800', b'NaN']
    for _ in range(draw.randint(1, 4)):
        at, end = sorted(draw.randrange(len(found) + 1) for _ in '12')
        kind = draw.randrange(3)
        found[at : (at if kind == 0 else end)] = draw.choice(pieces) if kind < 2 else bytes(found[at:end]) * 2
    return bytes(found)


@pytest.mark.parametrize(('parse', 'text'), DOORS)
def test_mutated_files_are_read_or_refused(parse, text):
    parse(text)
    draw, refused = random.Random(0), 0
    for _ in range(200):
        line = refusal(parse, mutated(text, draw))
        refused += line != ''
        assert line == '' or line.isprintable()
        assert len(line) < 400
    assert 20 < refused < 200


def refusal(parse, text: bytes) -> str:
    """Return the error line for a text; '' if it can be read."""
    try:
        parse(text)
    except InputError as error:
        return str(error)
    return ''
