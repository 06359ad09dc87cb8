"""A damaged `metrics.jsonl` can be read, and its content is kept."""

import json
import random

import pytest

from openmix.engine.history import read_history, text_of

ROWS = {n: {'epoch': n, 'iter': n, 'loss': 2.5, 'lr': 0.1, 'accuracy/top1': 40.0, 'time_s': 1.5 * n} for n in (1, 2, 3)}


def test_what_is_written_is_read(tmp_path):
    (tmp_path / 'a').write_text(text_of(ROWS))
    assert read_history(tmp_path / 'a') == ([*ROWS.values()], 0)
    assert read_history(tmp_path / 'gone') == ([], 0)


@pytest.mark.parametrize(
    'line',
    [
        '{"epoch": 4, "iter": 4, "lo',
        '',
        '[]',
        '3',
        '{}',
        '{"epoch": 4, "iter": "4", "time_s": 1.0}',
        '{"epoch": 4, "iter": true, "time_s": 1.0}',
        '{"epoch": 4, "iter": 4}',
        '{"epoch": 4, "iter": 4, "time_s": NaN}',
        '{"epoch": 4, "iter": 4, "time_s": 1.0, "loss": "low"}',
        '{"epoch": 4, "iter": 4, "time_s": 1.0, "loss": {}}',
        '[' * 100_000,
        '\udcff',
    ],
)
def test_a_damaged_line_costs_itself_alone(tmp_path, line):
    first, *others = text_of(ROWS).splitlines()
    text = '\n'.join([first, line, *others]) + '\n'
    (tmp_path / 'a').write_bytes(text.encode('utf-8', 'surrogateescape'))
    assert read_history(tmp_path / 'a') == ([*ROWS.values()], int(line != ''))


def test_what_is_no_file_counts_as_damaged(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link').symlink_to('nowhere')
    assert read_history(tmp_path / 'folder') == read_history(tmp_path / 'link') == ([], 1)


def test_any_bytes(tmp_path):
    rng, text = random.Random(0), text_of(ROWS).encode()
    for _ in range(200):
        data = bytearray(text)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / 'a').write_bytes(data[: rng.randrange(len(data))])
        rows, _ = read_history(tmp_path / 'a')
        assert all(row['iter'] > 0 and row['time_s'] >= 0 for row in rows)
        json.dumps(rows)
