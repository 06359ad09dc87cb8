import tarfile

import numpy as np
import pytest
import torch
import torchvision.datasets.imagenet as archives
from image_trees import save_image, write_imagenet
from scipy.io import savemat
from unpacking import unpacks

from openmix.data.imagenet import ImageNet, official_classes
from openmix.errors import InputError

WNIDS = ['n01440764', 'n01443537', 'n01484850']


@pytest.fixture
def tree(tmp_path):
    write_imagenet(tmp_path, WNIDS)
    return tmp_path


def test_reads_the_official_layout(tree):
    train, test = ImageNet(str(tree), classes=WNIDS), ImageNet(str(tree), 'test', classes=WNIDS)
    assert train.labels.tolist() == [c for c in range(3) for _ in range(4)]
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert train.metainfo['classes'] == ('tench', 'goldfish', 'great white shark')
    assert [path.name for path in train.paths[4:6]] == ['n01443537_0.JPEG', 'n01443537_1.JPEG']
    assert test.path(2) == tree / 'val' / 'n01443537' / 'ILSVRC2012_val_00000002.JPEG'
    batch = train.__getitems__([0, 1, 5])
    assert batch['inputs'].shape == (3, 3, 224, 224)
    assert batch['inputs'].dtype == torch.uint8
    assert torch.equal(batch['inputs'][0, 0], batch['inputs'][0, 2])  # a grey file


def test_all_thousand_classes_are_expected_unless_named(tree):
    facts = ImageNet.facts(root='/nowhere', split='train')
    assert (len(facts.classes), facts.classes[0], facts.classes[-1]) == (1000, 'tench', 'toilet tissue')
    assert list(official_classes()) == sorted(official_classes())
    with pytest.raises(InputError, match=r'has 3 of 1000 class folders, n01491361 is missing; run .*prepare_dataset'):
        ImageNet(str(tree))
    other_order = ImageNet(str(tree), classes=WNIDS[::-1])
    assert other_order.metainfo['classes'][2] == 'tench'
    assert other_order.path(0).parent.name == 'n01484850'


def test_holds_out_and_subsets(tree):
    train = ImageNet(str(tree), 'train', classes=WNIDS, val_fraction=0.25, subset=6)
    val = ImageNet(str(tree), 'val', classes=WNIDS, val_fraction=0.25)
    assert torch.bincount(val.labels).tolist() == [1, 1, 1]
    assert torch.bincount(train.labels).tolist() == [2, 2, 2]
    assert not set(train.paths) & set(val.paths)
    with pytest.raises(InputError, match="no official split 'val'; set val_fraction"):
        ImageNet(str(tree), 'val', classes=WNIDS)


def test_draws_depend_on_seed_epoch_sample_and_copy(tree):
    steps = [dict(type='torchvision/RandomResizedCrop', size=16), dict(type='RandAugment', size=16)]
    data = ImageNet(str(tree), classes=WNIDS, pipeline=steps)
    first = data.__getitems__([5, 5 + len(data), 6])
    assert first['ids'].tolist() == [5, 5, 6]
    assert first['labels'].tolist() == [1, 1, 1]
    assert not torch.equal(first['inputs'][0], first['inputs'][1])
    assert torch.equal(data.__getitems__([5 + len(data)])['inputs'][0], first['inputs'][1])
    data.set_epoch(1)
    assert not torch.equal(data.__getitems__([5])['inputs'][0], first['inputs'][0])
    assert ImageNet.served(pipeline=steps) == (3, 16, 16)


def one_line(error):
    assert '\n' not in str(error.value)
    return str(error.value)


def test_what_is_wrong_with_a_layout_is_one_line(tree, tmp_path_factory):
    def fails(match, root=tree, **kwargs):
        with pytest.raises(InputError, match=match) as error:
            ImageNet(str(root), **{'classes': WNIDS, **kwargs})
        one_line(error)

    fails('none is missing; run python tools/prepare_dataset.py ImageNet --root', tree / 'none')
    fails('val should hold train, found n01440764, n01443537, n01484850; run', tree / 'val')
    fails("'n0144353' is no class of ImageNet-1k; did you mean 'n01443537'", classes=['n0144353'])
    fails('classes must be a list of different WordNet ids', classes=[WNIDS[0]] * 2)
    (tree / 'train' / 'n99999999').mkdir()
    fails('n99999999 is no class of ImageNet-1k; remove it')
    for file in (tree / 'val' / WNIDS[1]).iterdir():
        file.unlink()
    fails(r'no \*.JPEG in .*val/n01443537', split='test')
    flat = tmp_path_factory.mktemp('flat')
    save_image(flat / 'val' / 'ILSVRC2012_val_00000001.JPEG')
    fails(r'images of .*/val are not in class folders', flat, split='test')


def test_unreadable_images_are_named_or_left_out(tree):
    (tree / 'train' / WNIDS[1] / f'{WNIDS[1]}_0.JPEG').write_bytes(b'')
    whole = (tree / 'train' / WNIDS[1] / f'{WNIDS[1]}_1.JPEG').read_bytes()
    (tree / 'train' / WNIDS[1] / f'{WNIDS[1]}_1.JPEG').write_bytes(whole[: len(whole) // 2])
    data = ImageNet(str(tree), classes=WNIDS)
    assert [path.name for path in data.unreadable()] == ['n01443537_0.JPEG', 'n01443537_1.JPEG']
    with pytest.raises(InputError, match=r'n01443537_1.JPEG is not a readable image'):
        data.__getitems__([5])
    with pytest.warns(UserWarning, match='not a readable image'):
        batch = ImageNet(str(tree), classes=WNIDS, skip_corrupt=True).__getitems__([4, 6])
    assert batch['ids'].tolist() == [6]


def write_devkit(folder):
    """The development kit, whose numbers are not in the order of the WordNet ids."""
    kind = [('id', 'i4'), ('wnid', object), ('words', object), ('gloss', object), ('children', 'i4')]
    rows = [(1, WNIDS[2], 'great white shark', '', 0), (2, WNIDS[0], 'tench, Tinca tinca', '', 0)]
    rows += [(3, WNIDS[1], 'goldfish', '', 0), (4, 'n00000001', 'fish', '', 3)]
    data = folder / 'ILSVRC2012_devkit_t12' / 'data'
    data.mkdir(parents=True)
    savemat(data / 'meta.mat', {'synsets': np.array(rows, kind)})
    (data / 'ILSVRC2012_validation_ground_truth.txt').write_text('3\n1\n2\n2\n')


IN_ORDER = [WNIDS[1], WNIDS[2], WNIDS[0], WNIDS[0]]


def check_sorted(root):
    found = {path.name: path.parent.name for path in (root / 'val').rglob('*.JPEG')}
    assert found == {f'ILSVRC2012_val_{i + 1:08d}.JPEG': wnid for i, wnid in enumerate(IN_ORDER)}


def test_a_flat_validation_folder_is_sorted_by_the_unpacked_kit(tmp_path):
    write_imagenet(tmp_path, WNIDS, val=0)
    write_devkit(tmp_path)
    for i in range(4):
        save_image(tmp_path / 'val' / f'ILSVRC2012_val_{i + 1:08d}.JPEG', seed=i)
    (tmp_path / 'val' / WNIDS[1]).mkdir()  # cut off after the first image
    (tmp_path / 'val' / 'ILSVRC2012_val_00000001.JPEG').rename(
        tmp_path / 'val' / WNIDS[1] / 'ILSVRC2012_val_00000001.JPEG'
    )
    ImageNet.prepare(tmp_path)
    check_sorted(tmp_path)
    assert ImageNet(str(tmp_path), 'test', classes=WNIDS).labels.tolist() == [0, 0, 1, 2]
    save_image(tmp_path / 'val' / 'ILSVRC2012_val_00000007.JPEG')
    with pytest.raises(InputError, match=r'00000007.JPEG is not among the 4 images of the development kit'):
        ImageNet.prepare(tmp_path)


@unpacks
def test_official_archives_are_unpacked(tmp_path, monkeypatch):
    source, root = tmp_path / 'source', tmp_path / 'imagenet'
    root.mkdir()
    write_imagenet(source, WNIDS, val=0)
    write_devkit(source)
    for i in range(4):
        save_image(source / 'val' / f'ILSVRC2012_val_{i + 1:08d}.JPEG', seed=i)
    for wnid in WNIDS:
        with tarfile.open(source / f'{wnid}.tar', 'w') as tar:
            for file in sorted((source / 'train' / wnid).iterdir()):
                tar.add(file, file.name)
    archive = {key: root / file for key, (file, _) in archives.ARCHIVE_META.items()}
    with pytest.raises(InputError, match=r'ILSVRC2012_img_train.tar is missing; get it \(md5 1d67.*https://image-net'):
        ImageNet.prepare(root)
    with tarfile.open(archive['train'], 'w') as tar:
        for wnid in WNIDS:
            tar.add(source / f'{wnid}.tar', f'{wnid}.tar')
    with pytest.raises(InputError, match=r'cannot fetch ILSVRC2012_img_train.tar \(the checksum differs\)') as error:
        ImageNet.prepare(root)
    one_line(error)
    monkeypatch.setattr(archives, 'ARCHIVE_META', {k: (f, None) for k, (f, _) in archives.ARCHIVE_META.items()})
    with tarfile.open(archive['val'], 'w') as tar:
        for file in sorted((source / 'val').iterdir()):
            tar.add(file, file.name)
    with pytest.raises(InputError, match=r'ILSVRC2012_devkit_t12.tar.gz'):
        ImageNet.prepare(root)
    with tarfile.open(archive['devkit'], 'w:gz') as tar:
        tar.add(source / 'ILSVRC2012_devkit_t12', 'ILSVRC2012_devkit_t12')
    ImageNet.prepare(root)
    check_sorted(root)
    assert len(ImageNet(str(root), classes=WNIDS)) == 12


@unpacks
def test_an_unpacking_that_was_cut_off_goes_on(tree):
    with tarfile.open(tree / 'train' / f'{WNIDS[2]}.tar', 'w') as tar:
        for file in sorted((tree / 'train' / WNIDS[2]).iterdir()):
            tar.add(file, file.name)
            file.unlink()
    ImageNet.prepare(tree)
    assert len(ImageNet(str(tree), classes=WNIDS)) == 12
    assert not list((tree / 'train').glob('*.tar'))
