"""A command writes whole files and replaces only files, never its own input or a pipe."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

from openmix.arguments import check_out
from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.errors import InputError
from openmix.registry import MODELS
from openmix.shipped import configs_dir

ROOT = Path(__file__).parent.parent
RECIPE = f"""
_base_ = '{ROOT}/configs/classification/digits/resnet20.py'
model = dict(backbone=dict(depth=8, width=4), policy=dict(type='Mixup'))
"""


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Make a recipe and its checkpoint."""
    folder = tmp_path_factory.mktemp('made')
    (folder / 'recipe.py').write_text(RECIPE)
    model = MODELS.build(prepare(load_config(folder / 'recipe.py')).model)
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, folder / 'run.pth')
    os.link(folder / 'run.pth', folder / 'link.pth')
    os.symlink('run.pth', folder / 'soft.pth')
    os.mkfifo(folder / 'pipe')
    return folder


@pytest.mark.parametrize('tool', ['export_torchscript.py', 'export_onnx.py', 'test.py'])
@pytest.mark.parametrize(
    ('out', 'line'),
    [
        ('run.pth', 'the command reads it'),
        ('link.pth', 'the command reads it'),
        ('soft.pth', 'the command reads it'),
        ('recipe.py', 'the command reads it'),
        ('pipe', 'a pipe, socket or device'),
    ],
)
def test_what_a_command_reads_is_not_replaced(call, made, tool, out, line):
    before = {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()}
    code, _, said = call(tool, made / 'recipe.py', made / 'run.pth', '--out', made / out)
    assert code == 2
    assert said.count('\n') == 1
    assert line in said
    assert {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()} == before
    assert (made / 'pipe').is_fifo()


def test_a_device_is_not_replaced():
    """As root, a rename would put a file in its place for the whole machine."""
    for device in ('/dev/null', '/dev/stdout', '/dev/fd/1', '/proc/self/fd/1'):
        with pytest.raises(InputError, match='a pipe, socket or device'):
            check_out('--out', device)


def test_a_table_by_its_name_and_a_base_of_a_recipe_are_not_replaced(call, made):
    table = configs_dir() / 'tables/quickstart.yaml'
    for words in (
        ('benchmark.py', 'show', 'quickstart', '--format', 'md', '--out', table),
        ('test.py', made / 'recipe.py', made / 'run.pth', '--out', configs_dir() / '_base_/runtime.py'),
    ):
        before = Path(words[-1]).read_bytes()
        code, _, said = call(*words)
        assert code == 2
        assert 'the command reads it' in said
        assert Path(words[-1]).read_bytes() == before


def said_by_a_user(run):
    """Return the error line of a call by an unprivileged user; if root, drop the rights in a child process."""

    def said():
        with pytest.raises(InputError) as error:
            run()
        return str(error.value)

    if os.geteuid() != 0:
        return said()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setuid(65534)
            told = said()
        except BaseException as error:
            told = repr(error)
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding='utf-8') as file:
        told = file.read()
    os.waitpid(child, 0)
    return told


def test_a_folder_that_takes_no_new_file_is_refused_before_there_is_anything_to_write():
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / 'old.png'
        old.touch()
        old.chmod(0o666)
        os.chmod(folder, 0o555)
        assert said_by_a_user(lambda: check_out('--out', old)).endswith(f'{folder} is read-only')
        os.chmod(folder, 0o755)


def test_a_picture_of_no_known_kind_is_one_line(call, made, tmp_path):
    for name in ('mix', 'mix.jpg'):
        code, _, said = call('show_mix.py', made / 'recipe.py', '--out', tmp_path / name)
        assert code == 2
        assert f"the picture is one of .png, .pdf, .svg, not '{name}'" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('tool', 'words', 'name'),
    [('show_mix.py', ['--count', '2'], 'old.png'), ('export_torchscript.py', ['run.pth'], 'old.pt')],
)
def test_a_full_disk_leaves_the_file_that_was_there(made, tmp_path, nursery, tool, words, name):
    (tmp_path / name).write_bytes(b'old')
    with nursery.on_a_full_disk(8000):
        done = nursery.run([tool, 'recipe.py', *words, '--out', tmp_path / name], cwd=made)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count('\n') == 1
    assert 'File too large' in done.stderr
    assert 'backbone' not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b'old'


def test_torchscript_takes_any_name(call, made, tmp_path):
    code, said, err = call('export_torchscript.py', made / 'recipe.py', made / 'run.pth', '--out', tmp_path / 'network')
    assert code == 0, err
    assert 'largest difference' in said
    assert torch.jit.load(tmp_path / 'network')(torch.rand(2, 3, 16, 16)).shape == (2, 10)
