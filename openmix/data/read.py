"""Read an image file as 8-bit RGB pixels, or refuse it in one line that names the file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from openmix.errors import InputError
from openmix.regular_file import read_bytes

# Formats are recognised by content. Of Pillow's other decoders, one starts a program and some raise arbitrary errors.
FORMATS = ('JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF', 'PPM', 'GIF')
LARGEST_FILE = 2**30
# Pillow's own limit, above which it suspects an attack.
LARGEST_IMAGE = 2**30 // 6
_END_OF_JPEG = b'\xff\xd9'
_RGB_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339


class UnreadableImage(InputError):
    """The image file cannot be used; with `skip_corrupt` it is left out."""

    def left_out(self) -> str:
        """Return the line for an image that is left out, without the advice to leave it out."""
        return f'{str(self).rpartition("; ")[0]}; it is left out'


class NoneReadable(InputError):
    """With `skip_corrupt`, no image of a batch is left."""


def read_image(path: Path) -> Image.Image:
    """Read a file as viewers show it: 8-bit RGB, rotated by its Exif data, with transparent pixels on white.

    Raises:
        UnreadableImage: the file is not an image, or its conversion to 8-bit RGB is ambiguous.
    """
    with _named(path), _opened(read_bytes(path, LARGEST_FILE, 'it')) as image:
        return _upright(_in_rgb(image), _turn(image))


def read_pixels(path: Path) -> np.ndarray:
    """Read the pixels of `read_image` as a writable array, uint8 (H, W, 3); it is faster for JPEG files.

    A JPEG file that is damaged but not truncated is decoded as far as possible by OpenCV, while Pillow may refuse it.

    Raises:
        UnreadableImage: see `read_image`.
    """
    with _named(path):
        data = read_bytes(path, LARGEST_FILE, 'it')
        with _opened(data) as image:
            # OpenCV does not detect truncated files, and converts CMYK differently.
            if image.format == 'JPEG' and image.mode == 'RGB' and data.endswith(_END_OF_JPEG):
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _RGB_AS_STORED)
                if pixels is not None:
                    turn = _turn(image)
                    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))
            return np.array(_upright(_in_rgb(image), _turn(image)))


def check_grown(name: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Check that resizing an image by its shorter side does not make it too large, as with a strip of one row.

    Args:
        name: name of the file.
        before, after: (H, W) before and after the resize.

    Raises:
        UnreadableImage: the resized image would have more than `LARGEST_IMAGE` pixels.
    """
    if after[0] * after[1] > LARGEST_IMAGE:
        raise UnreadableImage(
            f'{name or "an image"} is {before[0]}x{before[1]}, and resized {after[0]}x{after[1]}, more than '
            f'{LARGEST_IMAGE} pixels; remove it, or set skip_corrupt=True in the data set'
        )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn any error of a decoder into an `UnreadableImage` that names the file."""
    try:
        yield
    except Exception as error:
        raise UnreadableImage(
            f'{path} is not a readable image{_reason(error)}; '
            'replace or remove it, or set skip_corrupt=True in the data set'
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return f': {error}'
    if isinstance(error, UnidentifiedImageError):
        return f': it is none of {", ".join(FORMATS)}'
    if isinstance(error, Image.DecompressionBombError):
        return f': it has more than {LARGEST_IMAGE} pixels'
    # Errors of the system have a number, those of Pillow have none.
    return f': {error.strerror}' if isinstance(error, OSError) and error.errno else ''


class _Refused(InputError):
    """An image is refused although a decoder could read it; the message gives the reason."""


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > LARGEST_IMAGE:
            raise _Refused(f'it has more than {LARGEST_IMAGE} pixels')
        # A JPEG file has one image; the first image of a camera's MPO file is the photo, others are previews.
        if image.format not in ('JPEG', 'MPO') and _holds_several(image):
            raise _Refused('it holds several frames or pages; save the one that is meant')
        yield image


def _holds_several(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _in_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB."""
    image.load()
    if image.format == 'TIFF':
        _check_tiff(image)
    if image.mode not in _CONVERT:
        raise _Refused(f'its pixels are {image.mode}, and there is no one way to make RGB of them')
    return _CONVERT[image.mode](image)


def _check_tiff(image: Image.Image) -> None:
    """Refuse TIFF files whose numbers Pillow misinterprets."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    kinds, bits = tags.get(_SAMPLE_FORMAT, (1,)), tags.get(_BITS, (1,))
    if 2 in kinds:
        raise _Refused('its pixels are signed integers, which have no black and white; save it with unsigned ones')
    if tags.get(_PHOTOMETRIC) == 0 and max(bits) > 8:
        raise _Refused('white is stored as 0 in more than 8 bits; save it with black as 0')


def _plain(image: Image.Image) -> Image.Image:
    # Pillow's convert copies an image that is already RGB.
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == 'RGB' else image.convert('RGB')


def _on_white(image: Image.Image) -> Image.Image:
    """Composite an image onto white, because the colour of transparent pixels is arbitrary."""
    image = image.convert('RGBA')
    return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')


def _scaled(image: Image.Image) -> Image.Image:
    """Scale gray levels of 9 to 16 bits to 8 bits, by the range of the format, with rounding."""
    if 'transparency' in image.info:
        raise _Refused('one of its 16-bit grey levels is transparent; save it with 8 bits')
    if image.mode == 'I' and image.format == 'TIFF':
        raise _Refused('its pixels are 32-bit integers, whose white it does not say; save it with 8 or 16 bits')
    # For other formats, Pillow has scaled values in mode I to 16 bits.
    bits = image.tag_v2[_BITS][0] if image.format == 'TIFF' else 16  # type: ignore[attr-defined]
    white, levels = 2**bits - 1, np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > white:
        raise _Refused(f'its pixels are not in 0..{white}')
    return Image.fromarray(((levels * 255 + white // 2) // white).astype(np.uint8)).convert('RGB')


def _from_floats(image: Image.Image) -> Image.Image:
    levels = np.asarray(image)
    if not ((levels >= 0) & (levels <= 1)).all():
        raise _Refused('its pixels are floating-point numbers outside 0..1; save it with 8 or 16 bits')
    return Image.fromarray(np.rint(levels * 255).astype(np.uint8)).convert('RGB')


_CONVERT: dict[str, Callable[[Image.Image], Image.Image]] = {
    **dict.fromkeys(('RGB', 'L', '1', 'P', 'CMYK', 'YCbCr', 'RGBX'), _plain),
    **dict.fromkeys(('RGBA', 'LA', 'PA', 'RGBa', 'La'), _on_white),
    **dict.fromkeys(('I', 'I;16', 'I;16B', 'I;16L', 'I;16N'), _scaled),
    'F': _from_floats,
}


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the transpose that undoes a camera's orientation tag; None if there is nothing to undo."""
    # Most JPEG files have no tag, and reading it takes Pillow as long as decoding a small file.
    if image.format == 'JPEG' and not {'exif', 'xmp'} & image.info.keys():
        return None
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged Exif data: do not rotate, as viewers do
        return None
    return _TURN_BACK.get(orientation) if isinstance(orientation, int) else None


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)
