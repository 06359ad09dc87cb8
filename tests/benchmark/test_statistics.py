"""Compare differences, tolerances and intervals of gains with hand calculations and a table of Student's t."""

import math

import pytest

from openmix.benchmark.significance import over_seeds
from openmix.benchmark.statistics import agreement, difference, gains, tolerance

# 97.5 % points of Student's t, from a printed table: degrees of freedom -> t.
STUDENT = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262}


@pytest.mark.parametrize(('freedom', 't'), STUDENT.items())
def test_interval(freedom, t):
    values = [float(i % 3) for i in range(freedom + 1)]
    n = len(values)
    average = sum(values) / n
    spread = math.sqrt(sum((value - average) ** 2 for value in values) / freedom)
    assert over_seeds(values).half_width == pytest.approx(t * spread / math.sqrt(n), rel=1e-3)


@pytest.mark.parametrize('values', [[], [3.0]])
def test_no_interval_of_one_value(values):
    assert over_seeds(values).half_width is None


def set_value(bench, place, before, after):
    path = bench.work_dir / place / 'result.json'
    text = path.read_text()
    assert f'"median_last3": {before}' in text
    path.write_text(text.replace(f'"median_last3": {before}', f'"median_last3": {after}'))


def test_gains_are_paired_by_seed(bench):
    bench.run(rows='Mixup', trials=3)
    for trial, (before, after) in enumerate([(90.0, 91.0), (89.0, 91.0), (88.0, 91.0)]):
        set_value(bench, f'mixup/dm-ce/trial{trial}', before, after)
    gain, _ = gains(bench.table, bench.records(trials=3))
    # Pairs gain 1, 2 and 3: mean 2, standard deviation 1.
    assert (gain.ours, gain.pairs) == (2.0, 3)
    assert gain.half_width == pytest.approx(STUDENT[2] / math.sqrt(3), rel=1e-3)
    assert gain.published == pytest.approx(1.32)


def test_only_shared_seeds_are_paired(bench):
    bench.run(rows='Mixup', columns='MCE', trials=3)
    bench.run(rows='Mixup', columns='DM*', trials=1)
    set_value(bench, 'mixup/dm-ce/trial0', 90.0, 90.5)
    gain, _ = gains(bench.table, bench.records(trials=3))
    assert (gain.ours, gain.half_width, gain.pairs) == (0.5, None, 1)


@pytest.mark.parametrize(
    ('values', 'metric', 'expected'),
    [
        ((79.30, 79.30), 'accuracy/top1', 'agrees'),  # within 0.2
        ((79.40, 79.40), 'accuracy/top1', 'better'),
        ((78.80, 78.80), 'accuracy/top1', 'worse'),
        ((79.00, 80.00), 'accuracy/top1', 'agrees'),  # 0.38 away, within 2 standard deviations of 0.71
        ((79.40, 79.40), 'fgsm/error', 'worse'),
    ],
)
def test_verdict(bench, values, metric, expected):
    bench.run(rows='Mixup', columns='MCE')
    for trial, value in enumerate(values):
        set_value(bench, f'mixup/mce/trial{trial}', 90.0 - trial, value)
        path = bench.work_dir / f'mixup/mce/trial{trial}/result.json'
        path.write_text(path.read_text().replace('accuracy/top1', metric))
    bench.edit('accuracy/top1', metric)
    (record,) = bench.records(rows='Mixup', columns='MCE')
    assert agreement(record) == expected
    assert difference(record) == pytest.approx(sum(values) / 2 - 79.12)
    assert tolerance(record) == pytest.approx(max(0.2, 2 * abs(values[0] - values[1]) / math.sqrt(2)))


def test_nothing_to_compare(bench):
    vanilla, mixup, *_ = bench.records(trials=1)
    assert [agreement(record) for record in (vanilla, mixup)] == ['', '']
