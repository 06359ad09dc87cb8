"""Files are written completely or not at all."""

import pytest

from openmix.files import appearing, write_text


def test_a_new_file_replaces_the_old_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / 'a.txt', 'old')
    write_text(tmp_path / 'a.txt', 'neü')
    assert (tmp_path / 'a.txt').read_text(encoding='utf-8') == 'neü'
    assert [path.name for path in tmp_path.iterdir()] == ['a.txt']


def test_a_failure_keeps_the_old_file(tmp_path):
    write_text(tmp_path / 'a.txt', 'old')

    def fail():
        with appearing(tmp_path / 'a.txt') as partial:
            partial.write_text('half')
            raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        fail()
    assert (tmp_path / 'a.txt').read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['a.txt']


def test_the_suffix_is_kept(tmp_path):
    with appearing(tmp_path / 'a.npy') as partial:
        assert partial.suffix == '.npy'
        partial.write_bytes(b'1')
    assert (tmp_path / 'a.npy').read_bytes() == b'1'


@pytest.mark.parametrize('name', ['x' * 251 + '.txt', 'ü' * 125 + '.txt'], ids=['ascii', 'of two bytes'])
def test_every_name_that_the_disk_takes_can_be_written(tmp_path, name):
    write_text(tmp_path / name, 'all of it')
    assert (tmp_path / name).read_text() == 'all of it'
    assert [path.name for path in tmp_path.iterdir()] == [name]
