import os

import numpy as np
import pytest
import torch
from image_trees import save_image
from PIL import Image

from openmix.data import decode as module
from openmix.data import read
from openmix.data.decode import as_array, decode_once, fit
from openmix.data.read import read_image, read_pixels
from openmix.errors import InputError


@pytest.fixture
def paths(tmp_path):
    found = [tmp_path / 'a' / f'{i}.png' for i in range(5)]
    for i, path in enumerate(found):
        save_image(path, 20, 20, seed=i)
    return found


def load(paths, root, **kwargs):
    return decode_once(paths, (16, 16), root, 'a', **kwargs)[0]


def forbid_decoding(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('decoded again')

    monkeypatch.setattr(module, 'decode', refuse)


def test_second_start_maps_the_file(paths, tmp_path, monkeypatch):
    first = load(paths, tmp_path)
    forbid_decoding(monkeypatch)
    assert torch.equal(load(paths, tmp_path), first)
    (file,) = (tmp_path / '.openmix').iterdir()
    assert np.array_equal(np.load(file), first.numpy())
    first.zero_()  # a private view: the file stays as it is
    assert load(paths, tmp_path).any()


def test_any_change_of_the_files_decodes_anew(paths, tmp_path):
    load(paths, tmp_path)
    save_image(paths[2], 20, 20, seed=77)
    os.utime(paths[2], ns=(1, 1))
    changed = load(paths, tmp_path)
    assert torch.equal(changed, load(paths, tmp_path, cache=False))
    assert len(load(paths[:4], tmp_path)) == 4
    assert len(list((tmp_path / '.openmix').iterdir())) == 1  # older ones are removed


def test_sizes_and_splits_are_kept_apart(paths, tmp_path, monkeypatch):
    small, large = load(paths, tmp_path), decode_once(paths, (20, 20), tmp_path, 'a')[0]
    other = decode_once(paths[:2], (16, 16), tmp_path, 'b')[0]
    forbid_decoding(monkeypatch)
    assert torch.equal(load(paths, tmp_path), small)
    assert torch.equal(decode_once(paths, (20, 20), tmp_path, 'a')[0], large)
    assert torch.equal(decode_once(paths[:2], (16, 16), tmp_path, 'b')[0], other)


def test_the_folder_is_chosen_or_done_without(paths, tmp_path):
    load(paths, tmp_path, cache=False)
    load(paths, tmp_path, cache=str(tmp_path / 'elsewhere'))
    assert not (tmp_path / '.openmix').exists()
    assert len(list((tmp_path / 'elsewhere').iterdir())) == 1
    (tmp_path / 'file').write_text('')
    with pytest.warns(UserWarning, match='set cache to a writable folder'):
        assert len(load(paths, tmp_path, cache=str(tmp_path / 'file' / 'sub'))) == 5


def test_interrupted_write_leaves_nothing(paths, tmp_path, monkeypatch):
    def stop(path, array):
        path.write_bytes(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(module.np, 'save', stop)
    with pytest.raises(KeyboardInterrupt):
        load(paths, tmp_path)
    assert not list((tmp_path / '.openmix').iterdir())


def test_fit_resizes_the_short_side_and_cuts_the_centre():
    image = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    same = fit(image, (100, 200))
    assert same is image
    square = np.asarray(fit(image, (100, 100)))
    assert np.array_equal(square[0, :, 0], np.arange(50, 150))
    for size in ((33, 47), (224, 224), (7, 61)):
        assert fit(image, size).size == size[::-1]


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', '1'])
def test_every_kind_of_image_becomes_rgb(tmp_path, mode):
    suffix = 'tif' if mode == 'CMYK' else 'png'
    save_image(tmp_path / f'x.{suffix}', 8, 8, mode=mode)
    assert read_image(tmp_path / f'x.{suffix}').mode == 'RGB'


@pytest.mark.parametrize('read', [read_image, read_pixels])
@pytest.mark.parametrize('damage', ['empty', 'text', 'cut', 'cut late', 'missing', 'only ends'])
def test_damaged_files_are_named(tmp_path, damage, read):
    path = tmp_path / 'x.jpg'
    save_image(path, 64, 64)
    whole = path.read_bytes()
    path.unlink()
    if damage != 'missing':
        cut = {'cut': whole[:300], 'cut late': whole[:-40]}
        path.write_bytes({'empty': b'', 'text': b'hello', 'only ends': b'\xff\xd8\xff\xd9', **cut}[damage])
    with pytest.raises(InputError, match=r'x\.jpg is not a readable image'):
        read(path)


def test_what_only_one_decoder_refuses_is_left_to_pillow(tmp_path, monkeypatch):
    save_image(tmp_path / 'x.jpg', 20, 30)
    expected = read_pixels(tmp_path / 'x.jpg')
    monkeypatch.setattr(read.cv2, 'imdecode', lambda *args: None)
    assert np.array_equal(read_pixels(tmp_path / 'x.jpg'), expected)


PHOTO = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 13, 3), np.uint8)).resize((67, 45))
TURNED = Image.Exif()
TURNED[0x0112] = 6  # shown on its side


@pytest.mark.parametrize(
    ('mode', 'options'),
    [
        ('RGB', dict()),
        ('RGB', dict(quality=95, subsampling='4:4:4')),
        ('RGB', dict(subsampling='4:2:2', progressive=True)),
        ('RGB', dict(keep_rgb=True)),
        ('RGB', dict(restart_marker_blocks=2, exif=TURNED)),
        ('L', dict()),
        ('CMYK', dict()),
        ('RGB', dict(format='png')),
        ('P', dict(format='png')),
        ('RGBA', dict(format='png')),
    ],
)
def test_pixels_are_the_images(tmp_path, mode, options):
    path = tmp_path / 'x'
    PHOTO.convert(mode).save(path, **dict(format='jpeg') | options)
    for tail in (b'', b'and more'):
        path.write_bytes(path.read_bytes() + tail)
        image, pixels = read_image(path), read_pixels(path)
        assert np.array_equal(pixels, np.asarray(image))
        assert np.array_equal(pixels.transpose(2, 0, 1), as_array(image))
        assert pixels.flags.writeable
        assert as_array(image).flags.writeable
