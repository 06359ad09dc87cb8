"""What a self-supervised recipe cannot do with its data is one line of `tools/train.py`, with exit code 2."""

import pytest
import torch
from PIL import Image
from processes import SECONDS, all_end

FEW = 'train_dataloader.dataset.subset=100'
REFUSED = [
    ('odc', [FEW, 'model.clusters=101', 'model.least=1'], 'clusters is 101, and there are 100 training images'),
    ('odc', [FEW], 'least is 20, and 100 training images in 20 clusters are 5 a cluster'),
    ('odc', ['train_dataloader.batch_size=1'], 'batch norm'),
    ('amix_c_paper', [FEW, 'model.queue=64', 'model.bank.clusters=101'], 'clusters is 101, and there are 100 training'),
    ('moco_v2', [FEW, 'model.queue=128'], 'queue is 128, and there are 100 training images'),
    ('moco_v2', ['model.queue=500'], 'queue is 500, no multiple of a batch of 64 images'),
    ('mochi', ['model.hardest=513'], 'hardest is 513, and the queue has 512 keys'),
    (
        'mochi',
        ['model.queue=576', 'train_dataloader.batch_size=50'],
        'MoCHi: queue is 576, no multiple of a batch',
    ),
    ('moco_v2', ['train_dataloader.batch_size=1'], 'batch norm'),
    ('moco_v2', ['default_hooks.checkpoint.save_best=loss'], "nothing measures 'loss'"),
    (
        'moco_v2',
        ["model.policy={'type': 'AMix', 'mixer_losses': [{'type': 'mix_ce', 'of': 'labels'}]}"],
        "mixer_losses of AMix are of 'labels', and there are no such targets",
    ),
    ('swav', ['model.queue=500'], 'SwAV: queue is 500, no multiple of a batch of 64 images'),
    ('swav', [FEW, 'model.queue=128'], 'SwAV: queue is 128, and there are 100 training images'),
    ('swav', ['train_dataloader.batch_size=1', 'model.queue=0'], 'batch norm'),
]


def only_line(errors):
    """Return the one line that is no record of the log.

    With torch 2.15 Triton tells at the end of a process, after all that openmix says, what its binding has not freed.
    """
    said, _, _ = errors.partition('\nnanobind: leaked ')
    (line,) = [line for line in said.splitlines() if ' - INFO - ' not in line and ' - WARNING - ' not in line]
    assert line.startswith('error: ')
    return line


def check_nothing_is_left(folder):
    """There is no file of results or weights, whole or half written; the log and the recipe stay."""
    assert not [path for path in folder.rglob('*') if path.suffix in ('.pth', '.json', '.tmp')]


@pytest.mark.parametrize(('recipe', 'options', 'said'), REFUSED)
def test_it_is_refused(nursery, tmp_path, recipe, options, said):
    words = ['train.py', f'selfsup/digits/{recipe}.py', '--work-dir', tmp_path / 'run', '--cfg-options', *options]
    command = nursery.start(words, tmp_path / 'said')
    try:
        assert command.ends(SECONDS) == 2, command.said
        assert said in only_line(command.said)
        assert command.left() == []
    finally:
        command.clear()
    check_nothing_is_left(tmp_path / 'run')


def test_a_queue_that_the_batch_of_two_processes_does_not_fit(nursery, tmp_path):
    """It is a multiple of the batch of one; neither process waits for the other."""
    words = ['train.py', 'selfsup/digits/moco_v2.py', '--work-dir', tmp_path / 'run']
    both = nursery.ranks(2, [*words, '--cfg-options', 'model.queue=576'], tmp_path / 'said')
    all_end(both, 2)
    assert any('queue is 576, no multiple of a batch of 2 x 64 images' in command.said for command in both)
    check_nothing_is_left(tmp_path / 'run')


def write_images(folder, split, count=30):
    (folder / split).mkdir(parents=True)
    for n in range(count):
        Image.new('RGB', (16, 16), (8 * n, 40, 255 - 8 * n)).save(folder / split / f'{n}.png')


UNLABELLED = [
    ('moco_v2', "model = dict(queue=20, labels='given', classes=3, policy=dict(type='InterIntra'))", 'have none'),
    ('linear', '', 'images has no classes, and this model is trained on labels'),
]


@pytest.mark.parametrize(('recipe', 'model', 'said'), UNLABELLED)
def test_a_loss_of_labels_on_images_without(nursery, tmp_path, recipe, model, said):
    write_images(tmp_path / 'images', 'unlabelled')
    (tmp_path / 'own.py').write_text(
        f"_base_ = 'configs/selfsup/digits/{recipe}.py'\n"
        "images = dict(_delete_=True, type='UnlabelledFolder', root='images', in_memory=True, size=16)\n"
        'train_dataloader = dict(batch_size=10, dataset=images)\n'
        f'{model}\n'
    )
    done = nursery.run(['train.py', 'own.py', '--work-dir', 'run'], tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in only_line(done.stderr)
    check_nothing_is_left(tmp_path / 'run')


def test_a_probe_of_a_checkpoint_without_a_backbone(nursery, tmp_path):
    torch.save({'state_dict': {'head.weight': torch.ones(2, 2)}}, tmp_path / 'head.pth')
    words = ['train.py', 'selfsup/digits/linear.py', '--weights', tmp_path / 'head.pth', '--work-dir', tmp_path / 'run']
    done = nursery.run(words)
    assert done.returncode == 2, done.stderr
    line = only_line(done.stderr)
    assert 'head.pth' in line
    assert 'backbone' in line
    check_nothing_is_left(tmp_path / 'run')


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
    said = 'ODC: clusters is 20, and the network gives only 1 different embeddings for 30 training images'
    assert said in only_line(done.stderr)
    check_nothing_is_left(tmp_path / 'run')
