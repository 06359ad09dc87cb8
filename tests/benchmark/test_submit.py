"""Submissions: what is packed of finished runs, how others' files are shown beside ours, and which are refused."""

import io
import json
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import pytest

from openmix import __version__
from openmix.benchmark import submission
from openmix.benchmark.merge import check_fits_table, read_imports
from openmix.benchmark.pack import pack, table_hash, without_home
from openmix.benchmark.records import read_records
from openmix.benchmark.report import as_text
from openmix.benchmark.show import records_of
from openmix.benchmark.submission import read_submission
from openmix.errors import InputError
from openmix.provenance import Provenance

PLACE = 'mixup/mce/trial0'
RESULT = f'{PLACE}/result.json'


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write(path, found):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, raw in found.items():
            archive.writestr(name, raw)
    return path


def changed(path, to, member, edit):
    """Copy a submission with one JSON member edited."""
    found = members(path)
    value = json.loads(found[member])
    edit(value)
    return write(to, found | {member: json.dumps(value)})


def packed(bench, out, name, shift=0.0, rows='Mixup', trials=None):
    """Run cells, add `shift` to the accuracies, pack them, and remove the runs."""
    bench.run(rows=rows, trials=trials)
    for path in bench.work_dir.glob('*/*/trial*/result.json'):
        result = json.loads(path.read_text())
        for row in result['history']:
            row['accuracy/top1'] += shift
        for readout in (values := result['readouts']['accuracy/top1']):
            values[readout] += shift
        result['finished'] = f'2026-01-01 by {name}'
        path.write_text(json.dumps(result))
    pack(bench.table, bench.trials(trials=trials), out, name, 'on <one> machine')
    shutil.rmtree(bench.work_dir)
    return out


def merged(bench, *files, rows=None):
    folders, found = read_imports(files)
    return records_of(bench.table, bench.table.select(rows), bench.work_dir, None, folders, None, found)


def test_what_is_packed(bench, monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', '/some/where/anna')
    bench.run(rows='Mixup', columns='MCE')
    trial = bench.work_dir / PLACE
    (trial / 'epoch_4.pth').write_bytes(b'weights')
    (trial / 'log.txt').write_text('x' * (1 << 20) + '\nread /some/where/anna/data and /home/bob/x\n')
    out = tmp_path / 'mine.zip'
    assert pack(bench.table, bench.trials(), out, 'Anna', 'at /some/where/anna', 'c0ffee') == 2
    found = members(out)
    of_runs = {f'mixup/mce/trial{n}/{name}' for n in (0, 1) for name in ('result.json', 'log.txt')}
    assert found.keys() == {'manifest.json', 'mixup/mce/config.py', *of_runs}
    manifest = json.loads(found['manifest.json'])
    assert (manifest['table'], manifest['table_hash']) == ('small', table_hash(bench.table))
    assert (manifest['version'], manifest['commit'], manifest['name']) == (__version__, 'c0ffee', 'Anna')
    assert manifest['note'] == 'at ~'
    assert [run['seed'] for run in manifest['runs']] == [0, 1]
    assert json.loads(found[RESULT]) == bench.result(PLACE)
    assert found[f'{PLACE}/log.txt'] == b'read ~/data and ~/x\n'
    assert b'Row: Mixup' in found['mixup/mce/config.py']
    first = out.read_bytes()
    pack(bench.table, bench.trials(), out, 'Anna', 'at /some/where/anna', 'c0ffee')
    assert out.read_bytes() == first
    read = read_submission(out)
    assert (read.name, [run.trial for run in read.runs]) == ('Anna', [0, 1])
    assert not list(tmp_path.glob('.partial*'))


@pytest.mark.parametrize(
    ('text', 'left'),
    [
        ('/root/x', '~/x'),
        ('"/root"', '"~"'),
        ('/rootfs /mnt/root/x', '/rootfs /mnt/root/x'),
        ('/home/a.b-c/x:/Users/me', '~/x:~'),
        ('data/home/images', 'data/home/images'),
    ],
)
def test_home_folders_are_left_out(text, left):
    assert without_home(text, Path('/root')) == left


def test_a_home_that_is_the_root_hides_nothing():
    assert without_home('/data /', Path('/')) == '/data /'


def test_nothing_finished_is_not_packed(bench, tmp_path):
    with pytest.raises(InputError, match='none of the 10 chosen runs is finished'):
        pack(bench.table, bench.trials(), tmp_path / 'out.zip', 'A')
    assert not (tmp_path / 'out.zip').exists()


def test_submissions_stand_side_by_side_with_ours_and_the_published_numbers(bench, tmp_path):
    first = packed(bench, tmp_path / 'a.zip', '<b>Anna</b>', 1.0)
    second = packed(bench, tmp_path / 'b.zip', '=Bob|x', -2.0, trials=1)
    bench.run(rows='Mixup', columns='MCE', trials=1)
    records = merged(bench, first, second)
    mce, dm = (record for record in records if record.cell.row == 'Mixup')
    assert [(n.source, n.values, n.as_of) for n in mce.theirs] == [
        ('<b>Anna</b>', (91.0, 90.0), None),
        ('=Bob|x', (88.0,), None),
    ]
    assert (mce.values, dm.values) == ((90.0,), ())
    assert [n.values for n in dm.theirs] == [(91.0, 90.0), (88.0,)]
    html, md, shown, data = (
        as_text(bench.table, records, form, tmp_path, True) for form in ('html', 'md', 'terminal', 'json')
    )
    part = html.partition('>Submissions<')[2].partition('</section>')[0]
    row = re.search(r'<tr data-row="Mixup" data-column="MCE">.*?</tr>', part, re.DOTALL)[0]
    assert re.findall(r'<td[^>]*>([^<]*)</td>', row) == [
        'MCE',
        '79.12',
        '90.00 (1 of 2)',
        '90.50 ± 0.71 (2)',
        '88.00 (1)',
    ]
    assert '&lt;b&gt;Anna&lt;/b&gt;' in part
    assert 'on &lt;one&gt; machine' in part
    assert '<b>Anna' not in html
    assert '| Mixup | MCE | 79.12 | 90.00 (1 of 2) | 90.50 ± 0.71 (2) | 88.00 (1) |' in md
    assert '=Bob\\|x' in md
    assert '=Bob|x submitted 2 runs of 2 cells' in shown
    found = json.loads(data)
    assert [(one['from'], one['runs'], one['file']) for one in found['submissions']] == [
        ('<b>Anna</b>', 4, str(first)),
        ('=Bob|x', 2, str(second)),
    ]
    # A file that changes nothing of the recipes of ours is named as of another state of the table.
    bench.edit('trials: 2', 'trials: 3')
    assert 'its table had other cells' in as_text(bench.table, merged(bench, first), 'html', tmp_path)


def test_an_unpacked_submission_is_a_work_folder(bench, tmp_path):
    first = packed(bench, tmp_path / 'a.zip', 'Anna', 1.0)
    with zipfile.ZipFile(first) as archive:
        archive.extractall(tmp_path / 'unpacked')
    (mce, _) = merged(bench, tmp_path / 'unpacked', rows='Mixup')
    assert mce.theirs[0].values == (91.0, 90.0)


def test_two_submissions_of_one_name_are_told_apart(bench, tmp_path):
    files = [packed(bench, tmp_path / f'{n}.zip', 'Anna', float(n)) for n in (1, 2)]
    (mce, _) = merged(bench, *files, rows='Mixup')
    assert [n.source for n in mce.theirs] == [f'Anna ({file})' for file in files]


def test_runs_of_another_version_say_so(bench, tmp_path):
    bench.run(rows='Mixup', columns='MCE')
    current = bench.trials(rows='Mixup', columns='MCE')[0].provenance
    other = Provenance(current.recipe, 'their-data', '0.0.1')
    good = tmp_path / 'good.zip'
    pack(bench.table, bench.trials(), good, 'Anna')
    shutil.rmtree(bench.work_dir)
    found = members(good)
    manifest = json.loads(found['manifest.json'])
    for run in manifest['runs']:
        run['config_hash'] = other.digest
        name = f'{run["place"]}/trial{run["trial"]}/result.json'
        found[name] = json.dumps(json.loads(found[name]) | other.as_dict())
    write(tmp_path / 'old.zip', found | {'manifest.json': json.dumps(manifest)})
    (mce, _) = merged(bench, tmp_path / 'old.zip', rows='Mixup')
    assert [(n.values, n.as_of) for n in mce.theirs] == [((90.0, 89.0), other.digest)]


def test_a_search_names_the_point_that_it_chose(bench, tmp_path):
    grid = 'grid: {model.policy.alpha: [0.5, 2.0]}\nvalidation: {train_cfg.max_epochs: 5}'
    bench.edit('notes: [first note]', grid)
    bench.edit('  Vanilla: {model', '  Vanilla: {grid: {}, model')
    good = packed(bench, tmp_path / 'a.zip', 'Anna', 1.0)
    assert json.loads(members(good)['manifest.json'])['runs'][0]['point'] == {'model.policy.alpha': 0.5}
    (mce, _) = merged(bench, good, rows='Mixup')  # of a cell whose own search has not run
    assert mce.theirs[0].values == (91.0, 90.0)
    bad = changed(good, tmp_path / 'bad.zip', 'manifest.json', lambda m: m['runs'][0].update(point={'x': 1}))
    with pytest.raises(InputError, match=r'bad.zip, mixup/\S+/result.json: the grid of .* has no point x=1'):
        merged(bench, bad, rows='Mixup')


@pytest.fixture(scope='module')
def good(bench_type, tmp_path_factory):
    """Return a bench without runs and a submission for it; neither may be changed."""
    bench = bench_type(tmp_path_factory.mktemp('good'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('openmix.benchmark.run.cuda_devices', list)
        return bench, packed(bench, bench.root / 'good.zip', 'Anna', 1.0)


def link(archive):
    info = zipfile.ZipInfo('mixup/mce/trial0/log.txt')
    info.external_attr = 0o120777 << 16
    archive.writestr(info, '/etc/passwd')


FILES = {
    'a member above the folder': ({'../../x.txt': b''}, r"'../../x.txt' belongs to no run"),
    'an absolute member': ({'/etc/x': b''}, "'/etc/x' belongs to no run"),
    'weights': ({f'{PLACE}/epoch_4.pth': b'x'}, 'epoch_4.pth.* belongs to no run'),
    'a folder': ({'mixup/': b''}, 'is a link, a folder or a device'),
    'no manifest': ({'manifest.json': None}, 'it has no manifest.json'),
    'a manifest that is a list': ({'manifest.json': b'[]'}, 'manifest.json: expected an object'),
    'no result': ({RESULT: None}, f'{RESULT} is missing'),
    'no config': ({'mixup/mce/config.py': None}, 'mixup/mce/config.py is missing'),
    'a config that is no text': ({'mixup/mce/config.py': b'\xff\xfe'}, 'config.py is not UTF-8'),
    'a result that is no JSON': ({RESULT: b'{'}, f'{RESULT} is not JSON'),
    'a result of deep lists': ({RESULT: b'[' * 100_000}, f'{RESULT}: nested too deep'),
    'a long log': ({f'{PLACE}/log.txt': b'x' * (600 << 10)}, 'log.txt has 614400 bytes'),
    'a bomb': ({RESULT: b' ' * (9 << 20)}, 'at most 8388608 are read'),
}


@pytest.mark.parametrize('what', FILES)
def test_a_file_with_a_wrong_member_is_refused_by_both_names(good, tmp_path, what):
    _, path = good
    put, said = FILES[what]
    found = members(path) | put
    bad = write(tmp_path / 'bad.zip', {name: raw for name, raw in found.items() if raw is not None})
    with pytest.raises(InputError, match=rf'bad.zip.*{said}') as caught:
        read_submission(bad)
    assert '\n' not in str(caught.value)


def test_a_link_a_name_twice_and_a_size_that_is_a_lie(good, tmp_path):
    _, path = good
    found = members(path)
    del found[f'{PLACE}/log.txt']
    bad = write(tmp_path / 'bad.zip', found)
    with zipfile.ZipFile(bad, 'a') as archive:
        link(archive)
    with pytest.raises(InputError, match=r'log.txt.* is a link'):
        read_submission(bad)
    write(bad, found)
    with zipfile.ZipFile(bad, 'a') as archive, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        archive.writestr(RESULT, '{}')
    with pytest.raises(InputError, match='is there twice'):
        read_submission(bad)
    # A list of members that states a small size of a large one.
    raw = bytearray(write(bad, found | {RESULT: b' ' * (9 << 20)}).read_bytes())
    for mark, at in ((b'PK\x03\x04', 22), (b'PK\x01\x02', 24)):
        here = next(
            m.start() for m in re.finditer(re.escape(mark), raw) if RESULT.encode() in raw[m.start() : m.start() + 100]
        )
        raw[here + at : here + at + 4] = (1000).to_bytes(4, 'little')
    bad.write_bytes(raw)
    with pytest.raises(InputError, match=rf'bad.zip, \'{RESULT}\' cannot be read'):
        read_submission(bad)


def test_what_is_no_submission_is_one_line(good, tmp_path, monkeypatch):
    _, path = good
    bad = tmp_path / 'bad.zip'
    for raw in (b'', b'PK', b'no zip', path.read_bytes()[:-30]):
        bad.write_bytes(raw)
        with pytest.raises(InputError, match=r'bad.zip is no submission'):
            read_submission(bad)
    with pytest.raises(InputError, match='is missing'):
        read_submission(tmp_path / 'none.zip')
    monkeypatch.setattr(submission, 'MOST_MEMBERS', 3)
    with pytest.raises(InputError, match='more than 3 members'):
        read_submission(path)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, 'w').close()
    bad.write_bytes(empty.getvalue())
    with pytest.raises(InputError, match=r'it has no manifest.json; tools/benchmark.py submit writes one'):
        read_submission(bad)


MANIFESTS = {
    'another format': (lambda m: m.update(format=2), 'format 2 is not known'),
    'a format that is no number': (lambda m: m.update(format='1'), 'format must be an integer'),
    'no name': (lambda m: m.pop('name'), "'name' is missing"),
    'a name of two lines': (lambda m: m.update(name='a\nb'), 'name must be a line'),
    'a name with a control character': (lambda m: m.update(name='a\x1b[2J'), 'control character'),
    'a name that is a number': (lambda m: m.update(name=3), 'name must be text'),
    'runs that are no list': (lambda m: m.update(runs={}), 'runs must be a list'),
    'no runs': (lambda m: m.update(runs=[]), 'it lists no run'),
    'a trial below zero': (lambda m: m['runs'][0].update(trial=-1), 'runs 0: trial must be an integer'),
    'a large trial': (lambda m: m['runs'][0].update(trial=10**9), 'runs 0: trial'),
    'a run twice': (lambda m: m['runs'].append(m['runs'][0]), f'{PLACE} is listed twice'),
    'a place above the folder': (lambda m: m['runs'][0].update(place='../x'), 'place must be ROW/COLUMN'),
    'another hash': (lambda m: m['runs'][0].update(config_hash='0' * 12), 'config_hash is'),
    'another seed': (lambda m: m['runs'][0].update(seed=7), 'seed is'),
    'a point that is deep': (lambda m: m['runs'][0].update(point={'a': {'b': 1}}), 'point: .* must be a number'),
    # Against the table:
    'another table': (lambda m: m.update(table='large'), "of table 'large', not of 'small'"),
    'another variant': (lambda m: m.update(variant='corrected'), "of variant 'corrected'"),
    'options': (lambda m: m.update(options='--steps 10'), 'its runs are with --steps 10'),
    'another row': (lambda m: m['runs'][0].update(row='Mixdown'), "has no row 'Mixdown'; did you mean 'Mixup'"),
    'an absent cell': (lambda m: m['runs'][0].update(row='Vanilla', column='DM(CE)'), 'runs no cell'),
    'the row of another': (lambda m: m['runs'][0].update(row='CutMix'), "'CutMix / MCE' has the folder cutmix/mce"),
    'a point without a grid': (lambda m: m['runs'][0].update(point={'a': 1}), "the grid of 'Mixup / MCE' has no point"),
}
RESULTS = {
    'a readout that is NaN': (lambda r: r['readouts']['accuracy/top1'].update(median_last3=float('nan')), 'is nan'),
    'a readout that is text': (lambda r: r['readouts']['accuracy/top1'].update(last='x'), 'must be a number'),
    'no metric': (lambda r: r.update(readouts={}), 'no metric'),
    'more than all': (
        lambda r: (r.update(history=[]), r['readouts']['accuracy/top1'].update(median_last3=1e300)),
        r'must be in \[0, 100\]',
    ),
    'no history': (lambda r: r.update(history=[]), 'its history has no accuracy/top1, of which median_last3 is read'),
    'not by its history': (lambda r: r['readouts']['accuracy/top1'].update(median_last3=99.0), '91 by its history'),
    'a history that is NaN': (lambda r: r['history'][-1].update({'accuracy/top1': float('nan')}), 'by its history'),
    'a seed that is text': (lambda r: r.update(seed='0'), 'seed must be an integer'),
}


@pytest.mark.parametrize('what', [*MANIFESTS, *RESULTS])
def test_wrong_content_is_refused_by_file_and_member(good, tmp_path, what):
    bench, path = good
    member = RESULT if what in RESULTS else 'manifest.json'
    edit, said = (MANIFESTS | RESULTS)[what]
    bad = changed(path, tmp_path / 'bad.zip', member, edit)
    with pytest.raises(InputError, match=rf'bad.zip.*{said}') as caught:
        merged(bench, bad, rows='Mixup')
    assert '\n' not in str(caught.value)
    if what in RESULTS:
        assert RESULT in str(caught.value)


def test_a_run_of_another_recipe_is_refused(bench, tmp_path):
    path = packed(bench, tmp_path / 'a.zip', 'Anna', 1.0)
    bench.edit('  Mixup: {model.policy: {type: Mixup, alpha: 1.0', '  Mixup: {model.policy: {type: Mixup, alpha: 0.7')
    with pytest.raises(InputError, match=rf'a.zip, {RESULT} is of another recipe: its hash is \w{{12}}, and'):
        merged(bench, path)


def test_a_run_counts_once(bench, tmp_path):
    path = packed(bench, tmp_path / 'a.zip', 'Anna', 1.0)
    again = changed(path, tmp_path / 'b.zip', 'manifest.json', lambda m: m.update(name='Bob'))
    with pytest.raises(InputError, match=rf'b.zip, {RESULT} is the same run as in .*a.zip; leave out one'):
        merged(bench, path, again)
    with pytest.raises(InputError, match='is given twice'):
        read_imports([path, tmp_path / 'x' / '..' / 'a.zip' if (tmp_path / 'x').mkdir() is None else path])
    with zipfile.ZipFile(path) as archive:
        archive.extractall(bench.work_dir)
    with pytest.raises(InputError, match=rf'a.zip, {RESULT} is our own run'):
        merged(bench, path)


def test_a_submission_without_a_chosen_cell_is_not_shown_silently(good):
    bench, path = good
    with pytest.raises(InputError, match='has no run of the chosen cells'):
        check_fits_table(bench.table, bench.table.select('CutMix'), [read_submission(path)])
    assert read_records(bench.table.cells, bench.trials()) != []


def test_the_commands(bench, benchmark_py, tmp_path):
    bench.run(rows='Mixup')
    mine = ['--work-dir', bench.work_dir]
    out = tmp_path / 'sub' / 'mine.zip'
    done = benchmark_py('submit', bench.path, *mine, '--name', 'Anna', '--out', out)
    assert (done.returncode, done.stdout) == (0, f'{out}: 4 runs\n'), done.stderr
    assert done.stderr == '6 runs are not finished and left out\n'
    done = benchmark_py('submit', bench.path, *mine, '--name', 'Anna', '--out', tmp_path / 'mine.tar')
    assert (done.returncode, 'is a .zip file' in done.stderr) == (2, True)
    bad = tmp_path / 'bad.zip'
    bad.write_bytes(b'PK')
    other = ['--work-dir', tmp_path / 'other']
    done = benchmark_py('report', bench.path, '--import', out, bad, *other)
    assert (done.returncode, done.stdout, done.stderr.count('\n')) == (2, '', 1)
    assert done.stderr.startswith(f'error: {bad} is no submission')
    assert not (tmp_path / 'other').exists()
    done = benchmark_py('report', '--import', out, bench.path, *other)  # the table is not taken for a file
    assert done.returncode == 0, done.stderr
    assert '89.50 ± 0.71 (2) from Anna' in done.stdout
    assert '>Submissions<' in (tmp_path / 'other/report.html').read_text()
    done = benchmark_py('serve', bench.path, '--import', bad, *other, '--port', '0')
    assert (done.returncode, done.stderr.count('\n')) == (2, 1)
