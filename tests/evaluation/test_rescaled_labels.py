"""Test the curves of rescaled labels by value, and the command as a process."""

import csv

import pytest

from openmix.evaluation.rescaled_labels import rescaled


@pytest.mark.parametrize(('xi', 't'), [(1.0, 1.0), (0.8, 2.0), (1.0, 0.5), (0.7, 1.0)])
def test_points_are_those_of_equation_3(xi, t):
    for lam, label in rescaled(xi, t, 11):
        assert label == pytest.approx(min(1.0, lam / xi) ** t)
    assert [lam for lam, _ in rescaled(xi, t, 11)] == pytest.approx([i / 10 for i in range(11)])


def test_without_threshold_and_exponent_the_label_is_two_hot():
    assert [label for _, label in rescaled(0.0, 0.0, 5)] == [0, 1, 1, 1, 1]


def test_the_command(nursery, tmp_path):
    done = nursery.run(['rescaled_labels.py', '--xi', '0.8', '1', '--t', '1', '0.5', '--out', tmp_path / 'out'])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'out' / 'rescaled_labels.png').read_bytes()[:4] == b'\x89PNG'
    assert '<svg' in (tmp_path / 'out' / 'rescaled_labels.svg').read_text()
    with (tmp_path / 'out' / 'rescaled_labels.csv').open() as file:
        rows = [tuple(map(float, row.values())) for row in csv.DictReader(file)]
    assert len(rows) == 202
    assert rows[40] == pytest.approx((0.8, 1, 0.4, 0.5))
    assert rows[101 + 25] == pytest.approx((1, 0.5, 0.25, 0.5))


@pytest.mark.parametrize(
    ('words', 'line'),
    [(['--xi', 1.5, '--t', 1], '--xi must be'), (['--xi', 1, '--t', 1, 2], 'one --xi and one --t, got 1 and 2')],
)
def test_bad_input_is_one_line(call, tmp_path, words, line):
    code, _, err = call('rescaled_labels.py', *words, '--out', tmp_path / 'out')
    assert code == 2
    assert line in err
    assert not (tmp_path / 'out').exists()
