"""Every format of the report shows hostile names as text, and never interprets them."""

import csv
import io
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from openmix.benchmark import escape
from openmix.benchmark.report import as_text
from openmix.benchmark.slurm import Resources, sbatch_script
from openmix.csv_text import field
from openmix.errors import InputError

NAMES = [
    '<script>alert(1)</script>',
    '[x](javascript:alert(1))',
    '![x](http://example.org/x.png)',
    '<javascript:alert(1)>',
    '[bold red]x[/]',
    ':boom:',
    '=1+1',
    '+1',
    '-1',
    '@SUM(A1)',
    '*star',
    '# head',
    '1. one',
    'a | b',
    '`code` _em_ ~~gone~~',
    'a & b "quoted" \'too\'',
    '50 % of $x_1^2$ \\input{x}',
    '{{ fileDirname }}',
    '{{$HOME:x}}',
]


@pytest.fixture(scope='module')
def hostile(tmp_path_factory, bench_type):
    """Make a table with hostile rows, title, source and notes, and one finished run of each row."""
    bench = bench_type(tmp_path_factory.mktemp('hostile'))
    bench.edit('title: A <small> table', f'title: {json.dumps(" ".join(NAMES))}')
    bench.edit('source: nowhere, Table 0', f'source: {json.dumps(NAMES[1] + NAMES[0])}')
    bench.edit('notes: [first note]', f'notes: {json.dumps(NAMES)}')
    rows = ''.join(f'  {json.dumps(name)}: {{model.policy.alpha: {i + 1}.0}}\n' for i, name in enumerate(NAMES))
    bench.edit('rows:\n', f'rows:\n{rows}')
    recipe = bench.root / 'recipe.py'
    recipe.write_text(recipe.read_text().replace("dict(type='NoMix')", "dict(type='Mixup')"))
    for trial in bench.trials(columns='MCE', trials=1):
        trial.folder.mkdir(parents=True)
        readouts = {'accuracy/top1': {'median_last3': 90.0}}
        result = {'seed': 0, 'config_hash': trial.config_hash, 'readouts': readouts, 'commit': NAMES[0]}
        (trial.folder / 'result.json').write_text(json.dumps(result | {'environment': {NAMES[0]: NAMES[0]}}))
    return bench


def text(bench, form):
    return as_text(bench.table, bench.records(columns='MCE', trials=1), form, bench.work_dir, full=True)


class Page(HTMLParser):
    """A parser that collects the tags of a page with their attributes, and the text outside scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.inside = [], '', []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = [tag] if tag in ('script', 'style') else []

    def handle_endtag(self, tag):
        self.inside = []

    def handle_data(self, data):
        self.words += '' if self.inside else data


def test_html(hostile):
    page = Page(text(hostile, 'html'))
    assert [tag for tag, _ in page.tags].count('script') == 1  # the page's own
    assert all(name in page.words for name in NAMES)
    for _, attributes in page.tags:
        assert not any(key.startswith('on') for key in attributes)
        for key in ('href', 'src'):
            assert not re.match(r'\s*\w+:', attributes.get(key) or '') or attributes[key].startswith('data:image/png')


def test_markdown(hostile):
    found = text(hostile, 'md')
    assert not re.search(r'(?<!\\)<script>|(?<!\\)\]\(javascript|(?<!\\)\[x\\?\]|(?<!\\)<javascript:', found)
    links = re.findall(r'(?<!\\)\]\((.*?)(?<!\\)\)', found)
    assert links
    assert all(re.fullmatch(r'<[\w./%-]+>', link) for link in links)
    rows = found.split('\n\n')[3].splitlines()
    columns = {len(re.findall(r'(?<!\\)\|', row)) for row in rows}
    assert len(columns) == 1
    assert '\n- \\# head\n' in found
    assert '\n- 1\\. one\n' in found


def test_latex(hostile):
    found = text(hostile, 'latex')
    body = found.split('\\midrule')[1].split('\\bottomrule')[0].strip().splitlines()
    assert not any(re.match(r'\s*[\[*]', line) for line in body)
    assert all(len(re.findall(r'(?<!\\)&', line)) == 2 and line.endswith('\\\\') for line in body)
    plain = re.sub(r'\\[{}\\]', '', found)
    assert plain.count('{') == plain.count('}')
    assert '\\input' not in found
    assert '[' not in re.sub(r'\{\[\}', '', found)


def test_csv(hostile):
    rows = list(csv.DictReader(io.StringIO(text(hostile, 'csv'))))
    assert [row['row'] for row in rows[: len(NAMES)]] == [f"'{n}" if n[0] in '=+-@' else n for n in NAMES]
    assert not any(value.startswith(('=', '+', '-', '@', '\t', '\r')) for row in rows for value in row.values())


def test_csv_numbers_stay_numbers():
    assert [field(value) for value in (-1.5, -2, None, '-1.5', 'x', '')] == [-1.5, -2, None, "'-1.5", 'x', '']
    assert [field(value) for value in ('+1', '@a', ' =1', '\uff1d1')] == ["'+1", "'@a", "' =1", "'\uff1d1"]
    assert [field(value) for value in ('\t=1', '\r=1', 'a\x1b[2J\nb')] == ["'\\t=1", "'\\r=1", 'a\\x1b[2J\\nb']


def test_terminal(hostile):
    found = text(hostile, 'terminal')
    assert all(name in found for name in NAMES)
    said = io.StringIO()
    Console(file=said, force_terminal=True, width=100).print(escape.terminal('\x1b[31mred\x1b[0m\x07 \u202eevil [b]x'))
    assert said.getvalue() == '\\x1b[31mred\\x1b[0m\\x07 \\u202eevil [b]x\n'


def test_json_and_model_card_round_trip(hostile):
    rows = json.loads(text(hostile, 'json'))['cells']
    assert [row['row'] for row in rows[: len(NAMES)]] == NAMES
    entries = yaml.safe_load(text(hostile, 'hf'))['model-index']
    assert [entry['name'] for entry in entries[: len(NAMES)]] == [f'{name} / MCE' for name in NAMES]


@pytest.mark.parametrize('partition', ['long\n#SBATCH --uid=0', 'a b', '$(id)', '`id`', '', '--uid=0', 'a;b', 'a"b'])
def test_a_partition_is_a_name(partition):
    with pytest.raises(InputError, match='partition must be a name'):
        Resources(partition=partition)


@pytest.mark.parametrize('name', ['a\nb', 'a\\b', "a'b", 'a"b', 'a%jb', 'a\x1bb'])
def test_slurm_refuses_folders_that_it_would_misread(name, tmp_path):
    with pytest.raises(InputError, match='Slurm cannot write to'):
        sbatch_script(1, tmp_path / name, 'one', Resources())


def test_a_table_by_any_name_makes_one_script(bench, benchmark_py):
    path = bench.path.with_name('x; touch hacked $(touch hacked) #.yaml')
    bench.path.rename(path)
    done = benchmark_py('run', path, '--print-sbatch', '--work-dir', bench.root / 'a b; touch hacked', cwd=bench.root)
    assert done.returncode == 0, done.stderr
    directives = [line for line in done.stdout.splitlines() if line.startswith('#SBATCH')]
    assert all(len(shlex.split(line.removeprefix('#SBATCH'))) == 1 for line in directives)
    (command,) = [line for line in done.stdout.splitlines() if line.startswith('srun')]
    assert 'hacked' not in ' '.join(word for word in shlex.split(command) if '/' not in word)


def test_a_link_stays_below_its_folder():
    assert escape.link(Path('javascript:alert(1)'), Path()) == 'javascript%3Aalert%281%29'
    assert escape.link(Path('/a/b/x y<>.html'), Path('/a')) == 'b/x%20y%3C%3E.html'


@pytest.mark.parametrize('name', ['a\x1b[31mb', 'a\0b', 'a\nb', 'a\u202eb', '', ' ', 'x' * 201])
def test_a_row_must_be_a_line_that_shows(bench, name):
    bench.edit('  CutMix: {model', f'  {json.dumps(name)}: {{model')
    with pytest.raises(InputError, match=r'row .*: its name (must be|holds)') as error:
        _ = bench.table
    assert str(error.value).isprintable()
