"""Fixtures with small folders of images in the official layouts."""

import pytest
from image_trees import save_image


@pytest.fixture
def folder_tree(tmp_path):
    """Make root/{train,test}/{cat,dog,emu} with 6 and 2 PNG images of 24 x 32 per class."""
    root = tmp_path / 'pets'
    for split, count in (('train', 6), ('test', 2)):
        for c, name in enumerate(('cat', 'dog', 'emu')):
            for i in range(count):
                save_image(root / split / name / f'{i}.png', 24, 32, seed=100 * c + i + 50 * (split == 'test'))
    return root


@pytest.fixture
def tiny_tree(tmp_path):
    """Make Tiny-ImageNet's layout with 3 classes, 4 training and 2 validation images each; some are grey."""
    root = tmp_path / 'tiny'
    wnids = ['n03', 'n01', 'n02']
    lines = []
    for c, wnid in enumerate(wnids):
        for i in range(4):
            save_image(
                root / 'train' / wnid / 'images' / f'{wnid}_{i}.JPEG', seed=10 * c + i, mode='L' if i == 0 else 'RGB'
            )
        for i in range(2):
            name = f'val_{i * 3 + c}.JPEG'
            save_image(root / 'val' / 'images' / name, seed=100 + 10 * c + i)
            lines.append(f'{name}\t{wnid}\t0\t0\t63\t63')
    (root / 'val' / 'val_annotations.txt').write_text('\n'.join(lines) + '\n')
    (root / 'wnids.txt').write_text('\n'.join(wnids))
    (root / 'words.txt').write_text('n01\tkoala, koala bear\nn02\tbrain coral\nn99\tnothing\n')
    return root
