"""Any file of a table loads or gives one error line, and no code in it runs."""

import json
import random

import pytest

from openmix.benchmark.expand import expand
from openmix.benchmark.literal import as_python, read_back
from openmix.benchmark.schema import read_schema
from openmix.benchmark.table import load_table
from openmix.config import load_config
from openmix.errors import InputError

CODE = [
    ('model.policy: {type: os.system, command: touch hacked, _delete_: true}', 'is a path to code'),
    ('model.policy.type: os.system', 'is a path to code'),
    ('model.policy: {type: "os:system", _delete_: true}', 'is a path to code'),
    ('model.policy: {a: [{b: {type: subprocess.run}}], type: Mixup, _delete_: true}', 'is a path to code'),
    ('grid: {model.policy.type: [Mixup, os.system]}', 'is a path to code'),
    ('grid: {model.policy: [{type: os.system}]}', 'is a path to code'),
    ('custom_imports: {imports: [antigravity]}', "'custom_imports' loads code"),
    ('custom_imports.imports: [antigravity]', "'custom_imports' loads code"),
    ('model.custom_imports: {imports: [antigravity]}', "'custom_imports' loads code"),
    ('_base_: evil.py', "'_base_' loads code"),
    ('model.policy._scope_: evil', "'_scope_' loads code"),
    ('"model.a\'b": 1', 'is not a name'),
    ('model: {"a\\"); import os; (\\"": 1}', 'is not a name'),
    ('"x\\ny": 1', 'is not a name'),
    ('model.policy: {"{{ fileDirname }}": 1}', 'is not a name'),
    ('model.policy.alpha: .nan', 'nan is not a value'),
    ('model.policy.name: "a\\e[31mb"', 'control character'),
]


@pytest.mark.parametrize(('override', 'message'), CODE)
def test_what_would_run_is_refused_at_load(bench, override, message):
    bench.edit('  Mixup: {model.policy: {type: Mixup, alpha: 1.0, _delete_: true}}', f'  Mixup:\n    {override}')
    with pytest.raises(InputError, match=message) as error:
        load_table(bench.path)
    assert str(error.value).isprintable()
    assert not (bench.root / 'hacked').exists()


@pytest.mark.parametrize(
    'field', ['validation: {train_cfg.type: os.system}', 'validation: {custom_imports.imports: [x]}']
)
def test_validation_is_data_too(bench, field):
    bench.edit('notes:', f'{field}\nnotes:')
    with pytest.raises(InputError, match=r'path to code|loads code'):
        _ = bench.table


HOSTILE = [
    {'a': {"b'c": 1, 'd"e': 2, 'f\\': 3, 'g\n': 4, '{{ fileDirname }}': 5, '': 6, 'class': 7}},
    {
        'a': '"""',
        'b': "'''",
        'c': '\\',
        'd': '{{$HOME:x}}',
        'e': '{{_base_.model}}',
        'f': '\n\t\0\x1b\u202e\ud83d\ude00',
    },
    {'a': ["'); import os; os.system('touch hacked'); ('", {'x"): import os #': 1}]},
    {
        'a': float('inf'),
        'b': -float('inf'),
        'c': 1e-300,
        'd': -0.0,
        'e': 10**30,
        'f': True,
        'g': None,
        'h': 1,
        'i': 1.0,
    },
    {'a': (1,), 'b': (), 'c': [], 'd': {}, 'e': [[()]], 'f': ({'x': (1, 2)},)},
    {'a': {1: 'x', 2.5: 'y', False: 'z'}},
    {'long': ['x' * 50] * 20, 'nested': {'k' * i: {'k': list(range(60))} for i in range(1, 9)}},
]


@pytest.mark.parametrize('values', HOSTILE)
def test_what_is_written_down_is_read_back(values, tmp_path, monkeypatch):
    """By a reader that runs nothing, by Python, and as a recipe."""
    text = as_python(values, 'about """ \\ {{ fileDirname }}\n')
    assert repr(read_back(text)) == repr(dict(sorted(values.items()))) or read_back(text) == values
    ran: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(text, 'config.py', 'exec'), {'__builtins__': {'dict': dict}}, ran)
    assert ran.pop('__doc__') == 'about """ \\ {{ fileDirname }}\n'
    assert ran == values
    assert not (tmp_path / 'hacked').exists()
    path = tmp_path / 'config.py'
    path.write_text(text, encoding='utf-8', errors='surrogatepass')
    if '\ud83d' not in str(values) and all(
        isinstance(key, str) for v in values.values() if type(v) is dict for key in v
    ):
        assert load_config(path)._cfg_dict.to_dict() == values


@pytest.mark.parametrize(
    'values',
    [
        {'not a name': 1},
        {'class': 1},
        {'__builtins__': 1},
        {'filename': 1},
        {'a': print},
        {'a': {'b': [object()]}},
        {'a': {1, 2}},
        {'a': float('nan')},
        {'a': {(1, 2): 3}},
    ],
)
def test_what_cannot_be_written_down_is_one_line(values):
    with pytest.raises(InputError) as error:
        as_python(values)
    assert str(error.value).isprintable()


BOMB = 'a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n'
for _name, _of in zip('bcdefg', 'abcdef'):
    BOMB += f'{_name}: &{_name} [{", ".join([f"*{_of}"] * 10)}]\n'
BOMB += 'notes: *g'
WRONG = [
    ('notes: [first note]', 'notes: 3', 'notes: expected a list, got 3'),
    ('notes: [first note]', 'notes: [[a]]', 'notes: expected text'),
    ('notes: [first note]', 'claims: x', "claims: expected a list, got 'x'"),
    ('notes: [first note]', 'claims: [3]', 'claims 0: expected a mapping, got 3'),
    (
        'notes: [first note]',
        'claims: [{text: [a], higher: {rows: a}, lower: {rows: a}, pair: row}]',
        'text must be text',
    ),
    ('notes: [first note]', 'claims: [{text: a, higher: {rows: 3}, lower: {rows: a}, pair: row}]', 'must be a glob'),
    ('notes: [first note]', 'claims: [{text: a, higher: {rows: a}, lower: {rows: a}, pair: [row]}]', 'unknown pair'),
    ('notes: [first note]', 'spread: 3', 'spread: expected a mapping, got 3'),
    ('notes: [first note]', 'variant: [published]', 'unknown variant'),
    ('notes: [first note]', 'source: {a: b}\nnotes: []', 'given twice'),
    ('source: nowhere, Table 0', 'source: {a: b}', "field 'source' must be text"),
    ('source: nowhere, Table 0', 'source: "a\\u202eb"', 'control character'),
    ('trials: 2', 'trials: true', 'trials must be an integer'),
    ('trials: 2', 'trials: 999999999999', 'trials must be in'),
    ('trials: 2', 'trials: 1.5', 'trials must be an integer'),
    ('trials: 2', 'seeds: [true, 1]', 'a seed must be an integer'),
    ('trials: 2', 'seeds: [-1]', 'a seed must be in'),
    ('trials: 2', 'seeds: [99999999999]', 'a seed must be in'),
    ('[79.12, 80.44]', '[1e300, 80.44]', "published value 1e+300"),
    ('gains: {DM(CE): MCE}', 'gains: [a]', 'gains: expected a mapping'),
    ('gains: {DM(CE): MCE}', 'gains: {DM(CE): [MCE]}', 'unknown column'),
    ('  Vanilla: {model', '  2024: {model', 'is not a string; quote it'),
    ('  Vanilla: {model.policy: {type: NoMix, _delete_: true}}', '  Vanilla: 3', 'expected a mapping, got 3'),
    ('  Vanilla: {model', '  Vanilla: {config: [a], model', 'config must be text'),
    ('readout: median_last3', 'readout: [last]', "readout ['last'] is none of"),
    ('metric: accuracy/top1', 'metric: 3', "field 'metric' must be text, got 3"),
    ('title: A <small> table', 'title: ""', "field 'title' is missing"),
    ('gains: {DM(CE): MCE}', 'grid: {model.policy.alpha: [1, 2, 1]}', 'lists a value twice'),
    (
        'gains: {DM(CE): MCE}',
        'grid: {a.b: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], a.c: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], '
        'a.d: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], a.e: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}',
        'more than 10000 combinations',
    ),
    ('notes: [first note]', BOMB, 'more than'),
    ('notes: [first note]', 'notes: &n [*n]', ''),
    ('notes: [first note]', f'notes: {"[" * 5000}', ''),
]  # fmt: skip


@pytest.mark.parametrize(('old', 'new', 'message'), WRONG, ids=range(len(WRONG)))
def test_fields_of_other_types_are_one_line(bench, old, new, message):
    bench.edit(old, new)
    with pytest.raises(InputError) as error:
        load_table(bench.path)
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_too_many_cells_are_one_line(bench):
    rows = ''.join(f'  r{i}: {{}}\n' for i in range(400))
    columns = ''.join(f'  c{i}: {{}}\n' for i in range(400))
    bench.path.write_text(f'title: a\nmetric: b\nreadout: last\nbase: c\ncolumns:\n{columns}rows:\n{rows}')
    with pytest.raises(InputError, match='400 rows x 400 columns are more than 20000 cells'):
        _ = bench.table
    rows = ''.join(f'  r{i}: {{}}\n' for i in range(5))
    bench.path.write_text(f'title: a\nmetric: b\nreadout: last\nbase: c\ncolumns:\n{columns}rows:\n{rows}')
    with pytest.raises(InputError, match='more than 1000000 runs; choose some rows'):
        bench.trials(trials=1000)


def test_a_table_of_many_cells_expands_in_linear_steps(bench, monkeypatch):
    """No cell is compared with every other: each is looked up by what it runs."""
    columns = {f'c{i}': {'model.policy.alpha': i} for i in range(40)}
    raw = {'title': 'a', 'metric': 'b', 'readout': 'last', 'base': 'c', 'columns': columns}
    schema = read_schema('big', raw | {'rows': {f'r{i}': {'model.policy.share': i} for i in range(40)}})
    compared = []
    monkeypatch.setattr('openmix.benchmark.cell.Cell.__eq__', lambda a, b: compared.append(1) or a is b)
    assert len({cell.folder for cell in expand('big', schema, {}.__getitem__)}) == 1600
    assert len(compared) == 0


TOKENS = ['3', '[]', '{}', 'null', 'true', '.nan', '"\\0"', '[1, 2]', '{a: b}', '{type: os.system}', '&a [*a]']
TOKENS += ['- x', '1e999', '!!python/none', '*x', '"\\e[31m"', '9' * 50]


def mutated(text: str, draw: random.Random) -> bytes:
    """Replace words, remove, double or move lines, or change bytes of a table's file."""
    lines = text.splitlines()
    for _ in range(draw.randint(1, 3)):
        at, kind = draw.randrange(len(lines)), draw.randrange(6)
        if kind == 0:
            lines[at] = ''
        elif kind == 1:
            lines.insert(draw.randrange(len(lines)), lines[at])
        elif kind == 2:
            lines[at] = f'{lines[at].split(":")[0]}: {draw.choice(TOKENS)}'
        elif kind == 3:
            words = lines[at].split(' ')
            words[draw.randrange(len(words))] = draw.choice(TOKENS)
            lines[at] = ' '.join(words)
        elif kind == 4:
            lines[at] = lines[at].replace(draw.choice(['{', '}', ':', ',', '[']), draw.choice(['', ' ', '\t', '"']), 1)
        else:
            lines[at] = draw.choice(['  ', '\t', '"', '']) + lines[at]
    found = bytearray('\n'.join(lines).encode())
    if found and draw.random() < 0.2:
        found[draw.randrange(len(found))] = draw.randrange(256)
    return bytes(found)


def outcome(bench, text: bytes) -> str:
    """Return '' if a mutated table loads and resolves, else its error line; other errors are raised."""
    bench.path.write_bytes(text)
    try:
        table = load_table(bench.path)
        for cell in table.cells:
            if cell.implemented:
                cell.config_text()
    except InputError as error:
        return str(error)
    return ''


@pytest.mark.parametrize('seed', range(5))
def test_mutated_tables_load_or_are_refused(bench, seed):
    draw, text = random.Random(seed), bench.path.read_text()
    found = [outcome(bench, mutated(text, draw)) for _ in range(40)]
    assert all(line.isprintable() and len(line) < 2000 for line in found), json.dumps(found)
    assert '' in found
    assert any(found)
