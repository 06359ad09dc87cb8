"""The numbers: readouts, means, gains, and every form they are printed in."""

import csv
import io
import json
import math

import pytest
from rich.console import Console

from openmix.benchmark import render
from openmix.benchmark.records import gains, read_out
from openmix.benchmark.report import as_text, write_report
from openmix.errors import InputError

RESULT = {
    'readouts': {'accuracy/top1': {'last': 3.0, 'best': 9.0, 'median_last3': 5.0}},
    'history': [{'epoch': e, 'accuracy/top1': v} for e, v in enumerate([1.0, 9.0, 5.0, 3.0], 1)],
}


def test_readouts():
    assert read_out(RESULT, 'accuracy/top1', 'last') == 3.0
    assert read_out(RESULT, 'accuracy/top1', 'best') == 9.0
    assert read_out(RESULT, 'accuracy/top1', 'median_last3') == 5.0
    assert read_out(RESULT, 'accuracy/top1', 'median_last2') == 4.0  # not recorded: from the history
    with pytest.raises(InputError, match=r"no metric 'accuracy/top'; did you mean 'accuracy/top1'\?"):
        read_out(RESULT, 'accuracy/top', 'last')
    with pytest.raises(InputError, match="no readout 'best'"):
        read_out({'readouts': {'accuracy/top1': {'last': 1.0}}}, 'accuracy/top1', 'best')


def test_mean_and_deviation(bench):
    bench.run(rows='Mixup', columns='MCE', trials=3)
    (record,) = bench.records(rows='Mixup', columns='MCE', trials=3)
    assert record.values == (90.0, 89.0, 88.0)
    assert record.mean == 89.0
    assert math.isclose(record.std, 1.0)  # sample standard deviation of 90, 89, 88
    assert render.measured(record) == '89.00 ± 1.00 (3)'
    (one,) = bench.records(rows='Mixup', columns='MCE', trials=1)
    assert one.std is None
    assert render.measured(one) == '90.00 (1)'
    (partial,) = bench.records(rows='Mixup', columns='MCE', trials=4)
    assert (partial.status, partial.mean) == ('pending (3/4)', 89.0)


def test_json_lists_every_cell(bench):
    bench.run(rows='Mixup')
    found = json.loads(as_text(bench.table, bench.records(), 'json', bench.work_dir))
    recipe = str(bench.root / 'recipe.py')
    assert [entry['row'] for entry in found] == ['Vanilla', 'Mixup', 'Mixup', 'CutMix', 'CutMix']
    assert found[0] == {
        'row': 'Vanilla',
        'column': 'MCE',
        'published': None,
        'measured': None,
        'std': None,
        'trials': 0,
        'status': 'pending',
        'config': recipe,
    }
    assert found[2] == {
        'row': 'Mixup',
        'column': 'DM(CE)',
        'published': 80.44,
        'measured': 89.5,
        'std': pytest.approx(0.5**0.5),
        'trials': 2,
        'status': 'done',
        'config': recipe,
    }


def test_csv(bench):
    bench.run(rows='Mixup', columns='MCE')
    rows = list(csv.DictReader(io.StringIO(as_text(bench.table, bench.records(), 'csv', bench.work_dir))))
    assert tuple(rows[0]) == render.FIELDS
    assert (rows[1]['measured'], rows[1]['published'], rows[2]['measured']) == ('89.5', '79.12', '')


def test_best_of_columns(bench):
    bench.run(rows='*mix*', columns='MCE', trials=1)
    path = bench.work_dir / 'mixup/mce/trial0/result.json'
    path.write_text(path.read_text().replace('"median_last3": 90.0', '"median_last3": 91.0'))
    assert render.best_of_columns(bench.table, bench.records(trials=1)) == {('Mixup', 'MCE')}
    for name in ('mixup', 'cutmix'):
        path = bench.work_dir / name / 'mce/trial0/result.json'
        path.write_text(path.read_text().replace('accuracy/top1', 'fgsm/error'))
    bench.edit('accuracy/top1', 'fgsm/error')
    assert render.best_of_columns(bench.table, bench.records(trials=1)) == {('CutMix', 'MCE')}


def test_gains(bench):
    bench.run(rows='Mixup', trials=1)
    path = bench.work_dir / 'mixup/dm-ce/trial0/result.json'
    path.write_text(path.read_text().replace('"median_last3": 90.0', '"median_last3": 91.25'))
    mixup, cutmix = gains(bench.table, bench.records(trials=1))  # Vanilla's second cell is absent
    assert (mixup.row, mixup.column, mixup.over, mixup.ours) == ('Mixup', 'DM(CE)', 'MCE', 1.25)
    assert mixup.published == pytest.approx(1.32)
    assert (cutmix.ours, cutmix.published) == (None, None)


def test_terminal_and_markdown(bench):
    bench.run(rows='Mixup')
    text = as_text(bench.table, bench.records(), 'terminal', bench.work_dir)
    assert all(piece in text for piece in ('89.50 ± 0.71 (2)', '80.44', 'pending', '–', 'median of the last 3 epochs'))
    text = as_text(bench.table, bench.records(), 'md', bench.work_dir)
    assert '| Mixup | **89.50 ± 0.71 (2)** | 79.12 | **89.50 ± 0.71 (2)** | 80.44 |' in text
    assert '| Vanilla | pending |  | – |  |' in text
    assert '| Mixup: DM(CE) − MCE | +0.00 | +1.32 |' in text


def test_report_files(bench):
    bench.run(rows='Mixup', columns='MCE')
    bench.run(rows='Vanilla', columns='MCE', trials=1)
    html, text = write_report(bench.table, bench.records(), bench.work_dir, bench.picture_script)
    assert (html, text) == (bench.work_dir / 'report.html', bench.work_dir / 'report.md')
    page = html.read_text()
    assert all(piece in page for piece in ('89.50 ± 0.71 (2)', 'published 79.12', '<svg', 'currentColor', '12 s'))
    assert 'A &lt;small&gt; table' in page
    assert 'a &lt;test&gt; bench' in page
    assert page.count('data:image/png;base64,YSBwbmc=') == 2  # Vanilla and CutMix
    assert 'No picture of Mixup: no picture today' in page
    assert 'href="mixup/mce/trial1/../config.py"' in page
    assert 'src="http' not in page
    assert '<link' not in page
    assert '89.50 ± 0.71 (2)' in text.read_text()


@pytest.mark.parametrize(('second', 'shown'), [(91.5, 'up">+1.50'), (88.5, 'down">−1.50'), (89.999, '">+0.00')])
def test_gains_on_the_page(bench, second, shown):
    bench.run(rows='Mixup', trials=1)
    path = bench.work_dir / 'mixup/dm-ce/trial0/result.json'
    path.write_text(path.read_text().replace('"median_last3": 90.0', f'"median_last3": {second}'))
    assert f'class="figure {shown}' in as_text(bench.table, bench.records(trials=1), 'html', bench.work_dir)


def test_report_before_any_run(bench):
    html, _ = write_report(bench.table, bench.records(), bench.work_dir, bench.picture_script)
    assert 'No run is finished yet' in html.read_text()


def test_plan_and_status(bench):
    bench.run(rows='Mixup', columns='MCE', trials=1)
    trials = bench.trials(trials=1)
    said = io.StringIO()
    console = Console(file=said, width=200)
    grid, summary = render.plan(bench.table, trials, bench.records(trials=1))
    console.print(grid)
    assert summary == '5 trials, 4 to run, about 50 s one after another (12 s each so far)'
    console.print(render.status(bench.table, trials))
    lines = [line for line in said.getvalue().splitlines() if 'Mixup' in line and 'MCE' in line]
    assert 'skip' in lines[0]
    assert 'done' in lines[1]
    assert '4/4' in lines[1]
