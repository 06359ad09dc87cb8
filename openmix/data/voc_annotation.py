"""Read one annotation file of a data set in Pascal VOC's format, without expanding entities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from openmix.errors import InputError, brief
from openmix.regular_file import read_bytes

_LARGEST = 2**22
# The longest side that an image file can state, as PNG's.
_LONGEST = 2**31 - 1
_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


class Marked(NamedTuple):
    """One object of an annotation.

    Attributes:
        name: name of its class.
        corners: xmin, ymin, xmax, ymax as in the file, which counts pixels from 1 and includes both ends.
        difficult: it is marked as difficult, and an evaluation does not count it.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool

    def fault(self, size: tuple[int, int]) -> str:
        """Say what is wrong with the box in an image of (H, W); '' if nothing is."""
        left, top, right, bottom = self.corners
        if left < 0 or top < 0 or right > size[1] or bottom > size[0]:
            return f'outside the image of {size[0]}x{size[1]}'
        # Equal ends mean one pixel in this format, but tools that exclude the right end write empty boxes so.
        return '' if left < right and top < bottom else 'of no area'


class Annotation(NamedTuple):
    """The content of an annotation file: (H, W) of the image, and its objects in the order of the file."""

    size: tuple[int, int]
    objects: tuple[Marked, ...]


def read_annotation(path: Path) -> Annotation:
    """Read an annotation file.

    Raises:
        InputError: the file is missing, is not XML, declares a document type or entities, or lacks an element.
    """
    root = _parse(read_bytes(path, _LARGEST), path)
    height, width = (_number(root, f'size/{side}', path) for side in ('height', 'width'))
    if not all(side.is_integer() and 0 < side <= _LONGEST for side in (height, width)):
        raise InputError(
            f'{path}: size must be whole numbers from 1 to {_LONGEST}, got a width of {width:g} and a height of '
            f'{height:g}'
        )
    return Annotation((int(height), int(width)), tuple(_objects(root, path)))


def _parse(data: bytes, path: Path) -> Element:
    """Parse XML to a tree. Entities can only be declared in a document type, so that is refused as a whole."""
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*declared: object) -> None:
        raise InputError(f'{path} declares a document type, which may expand entities; remove its DOCTYPE')

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    # An unknown or multi-byte encoding is a ValueError or a LookupError.
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f'{path} is not XML that can be read: {error}; repair it, or take it off the list') from error
    return builder.close()


def _objects(root: Element, path: Path) -> Iterator[Marked]:
    for number, node in enumerate(root.findall('object'), 1):
        where = f'object {number}'
        name = _text(node, 'name', path, where)
        corners = [_number(node, f'bndbox/{corner}', path, where) for corner in _CORNERS]
        # Sets of others often leave it out.
        difficult = _text(node, 'difficult', path, where) if node.find('difficult') is not None else '0'
        if difficult not in ('0', '1'):
            raise InputError(f'{path}: {where}: difficult must be 0 or 1, got {brief(difficult)}')
        yield Marked(name, (corners[0], corners[1], corners[2], corners[3]), difficult == '1')


def _text(node: Element, key: str, path: Path, where: str = '') -> str:
    found = node.find(key)
    text = '' if found is None else (found.text or '').strip()
    if not text:
        of = f' of {where}' if where else ''
        raise InputError(f'{path}: {key.replace("/", ".")}{of} is missing or empty; is it an annotation of Pascal VOC?')
    return text


def _number(node: Element, key: str, path: Path, where: str = '') -> float:
    text = _text(node, key, path, where)
    try:
        # Python also reads what no other program does, such as 1_00 as 100.
        value = float(text) if text.isascii() and '_' not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        of = f' of {where}' if where else ''
        raise InputError(f'{path}: {key.replace("/", ".")}{of} must be a finite number, got {brief(text)}')
    return value
