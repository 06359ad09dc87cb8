"""Compare tests of differences with slow references, printed tables of the distributions and worked examples."""

import itertools
import json
import math

import numpy as np
import pytest

from openmix.benchmark.as_data import report
from openmix.benchmark.ranking import common, rank
from openmix.benchmark.report import as_text
from openmix.benchmark.significance import effect, holm, over_seeds, over_seeds_and_images, ranks
from openmix.benchmark.statistics import over_first_row
from openmix.benchmark.table import load_table
from openmix.errors import InputError


def test_paired_t():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.464 with 2 degrees of freedom; there p = 1 - t / sqrt(2 + t^2).
    found = over_seeds([1.0, 2.0, 3.0])
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert found.half_width == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert over_seeds([1.0]) == (1.0, None, None)
    assert over_seeds([0.0, 0.0]) == (0.0, 0.0, 1.0)


def slow_error(differences):
    """Compute the mean squares of the two-way layout in loops."""
    seeds, images = len(differences), len(differences[0])
    whole = sum(map(sum, differences)) / (seeds * images)
    rows = [sum(row) / images for row in differences]
    columns = [sum(row[j] for row in differences) / seeds for j in range(images)]
    of_seeds = images * sum((row - whole) ** 2 for row in rows) / (seeds - 1)
    of_images = seeds * sum((column - whole) ** 2 for column in columns) / (images - 1)
    rest = 0.0
    for i, j in itertools.product(range(seeds), range(images)):
        rest += (differences[i][j] - rows[i] - columns[j] + whole) ** 2
    rest /= (seeds - 1) * (images - 1)
    return of_seeds, of_images, rest


def test_seeds_and_images_by_value():
    generator = np.random.default_rng(0)
    images, seeds = generator.normal(0, 3, 30), generator.normal(1, 0.5, 4)
    differences = seeds[:, None] + images[None] + generator.normal(0, 1, (4, 30))
    of_seeds, of_images, rest = slow_error(differences.tolist())
    both = of_seeds + of_images - rest
    assert both > max(of_seeds, of_images)  # the case with both parts
    freedom = both**2 / (of_seeds**2 / 3 + of_images**2 / 29 + rest**2 / 87)
    found = over_seeds_and_images(differences)
    from scipy.stats import t

    error = math.sqrt(both / 120)
    assert found.mean == pytest.approx(differences.mean())
    assert found.half_width == pytest.approx(t.ppf(0.975, freedom) * error)
    assert found.p == pytest.approx(2 * t.sf(abs(differences.mean()) / error, freedom))


def test_the_interval_holds_what_it_says():
    """Over draws of seeds and of images, 95 % intervals hold the true mean about so often, those over seeds do not."""
    generator = np.random.default_rng(1)
    both = alone = 0
    for _ in range(300):
        images, seeds = generator.normal(0, 6, 40), generator.normal(1, 0.3, 3)
        differences = seeds[:, None] + images[None] + generator.normal(0, 1, (3, 40))
        found = over_seeds_and_images(differences)
        both += abs(found.mean - 1) <= found.half_width
        found = over_seeds(differences.mean(1).tolist())
        alone += abs(found.mean - 1) <= found.half_width
    assert 0.91 < both / 300 < 0.99
    assert alone / 300 < 0.85


def slow_holm(p):
    """Reject in order of the p values while p <= level / (number not yet rejected), at each level of a fine grid."""
    found = []
    for i in range(len(p)):
        for level in np.linspace(0, 1, 100_001):
            rejected = set()
            for j in sorted(range(len(p)), key=lambda k: p[k]):
                if p[j] > level / (len(p) - len(rejected)) + 1e-12:
                    break
                rejected.add(j)
            if i in rejected:
                found.append(level)
                break
        else:
            found.append(1.0)
    return found


def test_holm():
    # Holm (1979) on 0.01, 0.04, 0.03, 0.005: 0.03, 0.06, 0.06, 0.02.
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert slow_holm(p) == pytest.approx(holm(p), abs=1e-4)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_effect():
    # Means 3 and 1, variances 1 and 1.
    assert effect([2.0, 3.0, 4.0], [0.0, 1.0, 2.0]) == pytest.approx(2.0)
    assert effect([2.0], [0.0, 1.0]) is None
    assert effect([2.0, 2.0], [1.0, 1.0]) is None


def test_ranks_of_a_worked_example():
    # Demsar (2006), Table 6: C4.5 with and without parameters over 14 data sets; its critical difference for four
    # methods and 14 data sets is 2.569 * sqrt(4 * 5 / (6 * 14)) = 1.25.
    numbers = np.array(
        [
            [0.763, 0.768, 0.771, 0.798],
            [0.599, 0.591, 0.590, 0.569],
            [0.954, 0.971, 0.968, 0.967],
            [0.628, 0.661, 0.654, 0.657],
            [0.882, 0.888, 0.886, 0.898],
            [0.936, 0.931, 0.916, 0.931],
            [0.661, 0.668, 0.609, 0.685],
            [0.583, 0.583, 0.563, 0.625],
            [0.775, 0.838, 0.866, 0.875],
            [1.000, 1.000, 1.000, 1.000],
            [0.940, 0.962, 0.965, 0.962],
            [0.619, 0.666, 0.614, 0.669],
            [0.972, 0.981, 0.9751, 0.975],
            [0.957, 0.978, 0.946, 0.970],
        ]
    )
    found = ranks(numbers)
    assert found.mean == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    assert found.critical == pytest.approx(1.25, abs=5e-3)
    # Friedman's statistic is 9.28 there, without the correction for ties, by which it is divided here.
    square = 12 * 14 / (4 * 5) * (sum(mean**2 for mean in found.mean) - 4 * 5**2 / 4)
    assert square == pytest.approx(9.28, abs=0.05)
    square /= 1 - sum((row == value).sum() ** 2 - 1 for row in numbers for value in row) / (14 * (4**3 - 4))
    tail = math.erfc(math.sqrt(square / 2)) + math.sqrt(2 * square / math.pi) * math.exp(-square / 2)
    assert found.p == pytest.approx(tail)
    assert ranks(numbers[:1]).p is None


@pytest.fixture
def measured(bench):
    """Make a table with three trials of three cells; Mixup is right on the images where Vanilla is, and on more."""
    bench.edit('median_last3', 'last')
    bench.run(trials=3)

    def write(place, bits):
        for trial in range(3):
            path = bench.work_dir / place / f'trial{trial}' / 'result.json'
            found = json.loads(path.read_text())
            right = int(bits, 16).bit_count()
            found['readouts']['accuracy/top1']['last'] = 100 * right / 64
            found['right'] = {'accuracy/top1': {'images': 64, 'ids': 'ab', 'bits': bits}}
            path.write_text(json.dumps(found))

    write('vanilla/mce', 'ff00ff00ff00ff00')
    write('mixup/mce', 'ff00ff00ffffff00')
    return bench


def test_rows_are_tested_against_the_first(measured):
    found = {(gain.row, gain.column): gain for gain in over_first_row(measured.table, measured.records(trials=3))}
    gain = found['Mixup', 'MCE']
    assert (gain.ours, gain.pairs, gain.images) == (12.5, 3, 64)
    # All seeds agree: 8 of 64 images, one each, so the mean square of images alone decides.
    square = 3 * (8 * 87.5**2 + 56 * 12.5**2) / 63
    assert gain.half_width == pytest.approx(1.998 * math.sqrt(square / 192), rel=1e-3)  # t of 63 degrees of freedom
    p = [each.p for each in found.values()]
    assert [each.p_holm for each in found.values()] == holm(p)
    assert 0 < gain.p < 0.01
    dm = found['Mixup', 'DM(CE)']  # Vanilla has no DM(CE): it is compared with MCE, over seeds, as it has no images
    assert (dm.over, dm.beside, dm.images) == ('MCE', 'Vanilla', 0)
    text = as_text(measured.table, measured.records(trials=3), 'md', measured.work_dir)
    assert 'Over Vanilla' in text
    assert '| Mixup: MCE − Vanilla / MCE | +12.50 ±' in text
    html = as_text(measured.table, measured.records(trials=3), 'html', measured.work_dir)
    assert '<h2>Over Vanilla</h2>' in html
    names = [gain['row'] for gain in report(measured.table, measured.records(trials=3))['over_first_row']]
    assert 'Mixup' in names


def test_images_of_another_validation_are_not_paired(measured):
    for trial in range(3):
        path = measured.work_dir / f'mixup/mce/trial{trial}/result.json'
        path.write_text(path.read_text().replace('"ids": "ab"', '"ids": "cd"'))
    found = {(gain.row, gain.column): gain for gain in over_first_row(measured.table, measured.records(trials=3))}
    assert found['Mixup', 'MCE'].images == 0


def test_rank_needs_common_numbers(measured, tmp_path):
    records = measured.records(trials=3)
    with pytest.raises(InputError, match='two different tables'):
        common([measured.table, measured.table], [records, records])
    other = load_table('few/settings')
    with pytest.raises(InputError, match='fewer than two cells are measured in every table'):
        rank([measured.table, other], [records, []])


def test_rank(measured, monkeypatch):
    from dataclasses import replace

    records = measured.records(trials=3)
    names, numbers = common([measured.table, replace(measured.table, name='other')], [records, records])
    assert {'Vanilla / MCE', 'Mixup / MCE'} <= set(names)
    assert numbers.shape == (2, len(names))
    at = {name: numbers[0, i] for i, name in enumerate(names)}
    assert at['Mixup / MCE'] - at['Vanilla / MCE'] == 12.5
