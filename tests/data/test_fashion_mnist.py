"""Fashion-MNIST from IDX files: the layouts that it comes in, its sums, and files that do not fit."""

import gzip
from pathlib import Path

import pytest
import torch

import openmix.data.fashion_mnist as module
from openmix.data.fashion_mnist import SUMS, FashionMNIST
from openmix.errors import InputError

DEBIAN = Path('/usr/share/datasets/fashion-mnist')


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """The four files with other content, which any sum fits."""
    monkeypatch.setattr(module, 'intact_bytes', lambda path, content, md5: True)
    FashionMNIST.imitate(tmp_path)
    return tmp_path


def test_every_layout_holds_the_same_images(tree):
    plain = FashionMNIST(str(tree))
    assert len(plain) == 40
    assert plain.labels.tolist() == [*range(10)] * 4
    batch = plain.__getitems__([0, 39])['inputs']
    assert batch.shape == (2, 3, 28, 28)
    assert torch.equal(batch[:, 0], batch[:, 2])
    raw = (tree / 'train-images-idx3-ubyte').read_bytes()
    assert batch[0, 1].flatten().tolist() == list(raw[16 : 16 + 784])
    packed = tree / 'other/FashionMNIST/raw'
    packed.mkdir(parents=True)
    for name in SUMS:
        (packed / f'{name}.gz').write_bytes(gzip.compress((tree / name).read_bytes()))
    assert torch.equal(FashionMNIST(str(tree / 'other')).__getitems__([0, 39])['inputs'], batch)


def test_what_is_missing_or_damaged_is_one_line(tree, monkeypatch):
    images = tree / 'train-images-idx3-ubyte'
    whole = images.read_bytes()
    for content in (whole[:-1], b'', b'\0\0\x08\x01' + whole[4:], whole[:16]):
        images.write_bytes(content)
        with pytest.raises(InputError, match='train-images-idx3-ubyte is damaged; delete it and run python tools/'):
            FashionMNIST(str(tree))
    images.unlink()
    (tree / 'train-images-idx3-ubyte.gz').write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(InputError, match=r'ubyte.gz is damaged'):
        FashionMNIST(str(tree))
    (tree / 'train-images-idx3-ubyte.gz').unlink()
    with pytest.raises(InputError, match=r'is missing, packed \(.gz\) or not; run python tools/prepare_dataset.py'):
        FashionMNIST(str(tree))
    images.write_bytes(whole)
    labels = tree / 'train-labels-idx1-ubyte'
    labels.write_bytes(labels.read_bytes()[:-1] + b'\x0a')
    with pytest.raises(InputError, match=r'the train files under .* do not belong together'):
        FashionMNIST(str(tree))
    monkeypatch.undo()
    with pytest.raises(InputError, match='is damaged'):
        FashionMNIST(str(tree))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="no images: Debian's package dataset-fashion-mnist is not installed")
def test_the_published_files():
    for split, count in FashionMNIST.OFFICIAL.items():
        data = FashionMNIST(str(DEBIAN), split)
        assert len(data) == count
        assert data.images_a_class().tolist() == [count // 10] * 10
    train = FashionMNIST(str(DEBIAN)).array[:, 0].double() / 255
    assert train.mean().item() == pytest.approx(0.2860, abs=1e-4)
    assert train.std().item() == pytest.approx(0.3530, abs=1e-4)
