"""What `--import` names: several files and folders, whose runs they are, and what of their runs differs from ours."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from test_submit import PLACE, RESULT, changed, members, merged, packed, write

from openmix.benchmark.command_line import parse_args
from openmix.benchmark.pack import pack
from openmix.benchmark.report import as_text
from openmix.benchmark.submitters import HEADS, as_seen
from openmix.errors import InputError
from openmix.provenance import Provenance


def renamed(path, to, name):
    return changed(path, to, 'manifest.json', lambda manifest: manifest.update(name=name))


def test_every_file_and_folder_behind_one_import_is_read(bench, benchmark_py, tmp_path):
    anna = packed(bench, tmp_path / 'anna.zip', 'Anna', 1.0)
    bob = packed(bench, tmp_path / 'bob.zip', 'Bob', -1.0)
    for name, source in (('one', anna), ('two', bob)):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(tmp_path / name)
    # The folders hold the runs of the files, so each pair is shown with the other's.
    for words in (
        ['--import', anna, tmp_path / 'two', bench.path],
        [bench.path, '--import', tmp_path / 'two', anna],
        ['--import', tmp_path / 'one', tmp_path / 'two', bob, bench.path],
    ):
        done = benchmark_py('report', *words, '--work-dir', tmp_path / 'mine', '--rows', 'Mixup', '--columns', 'MCE')
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(' from ') == sum(1 for word in words if 'small' not in str(word)) - 1
    assert 'from Bob' in done.stdout
    assert f'from {tmp_path / "one"}' in done.stdout
    bad = tmp_path / 'bad.zip'
    bad.write_bytes(b'PK')
    done = benchmark_py('report', '--import', anna, tmp_path / 'two', bad, bench.path, '--work-dir', tmp_path / 'other')
    assert (done.returncode, done.stdout, done.stderr.count('\n')) == (2, '', 1)
    assert done.stderr.startswith(f'error: {bad} is no submission')


def test_words_behind_an_import_are_told_from_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ('theirs', 'quickstart'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'mine.yaml').touch()

    def found(*words):
        args = parse_args(['report', *words])
        return args.table, [str(path) for path in args.imports]

    assert found('--import', 'theirs', 'a.zip', 'b/c', 'quickstart') == ('quickstart', ['theirs', 'a.zip', 'b/c'])
    assert found('--import', 'a.zip', 'theirs', 'mine.yaml') == ('mine.yaml', ['a.zip', 'theirs'])
    assert found('--import', 'a.zip', 'decoupled_mixup/table1') == ('decoupled_mixup/table1', ['a.zip'])
    assert found('--import', 'a.zip', 'decoupled_mixup/tabel1') == ('decoupled_mixup/tabel1', ['a.zip'])
    assert found('quickstart', '--import', 'quickstart') == ('quickstart', ['quickstart'])


def test_a_folder_that_is_ours_or_given_twice_or_empty_is_refused(bench, benchmark_py, tmp_path):
    bench.run(rows='Mixup', columns='MCE')
    theirs = tmp_path / 'theirs'
    theirs.mkdir()
    for given, said in (
        ([bench.work_dir], 'is the work folder of this report'),
        ([theirs], 'has no <row>/<column>/trial<n>/result.json\n'),
    ):
        done = benchmark_py('report', bench.path, '--work-dir', bench.work_dir, '--import', *given)
        assert (done.returncode, done.stdout, said in done.stderr) == (2, '', True), done.stderr
    (theirs / 'anna.zip').touch()
    done = benchmark_py('report', bench.path, '--work-dir', bench.work_dir, '--import', theirs)
    assert f'to import its files, name them: {theirs}/*.zip' in done.stderr
    (tmp_path / 'x').mkdir()
    with pytest.raises(InputError, match='theirs is given twice'):
        merged(bench, theirs, tmp_path / 'x' / '..' / 'theirs')


@pytest.fixture(scope='module')
def good(bench_type, tmp_path_factory):
    """Return a bench without runs and a submission for it; neither may be changed."""
    bench = bench_type(tmp_path_factory.mktemp('good'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('openmix.benchmark.run.cuda_devices', list)
        return bench, packed(bench, bench.root / 'good.zip', 'Anna', 1.0)


TAKEN = {
    'Ours': 'head',
    'published': 'head',
    ' METHOD ': 'head',
    'Col\u200bumn': 'head',
    '\uff2f\uff55\uff52\uff53': 'head',  # in full width
    'mce': 'column',
    'DM(CE)\ufe0f': 'column',
    '\u200b\u200d': 'shows nothing',
    '\u3164': 'shows nothing',
    '\u2800 \u2800': 'shows nothing',
    '\u0301': 'shows nothing',
    '\ufeff': 'shows nothing',
    'x' * 81: '81 characters; at most 80',
    'a\u202eb': 'control character',
    'a\x9bb': 'control character',
}


@pytest.mark.parametrize('name', TAKEN)
def test_a_name_that_would_be_taken_for_another_is_refused(good, tmp_path, name):
    bench, path = good
    with pytest.raises(InputError, match=TAKEN[name]) as caught:
        pack(bench.table, bench.trials(), tmp_path / 'out.zip', name)
    assert str(caught.value).startswith('--name')
    bad = renamed(path, tmp_path / 'bad.zip', name)
    with pytest.raises(InputError, match=rf'bad.zip.*{TAKEN[name]}') as caught:
        merged(bench, bad, rows='Mixup')
    assert '\n' not in str(caught.value)


def test_names_that_look_alike_are_told_apart_or_refused(bench, tmp_path, monkeypatch):
    assert as_seen('O\u200bURS ') == 'ours'
    files = [packed(bench, tmp_path / f'{n}.zip', 'x', float(n)) for n in (1, 2)]
    like = [renamed(files[0], tmp_path / 'a.zip', 'Anna'), renamed(files[1], tmp_path / 'b.zip', 'ANN\u200bA')]
    (mce, _) = merged(bench, *like, rows='Mixup')
    assert [n.source for n in mce.theirs] == [f'Anna ({like[0]})', f'ANN\u200bA ({like[1]})']
    with zipfile.ZipFile(files[0]) as archive:
        archive.extractall(tmp_path / 'u')
    monkeypatch.chdir(tmp_path)
    folder = Path('u')
    bad = renamed(files[1], tmp_path / 'c.zip', 'U')
    with pytest.raises(InputError, match=r'c.zip: its name .U. looks like that of another import'):
        merged(bench, folder, bad, rows='Mixup')
    (mce, _) = merged(bench, folder, files[1], rows='Mixup')
    assert [n.source for n in mce.theirs] == [str(folder), 'x']


def test_texts_of_a_submission_are_short_lines_in_every_format(good, tmp_path):
    bench, path = good
    long = changed(path, tmp_path / 'long.zip', 'manifest.json', lambda m: m.update(note='x' * 1001))
    with pytest.raises(InputError, match=r'long.zip, manifest.json: note has 1001 characters; at most 1000'):
        merged(bench, long)
    for fact, said in (('x' * 300, "'cpu' has 300 characters"), ('a\x1b[2J', "'cpu' holds the control character")):
        bad = changed(path, tmp_path / 'bad.zip', RESULT, lambda r, fact=fact: r['environment'].update(cpu=fact))
        with pytest.raises(InputError, match=rf'bad.zip, {RESULT}: environment: {said}'):
            merged(bench, bad)
    noted = changed(path, tmp_path / 'n.zip', 'manifest.json', lambda m: m.update(note='=1\ncannot be read: x'))
    records = merged(bench, noted)
    for form in ('html', 'md', 'terminal', 'csv'):
        text = as_text(bench.table, records, form, tmp_path, True)
        assert not any(line.startswith(('cannot be read', '=')) for line in text.splitlines()), form
        assert all(line.isprintable() or '<' in line for line in text.splitlines()), form


def test_what_differs_of_the_same_recipe_is_named(bench, tmp_path):
    path = packed(bench, tmp_path / 'a.zip', 'Anna')
    ours = bench.trials(rows='Mixup', columns='MCE')[0].provenance
    for key, value, said in (
        ('data', 'feedfeedfeed', f'says data feedfeedfeed, and its hash {ours.digest} is that of data not recorded'),
        ('version', '9.9', rf'says openmix 9.9, and its hash {ours.digest} is that of data not recorded and openmix '),
    ):
        bad = changed(path, tmp_path / 'bad.zip', RESULT, lambda r, k=key, v=value: r.update({k: v}))
        with pytest.raises(InputError, match=rf'bad.zip, {RESULT} {said}'):
            merged(bench, bad)


def test_numbers_of_other_data_or_another_version_say_which(bench, tmp_path):
    bench.run(rows='Mixup', columns='MCE')
    current = bench.trials(rows='Mixup', columns='MCE')[0].provenance
    other = Provenance(current.recipe, current.data, '0.0.1')
    pack(bench.table, bench.trials(), tmp_path / 'good.zip', 'Anna')
    shutil.rmtree(bench.work_dir)
    found = members(tmp_path / 'good.zip')
    manifest = json.loads(found['manifest.json'])
    manifest['runs'][0]['config_hash'] = other.digest
    found[RESULT] = json.dumps(json.loads(found[RESULT]) | other.as_dict())
    old = write(tmp_path / 'old.zip', found | {'manifest.json': json.dumps(manifest)})
    (mce, _) = merged(bench, old, rows='Mixup')
    assert [(n.as_of, n.differs) for n in mce.theirs] == [(other.digest, 'openmix 0.0.1'), (None, '')]
    assert f', as of {other.digest} (other openmix 0.0.1)' in as_text(bench.table, [mce], 'terminal', tmp_path)
    with zipfile.ZipFile(old) as archive:
        archive.extractall(tmp_path / 'theirs')
    (tmp_path / 'theirs/mixup/mce/trial1/result.json').unlink()
    (mce, _) = merged(bench, tmp_path / 'theirs', rows='Mixup')
    assert [n.differs for n in mce.theirs] == ['openmix 0.0.1']


def test_a_provenance_says_what_differs():
    ours = Provenance('r' * 12, 'd' * 12, '2')
    made = lambda **kinds: ours._replace(**kinds)  # noqa: E731

    def differs(other, of=ours):
        return of.differs(other.digest, other.data, other.version)

    assert differs(ours) == ''
    assert ours.differs(ours.digest, None, None) == ''  # an older result, which records neither
    assert differs(made(data='e' * 12)) == f'data {"e" * 12}'
    assert differs(made(data=None)) == 'data not recorded'
    assert differs(made(data='e' * 12, version='1')) == f'data {"e" * 12} and openmix 1'
    assert differs(made(recipe='q' * 12)) is None
    assert ours.differs(ours.digest, 'e' * 12, '2') is None  # the hash is not that of the data beside it
    assert differs(ours, made(data=None)) == ''  # the data are not on this machine


def test_heads_are_those_of_the_report(good, tmp_path):
    bench, path = good
    text = as_text(bench.table, merged(bench, path), 'md', tmp_path)
    assert f'| {" | ".join(HEADS)} | Anna |' in text
    assert PLACE in RESULT
