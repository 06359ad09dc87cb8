from datetime import timedelta
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torchvision.datasets
from image_trees import write_cifar
from PIL import Image
from waiting import SECONDS, until

from openmix.data.cifar import CIFAR10, CIFAR10_CLASSES, CIFAR100, CIFAR100_CLASSES
from openmix.errors import InputError

KINDS = [(CIFAR10, torchvision.datasets.CIFAR10, 100), (CIFAR100, torchvision.datasets.CIFAR100, 20)]


def accept_any_sum(monkeypatch, reader):
    for name in ('train_list', 'test_list'):
        monkeypatch.setattr(reader, name, [(file, None) for file, *_ in getattr(reader, name)])
    monkeypatch.setattr(reader, 'meta', {**reader.meta, 'md5': None})


@pytest.mark.parametrize(('ours', 'reader', 'n'), KINDS)
def test_reads_the_official_files(tmp_path, monkeypatch, ours, reader, n):
    accept_any_sum(monkeypatch, reader)
    pixels = write_cifar(tmp_path, reader)
    train, test = ours(str(tmp_path)), ours(str(tmp_path), 'test')
    assert (len(train), len(test)) == (n, 20)
    batch = train.__getitems__(list(range(n)))
    assert np.array_equal(batch['inputs'].numpy(), pixels)
    assert batch['inputs'].is_contiguous()
    assert batch['labels'].dtype == torch.int64
    assert batch['labels'][:12].tolist() == [i % len(train.metainfo['classes']) for i in range(12)]
    assert len(ours(str(tmp_path), 'train', subset=10)) == 10


def test_images_of_another_size_are_those_that_pillow_makes(tmp_path, monkeypatch):
    accept_any_sum(monkeypatch, torchvision.datasets.CIFAR100)
    write_cifar(tmp_path, torchvision.datasets.CIFAR100)
    own, large = CIFAR100(str(tmp_path)), CIFAR100(str(tmp_path), size=48)
    assert own.metainfo['size'] == (32, 32)
    assert large.metainfo['size'] == CIFAR100.facts(size=48).size == (48, 48)
    assert CIFAR100.example(3, size=48)['inputs'].shape == (3, 3, 48, 48)
    pixels = own.__getitems__([4, 0])['inputs'].permute(0, 2, 3, 1).numpy()
    found = large.__getitems__([4, 0])['inputs']
    made = [np.asarray(Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC)) for image in pixels]
    assert found.dtype == torch.uint8
    assert (found.permute(0, 2, 3, 1).int() - torch.tensor(np.stack(made)).int()).abs().max() <= 1
    with pytest.raises(InputError, match='CIFAR100: size must be'):
        CIFAR100(str(tmp_path), size=0)


def test_validation_is_held_out_of_training(tmp_path, monkeypatch):
    accept_any_sum(monkeypatch, torchvision.datasets.CIFAR10)
    write_cifar(tmp_path, torchvision.datasets.CIFAR10)
    train = CIFAR10(str(tmp_path), 'train', val_fraction=0.2, split_seed=4)
    val = CIFAR10(str(tmp_path), 'val', val_fraction=0.2, split_seed=4)
    assert torch.bincount(val.labels).tolist() == [2] * 10
    assert sorted(train.rows.tolist() + val.rows.tolist()) == list(range(100))


def test_facts_touch_no_disk():
    ten, hundred = CIFAR10.facts(root='/nowhere', split='train'), CIFAR100.facts()
    assert (ten.classes, ten.size) == (CIFAR10_CLASSES, (32, 32))
    assert hundred.classes == CIFAR100_CLASSES
    assert len(CIFAR100_CLASSES) == 100
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    assert ten.mean == (0.4914, 0.4822, 0.4465)


def test_missing_files_name_the_path_and_the_command_line(tmp_path):
    with pytest.raises(InputError, match=r'data_batch_1 is missing.*train_dataloader.dataset.download=True') as error:
        CIFAR10(str(tmp_path))
    assert '\n' not in str(error.value)
    with pytest.raises(InputError, match='val_fraction='):
        CIFAR10(str(tmp_path), 'val')


def test_damaged_files_are_found_by_their_sums(tmp_path):
    write_cifar(tmp_path, torchvision.datasets.CIFAR10)
    with pytest.raises(InputError, match='damaged; delete that folder'):
        CIFAR10(str(tmp_path))


def test_downloads_only_what_is_absent(tmp_path, monkeypatch):
    reader, calls = torchvision.datasets.CIFAR10, []
    accept_any_sum(monkeypatch, reader)

    def download(self):
        calls.append(self.root)
        write_cifar(tmp_path / 'new', reader)

    monkeypatch.setattr(reader, 'download', download)
    for _ in range(2):
        assert len(CIFAR10(str(tmp_path / 'new'), download=True)) == 100
    assert calls == [str(tmp_path / 'new')]


def late_rank(rank, folder):
    """The second process comes to the data when the first has fetched it all."""
    torch.set_num_threads(1)
    root, reader = Path(folder) / 'data', torchvision.datasets.CIFAR10
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2, timeout=timedelta(seconds=SECONDS)
    )
    with pytest.MonkeyPatch.context() as patch:
        accept_any_sum(patch, reader)
        patch.setattr(reader, 'download', lambda self: (write_cifar(root, reader), (root / 'fetched').touch()))
        assert rank == 0 or until((root / 'fetched').exists)
        assert len(CIFAR10(str(root), download=True)) == 100
    ranks = torch.zeros(2)
    ranks[rank] = 1
    dist.all_reduce(ranks)
    assert ranks.tolist() == [1, 1]
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_process_that_comes_after_the_download_keeps_step_with_the_first(tmp_path):
    mp.spawn(late_rank, (str(tmp_path),), nprocs=2, daemon=True)


def test_failed_download_says_what_to_do(tmp_path, monkeypatch):
    def download(self):
        raise URLError('no network')

    monkeypatch.setattr(torchvision.datasets.CIFAR10, 'download', download)
    with pytest.raises(InputError, match=r'cannot download .*no network.*put cifar-10-python.tar.gz under'):
        CIFAR10(str(tmp_path), download=True)
