"""Images on the GPU give the same batches; images that cannot be held there give one error line."""

import pytest
import torch
from torch.utils.data import DataLoader

from openmix.config import load_config
from openmix.data.digits import Digits
from openmix.data.imitation import imitation
from openmix.engine import launch, runner
from openmix.engine.checkpoint import read_checkpoint
from openmix.engine.device_data import hold_on_device
from openmix.errors import InputError
from openmix.registry import DATASETS, FUNCTIONS


def loader(dataset, **options):
    return DataLoader(dataset, batch_size=8, collate_fn=FUNCTIONS.get('identity_collate'), **options)


def test_batches_stay_the_same():
    here, moved = Digits(subset=50), Digits(subset=50)
    moved.move('cpu')
    for one, other in zip(loader(here), loader(moved), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('name', ['ImageFolder', 'UnlabelledFolder'])
def test_images_of_a_folder_that_are_in_memory_are_held_too(name, tmp_path):
    with imitation(dict(type='ImageFolder'), tmp_path) as root:
        given = dict(type=name, root=str(root), split='train', size=8, in_memory=True, cache=False, subset=5)
        here, moved = DATASETS.build(given), DATASETS.build(given)
        moved.move('cpu')
        assert moved.array.nbytes == here.bytes_held == 5 * 3 * 8 * 8
        for data in (here, moved):
            data.keep(torch.tensor([0, 2, 4]))
        batch, rows = here.__getitems__([2, 0, 4]), here.chosen()['subset']
        assert all(torch.equal(value, moved.__getitems__([2, 0, 4])[key]) for key, value in batch.items())
        assert torch.equal(rows, moved.chosen()['subset'])
        hold_on_device(loader(moved), 'meta')
        assert all(value.is_meta for value in moved.__getitems__([2, 0, 4]).values())
        with pytest.raises(InputError, match=f'{name} reads its images from files; leave data_on_device out'):
            hold_on_device(loader(DATASETS.build({**given, 'in_memory': False})), 'cpu')


def test_only_the_images_of_the_split_are_held():
    data = Digits(subset=50)
    held = data.bytes_held
    data.move('cpu')
    assert data.array.nbytes == held == 50 * 3 * 16 * 16


def test_batches_come_from_the_device():
    found = loader(Digits(), pin_memory=True)
    hold_on_device(found, 'meta')
    assert not found.pin_memory
    batch = next(iter(found))
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        'inputs': (8, 3, 16, 16),
        'labels': (8,),
        'ids': (8,),
    }
    assert all(value.is_meta for value in batch.values())


def test_the_cpu_holds_them_already():
    data = Digits()
    before = data.array
    hold_on_device(loader(data), 'cpu')
    assert data.array is before


def train(work_dir, **options):
    changed = {
        'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1),
        'train_dataloader.dataset.subset': 100,
        'model.policy': dict(_delete_=True, type='Mixup'),
    }
    cfg = launch.prepare(load_config('classification/digits/resnet20.py', changed | options))
    cfg.work_dir = str(work_dir)
    launch.train(cfg)
    return read_checkpoint(work_dir / 'epoch_1.pth')['state_dict'], (work_dir / 'result.json').read_text()


def test_a_run_moves_what_it_trains_and_validates_on(tmp_path, monkeypatch):
    plain, _ = train(tmp_path / 'plain')
    moved = []

    def move(loader, device):
        moved.append(len(loader.dataset))
        loader.dataset.move(device)

    monkeypatch.setattr(runner, 'hold_on_device', move)
    found, _ = train(tmp_path / 'moved', data_on_device=True)
    assert moved == [100, 355]
    assert all(torch.equal(plain[key], found[key]) for key in plain)


def test_images_in_files_stay_there(tmp_path):
    with imitation(dict(type='CUB200'), tmp_path) as root:
        data = DATASETS.build(dict(type='CUB200', root=str(root)))
    with pytest.raises(InputError, match='CUB200 reads its images from files; leave data_on_device out'):
        hold_on_device(loader(data), 'cpu')


def test_workers_have_nothing_to_hand_over():
    with pytest.raises(InputError, match='2 workers cannot hand over what a device holds; set num_workers=0'):
        hold_on_device(loader(Digits(), num_workers=2), 'cpu')


@pytest.mark.parametrize('device', ['cuda', 'cuda:1'])
def test_a_full_gpu_says_so(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (2**20, 2**30))
    with pytest.raises(InputError, match=r'0\.00103 GiB of images, and 0\.000977 GiB are free'):
        hold_on_device(loader(Digits()), device)
