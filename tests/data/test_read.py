"""Every kind of image file is read as 8-bit RGB as viewers show it, or gives one error line."""

import io
import os
import socket
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from image_trees import save_image
from mutations import MUTANTS
from PIL import Image
from waiting import SECONDS

from openmix.data import read
from openmix.data.decode import decode, decode_once, fit
from openmix.data.image_folder import ImageFolder
from openmix.data.read import UnreadableImage, read_image, read_pixels

RNG = np.random.default_rng(0)
COLOUR = Image.fromarray(RNG.integers(0, 256, (5, 6, 3), np.uint8)).resize((40, 30))
RAMP = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)


def both(path):
    """Read the pixels of a file by both readers, which must agree."""
    image, pixels = np.asarray(read_image(path)), read_pixels(path)
    assert np.array_equal(image, pixels)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    return image


def encoded(image, kind, **options):
    file = io.BytesIO()
    # A copy: Pillow's writers leave marks on what they write. Not a path: one of them would take over its suffix.
    image.copy().save(file, kind, **options)
    return file.getvalue()


def refused(path):
    lines = []
    for reader in (read_image, read_pixels):
        with pytest.raises(UnreadableImage, match='is not a readable image') as error:
            reader(path)
        assert len(str(error.value).splitlines()) == 1
        lines.append(str(error.value))
    assert lines[0] == lines[1]
    return lines[0]


@pytest.mark.parametrize('suffix', ['png', 'tif', 'pgm'])
def test_16_bit_grey_is_scaled_by_its_range(tmp_path, suffix):
    Image.fromarray(RAMP).save(tmp_path / f'x.{suffix}')
    grey = both(tmp_path / f'x.{suffix}')
    assert np.array_equal(grey, np.repeat(np.rint(RAMP / 257).astype(np.uint8)[..., None], 3, 2))


def test_12_bit_grey_is_scaled_by_its_own_range(tmp_path, monkeypatch):
    Image.fromarray(RAMP // 16).save(tmp_path / 'x.tif')
    opened = Image.open
    monkeypatch.setattr(read.Image, 'open', lambda *args, **kwargs: as_12_bit(opened(*args, **kwargs)))
    assert np.array_equal(both(tmp_path / 'x.tif')[..., 0], np.rint((RAMP // 16) * (255 / 4095)).astype(np.uint8))


def as_12_bit(image):
    image.load()
    image.tag_v2._tags_v2[258] = (12,)
    return image


def test_floats_in_0_to_1_are_scaled_and_others_refused(tmp_path):
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(tmp_path / 'x.tif')
    assert np.array_equal(both(tmp_path / 'x.tif')[..., 0], np.rint(RAMP / 257).astype(np.uint8))
    for wrong in (255.0, -0.1, np.nan):
        levels = np.full((4, 4), 0.5, np.float32)
        levels[1, 2] = wrong
        Image.fromarray(levels).save(tmp_path / 'y.tif')
        assert 'y.tif is not a readable image: its pixels are floating-point numbers outside 0..1' in refused(
            tmp_path / 'y.tif'
        )


@pytest.mark.parametrize(
    ('name', 'make', 'reason'),
    [
        ('x.tif', lambda p: Image.fromarray(RAMP.astype(np.int32)).save(p), 'signed integers'),
        ('x.tif', lambda p: Image.fromarray(RAMP).save(p, tiffinfo={262: 0}), 'white is stored as 0'),
        ('x.tif', lambda p: Image.frombytes('LAB', (4, 4), bytes(48)).save(p), 'its pixels are LAB'),
        ('x.png', lambda p: Image.fromarray(RAMP).save(p, transparency=7), 'grey levels is transparent'),
        ('x.gif', lambda p: COLOUR.save(p, save_all=True, append_images=[COLOUR.rotate(90)]), 'several frames'),
        ('x.webp', lambda p: COLOUR.save(p, save_all=True, append_images=[COLOUR.rotate(90)]), 'several frames'),
        ('x.png', lambda p: COLOUR.save(p, save_all=True, append_images=[COLOUR.rotate(90)]), 'several frames'),
        ('x.tif', lambda p: COLOUR.save(p, save_all=True, append_images=[COLOUR.rotate(90)]), 'several frames'),
        ('x.jpg', lambda p: COLOUR.save(p, 'DDS'), 'it is none of JPEG'),
        ('x.jpg', lambda p: p.write_bytes(encoded(COLOUR.convert('F'), 'SPIDER')), 'it is none of JPEG'),
        ('x.jpg', lambda p: COLOUR.save(p, 'EPS'), 'it is none of JPEG'),
        ('x.jpg', lambda p: p.write_bytes(b'\0\0\0\x1cftypavif' + bytes(64)), 'it is none of JPEG'),
        ('x.png', lambda p: p.mkdir(), 'it is a folder'),
        ('x.png', os.mkfifo, 'it is a pipe, socket or device'),
        ('x.png', lambda p: p.symlink_to('/dev/zero'), 'it is a pipe, socket or device'),
        ('x.png', lambda p: p.symlink_to('nowhere'), 'it is a link that leads nowhere'),
        ('x.png', lambda p: p.symlink_to(p.name), 'symbolic links'),
    ],
)
def test_what_has_no_one_meaning_is_refused_by_name(tmp_path, name, make, reason):
    make(tmp_path / name)
    assert reason in refused(tmp_path / name)


def test_a_socket_and_a_huge_file_are_refused_unopened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path may have a hundred bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind('s.png')
        assert 'pipe, socket or device' in refused(tmp_path / 's.png')
    with (tmp_path / 'x.png').open('wb') as file:
        file.truncate(2**40)
    assert 'it has 1099511627776 bytes; at most 1073741824 are read' in refused(tmp_path / 'x.png')


def test_names_that_do_not_print_are_escaped(tmp_path):
    for name, shown in ((b'a\nb\xff.png', r'a\nb\udcff.png'), ('a\u202eb.png'.encode(), r'a\u202eb.png')):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b'/' + name))
        path.write_bytes(b'no image')
        assert shown in refused(path)
        refused(path).encode()


@pytest.mark.parametrize('orientation', range(10))
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
def test_images_stand_upright(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {'lossless': True} if suffix == 'webp' else {}
    COLOUR.save(tmp_path / f'plain.{suffix}', **lossless)
    COLOUR.save(tmp_path / f'x.{suffix}', exif=exif, **lossless)
    stored, found = both(tmp_path / f'plain.{suffix}'), both(tmp_path / f'x.{suffix}')
    # By what the numbers mean: where the stored first row and first column belong.
    upright = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }
    assert np.array_equal(found, upright.get(orientation, stored))


def test_an_orientation_in_xmp_counts_too(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    COLOUR.save(tmp_path / 'x.jpg', xmp=xmp)
    COLOUR.save(tmp_path / 'plain.jpg')
    assert np.array_equal(both(tmp_path / 'x.jpg'), both(tmp_path / 'plain.jpg')[::-1].transpose(1, 0, 2))


def test_damaged_exif_data_leave_an_image_as_it_is_stored(tmp_path):
    COLOUR.save(tmp_path / 'x.jpg', exif=b'Exif\0\0II*\0\xff\xff\xff\xff broken')
    COLOUR.save(tmp_path / 'plain.jpg')
    assert np.array_equal(both(tmp_path / 'x.jpg'), both(tmp_path / 'plain.jpg'))


def test_transparent_images_lie_on_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0], pixels[0, 1], pixels[1, 0] = (9, 8, 7, 255), (200, 100, 0, 128), (50, 60, 70, 0)
    Image.fromarray(pixels).save(tmp_path / 'x.png')
    assert both(tmp_path / 'x.png').tolist() == [[[9, 8, 7], [227, 177, 127]], [[255] * 3, [255] * 3]]
    grey = Image.fromarray(pixels[..., 0]).convert('LA')
    grey.putalpha(Image.fromarray(pixels[..., 3]))
    grey.save(tmp_path / 'x.png')
    assert both(tmp_path / 'x.png')[..., 0].tolist() == [[9, 227], [255, 255]]
    Image.fromarray(pixels[..., 0]).save(tmp_path / 'x.png', transparency=50)
    assert both(tmp_path / 'x.png')[..., 0].tolist() == [[9, 200], [255, 0]]
    palette = Image.fromarray(pixels[..., :3]).convert('P', palette=Image.Palette.ADAPTIVE, colors=4)
    palette.save(tmp_path / 'x.png', transparency=palette.getpixel((0, 1)))
    assert both(tmp_path / 'x.png')[1, 0].tolist() == [255] * 3
    assert both(tmp_path / 'x.png')[0, 0].tolist() == [9, 8, 7]


def test_ordinary_images_are_as_pillow_reads_them(tmp_path):
    for mode, suffix in (('RGB', 'jpg'), ('L', 'jpg'), ('RGB', 'png'), ('L', 'png'), ('P', 'png'), ('1', 'png')):
        COLOUR.convert(mode).save(tmp_path / f'x.{suffix}')
        assert np.array_equal(
            both(tmp_path / f'x.{suffix}'), np.asarray(Image.open(tmp_path / f'x.{suffix}').convert('RGB'))
        )


def test_of_a_cameras_file_the_photo_is_read(tmp_path):
    COLOUR.save(tmp_path / 'x.jpg', 'MPO', save_all=True, append_images=[COLOUR.resize((8, 6))])
    COLOUR.save(tmp_path / 'plain.jpg')
    assert both(tmp_path / 'x.jpg').shape == (30, 40, 3)


def test_strips_and_bombs_do_not_fill_the_memory(tmp_path):
    strip = tmp_path / 'train' / 'a' / 'strip.png'
    save_image(strip.with_name('z.png'))
    Image.new('RGB', (60000, 1)).save(strip)
    resize = [dict(type='torchvision/Resize', size=224), dict(type='torchvision/CenterCrop', size=224)]
    line = r'strip.png is 1x60000, and resized 224x13440000, more than 178956970 pixels; remove it'
    for options in (dict(), dict(pipeline=resize)):
        data = ImageFolder(str(tmp_path), **options)
        with pytest.raises(UnreadableImage, match=line):
            data[0]
        skipping = ImageFolder(str(tmp_path), skip_corrupt=True, **options)
        with pytest.warns(UserWarning, match=r'more than 178956970 pixels; it is left out$'):
            assert skipping.__getitems__([0, 1])['ids'].tolist() == [1]
    with pytest.warns(UserWarning, match='1 unreadable images skipped'):
        assert decode([strip, strip.with_name('z.png')], (224, 224), skip_corrupt=True)[1].tolist() == [1]
    assert fit(Image.open(strip), (1, 60000)).size == (60000, 1)
    # A bomb: a few hundred bytes that say they are 40,000 x 40,000 pixels.
    whole = bytearray(strip.read_bytes())
    whole[16:24] = (40000).to_bytes(4, 'big') * 2
    strip.write_bytes(whole)
    assert 'is not a readable image' in refused(strip)
    Image.new('1', (20000, 10000)).save(tmp_path / 'x.png')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert 'it has more than 178956970 pixels' in refused(tmp_path / 'x.png')


def test_arrays_of_older_rules_or_damaged_ones_are_not_served(tmp_path, monkeypatch):
    paths = [tmp_path / f'{i}.png' for i in range(3)]
    for i, path in enumerate(paths):
        save_image(path, 16, 16, i)
    right = decode_once(paths, (16, 16), tmp_path, 'a')[0].clone()
    (kept,) = (tmp_path / '.openmix').iterdir()
    for content in (b'', kept.read_bytes()[:300], kept.read_bytes()[:-1], b'\x80\x04.'):
        kept.write_bytes(content)
        assert torch.equal(decode_once(paths, (16, 16), tmp_path, 'a')[0], right)
    for other in (np.zeros((3, 3, 16, 16)), np.zeros((2, 3, 16, 16), np.uint8)):
        np.save(kept, other)
        assert torch.equal(decode_once(paths, (16, 16), tmp_path, 'a')[0], right)
    np.save(kept, np.zeros((3, 3, 16, 16), np.uint8))
    assert not decode_once(paths, (16, 16), tmp_path, 'a')[0].any()  # it is served
    monkeypatch.setattr('openmix.data.decode._RULES', 99)
    assert torch.equal(decode_once(paths, (16, 16), tmp_path, 'a')[0], right)


def kinds():
    """Return image files in all formats and modes that Pillow writes, supported or not."""
    wide, floats = Image.fromarray(RAMP), Image.fromarray((RAMP / 65535).astype(np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [(COLOUR, kind, {}) for kind in ('JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF', 'PPM', 'GIF', 'DDS', 'TGA', 'EPS')]
    made += [(COLOUR.convert('RGBA'), kind, {}) for kind in ('PNG', 'WEBP', 'TIFF', 'ICO')]
    made += [(COLOUR.convert('CMYK'), kind, {}) for kind in ('JPEG', 'TIFF')]
    made += [(wide, 'PNG', {}), (wide, 'TIFF', {}), (wide, 'PPM', {}), (floats, 'TIFF', {}), (floats, 'SPIDER', {})]
    made += [(COLOUR, 'JPEG', {'exif': exif, 'progressive': True}), (COLOUR, 'PNG', {'exif': exif})]
    made += [
        (COLOUR, kind, dict(save_all=True, append_images=[COLOUR.rotate(90)]))
        for kind in ('MPO', 'GIF', 'PNG', 'TIFF', 'WEBP')
    ]
    made += [(COLOUR, 'TIFF', {'compression': how}) for how in ('tiff_lzw', 'jpeg', 'tiff_deflate')]
    return [encoded(image, kind, **options) for image, kind, options in made]


def mutated(content, rng):
    """The content of a file with a few bytes changed, added or cut off, most of them near the front."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        reach = len(content) if rng.random() < 0.5 else min(len(content), 200)
        place = int(rng.integers(reach)) if reach else 0
        kind = rng.integers(5)
        if kind == 0:
            content[place : place + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            content[place:place] = rng.bytes(rng.integers(1, 9))
        elif kind == 2:
            del content[place:]
        elif kind == 3:
            content[place : place + 4] = (b'\0\0\0\0', b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff')[rng.integers(3)]
        else:
            del content[place : place + int(rng.integers(1, 9))]
    return bytes(content)


def answer(reader, path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            return np.asarray(reader(path))
        except UnreadableImage as error:
            return str(error)


def test_any_bytes_are_an_image_or_one_line(tmp_path):
    rng, wholes, path = np.random.default_rng(1), kinds(), tmp_path / 'x.jpg'
    outcomes = {True: 0, False: 0}
    for _ in range(MUTANTS):
        path.write_bytes(mutated(wholes[rng.integers(len(wholes))], rng))
        answers = [answer(reader, path) for reader in (read_image, read_pixels)]
        images = [found for found in answers if isinstance(found, np.ndarray)]
        assert all(found.dtype == np.uint8 and found.shape[2:] == (3,) for found in images)
        assert len(images) < 2 or np.array_equal(*images)
        assert all('x.jpg' in found and '\n' not in found for found in answers if isinstance(found, str))
        outcomes[bool(images)] += 1
    assert min(outcomes.values()) > MUTANTS // 20


def test_a_pipe_does_not_hold_up_a_data_set(tmp_path):
    save_image(tmp_path / 'train' / 'a' / 'z.png')
    os.mkfifo(tmp_path / 'train' / 'a' / 'x.png')
    for options in (dict(), dict(in_memory=True, size=16)):
        done = []

        def build(options=options, done=done):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                data = ImageFolder(str(tmp_path), skip_corrupt=True, **options)
                done.append(len(data.__getitems__(range(len(data)))['ids']))

        thread = threading.Thread(target=build, daemon=True)
        thread.start()
        thread.join(SECONDS)
        assert done == [1]
