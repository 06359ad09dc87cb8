"""Test the numbers of a report: readouts, means, gains, and every format."""

import csv
import io
import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from openmix.benchmark import as_data, progress, render
from openmix.benchmark.pictures import draw_pictures
from openmix.benchmark.report import as_text, write_report
from openmix.benchmark.statistics import gains
from openmix.benchmark.trial import read_out
from openmix.errors import InputError
from openmix.result import Result

RESULT = {
    'readouts': {'accuracy/top1': {'last': 3.0, 'best': 9.0, 'median_last3': 5.0}},
    'history': [{'epoch': e, 'accuracy/top1': v} for e, v in enumerate([1.0, 9.0, 5.0, 3.0], 1)],
}


def test_readouts():
    result = Result(0, '', RESULT['readouts'], tuple(RESULT['history']))
    assert read_out(result, 'accuracy/top1', 'last') == 3.0
    assert read_out(result, 'accuracy/top1', 'best') == 9.0
    assert read_out(result, 'accuracy/top1', 'median_last3') == 5.0
    assert read_out(result, 'accuracy/top1', 'median_last2') == 4.0  # not recorded: from the history
    with pytest.raises(InputError, match=r"no metric 'accuracy/top'; did you mean 'accuracy/top1'\?"):
        read_out(result, 'accuracy/top', 'last')
    with pytest.raises(InputError, match="no readout 'best'"):
        read_out(Result(0, '', {'accuracy/top1': {'last': 1.0}}), 'accuracy/top1', 'best')
    with pytest.raises(InputError, match='last of loss is nan'):
        read_out(Result(0, '', {'loss': {'last': math.nan}}), 'loss', 'last')


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
    assert render.measured(partial) == '89.00 ± 1.00 (3 of 4)'


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
    assert tuple(rows[0]) == as_data.FIELDS
    assert (rows[1]['measured'], rows[1]['published'], rows[2]['measured']) == ('89.5', '79.12', '')


def test_best_of_columns(bench):
    bench.run(rows='*mix*', columns='MCE', trials=2)
    path = bench.work_dir / 'mixup/mce/trial0/result.json'
    path.write_text(path.read_text().replace('"median_last3": 90.0', '"median_last3": 91.0'))
    assert render.best_of_columns(bench.table, bench.records(trials=2)) == {('Mixup', 'MCE')}
    assert render.best_of_columns(bench.table, bench.records(trials=1)) == set()
    for place in ('mixup/mce/trial0', 'mixup/mce/trial1', 'cutmix/mce/trial0', 'cutmix/mce/trial1'):
        path = bench.work_dir / place / 'result.json'
        path.write_text(path.read_text().replace('accuracy/top1', 'fgsm/error'))
    bench.edit('accuracy/top1', 'fgsm/error')
    assert render.best_of_columns(bench.table, bench.records(trials=2)) == {('CutMix', 'MCE')}


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
    assert all(
        piece in text for piece in ('89.50 ± 0.71 (2)', '80.44', 'pending', '–', 'median of the last 3 validations')
    )
    text = as_text(bench.table, bench.records(), 'md', bench.work_dir)
    ours = '**[89.50 ± 0.71 (2)](<mixup/{}>)**'
    assert f'| Mixup | {ours.format("mce")} | 79.12 (+10.38 ▲) | {ours.format("dm-ce")} | 80.44 (+9.06 ▲) |' in text
    assert '| Vanilla | pending |  | – |  |' in text
    assert '| Mixup: DM(CE) − MCE | +0.00 ± 0.00 (2) | p 1.000, d 0.0 | +1.32 |' in text
    assert '| Mixup / MCE | 1 | 89.00 | [run](<mixup/mce/trial1>) | [config](<mixup/mce/config.py>) |' in text
    for link in re.findall(r'\]\(<([^>]+)>\)', text):
        assert (bench.work_dir / link).exists()


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: path.symlink_to('/dev/zero')])
def test_a_kept_picture_that_is_no_file_is_told(bench, make):
    drawn = draw_pictures(bench.records(rows='Vanilla'), bench.work_dir, bench.picture_script)
    assert [picture.png for picture in drawn] == [b'a png']
    (kept,) = (bench.work_dir / 'pictures').glob('*.png')
    kept.unlink()
    make(kept)
    (picture,) = draw_pictures(bench.records(rows='Vanilla'), bench.work_dir, bench.picture_script)
    assert picture.png is None
    assert str(kept) in picture.why_not
    assert picture.why_not.endswith(', not a file')


def test_report_files(bench):
    bench.run(rows='Mixup', columns='MCE')
    bench.run(rows='Vanilla', columns='MCE', trials=1)
    pictures = draw_pictures(bench.records(), bench.work_dir, bench.picture_script)
    html, text = write_report(bench.table, bench.records(), bench.work_dir, pictures)
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


@pytest.mark.parametrize(
    ('trials', 'off', 'shown'),
    [
        (2, 1.5, 'up">+1.50 ± 0.00 (2)'),
        (2, -1.5, 'down">−1.50 ± 0.00 (2)'),
        (2, -0.001, '">+0.00'),
        (1, 1.5, '">+1.50'),  # one seed has no spread: nothing says that it is more than chance
        (1, -1.5, '">−1.50'),
    ],
)
def test_gains_on_the_page(bench, trials, off, shown):
    bench.run(rows='Mixup', trials=trials)
    for trial in range(trials):
        path = bench.work_dir / f'mixup/dm-ce/trial{trial}/result.json'
        value = 90.0 - trial
        path.write_text(path.read_text().replace(f'"median_last3": {value}', f'"median_last3": {value + off}'))
    html = as_text(bench.table, bench.records(trials=trials), 'html', bench.work_dir)
    assert f'class="figure {shown}' in html
    assert f'class="track {shown.partition(chr(34))[0]}" aria-hidden' in html
    assert 'a single pair has none and stays plain' in html


def test_a_gain_of_different_seeds_is_not_coloured(bench):
    bench.run(rows='Mixup', trials=2)
    shutil.rmtree(bench.work_dir / 'mixup/dm-ce/trial0')
    shutil.rmtree(bench.work_dir / 'mixup/mce/trial1')
    html = as_text(bench.table, bench.records(trials=2), 'html', bench.work_dir)
    assert 'class="figure ">−1.00' in html


def test_report_before_any_run(bench):
    html, _ = write_report(bench.table, bench.records(), bench.work_dir)
    assert 'No run is finished yet' in html.read_text()


def test_status(bench):
    bench.run(rows='Mixup', columns='MCE', trials=1)
    said = io.StringIO()
    Console(file=said, width=200).print(progress.status(bench.table, bench.trials(trials=1)))
    (line,) = (line for line in said.getvalue().splitlines() if 'Mixup' in line and 'MCE' in line)
    assert 'done' in line
    assert '4/4' in line


def test_printed_numbers_keep_their_digits(bench):
    bench.edit('[79.12, 80.44]', '[79.1, 80]')
    bench.edit('notes:', 'spread: {Mixup: [0.1, null]}\nother_source: {CutMix: {DM(CE): 79.094}}\nnotes:')
    records = {record.cell.name: record for record in bench.records(trials=1)}
    digits = render.printed_digits(list(records.values()))
    assert digits == {'MCE': 2, 'DM(CE)': 3}
    assert render.printed(records['Mixup / MCE'].cell, digits['MCE']) == '79.10 ± 0.10'
    assert render.printed(records['CutMix / DM(CE)'].cell, digits['DM(CE)']) == '79.094†'
    assert as_data.as_dicts([records['CutMix / DM(CE)']])[0]['published'] is None
    text = as_text(bench.table, list(records.values()), 'md', bench.work_dir)
    assert '| 79.094† |' in text
    assert '† not printed in the source' in text


def test_cells_without_code_are_shown(bench):
    bench.edit('  CutMix: {model', '  CutMix: {implemented: false, config: nowhere.py, model')
    found = json.loads(as_text(bench.table, bench.records(), 'json', bench.work_dir))
    assert [(entry['published'], entry['status']) for entry in found[3:]] == [
        (78.17, 'not implemented'),
        (None, 'not implemented'),
    ]
    for form in ('terminal', 'md', 'html'):
        assert 'not implemented' in as_text(bench.table, bench.records(), form, bench.work_dir)
    write_report(bench.table, bench.records(), bench.work_dir)


def test_old_results_stay_and_say_of_which_config(bench):
    chosen = dict(rows='CutMix', columns='MCE')
    bench.run(**chosen)
    digest = bench.result('cutmix/mce/trial0')['config_hash']
    bench.edit('1e-1', '3e-1')
    (record,) = bench.records(**chosen)
    assert (record.status, record.values, record.mean) == ('stale', (), None)
    assert render.measured(record) == f'89.50 ± 0.71 (2), as of {digest}'
    (entry,) = as_data.as_dicts([record])
    assert (entry['status'], entry['measured'], entry['trials']) == ('stale', 89.5, 2)
    for form in ('terminal', 'md', 'html'):
        text = ' '.join(as_text(bench.table, [record], form, bench.work_dir).split())
        assert f'as of {digest}' in text
        assert 'stale: of another config, seed, version of openmix or data' in text, form
    (bench.root / 'fail').touch()
    bench.run(**chosen)
    (record,) = bench.records(**chosen)
    assert record.status == 'failed'
    assert render.measured(record) == f'89.50 ± 0.71 (2), as of {digest}'  # set aside, still there


def test_a_run_is_listed_with_the_hash_that_its_result_records(bench):
    """That covers the data, which need not lie where the report is made."""
    chosen = dict(rows='CutMix', columns='MCE')
    bench.run(**chosen)
    digests = []
    for trial in bench.trials(**chosen):
        path = trial.folder / 'result.json'
        digests.append(trial.provenance._replace(data='elsewhere').digest)
        path.write_text(json.dumps(json.loads(path.read_text()) | {'config_hash': digests[-1], 'data': 'elsewhere'}))
    (record,) = bench.records(**chosen)
    (entry,) = as_data.report(bench.table, [record])['cells']
    assert [run['config_hash'] for run in entry['runs']] == digests
    html = as_text(bench.table, [record], 'html', bench.work_dir)
    assert all(f'<code>{digest}</code>' in html for digest in digests)


def test_a_result_without_its_cell_is_never_overwritten(bench):
    folder = bench.work_dir / 'mixup/mce/trial0'
    folder.mkdir(parents=True)
    (folder / 'result.json').write_text(json.dumps(RESULT | {'seed': 0, 'config_hash': 'another'}))
    (record,) = bench.records(rows='Mixup', columns='MCE', trials=1)
    assert (record.status, render.measured(record)) == ('stale', '5.00 (1), as of another')
    bench.run(rows='Mixup', columns='MCE', trials=1)
    assert bench.result('mixup/mce/trial0.old1')['config_hash'] == 'another'


def test_import(bench, tmp_path):
    theirs = tmp_path / 'theirs'
    bench.run(rows='Mixup')
    bench.work_dir.rename(theirs)
    bench.run(rows='Mixup', columns='MCE', trials=1)
    mce, dm = bench.records(rows='Mixup', imports=[theirs])
    assert (mce.values, dm.values, dm.state) == ((90.0,), (), 'pending')
    assert render.theirs(dm) == [f'89.50 ± 0.71 (2) from {theirs}']
    for form, places in (('terminal', 2), ('md', 4)):  # the latter also side by side with ours
        text = as_text(bench.table, [mce, dm], form, bench.work_dir)
        assert text.count('89.50 ± 0.71') == places
    found = json.loads(as_text(bench.table, [mce, dm], 'json', bench.work_dir, full=True))
    assert found['cells'][1]['theirs'] == [
        {
            'from': str(theirs),
            'as_of': None,
            'differs': '',
            'measured': 89.5,
            'std': pytest.approx(0.5**0.5),
            'trials': 2,
        }
    ]
    bench.edit('    model.policy.alpha: 0.2', '    model.policy.alpha: 0.3')
    _, dm = bench.records(rows='Mixup', imports=[theirs])
    assert dm.theirs[0].as_of == json.loads((theirs / 'mixup/dm-ce/trial0/result.json').read_text())['config_hash']
    assert render.theirs(dm)[0].endswith(f', as of {dm.theirs[0].as_of} (other recipe)')


def test_report_as_json(bench):
    bench.run(rows='Mixup')
    found = json.loads(as_text(bench.table, bench.records(), 'json', bench.work_dir, full=True))
    assert (found['table'], found['variant'], len(found['cells'])) == ('small', 'published', 5)
    cell = found['cells'][1]
    assert (cell['difference'], cell['verdict']) == (pytest.approx(10.38), 'better')
    assert [run['seed'] for run in cell['runs']] == [0, 1]
    assert all(Path(run['folder']).is_dir() and Path(run['config']).is_file() for run in cell['runs'])
    assert found['gains'][0]['pairs'] == 2


def test_latex(bench):
    bench.edit('  Mixup: {model', '  Mixup & 5%_{x}: {model')
    bench.edit('  Mixup: [', '  Mixup & 5%_{x}: [')
    bench.run(columns='MCE')
    text = as_text(bench.table, bench.records(), 'latex', bench.work_dir)
    assert 'Mixup \\& 5\\%\\_\\{x\\} & $\\mathbf{89.50} \\pm 0.71$ & $79.12$ &  & $80.44$ \\\\' in text
    assert '\\begin{tabular}{lrrrr}' in text
    body = text.split('\\midrule')[1].split('\\bottomrule')[0].strip().splitlines()
    assert [len(re.findall(r'(?<!\\)&', line)) for line in body] == [4, 4, 4]
    assert all(line.endswith('\\\\') for line in body)
    plain = re.sub(r'\\[{}]', '', text)
    assert plain.count('{') == plain.count('}')


def test_model_index(bench):
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text() + "train_dataloader = dict(dataset=dict(type='CIFAR100', root='nowhere'))\n")
    bench.run(rows='Mixup', columns='MCE')
    (entry,) = yaml.safe_load(as_text(bench.table, bench.records(), 'hf', bench.work_dir))['model-index']
    assert entry['name'] == 'Mixup / MCE'
    (result,) = entry['results']
    assert result['task'] == {'type': 'image-classification'}
    assert result['dataset'] == {'name': 'CIFAR100', 'type': 'cifar100'}
    (metric,) = result['metrics']
    assert metric == {'type': 'accuracy', 'value': 89.5, 'name': 'accuracy/top1, median_last3, mean of 2 trials'}


def test_runs_in_different_precisions_are_told(bench):
    bench.run(rows='Mixup')
    for place, precision in (('mixup/mce/trial0', 'bfloat16'), ('mixup/mce/trial1', 'float32')):
        path = bench.work_dir / place / 'result.json'
        path.write_text(json.dumps(json.loads(path.read_text()) | {'precision': precision}))
    told = 'runs were trained in different precisions: bfloat16 1, float32 1'
    assert told in as_text(bench.table, bench.records(), 'md', bench.work_dir)
    path.write_text(path.read_text().replace('float32', 'bfloat16'))
    assert 'precisions' not in as_text(bench.table, bench.records(), 'md', bench.work_dir)


def test_the_terminal_form_has_a_blank_line_only_before_a_table(bench):
    bench.run(rows='Mixup', trials=1)
    for text in (as_text(bench.table, bench.records(), 'terminal', bench.work_dir, full) for full in (True, False)):
        lines = text.split('\n')
        assert lines.pop() == ''
        assert lines[-1].strip()
        after = [lines[i + 1].strip() for i, line in enumerate(lines) if not line]
        assert after == (['Gains'] if 'Gains' in lines else [])
