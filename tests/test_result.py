"""Any file `result.json` is a valid result or gives one error line that names it."""

import json
import math
import random

import pytest

from openmix.errors import InputError
from openmix.json_file import parse_object
from openmix.result import parse_result, read_result

GOOD = {
    'metrics': {'accuracy/top1': 90.0},
    'readouts': {'accuracy/top1': {'last': 90.0, 'median_last3': 89.5}},
    'history': [{'epoch': 1, 'iter': 10, 'accuracy/top1': 80.0, 'time_s': 1.5}],
    'seed': 3,
    'config_hash': '0123456789ab',
    'version': '0.1.0',
    'data': None,
    'commit': 'c0ffee',
    'environment': {'python': '3.11', 'cores': 2},
    'world_size': 2,
    'duration_s': 12.5,
    'minutes_per_epoch': 0.25,
    'finished': '2026-01-01T00:00:00+0000',
    'another_key': {'of': ['a', 'later', 'version']},
}
WRONG = [
    ('seed', 'one', 'seed must be an integer'),
    ('seed', True, 'seed must be an integer'),
    ('seed', 1.0, 'seed must be an integer'),
    ('seed', -1, 'seed must be an integer >= 0'),
    ('seed', 10**30, 'seed must be an integer'),
    ('config_hash', 3, 'config_hash must be text'),
    ('readouts', [1], 'readouts must be an object'),
    ('readouts', {'accuracy/top1': 90}, "of 'accuracy/top1' must be an object"),
    ('readouts', {'accuracy/top1': {'last': '90'}}, "'last' must be a number"),
    ('readouts', {'accuracy/top1': {'last': True}}, "'last' must be a number"),
    ('readouts', {'accuracy/top1': {'last': 10**400}}, "'last' must be a number"),
    ('history', {}, 'history must be a list'),
    ('history', [3], 'history 0 must be an object'),
    ('history', [{'epoch': 1.5}], "'epoch' must be an integer"),
    ('history', [{'epoch': 1, 'loss': None}], "'loss' must be a number"),
    ('environment', 'here', 'environment must be an object'),
    ('environment', {'a': [1]}, "'a' must be text or a number"),
    ('world_size', 0, 'world_size must be an integer >= 1'),
    ('duration_s', 'long', 'duration_s must be a number'),
    ('duration_s', math.inf, 'duration_s must be finite'),
    ('duration_s', -1, 'duration_s must be finite and >= 0'),
    ('minutes_per_epoch', 'few', 'minutes_per_epoch must be a number'),
    ('commit', ['a'], 'commit must be text'),
    ('right', {'accuracy/top1': {'images': 9, 'ids': 'ab', 'bits': 'ff'}}, 'bits must be one bit for each of 9 images'),
    ('right', {'accuracy/top1': {'images': 7, 'ids': 'ab', 'bits': 'ff'}}, 'bits must be one bit for each of 7 images'),
    ('right', {'accuracy/top1': {'images': 0, 'ids': 'ab', 'bits': ''}}, 'images must be an integer >= 1'),
    ('right', {'accuracy/top1': ['ff']}, 'must be an object'),
    ('data', 3, 'data must be text'),
    ('environment', {'cpu': 'x' * 300}, "'cpu' has 300 characters; at most 200"),
    ('environment', {'cpu': 'a\x1b[2J'}, "'cpu' holds the control character '\\x1b'"),
    ('environment', {'x' * 300: 1}, 'environment has 300 characters'),
    ('environment', {'a\nb': 1}, "environment holds the control character '\\n'"),
    ('environment', {str(i): 1 for i in range(201)}, 'environment has 201 entries'),
    ('commit', 'c0ffee\u202e', "commit holds the control character '\\u202e'"),
    ('config_hash', 'f' * 201, 'config_hash has 201 characters'),
    ('version', '1\r2', 'version holds the control character'),
    ('finished', 'x' * 201, 'finished has 201 characters'),
    ('history', [{'a\x07': 1.0}], 'holds the control character'),
    ('readouts', {'x\x7f': {'last': 1.0}}, 'holds the control character'),
]
TEXTS = [
    (b'', 'not JSON'),
    (b'null', 'expected an object'),
    (b'[]', 'expected an object'),
    (b'{}', "'seed' is missing"),
    (b'{"seed": 1, "seed": 2}', "key 'seed' is given twice"),
    (b'\xff\xfe{}', 'not JSON'),
    (json.dumps(GOOD).encode('utf-16'), 'not JSON'),
    (b'\0' * 100, 'not JSON'),
    (b'[' * 100_000, 'nested too deep'),
    (b'{"a":' * 100_000, 'nested too deep'),
    (b'{"seed": ' + b'9' * 10_000 + b'}', 'not JSON'),
    (json.dumps(GOOD).encode()[:-20], 'not JSON'),
    (json.dumps(GOOD | {'commit': '\ud800'}).encode(), 'commit must be text'),
]


def parsed(text, where='result.json'):
    return parse_result(parse_object(text, where), where)


def test_a_result_is_read():
    found = parsed(json.dumps(GOOD))
    assert (found.seed, found.config_hash, found.data, found.world_size) == (3, '0123456789ab', None, 2)
    assert found.readouts['accuracy/top1']['median_last3'] == 89.5
    assert found.readouts['time/minutes_per_epoch'] == {'last': 0.25}
    assert found.history[0] == {'epoch': 1, 'iter': 10, 'accuracy/top1': 80.0, 'time_s': 1.5}
    assert found.environment == {'python': '3.11', 'cores': '2'}
    least = parsed(json.dumps({key: GOOD[key] for key in ('seed', 'config_hash', 'readouts')}))
    assert (least.history, least.duration_s, least.commit, least.world_size) == ((), None, None, 1)


@pytest.mark.parametrize(('key', 'value', 'message'), WRONG)
def test_wrong_types_are_one_line(key, value, message):
    with pytest.raises(InputError) as error:
        parsed(json.dumps(GOOD | {key: value}), 'here')
    assert str(error.value).startswith('here')
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(('text', 'message'), TEXTS)
def test_wrong_texts_are_one_line(text, message, tmp_path):
    path = tmp_path / 'result.json'
    path.write_bytes(text)
    with pytest.raises(InputError) as error:
        read_result(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert str(error.value).isprintable()


def test_what_a_run_measured_may_be_no_number():
    """That one epoch's loss was infinite takes nothing from its accuracy."""
    found = parsed(json.dumps(GOOD | {'history': [{'epoch': 1, 'loss': math.inf, 'nll': math.nan}]}))
    assert found.history[0]['loss'] == math.inf
    assert math.isnan(found.history[0]['nll'])


def test_what_is_no_file_is_one_line(tmp_path):
    assert read_result(tmp_path / 'result.json') is None
    assert read_result(tmp_path / 'nowhere' / 'result.json') is None
    (tmp_path / 'result.json').mkdir()
    with pytest.raises(InputError, match='is a folder, not a file'):
        read_result(tmp_path / 'result.json')
    large = tmp_path / 'large.json'
    with large.open('wb') as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match='at most'):
        read_result(large)


def mutated(text: bytes, draw: random.Random) -> bytes:
    """Change, double, move or remove a few bytes, tokens or pieces of a text."""
    found = bytearray(text)
    tokens = [
        b'null',
        b'true',
        b'-1',
        b'1e999',
        b'NaN',
        b'"x"',
        b'[]',
        b'{}',
        b'{"a":',
        b'\\ud800',
        b'\xff',
        b'\0',
        b'9' * 5000,
    ]
    for _ in range(draw.randint(1, 4)):
        at, end = sorted(draw.randrange(len(found) + 1) for _ in '12')
        kind = draw.randrange(5)
        if kind == 0:
            found[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            found[at:end] = b''
        elif kind == 2:
            found[at:at] = found[at:end]
        else:
            quote = found.find(b':', at)
            comma = found.find(b',', max(quote, 0))
            found[max(quote, 0) + 1 : max(comma, quote + 1)] = draw.choice(tokens)
    return bytes(found)


@pytest.mark.parametrize('seed', range(10))
def test_mutated_results_are_read_or_refused(seed):
    draw, refused = random.Random(seed), 0
    for _ in range(20):
        line = refusal(mutated(json.dumps(GOOD).encode(), draw))
        refused += line != ''
        assert '\n' not in line
        assert len(line) < 400
    assert refused > 5


def refusal(text: bytes) -> str:
    """Return the error line for a text; '' if it is a result."""
    try:
        parsed(text)
    except InputError as error:
        return str(error)
    return ''
