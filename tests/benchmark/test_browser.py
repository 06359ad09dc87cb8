"""Test the HTML report in a browser: sorting, filters, width of a phone. Skipped without Chromium."""

import json
import os
import shutil
import subprocess
from html import escape, unescape

import pytest
from test_submit import merged, packed

from openmix.benchmark.page import page
from openmix.benchmark.runs_now import runs_now, states_of

NAMES = ('chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome')
BROWSER = os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason=f'no browser: install one of {", ".join(NAMES)}, or name one in $CHROMIUM'
    ),
]

FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars')
WATCH = '<script>window.faults = []; addEventListener("error", event => faults.push(event.message));</script>'
# JavaScript helpers of the tests: the shown rows in order, columns, a click on a column's head, text for the filter.
HANDS = """
const visible = element => element.getClientRects().length > 0;
const names = () => [...board.tBodies[0].rows].filter(visible).map(row => row.cells[0].textContent);
const heads = () => [...board.tHead.rows[0].cells].filter(visible).map(head => head.innerText.split('\\n').join(' / '));
const click = text => [...board.querySelectorAll('thead button')].find(button => button.innerText === text).click();
const type = text => {
  const box = document.querySelector('.tools [type=search]');
  box.value = text;
  box.dispatchEvent(new Event('input', {bubbles: true}));
};
const said = () => document.querySelector('.tools output').textContent;
"""


def browse(folder, html: str, script: str, width: int = 1280):
    """Run `script`, the body of a function, inside the page in a window of a given width; return its result.

    The page is in a frame, because a browser's own window may have a minimum width larger than a phone's.
    """
    framed = html.replace('<head>', f'<head>{WATCH}', 1).replace(
        '</body>',
        f'<script>{HANDS}\nconst found = (() => {{ {script} }})();\n'
        "parent.document.getElementById('said').textContent = JSON.stringify({found, faults});</script></body>",
    )
    outer = folder / 'outer.html'
    outer.write_text(
        f'<!doctype html><pre id="said"></pre><iframe style="border:0;width:{width}px;height:844px" '
        f'srcdoc="{escape(framed)}"></iframe>',
        encoding='utf-8',
    )
    profile = f'--user-data-dir={folder / "profile"}'
    command = [BROWSER, *FLAGS, profile, f'--window-size={width},844', '--dump-dom', outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = unescape(done.stdout.split('<pre id="said">')[1].split('</pre>')[0])
    assert said, done.stderr
    answer = json.loads(said)
    assert answer['faults'] == []
    return answer['found']


@pytest.fixture
def html(bench):
    """Vanilla 95, 94; Mixup 90, 92; CutMix without a run and 96: (MCE, DM(CE)); Vanilla has no second cell."""
    bench.edit('  Mixup: [79.12', '  Vanilla: [99.00, null]\n  Mixup: [79.12')
    bench.edit('DM(CE): null', 'DM(CE): {}')
    bench.run(trials=1)
    values = {'vanilla/mce': 95, 'vanilla/dm-ce': 94, 'mixup/mce': 90, 'mixup/dm-ce': 92, 'cutmix/dm-ce': 96}
    for place, value in values.items():
        path = bench.work_dir / place / 'trial0' / 'result.json'
        path.write_text(path.read_text().replace('"median_last3": 90.0', f'"median_last3": {value}.0'))
        path.write_text(path.read_text().replace('"duration_s": 12.5', f'"duration_s": {100 * (value - 89)}'))
    (bench.work_dir / 'cutmix/mce/trial0/result.json').unlink()
    return page(bench.table, bench.records(trials=1), bench.work_dir)


def test_a_click_sorts_by_a_column(html, tmp_path):
    found = browse(
        tmp_path,
        html,
        """
        const seen = [names()];
        for (const head of ['DM(CE)', 'DM(CE)', 'DM(CE)', 'MCE', 'Method']) { click(head); seen.push(names()); }
        const sorted = board.querySelectorAll('[aria-sort]');
        return {seen, sorted: [...sorted].map(head => head.textContent + ' ' + head.ariaSort)};
        """,
    )
    assert found['seen'] == [
        ['Vanilla', 'Mixup', 'CutMix'],
        ['CutMix', 'Vanilla', 'Mixup'],  # the best first
        ['Mixup', 'Vanilla', 'CutMix'],
        ['Vanilla', 'Mixup', 'CutMix'],  # the table's own order again
        ['Vanilla', 'Mixup', 'CutMix'],  # what has no number is last
        ['CutMix', 'Mixup', 'Vanilla'],
    ]
    assert found['sorted'] == ['Method ascending']


def test_sorting_by_the_published_number_or_the_difference(html, tmp_path):
    found = browse(
        tmp_path,
        html,
        """
        click('MCE');
        const seen = {};
        for (const radio of document.querySelectorAll('[name=sort]')) { radio.click(); seen[radio.value] = names(); }
        return seen;
        """,
    )
    assert found == {
        'ours': ['Vanilla', 'Mixup', 'CutMix'],
        'published': ['Vanilla', 'Mixup', 'CutMix'],
        'difference': ['Mixup', 'Vanilla', 'CutMix'],  # +10.88, -4.00, none
    }


def test_a_page_with_runs_that_are_not_done_sorts_and_is_renewed(bench, html, tmp_path):
    trials = bench.trials(trials=1)
    now = runs_now(trials, states_of(trials), bench.work_dir)
    assert '<table class="now">' in now
    served = page(bench.table, bench.records(trials=1), bench.work_dir, now=(4, now))
    found = browse(tmp_path, served, "click('DM(CE)'); return [names(), typeof renew];")
    assert found == [['CutMix', 'Vanilla', 'Mixup'], 'function']


def test_filters_choose_rows_and_columns(html, tmp_path):
    found = browse(
        tmp_path,
        html,
        """
        const seen = [[names(), heads(), said()]];
        type('MIX'); seen.push([names(), said()]);
        type('cut, van'); seen.push([names(), said()]);
        const chip = [...document.querySelectorAll('.chip')].find(button => button.dataset.is === 'DM(CE)');
        chip.click();
        seen.push([heads(), said(), chip.getAttribute('aria-pressed')]);
        const rows = [...document.querySelectorAll('tr[data-column]')].filter(visible);
        seen.push([...new Set(rows.map(row => row.dataset.row + ' ' + row.dataset.column))]);
        seen.push([...document.querySelectorAll('.panel[data-column]')].filter(visible).map(e => e.dataset.column));
        const charts = () => [...document.querySelectorAll('.panel:not([data-column])')].filter(visible).length;
        seen.push([charts()]); type('no such method'); seen[seen.length - 1].push(charts(), said());
        chip.click(); type('');
        seen.push([names(), heads(), said()]);
        return seen;
        """,
    )
    everything = [['Vanilla', 'Mixup', 'CutMix'], ['Method', 'MCE', 'DM(CE)'], '3 of 3 methods, 2 of 2 columns']
    first, mix, two, loss, rows, panels, charts, last = found
    assert first == last == everything
    assert mix == [['Mixup', 'CutMix'], '2 of 3 methods, 2 of 2 columns']
    assert two == [['Vanilla', 'CutMix'], '2 of 3 methods, 2 of 2 columns']
    assert loss == [['Method', 'DM(CE)'], '2 of 3 methods, 1 of 2 columns', 'true']
    assert set(rows) == {'Vanilla DM(CE)', 'CutMix DM(CE)'}
    assert set(panels) == {'DM(CE)'}
    assert charts == [1, 0, '0 of 3 methods, 1 of 2 columns']


def test_the_keyboard_reaches_everything(html, tmp_path):
    found = browse(
        tmp_path,
        html,
        """
        const wanted = document.querySelectorAll('thead button, .chip, [name=sort], [type=search], .scroll, summary');
        return [...wanted].filter(visible).map(element => {
          element.focus();
          return [element.tagName, document.activeElement === element];
        });
        """,
    )
    assert len(found) > 15
    assert all(focused for _, focused in found)


@pytest.mark.parametrize('width', [320, 390, 1280])
def test_only_tables_scroll_sideways(html, tmp_path, width):
    found = browse(
        tmp_path,
        html,
        """
        const scroll = board.closest('.scroll');
        scroll.scrollLeft = 40;
        const first = board.tBodies[0].rows[0].cells[0].getBoundingClientRect();
        return {
          inner: innerWidth,
          page: document.documentElement.scrollWidth,
          stays: Math.round(first.left - scroll.getBoundingClientRect().left),
          small: [...document.querySelectorAll('svg text')].filter(visible)
            .map(text => text.getBoundingClientRect().height).filter(height => height < 9),
        };
        """,
        width,
    )
    assert found['inner'] == width
    assert found['page'] <= width
    assert found['stays'] <= 1  # the method stays in sight
    assert found['small'] == []


def test_it_draws_on_a_phone(html, tmp_path):
    file, picture = tmp_path / 'report.html', tmp_path / 'phone.png'
    file.write_text(html, encoding='utf-8')
    command = [BROWSER, *FLAGS, f'--user-data-dir={tmp_path / "profile"}', '--window-size=390,844']
    done = subprocess.run([*command, f'--screenshot={picture}', file.as_uri()], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    from PIL import Image

    with Image.open(picture) as image:
        assert len(image.convert('RGB').getcolors(1 << 24)) > 20  # not a blank page


def test_long_names_of_submissions_leave_the_numbers_on_a_phone(bench, tmp_path):
    long = 'Anna Bartholomew-Featherstonehaugh, eight A100 of the department of statistics'
    files = [packed(bench, tmp_path / 'a.zip', long, 1.0), packed(bench, tmp_path / 'b.zip', 'Bob', -1.0)]
    records = merged(bench, *files)
    script = """
        const right = element => element.getBoundingClientRect().right;
        const board = document.querySelector('#leaderboard');
        const theirs = board.querySelector('tr[data-row=Mixup] [data-column=MCE] .theirs');
        const [first, second] = document.querySelectorAll('.stacked .scroll, .others .scroll');
        const facts = [...document.querySelectorAll('.stacked td, .stacked tbody th')];
        return {
          page: innerWidth,
          theirs: right(theirs),
          shown: theirs.innerText,
          gap: second.getBoundingClientRect().top - first.getBoundingClientRect().bottom,
          facts: Math.max(...facts.map(right)),
          faded: first.classList.contains('more'),
        };
    """
    for width in (390, 1280):
        found = browse(tmp_path, page(bench.table, records, bench.work_dir), script, width)
        assert '90.50 ± 0.71 (2)' in found['shown']
        assert found['theirs'] < found['page'] - 36  # where the edge of the table fades
        assert found['facts'] <= found['page']
        assert not found['faded']
        assert found['gap'] >= 8
