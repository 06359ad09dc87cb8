"""What a self-supervised recipe cannot do with its data is one line of `tools/train.py`, with exit code 2."""

import pytest
import torch
from PIL import Image

FEW = 'train_dataloader.dataset.subset=100'
REFUSED = [
    ('odc', [FEW, 'model.clusters=101', 'model.least=1'], 'clusters is 101, and there are 100 training images'),
    ('odc', [FEW], 'least is 20, and 100 training images in 20 clusters are 5 a cluster'),
    ('moco_v2', [FEW, 'model.queue=128'], 'queue is 128, and there are 100 training images'),
    ('moco_v2', ['model.queue=500'], 'queue is 500, no multiple of a batch of 64 images'),
    ('mochi', ['model.hardest=513'], 'hardest is 513, and the queue has 512 keys'),
    (
        'mochi',
        ['model.queue=576', 'train_dataloader.batch_size=50'],
        'MoCHi: queue is 576, no multiple of a batch',
    ),
    ('moco_v2', ['train_dataloader.batch_size=1'], 'batch norm'),
    (
        'moco_v2',
        ["model.policy={'type': 'AMix', 'mixer_losses': [{'type': 'mix_ce', 'of': 'labels'}]}"],
        "mixer_losses of AMix are of 'labels', and there are no such targets",
    ),
    ('swav', ['model.queue=500'], 'SwAV: queue is 500, no multiple of a batch of 64 images'),
    ('swav', [FEW, 'model.queue=128'], 'SwAV: queue is 128, and there are 100 training images'),
]


@pytest.mark.parametrize(('recipe', 'options', 'said'), REFUSED)
def test_it_is_refused(call, tmp_path, recipe, options, said):
    words = [f'selfsup/digits/{recipe}.py', '--work-dir', tmp_path / 'run', '--cfg-options', *options]
    code, _, error = call('train.py', *words)
    assert code == 2, error
    (line,) = [line for line in error.splitlines() if ' - INFO - ' not in line and ' - WARNING - ' not in line]
    assert line.startswith('error: ')
    assert said in line
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_probe_of_a_checkpoint_without_a_backbone(call, tmp_path):
    torch.save({'state_dict': {'head.weight': torch.ones(2, 2)}}, tmp_path / 'head.pth')
    words = ['selfsup/digits/linear.py', '--weights', tmp_path / 'head.pth', '--work-dir', tmp_path / 'run']
    code, _, error = call('train.py', *words)
    assert code == 2, error
    (line,) = [line for line in error.splitlines() if ' - INFO - ' not in line and ' - WARNING - ' not in line]
    assert 'head.pth' in line
    assert 'backbone' in line


def test_images_that_look_alike_to_the_network_end_the_process(nursery, tmp_path):
    """Every image is the same, so clusters would be empty."""
    for n in range(30):
        for split, grey in (('train', 90), ('val', 200)):
            folder = tmp_path / 'images' / split / 'ab'[n % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (16, 16), (grey, 40, 0)).save(folder / f'{n}.png')
    (tmp_path / 'alike.py').write_text(
        "_base_ = 'configs/selfsup/digits/odc.py'\n"
        "images = dict(_delete_=True, type='ImageFolder', root='images', in_memory=True, size=16)\n"
        "train_dataloader = dict(batch_size=10, dataset=dict(split='train', **images))\n"
        "val_dataloader = dict(dataset=dict(split='val', **images))\n"
        'test_dataloader = val_dataloader\n'
        'model = dict(least=1)\n'
    )
    done = nursery.run(['train.py', 'alike.py', '--work-dir', 'run'], tmp_path)
    assert done.returncode == 2, done.stderr[-2000:]
    (line,) = [line for line in done.stderr.splitlines() if ' - WARNING - ' not in line]
    assert 'ODC: clusters is 20, and the network gives only 1 different embeddings for 30 training images' in line
    assert not list((tmp_path / 'run').glob('*.pth'))
