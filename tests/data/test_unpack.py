"""Archives are unpacked into their folder; one that would write elsewhere gives one error line."""

import io
import shutil
import stat
import tarfile
import zipfile

import pytest
from unpacking import unpacks

from openmix.data.download import unpack
from openmix.errors import InputError

pytestmark = unpacks


def tar_of(path, *members):
    """Make a tar archive of (name, what) pairs; `what` is the content, or the kind of the member."""
    with tarfile.open(path, 'w:gz' if path.suffix == '.gz' else 'w') as packed:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                packed.addfile(info, io.BytesIO(what))
            else:
                for key, value in what.items():
                    setattr(info, key, value)
                packed.addfile(info)
    return path


@pytest.mark.parametrize(
    'member',
    [
        ('../out.txt', b'x'),
        ('a/../../out.txt', b'x'),
        ('link', dict(type=tarfile.SYMTYPE, linkname='/etc')),
        ('link', dict(type=tarfile.SYMTYPE, linkname='../..')),
        ('link', dict(type=tarfile.LNKTYPE, linkname='../out.txt')),
        ('fifo.png', dict(type=tarfile.FIFOTYPE)),
        ('device', dict(type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    ],
)
@pytest.mark.parametrize('suffix', ['tar', 'tar.gz'])
def test_members_of_tar_that_leave_are_refused(tmp_path, member, suffix):
    file = tar_of(tmp_path / f'x.{suffix}', ('fine/a.txt', b'1'), member)
    with pytest.raises(InputError, match=rf'x.{suffix}: .*do not trust it') as error:
        unpack(file, tmp_path / 'inner' / 'folder')
    assert len(str(error.value).splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['inner', f'x.{suffix}']
    assert not list((tmp_path / 'inner').glob('*.txt'))


def test_a_link_and_what_lies_behind_it(tmp_path):
    inside = ('way', dict(type=tarfile.SYMTYPE, linkname='fine')), ('way/b.txt', b'2')
    unpack(tar_of(tmp_path / 'x.tar', ('fine/a.txt', b'1'), *inside), tmp_path / 'ok')
    assert (tmp_path / 'ok' / 'fine' / 'b.txt').read_bytes() == b'2'


def test_absolute_names_land_inside(tmp_path):
    unpack(tar_of(tmp_path / 'x.tar', ('/etc/a.txt', b'1')), tmp_path / 'folder')
    assert (tmp_path / 'folder' / 'etc' / 'a.txt').read_bytes() == b'1'


@pytest.mark.parametrize('name', ['../out.txt', '/out.txt', 'a/../../out.txt', '..\\out.txt', 'link'])
def test_members_of_zip_that_leave_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as packed:
        info = zipfile.ZipInfo(name)
        if name == 'link':
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, '/etc')
    with pytest.raises(InputError, match=r'x.zip: .* leaves its folder; do not trust it'):
        unpack(tmp_path / 'x.zip', tmp_path / 'folder')
    assert not list((tmp_path / 'folder').iterdir())


def test_more_than_there_is_room_for_is_refused(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr('openmix.data.download.shutil.disk_usage', lambda folder: free)
    tar_of(tmp_path / 'x.tar.gz', ('a', bytes(600)), ('b', bytes(600)))
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w', zipfile.ZIP_DEFLATED) as packed:
        packed.writestr('a', bytes(10**6))
    for name in ('x.tar.gz', 'x.zip'):
        with pytest.raises(InputError, match=f'{name} unpacks to more than'):
            unpack(tmp_path / name, tmp_path / 'folder')
        assert not (tmp_path / 'folder' / 'b').exists()


@pytest.mark.parametrize('name', ['x.tar.gz', 'x.zip', 'x.tar'])
def test_damaged_archives_are_named(tmp_path, name):
    whole = tar_of(tmp_path / 'x.tar.gz', ('a', b'1' * 999)).read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('a', b'1' * 999)
    content = {'x.tar.gz': whole[:40], 'x.zip': packed.getvalue()[:20] + b'\xff' * 30 + packed.getvalue()[50:]}
    (tmp_path / name).write_bytes(content.get(name, b'no archive at all'))
    with pytest.raises(InputError, match=rf'{name} is damaged: .*; delete it'):
        unpack(tmp_path / name, tmp_path / 'folder')


def test_a_python_that_cannot_check_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, 'data_filter')
    with pytest.raises(InputError, match=r'take 3\.10\.12, 3\.11\.4 or newer'):
        unpack(tar_of(tmp_path / 'x.tar', ('a.txt', b'a')), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
