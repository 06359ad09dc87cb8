"""Every reader of files gives the same error line at once for a pipe, a device, a folder or an endless file."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
import scipy.io  # noqa: F401  loaded before the rights are given up
import torch
from waiting import SECONDS

from openmix.benchmark.made_for import read_made_for
from openmix.benchmark.run_folder import log_tail
from openmix.benchmark.table import load_table
from openmix.benchmark.trial_files import read_exit_codes, read_last_row
from openmix.config import load_config
from openmix.data.lists import read_arrays, read_lines, read_mat
from openmix.data.read import read_image, read_pixels
from openmix.engine.checkpoint import load_checkpoint
from openmix.engine.history import read_history
from openmix.errors import InputError
from openmix.recipe_file import parse_source
from openmix.regular_file import Missing, open_regular, read_bytes, read_tail, read_text
from openmix.result import read_result
from openmix.weights_file import peek, read_file
from openmix.yaml_file import load_yaml

BOUNDED = {
    'bytes': lambda path: read_bytes(path, 2**20),
    'text': lambda path: read_text(path, 2**20),
    'result': read_result,
    'cell': read_made_for,
    'yaml': load_yaml,
    'recipe': parse_source,
    'list': lambda path: read_lines('CUB200', path, 'unpack it again'),
    'mat': lambda path: read_mat('StanfordCars', path, 'annotations', 'unpack it again'),
    'pickle': lambda path: read_arrays('CIFAR10', path, 'unpack it again'),
    'image': read_image,
    'pixels': read_pixels,
}
# Files of tensors may be of any size, of others the end alone is read.
DOORS = BOUNDED | {
    'open': open_regular,
    'tail': lambda path: read_tail(path, 2**10),
    'codes': read_exit_codes,
    'epoch': read_last_row,
    'weights': read_file,
    'peek': peek,
    'checkpoint': load_checkpoint,
}
MAY_BE_MISSING = ('result', 'cell', 'codes', 'epoch')
NO_FILE = {
    'pipe': (os.mkfifo, 'is a pipe, socket or device, not a file'),
    'link to a pipe': (lambda path: linked(path, os.mkfifo), 'is a pipe, socket or device, not a file'),
    'device': (lambda path: path.symlink_to('/dev/zero'), 'is a pipe, socket or device, not a file'),
    'folder': (os.mkdir, 'is a folder, not a file'),
    'link to a folder': (lambda path: linked(path, os.mkdir), 'is a folder, not a file'),
    'dangling link': (lambda path: path.symlink_to('nowhere'), 'is a link that leads nowhere'),
    'link to itself': (lambda path: path.symlink_to(path.name), 'cannot be read: Too many levels of symbolic links'),
}


def linked(path, make):
    make(path.with_name('target'))
    path.symlink_to('target')


@pytest.fixture(autouse=True)
def deadline():
    """Fail the test if a reader waits."""

    def late(number, frame):
        raise AssertionError('it waits for a pipe or reads without end')

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def unprivileged():
    """Make a public folder, and enter it as an unprivileged user."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        is_root = os.geteuid() == 0

        def give_up():
            if is_root:
                os.seteuid(65534)

        yield Path(folder), give_up
        if is_root:
            os.seteuid(0)


def refused(door, path):
    with pytest.raises(InputError) as error:
        DOORS[door](path)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert str(path) in line
    return line


@pytest.mark.parametrize('kind', NO_FILE)
@pytest.mark.parametrize('door', DOORS)
def test_what_is_no_file_is_one_line(door, kind, tmp_path):
    make, line = NO_FILE[kind]
    make(tmp_path / 'a.py')
    assert line in refused(door, tmp_path / 'a.py')


@pytest.mark.parametrize('door', DOORS)
def test_a_device_itself(door):
    assert 'is a pipe, socket or device, not a file' in refused(door, Path('/dev/zero'))


@pytest.mark.parametrize('link', [False, True])
@pytest.mark.parametrize('door', BOUNDED)
def test_a_file_that_is_too_large_is_not_read(door, link, tmp_path):
    path = tmp_path / 'large.py'
    with path.open('wb') as file:
        file.truncate(2**40)
    if link:
        path = tmp_path / 'link.py'
        path.symlink_to('large.py')
    assert 'has 1099511627776 bytes; at most ' in refused(door, path)


@pytest.mark.parametrize('door', ['bytes', 'text', 'yaml', 'recipe'])
def test_a_file_of_the_system_without_end(door):
    """Its size is 0, and reading it goes on for terabytes."""
    path = Path('/proc/self/pagemap')
    if not path.exists():
        pytest.skip('only Linux has one')
    assert 'has more than' in refused(door, path)


@pytest.mark.parametrize('door', DOORS)
def test_a_file_that_may_not_be_read(door, unprivileged):
    folder, give_up = unprivileged
    (folder / 'a.py').write_bytes(b'x')
    (folder / 'a.py').chmod(0)
    give_up()
    assert 'cannot be read: Permission denied' in refused(door, folder / 'a.py')


@pytest.mark.parametrize('door', DOORS)
@pytest.mark.parametrize('name', ['gone.py', 'file/a.py', 'a\0b', '\udc80\ud800'])
def test_where_there_is_no_file(door, name, tmp_path):
    (tmp_path / 'file').write_text('')
    if door in MAY_BE_MISSING:
        assert not DOORS[door](tmp_path / name)
        return
    with pytest.raises(InputError, match='no checkpoint' if door == 'checkpoint' else 'is missing'):
        DOORS[door](tmp_path / name)


def test_what_is_missing_has_an_error_of_its_own(tmp_path):
    with pytest.raises(Missing, match='gone is missing'):
        read_bytes(tmp_path / 'gone', 1)
    (tmp_path / 'link').symlink_to('gone')
    with pytest.raises(InputError) as error:
        read_bytes(tmp_path / 'link', 1)
    assert not isinstance(error.value, Missing)


def test_a_file_and_a_link_to_it_are_read(tmp_path):
    (tmp_path / 'a').write_bytes(b'\xef\xbb\xbf1\n22\n333\n')
    (tmp_path / 'link').symlink_to('a')
    for path in (tmp_path / 'a', str(tmp_path / 'link')):
        assert read_bytes(path, 12) == b'\xef\xbb\xbf1\n22\n333\n'
        assert read_text(path, 12) == '1\n22\n333\n'
        assert (read_tail(path, 12), read_tail(path, 6)) == (b'\xef\xbb\xbf1\n22\n333\n', b'333\n')
        with open_regular(path, 12) as file:
            assert len(file.read()) == 12
    with pytest.raises(InputError, match='a has 12 bytes; at most 11 are read'):
        read_bytes(tmp_path / 'a', 11)
    (tmp_path / 'empty').write_bytes(b'')
    assert read_bytes(tmp_path / 'empty', 0) == read_tail(tmp_path / 'empty', 1) == b''
    with pytest.raises(InputError, match='here is a folder, not a file'):
        read_bytes(tmp_path, 1, 'here')


def test_what_is_no_utf_8_is_named_by_its_byte(tmp_path):
    (tmp_path / 'a.py').write_bytes(b'ab\xff')
    for door in ('text', 'yaml', 'recipe'):
        assert 'is not UTF-8 text (byte 2); save it as UTF-8' in refused(door, tmp_path / 'a.py')


@pytest.mark.parametrize('kind', ['pipe', 'device', 'folder', 'dangling link'])
def test_a_log_and_a_history_that_are_no_files(kind, tmp_path):
    make, line = NO_FILE[kind]
    make(tmp_path / 'log.txt')
    assert [line in said for said in log_tail(tmp_path)] == [True]
    assert read_history(tmp_path / 'log.txt') == ([], 1)
    assert (log_tail(tmp_path / 'gone'), read_history(tmp_path / 'gone')) == ([], ([], 0))


@pytest.mark.parametrize('kind', NO_FILE)
@pytest.mark.parametrize(('read', 'name'), [(load_config, 'a.py'), (load_config, 'a.yaml'), (load_table, 'a.yaml')])
def test_a_recipe_or_table_that_is_no_file_says_what_it_is(read, name, kind, tmp_path):
    """Not that there is none by that name, which was then proposed."""
    make, line = NO_FILE[kind]
    make(tmp_path / name)
    with pytest.raises(InputError) as error:
        read(str(tmp_path / name))
    assert line.removesuffix(', not a file') in str(error.value)
    assert 'did you mean' not in str(error.value)


def test_of_a_large_log_the_end_is_read(tmp_path):
    with (tmp_path / 'log.txt').open('wb') as file:
        file.truncate(2**40)
        file.seek(0, os.SEEK_END)
        file.write(b'\nthe last \xff words\n')
    assert log_tail(tmp_path) == ['the last \ufffd words']


def test_a_large_checkpoint_is_read(tmp_path):
    torch.save({'w': torch.zeros(2**20)}, tmp_path / 'a.pth')
    assert read_file(tmp_path / 'a.pth')['w'].numel() == 2**20
