"""Write small data sets in Pascal VOC's layout."""

from __future__ import annotations

from pathlib import Path

from image_trees import save_image


def annotation(objects=(), height=40, width=60, size=True, head=''):
    """Return the text of an annotation; an object is (class, (xmin, ymin, xmax, ymax)) or that and its difficult."""
    text = f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>' if size else ''
    for name, corners, *difficult in objects:
        box = ''.join(f'<{key}>{value}</{key}>' for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), corners))
        hard = ''.join(f'<difficult>{value}</difficult>' for value in difficult)
        text += f'<object><name>{name}</name>{hard}<bndbox>{box}</bndbox></object>'
    return f'{head}<annotation>{text}</annotation>'


def write_image(folder: Path, name: str, objects=(), height=40, width=60, seed=0) -> None:
    """Write an image and its annotation."""
    save_image(folder / 'JPEGImages' / f'{name}.jpg', height, width, seed)
    write_annotation(folder, name, annotation(objects, height, width))


def write_annotation(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / 'Annotations' / f'{name}.xml'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_list(folder: Path, file: str, names) -> Path:
    path = folder / 'ImageSets' / 'Main' / f'{file}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{name}\n' for name in names))
    return path


def write_folder(root: Path) -> None:
    """Write a set of cats and dogs: 'trainval' of four images, the last one without objects, and 'test' of two."""
    write_image(root, 'a', [('dog', (1, 1, 60, 40)), ('cat', (11, 6, 30, 25), 1)], seed=1)
    write_image(root, 'b', [('cat', (5, 5, 20, 30), 0)], 50, 30, seed=2)
    write_image(root, 'c', [('dog', (0, 0, 10, 10)), ('dog', (20.5, 10, 40, 39.5))], seed=3)
    write_image(root, 'd', seed=4)
    write_image(root, 'e', [('cat', (1, 1, 9, 9)), ('dog', (2, 2, 9, 9))], seed=5)
    write_image(root, 'f', seed=6)
    write_list(root, 'trainval', 'abcd')
    write_list(root, 'test', 'ef')


def write_official(root: Path, count: int = 2) -> None:
    """Write VOCdevkit with 2007's trainval and test and 2012's trainval, of as many images each."""
    for year, file in (('2007', 'trainval'), ('2007', 'test'), ('2012', 'trainval')):
        folder = root / 'VOCdevkit' / f'VOC{year}'
        names = [f'{year}_{file}_{number}' for number in range(count)]
        for number, name in enumerate(names):
            write_image(folder, name, [('person', (3, 4, 33, 24)), ('tvmonitor', (10, 10, 20, 20))], seed=number)
        write_list(folder, file, names)
