"""Test the file of the HTML report: its links, its charts and its size."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from openmix.benchmark.charts import difference_chart, time_chart
from openmix.benchmark.curves import draw_curves, mean_curve
from openmix.benchmark.facets import facets, without_loss
from openmix.benchmark.leaderboard import grouped
from openmix.benchmark.page import page
from openmix.benchmark.panels import beside, scale, ticks
from openmix.benchmark.records import Record, read_records
from openmix.benchmark.render import known_gains
from openmix.benchmark.report import as_text
from openmix.benchmark.table import load_table
from openmix.benchmark.trials import trials_of
from openmix.engine.results import readouts
from openmix.metrics import lower_is_better
from openmix.result import Result

VOID = {'meta', 'input', 'img', 'br'}


class Outline(HTMLParser):
    """A parser that collects the attributes of every tag and checks that tags are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict]:
        return [attributes for tag, attributes in self.found if tag in tags]


def html_of(bench, **chosen) -> str:
    return as_text(bench.table, bench.records(**chosen), 'html', bench.work_dir)


def leaderboard(html: str) -> str:
    return html.split('<table id="leaderboard">')[1].split('</table>')[0]


def cell(html: str, row: str, column: str) -> str:
    """Return a cell of the leaderboard as HTML."""
    line = next(line for line in leaderboard(html).splitlines() if line.startswith(f'<tr data-row="{row}">'))
    return next(part for part in re.findall(r'<td.*?</td>', line) if f'data-column="{column}"' in part)


def set_value(bench, place: str, value: float) -> None:
    path = bench.work_dir / place / 'result.json'
    result = json.loads(path.read_text())
    result['readouts'] = {name: dict.fromkeys(kinds, value) for name, kinds in result['readouts'].items()}
    path.write_text(json.dumps(result))


def test_one_file_that_needs_no_other(bench):
    bench.run()
    path = bench.work_dir / 'mixup/mce/trial0/result.json'
    path.write_text(path.read_text().replace('"duration_s": 12.5', '"duration_s": 50'))
    html = html_of(bench)
    outline = Outline(html)
    assert outline.open == []
    assert not outline.all('link', 'iframe', 'object')
    assert all('src' not in attributes for attributes in outline.all('script', 'img'))
    assert not re.search(r'url\(|@import|fetch\(|https?://', html)
    assert 'width=device-width' in html
    assert 'prefers-color-scheme: dark' in html
    sections = ('Leaderboard', 'Ours minus published', 'Gains', 'Result against training time', 'Notes', 'Runs')
    assert all(f'<h2>{name}</h2>' in html for name in sections)


def test_every_number_links_to_its_run_and_config(bench):
    bench.edit('  Mixup: {model', '  "Mix up #1": {model')
    bench.edit('  Mixup: [', '  "Mix up #1": [')
    bench.run()
    html = html_of(bench)
    links = [unquote(attributes['href']) for attributes in Outline(html).all('a')]
    assert len(links) == 5 * 2 + 10 * 4
    assert all((bench.work_dir / link).exists() for link in links)
    found = re.findall(r'href="([^"]+)"', cell(html, 'Mix up #1', 'MCE'))
    assert found == ['mix-up-1-ef7b1b/mce', 'mix-up-1-ef7b1b/mce/config.py']


def test_links_are_relative_to_where_the_page_lies(bench):
    bench.run(rows='Mixup')
    html = as_text(bench.table, bench.records(), 'html', bench.root / 'elsewhere')
    assert 'href="../work/mixup/mce/config.py"' in html


@pytest.mark.parametrize(
    ('values', 'kind', 'off'),
    [
        ((79.4, 79.36), 'better', '+0.26'),
        ((79.4, 79.2), 'agrees', '+0.18'),
        ((80.0, 79.0), 'agrees', '+0.38'),  # within two deviations
        ((78.0, 78.02), 'worse', '−1.11'),
    ],
)
def test_a_difference_is_coloured_beyond_the_tolerance(bench, values, kind, off):
    bench.run(rows='Mixup', columns='MCE')
    for trial, value in enumerate(values):
        set_value(bench, f'mixup/mce/trial{trial}', value)
    html = html_of(bench)
    assert f'79.12 <span class="mark {kind}">{off}' in cell(html, 'Mixup', 'MCE')
    chart = difference_chart(bench.table, bench.records())
    assert f'Mixup {off} {kind}' in chart
    assert f'class="bar {kind}"' in chart


def test_partial_trials_are_marked(bench):
    bench.run(rows='Mixup', columns='MCE', trials=1)
    found = cell(html_of(bench), 'Mixup', 'MCE')
    assert '90.00 (1 of 2)' in found
    assert 'class="partial"' in found
    assert 'pending (1/2)' in found
    assert 'class="partial"' not in cell(html_of(bench, trials=1), 'Mixup', 'MCE')


def test_imported_results_are_marked(bench, tmp_path):
    theirs = tmp_path / 'theirs'
    bench.run(rows='Mixup')
    bench.work_dir.rename(theirs)
    bench.run(rows='Mixup', columns='MCE', trials=1)
    html = as_text(bench.table, bench.records(imports=[theirs]), 'html', bench.work_dir)
    assert f'title="from {theirs}"><span class="who">imported</span> <a' in cell(html, 'Mixup', 'MCE')
    assert 'data-ours="90.0"' in cell(html, 'Mixup', 'MCE')
    assert 'href="../theirs/mixup/dm-ce"' in cell(html, 'Mixup', 'DM(CE)')
    assert f'<dt>Imported</dt><dd>{theirs}</dd>' in html
    others = tmp_path / 'others'
    shutil.copytree(theirs, others)
    html = as_text(bench.table, bench.records(imports=[theirs, others]), 'html', bench.work_dir)
    assert all(f'imported from {name}</span> <a' in cell(html, 'Mixup', 'MCE') for name in ('theirs', 'others'))


def test_gains_have_an_interval_and_are_coloured_by_it(bench):
    bench.run(rows='Mixup', trials=3)
    for trial, value in enumerate((91.0, 90.2, 88.9)):  # gains of 1.0, 1.2, 0.9
        set_value(bench, f'mixup/dm-ce/trial{trial}', value)
    assert 'class="figure up">+1.03 ± 0.38 (3)' in html_of(bench, trials=3)
    set_value(bench, 'mixup/dm-ce/trial2', 91.0)  # a gain of 3.0 beside 1.0 and 1.2: too wide
    assert 'class="figure ">+1.73 ± 2.74 (3)' in html_of(bench, trials=3)


def test_claims_are_shown_with_their_outcome(bench):
    claims = (
        '- {text: first <claim>, higher: {rows: Mixup}, lower: {rows: CutMix}, pair: column}\n'
        '- {text: second, higher: {columns: DM*}, lower: {columns: MCE}, pair: row, printed: false, note: a reason}\n'
    )
    bench.path.write_text(bench.path.read_text() + 'claims:\n' + claims)
    assert html_of(bench).count('not yet run') == 2
    bench.run(columns='MCE', trials=1)
    html = html_of(bench, trials=1)
    assert '✗ not held' in html
    assert 'first &lt;claim&gt;' in html
    assert '○ not yet run' in html
    assert 'the printed numbers do not bear it out; a reason' in html


def test_times_are_better_when_they_are_lower(bench):
    bench.edit('metric: accuracy/top1', 'metric: time/minutes_per_epoch')
    bench.run(rows='Mixup', columns='MCE', trials=2)
    for trial in range(2):
        path = bench.work_dir / f'mixup/mce/trial{trial}/result.json'
        path.write_text(path.read_text().replace('accuracy/top1', 'time/minutes_per_epoch'))
    (record,) = bench.records(rows='Mixup', columns='MCE', trials=2)
    assert record.cell.lower_is_better
    assert 'class="mark worse">+10.38' in cell(html_of(bench, trials=2), 'Mixup', 'MCE')
    # One trial has no deviation to be held against.
    assert 'class="mark">+10.88' in cell(html_of(bench, trials=1), 'Mixup', 'MCE')
    assert 'data-lower="1"' in leaderboard(html_of(bench))
    assert time_chart([record]) == ''  # time against time says nothing


@pytest.mark.parametrize(
    ('metric', 'lower'),
    [
        ('accuracy/top1', False),
        ('accuracy/nll', True),
        ('loss', True),
        ('fgsm/error', True),
        ('time/minutes_per_epoch', True),
        ('detection/bbox_AP', False),
        ('runtime/top1', False),
    ],
)
def test_which_metrics_are_better_when_they_are_lower(bench, metric, lower):
    assert lower_is_better(metric) == lower
    assert replace(bench.table.cells[0], metric=metric).lower_is_better == lower
    assert readouts(metric, [1.0, 2.0])['best'] == (1.0 if lower else 2.0)


def test_facets_are_named_by_what_the_recipes_say():
    found = facets(load_table('decoupled_mixup/table1').cells)
    assert [(facet.title, facet.values) for facet in found] == [
        ('Data set', ('CIFAR-100', 'Tiny-ImageNet')),
        ('Setting', ('R-18', 'RX-50', 'WRN-28-8')),
        ('Loss', ('MCE', 'DM(CE)')),
    ]
    assert without_loss('CIFAR-100 / R-18 / MCE', found) == 'CIFAR-100 / R-18'
    named = [(facet.title, len(facet.values)) for facet in facets(load_table('decoupled_mixup/table7').cells)]
    assert named == [('Data set', 2), ('Setting', 5)]
    (loss,) = facets(load_table('quickstart').cells)
    assert (loss.title, loss.values) == ('Loss', ('MCE', 'DM(CE)'))


def full_records(table, work_dir, epochs: int) -> list[Record]:
    """Return records of every implemented cell, each with three finished runs."""
    trials = trials_of(table, table.cells, work_dir)
    found = []
    for n, record in enumerate(read_records(table.cells, trials)):
        own = tuple(trial for trial in trials if trial.cell.name == record.cell.name)
        if not own:
            found.append(record)
            continue
        values = tuple((record.cell.published or 70.0) + 0.1 * i + 0.05 * (n % 7) for i in range(len(own)))
        results = tuple(
            Result(
                seed=0,
                config_hash='',
                readouts={},
                history=tuple({'epoch': e, record.cell.metric: v * e / epochs} for e in range(1, epochs + 1)),
                duration_s=3600.0 * (1 + n),
                commit='c0ffee' * 6,
                environment={'python': '3'},
            )
            for v in values
        )
        found.append(replace(record, finished=own, results=results, values=values, state='done'))
    return found


@pytest.fixture(scope='module')
def full(tmp_path_factory):
    table, root = load_table('decoupled_mixup/table1'), tmp_path_factory.mktemp('full')
    return table, full_records(table, root, 400), root


def test_a_long_table_stays_small(full):
    table, records, root = full
    html = page(table, records, root)
    assert len(table.cells) == 90
    assert len(html.encode()) < 700_000
    assert Outline(html).open == []


@pytest.mark.parametrize('draw', [difference_chart, draw_curves, lambda table, records: time_chart(records)])
def test_charts_are_well_formed_and_say_what_they_show(full, draw):
    table, records, _ = full
    figures = ET.fromstring(f'<all>{draw(table, records)}</all>').findall('.//figure')
    assert len(figures) == (5 if draw not in (difference_chart, draw_curves) else 10)
    for figure in figures:
        picture = figure.find('svg')
        assert picture.get('role') == 'img'
        assert len(picture.get('aria-label')) > 40
        assert figure.find('figcaption').text
        assert all('nan' not in text for text in ET.tostring(picture, 'unicode').split('"'))
        assert len([title for title in picture.iter('title') if title.text]) >= 5


def test_a_curve_keeps_its_end(full):
    table, records, _ = full
    first = ET.fromstring(f'<all>{draw_curves(table, records[:1])}</all>').find('.//polyline').get('points').split()
    assert 50 <= len(first) <= 60
    assert float(first[-1].split(',')[0]) == 352  # the right edge


def test_nothing_is_drawn_of_nothing(bench):
    assert (difference_chart(bench.table, bench.records()), time_chart(bench.records())) == ('', '')
    assert draw_curves(bench.table, bench.records()) == ''


def test_ticks_are_round_and_inside():
    axis = scale([0.13, 0.87], 0, 100)
    assert [words for _, words in ticks(axis, 5)] == ['0.2', '0.4', '0.6', '0.8']
    assert [words for _, words in ticks(scale([-3.0, 3.0], 0, 1), 4)] == ['−2', '0', '2']
    assert scale([5.0], 0, 100)(5.0) == pytest.approx(50)


def test_labels_do_not_lie_on_each_other():
    left, right, lost = beside([(100, 100), (102, 100), (101, 101)], ['abcdef'] * 3, (0, 200))
    assert left
    assert right
    assert re.findall(r'x="(.*?)"', left) != re.findall(r'x="(.*?)"', right)
    crowd = beside([(100, 100)] * 9, ['abcdef'] * 9, (0, 200))
    assert 0 < sum(label != '' for label in crowd) <= 4
    assert lost is not None


def test_the_first_lines_name_the_best_and_the_first_row(bench):
    bench.run(trials=2)
    html = html_of(bench, trials=2)
    head = html[: html.index('<h2>Leaderboard')]
    assert '<b>Vanilla</b>' in head
    assert f'python tools/benchmark.py run {bench.table.name}.yaml' in head
    single = html_of(bench, trials=1)
    head = single[: single.index('<h2>Leaderboard')]
    assert '<b>' not in head
    assert '<span>Vanilla</span>' in head


def test_what_is_not_run_yet_shows_the_published_number(bench):
    found = cell(html_of(bench), 'Mixup', 'MCE')
    assert '<span class="await" title="published 79.12">79.12</span>' in found
    assert 'pending' in found


def test_neighbouring_columns_of_one_data_set_have_one_head_above():
    columns = ['CIFAR / R-18 / MCE', 'CIFAR / R-18 / DM', 'Tiny / R-18 / MCE']
    assert grouped(columns) == [
        ('CIFAR / R-18', [(columns[0], ['MCE']), (columns[1], ['DM'])]),
        ('Tiny / R-18', [(columns[2], ['MCE'])]),
    ]
    assert grouped(['A / x', 'B / x']) == [('', [('A / x', ['A', 'x']), ('B / x', ['B', 'x'])])]


def test_many_gains_are_a_matrix_of_methods_by_columns(full):
    table, records, root = full
    html = page(table, records, root)
    gains = html[html.index('<h2>Gains') : html.index('<h2>', html.index('<h2>Gains') + 1)]
    (grid,) = re.findall('<table>.*?</table>', gains, re.DOTALL)
    assert grid.count('<tr') == 1 + len({gain.row for gain in known_gains(table, records)})
    assert 'class="track' not in grid


def test_a_band_reaches_from_the_lowest_to_the_highest_trial(bench):
    bench.run(rows='Mixup', columns='MCE', trials=2)
    records = bench.records(rows='Mixup', columns='MCE', trials=2)
    curve = mean_curve(records[0])
    assert [round(high - low, 6) for low, high in zip(curve.lowest, curve.highest, strict=True)] == [1.0] * len(
        curve.at
    )
    drawn = draw_curves(bench.table, records)
    assert drawn.count('class="seeds') == 1
    assert f'{curve.values[-1]:.2f} ({curve.lowest[-1]:.2f} to {curve.highest[-1]:.2f})' in drawn
    assert 'class="seeds' not in draw_curves(bench.table, bench.records(rows='Mixup', columns='MCE', trials=1))
