"""Test the arguments of commands in processes: their parsing and their error lines, which need no torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openmix.arguments import CommandParser, check_out, is_integer, is_name, is_no_recipe
from openmix.errors import InputError

ROOT = Path(__file__).parent.parent
DIGITS = 'classification/digits/resnet20.py'
# What defines no command of its own but subcommands is tried in tests/benchmark.
COMMANDS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py') if path.stem not in ('__init__', 'benchmark'))
# Runs a command and then says whether torch was loaded.
WATCHED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
finally:
    print('TORCH' if 'torch' in sys.modules else 'NO TORCH', file=sys.stderr)
"""


def run(*args, cwd=ROOT, code=None, env=None, **kwargs):
    kwargs = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, **kwargs}
    env = {**os.environ, 'PYTHONPATH': str(ROOT), **(env or {})}
    return subprocess.run([sys.executable, *map(str, args)], cwd=cwd, env=env, text=True, timeout=300, **kwargs)


@pytest.mark.parametrize('tool', COMMANDS)
def test_help_and_refusals_load_no_torch(tool):
    for args, code in ((['--help'], 0), (['--no-such-option'], 2)):
        done = run('-c', WATCHED, ROOT / 'tools' / f'{tool}.py', *args)
        assert done.returncode == code, done.stderr
        assert done.stderr.splitlines()[-1] == 'NO TORCH'
        assert len(done.stderr.splitlines()) == 1 + (code == 2), done.stderr


@pytest.mark.parametrize('tool', ['train', 'print_config', 'get_flops', 'show_mix', 'verify_dataset'])
@pytest.mark.parametrize(
    ('args', 'told'),
    [
        (['classification/digits/resnet02.py'], "did you mean 'classification/digits/resnet20.py'"),
        (['x.p'], "no config file 'x.p'; did you mean"),
        ([DIGITS, '--cfg-option', 'a=1'], "unknown option '--cfg-option'; did you mean '--cfg-options'"),
        ([DIGITS, 'another.py'], "one word too many: 'another.py'"),
        ([DIGITS, '--cfg-options', 'model.polcy.type=CutMix'], "'polcy' is not in model; did you mean 'policy'"),
        ([DIGITS, '--cfg-options', 'model.policy'], '--cfg-options takes KEY=VALUE'),
    ],
)
def test_a_wrong_argument_is_one_short_line_without_torch(tool, args, told):
    done = run('-c', WATCHED, ROOT / 'tools' / f'{tool}.py', *args)
    line, torch = done.stderr.splitlines()
    assert done.returncode == 2
    assert told in line
    assert len(line) < 300
    assert torch == 'NO TORCH'


def parser():
    found = CommandParser('A command.')
    found.add_recipe()
    found.add_cfg_options()
    found.add_shape()
    found.add_list('--policy', is_name, metavar='NAME')
    found.add_optional('--resume', is_no_recipe, 'auto')
    found.add_argument('--seed', type=int)
    found.add_argument('--ema', action='store_true')
    return found


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('--cfg-options a=1 b=2 x.py', {'cfg_options': {'a': '1', 'b': '2'}}),
        ('x.py --cfg-options a=1 --ema --cfg-options b=2', {'cfg_options': {'a': '1', 'b': '2'}, 'ema': True}),
        ('--cfg-options a=1 --policy A B x.py', {'cfg_options': {'a': '1'}, 'policy': ['A', 'B']}),
        ('--policy A B ./x.py --seed -1', {'policy': ['A', 'B'], 'seed': -1, 'config': './x.py'}),
        ('--shape 224 160 x.py', {'shape': [224, 160]}),
        ('--resume x.py', {'resume': 'auto'}),
        ('--resume a/b.pth x.py', {'resume': 'a/b.pth'}),
        ('x.py --resume', {'resume': 'auto'}),
        ('x.py', {'resume': None, 'cfg_options': {}, 'policy': None}),
        ('--cfg-options=a=1 x.py', {'cfg_options': {'a': '1'}}),
        ('-- x.py', {}),
        ('--ema -- x.py', {'ema': True}),
        ('-', {'config': '-'}),
    ],
)
def test_a_list_ends_where_another_argument_begins(line, expected):
    found = vars(parser().parse_args(line.split()))
    assert {key: found[key] for key in expected} == expected
    assert expected.get('config', 'x.py') == found['config']


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('', 'required: config'),
        ('x.py --cfg-options', 'expected one argument'),
        ('x.py --seed one', "invalid int value: 'one'"),
        ('x.py --shape a', "invalid int value: 'a'"),
        ('x.py --sed 1', "unknown option '--sed'; did you mean '--seed'"),
        ('x.py -z', "unknown option '-z'"),
        ('x.py y.py', "one word too many: 'y.py'"),
        ('x.py --cfg-options a=1 b', "one word too many: 'b'"),
        ('x.py --cfg-options a=1 a=2', "is given 'a' twice"),
    ],
)
def test_a_refusal_is_one_line(line, told):
    with pytest.raises(InputError) as caught:
        parser().parse_args(line.split())
    assert told in str(caught.value)
    assert '\n' not in str(caught.value)


def test_integers_are_told():
    assert [is_integer(word) for word in ('224', '+1', 'a', '', '1.5', 'x.py')] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_lists_leave_the_recipe_alone_in_the_commands(call):
    changed = ('--cfg-options', 'train_cfg.max_epochs=3')
    code, wanted, _ = call('print_config.py', DIGITS, *changed)
    assert (code, 'max_epochs=3' in wanted) == (0, True)
    assert call('print_config.py', *changed, DIGITS) == (0, wanted, '')
    assert '+ train_cfg.max_epochs = 3' in call('print_config.py', *changed, '--diff', DIGITS)[1]
    assert call('print_config.py', '--diff', DIGITS, DIGITS)[:2] == (0, '\n')


@pytest.mark.parametrize(
    ('place', 'told'),
    [
        ('.', 'it is a folder; name a file'),
        ('held', 'it is a folder; name a file'),
        ('file/out', 'file is no folder'),
        ('file/deep/out', 'file is no folder'),
        ('/dev/null/out', '/dev/null is no folder'),
        ('a' * 300, 'too long'),
        ('a\0b', 'cannot write'),
        ('x/' * 3000, 'cannot write'),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_the_work(place, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    (tmp_path / 'held').mkdir()
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError, match=told) as caught:
        check_out('--out', place)
    assert '\n' not in str(caught.value)
    check_out('--out', 'new/folder/out.json')
    check_out('--out', 'file')
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
    'command',
    [
        ['test.py', DIGITS, 'none.pth'],
        ['show_mix.py', DIGITS],
        ['show_detections.py', DIGITS, 'none.pth'],
        ['export_onnx.py', DIGITS, 'none.pth'],
        ['export_torchscript.py', DIGITS, 'none.pth'],
    ],
)
def test_commands_look_at_out_first(command, tmp_path):
    done = run('-c', WATCHED, ROOT / 'tools' / command[0], *command[1:], '--out', tmp_path)
    line, torch = done.stderr.splitlines()
    assert (done.returncode, torch) == (2, 'NO TORCH')
    assert line.endswith('it is a folder; name a file')


PRINTS = """
from openmix.entry_point import command
@command
def main():
    print({text})
    for _ in range({times}):
        print('line', flush=True)
main()
"""


def prints(text='"done"', times=0):
    return PRINTS.format(text=text, times=times)


def test_what_fails_in_the_background_is_one_line():
    """TensorBoard writes in a thread; a folder that is gone fails there first, and then in the command."""
    lost = "import threading; a = threading.Thread(target=open, args=['/none/x']); a.start(); a.join()"
    done = run('-c', prints().replace('    print', f'    {lost}\n    print', 1))
    assert (done.returncode, done.stdout) == (0, 'done\n')
    assert done.stderr == "while writing in the background: [Errno 2] No such file or directory: '/none/x'\n"


def test_a_reader_that_goes_away_ends_a_command_quietly():
    writer = subprocess.Popen(
        [sys.executable, '-c', prints(times=200_000)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert writer.stdout.readline()
        writer.stdout.close()
        assert writer.wait(300) == 128 + 13
        assert writer.stderr.read() == b''
    finally:
        writer.kill()
        writer.wait()
        writer.stderr.close()


@pytest.mark.parametrize('text', [r'"\u00e9 \u2588"', r'"\udcff"', r'"\U0001f600"'])
def test_signs_that_the_terminal_lacks_are_escaped(text):
    for encoding in ('ascii', 'utf-8', 'latin-1'):
        done = run('-c', prints(text), env={'PYTHONIOENCODING': encoding}, encoding='latin-1')
        assert done.returncode == 0, done.stderr
        assert done.stderr == ''


def test_a_closed_stdout_is_not_given_to_the_next_file(tmp_path):
    """Else what is printed would stand in it."""
    script = (
        prints() + f'import os; fd = os.open({str(tmp_path / "kept")!r}, os.O_CREAT | os.O_WRONLY); assert fd > 2\n'
    )
    for closed in ('>&-', '<&-', '2>&-', '<&- >&- 2>&-'):
        call = f'exec "$0" -c "$1" {closed}'
        done = subprocess.run(['sh', '-c', call, sys.executable, script], cwd=ROOT, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / 'kept').read_bytes() == b''


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs a device that is full')
def test_a_full_stdout_is_one_line():
    with open('/dev/full', 'w') as full:
        done = run('-c', prints(), stdout=full)
    assert done.returncode == 2
    assert done.stderr == 'error: No space left on device; what was written before is kept\n'
