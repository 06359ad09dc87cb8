"""Test the listing of images in folders: one rule for all levels, and messages about skipped files."""

import os
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from image_trees import save_image, write_imagenet

from openmix.data.image_folder import ImageFolder
from openmix.data.imagenet import ImageNet
from openmix.data.listing import Skipped, class_folders, images_below
from openmix.data.tiny_imagenet import TinyImageNet
from openmix.errors import InputError

EXTENSIONS = ('.jpg', '.png')


@pytest.fixture
def tree(tmp_path):
    """root/train/{cat,dog}: 3 images each."""
    for name in ('cat', 'dog'):
        for i in range(3):
            save_image(tmp_path / 'train' / name / f'{i}.png', seed=i)
    return tmp_path


def names(folder, skipped=None):
    found = images_below(folder, EXTENSIONS, Skipped() if skipped is None else skipped)
    return [str(Path(path).relative_to(folder)) for path in found]


def test_hidden_names_are_no_images_at_any_level(tree):
    cat, skipped = tree / 'train' / 'cat', Skipped()
    for place in ('.ipynb_checkpoints/0.png', 'more/._3.png', '._0.png', 'more/.deep/3.png', '.DS_Store', 'more/3.png'):
        save_image(cat / 'x.png')
        (cat / place).parent.mkdir(parents=True, exist_ok=True)
        (cat / 'x.png').rename(cat / place)
    assert names(cat, skipped) == ['0.png', '1.png', '2.png', 'more/3.png']
    assert skipped.counts == {'hidden': 5}
    (tree / 'train' / '.Trash').mkdir()
    assert ImageFolder(str(tree)).metainfo['classes'] == ('cat', 'dog')
    # Two that held a copy in training: with a share held out, none may come from a hidden folder.
    train, val = (ImageFolder(str(tree), split, val_fraction=0.34) for split in ('train', 'val'))
    assert not any('/.' in str(path) for data in (train, val) for path in data.paths)


def test_every_folder_is_read_once_however_many_links_lead_to_it(tree):
    cat, skipped = tree / 'train' / 'cat', Skipped()
    (cat / 'here').symlink_to('.')
    (cat / 'and here').symlink_to('.')
    (cat / 'up').symlink_to('..')
    (cat / 'root').symlink_to('/')
    (tree / 'elsewhere').mkdir()
    save_image(tree / 'elsewhere' / 'deep' / '9.png')
    (tree / 'elsewhere' / 'back').symlink_to(cat)
    for name in ('a link', 'another'):
        (cat / name).symlink_to(tree / 'elsewhere')
    assert names(cat, skipped) == ['0.png', '1.png', '2.png', 'a link/deep/9.png']
    assert skipped.counts == {'linked to a folder that is read anyway': 6}
    with pytest.warns(UserWarning, match=r'not read: 6 linked to a folder that is read anyway \(.*cat'):
        assert len(ImageFolder(str(tree))) == 7


def test_links_that_double_at_every_level_end(tree):
    """Two links to the next folder, twenty levels: a million ways to one image."""
    levels = [tree / 'levels' / str(i) for i in range(20)]
    for here, below in pairwise(levels):
        here.mkdir(parents=True)
        for name in 'ab':
            (here / name).symlink_to(below)
    save_image(levels[-1] / 'x.png')
    (tree / 'train' / 'cat' / 'in').symlink_to(levels[0])
    assert len(names(tree / 'train' / 'cat')) == 4


@pytest.mark.parametrize('place', ['train/emu', 'train/cat/more', 'train/emu.txt'])
def test_a_link_to_nowhere_is_not_passed_over(tree, place):
    (tree / place).symlink_to('/nowhere/at/all')
    with pytest.raises(InputError, match=f'{place} is a link that leads nowhere'):
        ImageFolder(str(tree))
    (tree / place).unlink()
    (tree / place).symlink_to(tree / place)
    with pytest.raises(InputError, match=f'{place} is a link that leads nowhere'):
        ImageFolder(str(tree))


def test_a_linked_image_that_is_gone_is_an_unreadable_image(tree):
    (tree / 'train' / 'cat' / '0.png').unlink()
    (tree / 'train' / 'cat' / '0.png').symlink_to('gone.png')
    with pytest.raises(InputError, match=r'0.png is not a readable image: it is a link that leads nowhere'):
        ImageFolder(str(tree), in_memory=True, size=8)
    with pytest.warns(UserWarning, match='1 unreadable images skipped'):
        assert len(ImageFolder(str(tree), in_memory=True, size=8, skip_corrupt=True)) == 5


def test_kinds_that_are_not_read_are_counted(tree):
    cat = tree / 'train' / 'cat'
    for name in ('a.gif', 'b.GIF', 'c.heic', 'notes'):
        (cat / name).write_bytes(b'')
    save_image(cat / 'd.jpg')
    (cat / 'd.jpg').rename(cat / 'd.jfif')  # what browsers call a JPEG
    (tree / 'train' / 'stray.jpg').write_bytes(b'')
    with pytest.warns(UserWarning, match=r'train: not read: 2 of the kind .gif \(.*a.gif\), 1 of the kind .heic'):
        data = ImageFolder(str(tree))
    assert len(data) == 7
    assert data.skipped.counts == {
        'of the kind .gif': 2,
        'of the kind .heic': 1,
        'of the kind without a suffix': 1,
        'outside the class folders': 1,
    }
    for path in cat.iterdir():
        if path.name != 'a.gif':
            path.unlink()
    with pytest.raises(
        InputError, match=r'no images under .*cat; add some .* or remove it; not read: .*1 of the kind .gif'
    ):
        ImageFolder(str(tree))


def test_many_reasons_stay_on_a_line():
    skipped = Skipped()
    for i in range(1000):
        skipped.add(f'of the kind .{i}\n', f'x\n.{i}')
    assert skipped.line().endswith('and 994 others')
    assert len(skipped.line().splitlines()) == 1


def test_one_name_whatever_way_its_accents_are_spelled(tmp_path):
    composed = 'caf\u00e9'
    apart = unicodedata.normalize('NFD', composed)
    for split, name in (('train', composed), ('val', apart)):
        for kind in (name, 'dog'):
            save_image(tmp_path / split / kind / '0.png')
    train, val = ImageFolder(str(tmp_path)), ImageFolder(str(tmp_path), 'val')
    assert train.metainfo['classes'] == val.metainfo['classes'] == (composed, 'dog')
    assert val.labels.tolist() == [0, 1]
    assert ImageFolder(str(tmp_path), classes=['dog', apart]).labels.tolist() == [1, 0]
    save_image(tmp_path / 'train' / apart / '1.png')
    with pytest.raises(InputError, match=r"train/cafe\\u0301' and 'caf\\xe9' beside it are one name; merge them"):
        ImageFolder(str(tmp_path))


def test_the_name_of_a_class_must_be_text(tree):
    os.mkdir(os.fsencode(tree / 'train') + b'/emu\xff')
    with pytest.raises(InputError, match=r'emu\\udcff: the name of a class must be UTF-8') as error:
        ImageFolder(str(tree))
    str(error.value).encode()


def test_file_names_may_be_any_bytes(tree):
    whole = (tree / 'train' / 'cat' / '0.png').read_bytes()
    for name in (b'\xff\xfe.png', b'a\nb.png'):
        Path(os.fsdecode(os.fsencode(tree / 'train' / 'dog') + b'/' + name)).write_bytes(whole)
    data = ImageFolder(str(tree), size=8)
    assert len(data) == 8
    assert data.__getitems__(range(8))['inputs'].shape == (8, 3, 8, 8)
    assert len(ImageFolder(str(tree), size=8, in_memory=True)) == 8


def test_classes_without_images_beside_the_training_ones(tree):
    """An empty folder, or none, is a class without validation images: said, and the labels stay."""
    save_image(tree / 'val' / 'dog' / '0.png')
    (tree / 'val' / 'cat').mkdir()
    for _ in range(2):
        with pytest.warns(UserWarning, match=r'val has no images of 1 of its classes: cat'):
            assert ImageFolder(str(tree), 'val').labels.tolist() == [1]
        if (tree / 'val' / 'cat').exists():
            (tree / 'val' / 'cat').rmdir()
    (tree / 'val' / 'dog' / '0.png').unlink()
    with pytest.raises(InputError, match=r'no images under .*val; expected'):
        ImageFolder(str(tree), 'val')


def test_folders_that_cannot_be_read_are_named(tree, monkeypatch):
    def deny(path):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('openmix.data.listing.os.scandir', deny)
    with pytest.raises(InputError, match=r'cannot read the folder .*train: Permission denied'):
        ImageFolder(str(tree))


def test_deep_folders_end(tree):
    """Further down than a path can say."""
    here, name = os.open(tree / 'train' / 'cat', os.O_RDONLY), 'd' * 200
    for _ in range(30):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(InputError, match=r'cannot read the folder .*too long'):
        ImageFolder(str(tree))


def test_numbered_folders_sort_as_text(tmp_path):
    for name in ('10', '2', '0', '11', '1'):
        save_image(tmp_path / name / '0.png')
    assert list(class_folders(tmp_path, Skipped())) == ['0', '1', '10', '11', '2']


def test_a_link_to_itself_beside_the_class_folders_is_one_line(tmp_path):
    """Asked whether it is a folder, such a link raises."""
    save_image(tmp_path / 'train' / 'a' / '0.png')
    (tmp_path / 'loop').symlink_to('loop')
    with pytest.raises(InputError, match='loop is a link that leads nowhere'):
        ImageFolder(str(tmp_path), split='trian')
    write_imagenet(tmp_path / 'imagenet', ['n01440764'])
    (tmp_path / 'imagenet' / 'train' / 'loop').symlink_to('loop')
    with pytest.raises(InputError, match='loop is a link that leads nowhere'):
        ImageNet(str(tmp_path / 'imagenet'), classes=['n01440764'])
    assert len(ImageNet(str(tmp_path / 'imagenet'), 'test', classes=['n01440764'])) == 2


def test_published_layouts_keep_the_same_rule(tmp_path, tiny_tree):
    wnids = ['n01440764', 'n01443537']
    write_imagenet(tmp_path / 'imagenet', wnids)
    for folder in (tmp_path / 'imagenet' / 'train' / wnids[0], tiny_tree / 'train' / 'n01' / 'images'):
        (folder / '._hidden.JPEG').write_bytes(b'no image')
        (folder / 'loop').symlink_to('.')
    for data, length in (
        (ImageNet(str(tmp_path / 'imagenet'), classes=wnids), 8),
        (TinyImageNet(str(tiny_tree), cache=False), 12),
    ):
        assert len(data) == length
        assert data.skipped.counts == {'hidden': 1, 'linked to a folder that is read anyway': 1}
