import random

import numpy as np
import pytest
import torch
from image_trees import save_image
from PIL import Image
from torch.utils.data import DataLoader

from openmix.data.collate import identity_collate
from openmix.data.image_folder import ImageFolder
from openmix.errors import InputError

# torch's generator draws the first, NumPy's the second, Python's none of them.
PIPELINE = [
    dict(type='torchvision/RandomResizedCrop', size=16, interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='torchvision/RandomApply', p=0.5, transforms=[dict(type='torchvision/ColorJitter', brightness=0.4)]),
]


def epoch_of(data, workers=0, epoch=0, **kwargs):
    """All images of one pass, by sample id."""
    data.set_epoch(epoch)
    loader = DataLoader(data, batch_size=4, shuffle=True, num_workers=workers, collate_fn=identity_collate, **kwargs)
    return by_id(loader)


def by_id(loader):
    images = {}
    for batch in loader:
        images |= dict(zip(batch['ids'].tolist(), batch['inputs']))
    return torch.stack([images[i] for i in sorted(images)])


def test_both_modes_read_the_same_images(folder_tree):
    memory = ImageFolder(str(folder_tree), size=16, in_memory=True)
    files = ImageFolder(str(folder_tree), size=16)
    assert len(memory) == len(files) == 18
    assert memory.metainfo['classes'] == ('cat', 'dog', 'emu')
    a, b = memory.__getitems__([0, 7, 17]), files.__getitems__([0, 7, 17])
    assert a['inputs'].shape == (3, 3, 16, 16)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert a['labels'].tolist() == [0, 1, 2]


def test_facts_list_the_class_folders(folder_tree):
    facts = ImageFolder.facts(root=str(folder_tree), split='test', size=(24, 32), mean=(0.5,) * 3, in_memory=True)
    assert facts.name == 'pets'
    assert facts.classes == ('cat', 'dog', 'emu')
    assert (facts.size, facts.mean, facts.std) == ((24, 32), (0.5,) * 3, (0.229, 0.224, 0.225))
    assert ImageFolder.facts(root='/nowhere', classes=['b', 'a']).classes == ('b', 'a')


def test_labels_follow_the_training_classes(folder_tree):
    for path in (folder_tree / 'test' / 'cat').iterdir():
        path.unlink()
    (folder_tree / 'test' / 'cat').rmdir()
    assert ImageFolder(str(folder_tree), 'test').labels.tolist() == [1, 1, 2, 2]
    swapped = ImageFolder(str(folder_tree), 'test', classes=['emu', 'dog', 'cat'])
    assert sorted(swapped.labels.tolist()) == [0, 0, 1, 1]


def test_splits_and_subsets(folder_tree):
    kwargs = dict(size=16, val_fraction=0.34)
    train, val = (ImageFolder(str(folder_tree), s, **kwargs) for s in ('train', 'val'))
    assert torch.bincount(val.labels).tolist() == [2, 2, 2]
    assert not set(train.paths) & set(val.paths)
    assert len(train) == 12
    in_memory = ImageFolder(str(folder_tree), 'val', in_memory=True, **kwargs)
    assert in_memory.paths == val.paths
    assert torch.equal(in_memory[3]['inputs'], val[3]['inputs'])
    assert torch.bincount(ImageFolder(str(folder_tree), subset=6).labels).tolist() == [2, 2, 2]


def test_draws_do_not_depend_on_the_workers(folder_tree):
    data = ImageFolder(str(folder_tree), pipeline=PIPELINE)
    alone = epoch_of(data)
    assert torch.equal(epoch_of(data, workers=1), alone)
    assert torch.equal(epoch_of(data, workers=2), alone)
    assert torch.equal(data[5]['inputs'], alone[5])


def test_draws_are_a_function_of_seed_epoch_and_sample(folder_tree):
    data = ImageFolder(str(folder_tree), pipeline=PIPELINE)
    first, second = epoch_of(data, epoch=0), epoch_of(data, epoch=1)
    differs = (first != second).flatten(1).any(1)
    assert differs.float().mean() > 0.9
    assert torch.equal(epoch_of(data, epoch=0), first)
    data.set_epoch(0, seed=1)
    assert not torch.equal(data.__getitems__(range(len(data)))['inputs'], first)
    for source in (folder_tree / 'train' / 'cat').iterdir():  # equal images, so only the draws differ
        source.write_bytes((folder_tree / 'train' / 'dog' / '0.png').read_bytes())
    same = epoch_of(data)[:6]
    assert len({tuple(image.flatten().tolist()) for image in same}) == 6


@pytest.mark.parametrize('pipeline', [PIPELINE, [dict(type='MultiView', views=[PIPELINE, PIPELINE])]])
def test_unaugmented_images_are_squeezed_and_cut_in_the_centre(folder_tree, pipeline):
    """Whatever the draws; the data set itself goes on drawing."""
    data = ImageFolder(str(folder_tree), pipeline=pipeline)
    plain = data.unaugmented()
    for epoch in range(2):
        plain.set_epoch(epoch)
        for i in (0, 9):
            with Image.open(data.path(i)) as image:
                whole = image.convert('RGB').resize((18, 18), Image.Resampling.BILINEAR)
            wanted = torch.from_numpy(np.array(whole.crop((1, 1, 17, 17)))).permute(2, 0, 1)
            assert torch.equal(plain[i]['inputs'], wanted)
    first, second = (data.images(torch.tensor([i]))[0] for i in (0, 0 + len(data)))
    assert not torch.equal(*(found[0] if isinstance(found, list) else found for found in (first, second)))


def test_persistent_workers_see_the_next_epoch(folder_tree):
    data = ImageFolder(str(folder_tree), pipeline=PIPELINE)
    loader = DataLoader(data, 4, num_workers=1, persistent_workers=True, collate_fn=identity_collate)
    seen = []
    for epoch in (0, 1):
        data.set_epoch(epoch)
        seen.append(by_id(loader))
    assert torch.equal(seen[1], epoch_of(data, epoch=1))
    assert not torch.equal(seen[0], seen[1])


def test_generators_of_the_process_are_left_alone(folder_tree):
    data = ImageFolder(str(folder_tree), pipeline=PIPELINE)
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    data.__getitems__([0, 1, 2])
    drawn = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(drawn[0], expected[0])
    assert np.array_equal(drawn[1], expected[1])
    assert drawn[2] == expected[2]


def test_corrupt_files_stop_or_leave_the_batch(folder_tree):
    bad = folder_tree / 'train' / 'dog' / '1.png'
    bad.write_bytes(b'no image')
    data = ImageFolder(str(folder_tree), size=16)
    with pytest.raises(InputError, match=r'dog/1.png is not a readable image.*skip_corrupt') as error:
        data.__getitems__([6, 7, 8])
    assert '\n' not in str(error.value)
    assert data.unreadable() == [bad]
    skipping = ImageFolder(str(folder_tree), size=16, skip_corrupt=True)
    with pytest.warns(UserWarning, match='not a readable image'):
        batch = skipping.__getitems__([6, 7, 8])
    assert batch['ids'].tolist() == [6, 8]
    assert torch.equal(batch['inputs'][1], data[8]['inputs'])
    with pytest.warns(UserWarning, match='not a readable'), pytest.raises(InputError, match='no image of the batch'):
        skipping.__getitems__([7])
    with pytest.raises(InputError, match=r'dog/1.png is not a readable image: it is none of JPEG'):
        ImageFolder(str(folder_tree), size=16, in_memory=True)
    with pytest.warns(UserWarning, match='1 unreadable images skipped'):
        memory = ImageFolder(str(folder_tree), size=16, in_memory=True, skip_corrupt=True)
    assert len(memory) == 17
    assert torch.equal(memory[7]['inputs'], data[8]['inputs'])


def test_wrong_trees_are_named(folder_tree):
    root = str(folder_tree)
    cases = [
        (dict(root='/nowhere/at/all'), 'root /nowhere/at/all is missing'),
        (dict(root=root, split='tests'), r"has no split 'tests'; did you mean 'test'\?"),
        (dict(root=root, split='val'), "has no split 'val'"),
        (dict(root=root, in_memory=True, pipeline=PIPELINE), 'a pipeline needs in_memory=False'),
        (dict(root=root, subset=99), 'between 1 and the 18 images'),
    ]
    for kwargs, message in cases:
        with pytest.raises(InputError, match=message) as error:
            ImageFolder(**kwargs)
        assert '\n' not in str(error.value)
    (folder_tree / 'train' / 'fox').mkdir()
    with pytest.raises(InputError, match=r'no images under .*fox'):
        ImageFolder(root)
    (folder_tree / 'train' / 'fox').rmdir()
    save_image(folder_tree / 'test' / 'dogs' / '0.jpg')
    with pytest.raises(InputError, match=r"dogs is no class of the training split; did you mean 'dog'"):
        ImageFolder(root, 'test')


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([dict(type='torchvision/RandomResizedCop', size=8)], r"did you mean 'torchvision/RandomResizedCrop'"),
        ([dict(type='torchvision/CenterCrop')], 'torchvision/CenterCrop: '),
        ([dict(type='torchvision/Resize', size=8, interpolation='bicubc')], "did you mean 'bicubic'"),
        ([dict(type='LoadImageFromFile')], "remove 'LoadImageFromFile'"),
    ],
)
def test_wrong_pipelines_end_in_one_line(folder_tree, pipeline, message):
    with pytest.raises(InputError, match=message):
        ImageFolder(str(folder_tree), pipeline=pipeline)


def test_pipeline_must_leave_uint8_images_of_one_size(folder_tree):
    scaled = [dict(type='torchvision/ToImage'), dict(type='torchvision/ToDtype', dtype=torch.float32, scale=True)]
    with pytest.raises(InputError, match=r'must leave a uint8 RGB image, got \(3, 24, 32\) torch.float32'):
        ImageFolder(str(folder_tree), pipeline=scaled)[0]
    save_image(folder_tree / 'train' / 'cat' / '0.png', 32, 24)
    data = ImageFolder(str(folder_tree), pipeline=[dict(type='torchvision/RandomHorizontalFlip')])
    with pytest.raises(InputError, match=r'\(24, 32\) and \(32, 24\) in one batch; end it with a resize'):
        data.__getitems__([0, 1])


def test_mmcv_and_torchvision_see_the_same_image(folder_tree):
    flips = [[dict(type='RandomFlip', prob=1.0)], [dict(type='torchvision/RandomHorizontalFlip', p=1.0)]]
    a, b = (ImageFolder(str(folder_tree), pipeline=flip)[4]['inputs'] for flip in flips)
    assert torch.equal(a, b)
    assert torch.equal(a.flip(-1), ImageFolder(str(folder_tree), size=(24, 32))[4]['inputs'])
