"""Test the transforms that make several views of an image in the loader's workers."""

import pytest
import torch
from image_trees import save_image
from mmengine.registry import init_default_scope

from openmix.data.image_folder import ImageFolder
from openmix.data.pipeline import seed_generators
from openmix.data.views import MultiView
from openmix.engine.runner import Runner
from openmix.errors import InputError

CROP = [dict(type='torchvision/RandomResizedCrop', size=16)]
FLIP = [dict(type='torchvision/Resize', size=[16, 16]), dict(type='torchvision/RandomHorizontalFlip')]
JITTER = [*FLIP, dict(type='torchvision/ColorJitter', brightness=0.5)]
SMALL = [dict(type='torchvision/RandomResizedCrop', size=8)]


def views_of(*views):
    return [dict(type='MultiView', views=list(views))]


def folder(root, *views, **given):
    return ImageFolder(str(root), pipeline=views_of(*views), **given)


def test_each_view_has_its_pipeline_and_draws(folder_tree):
    data = folder(folder_tree, CROP, CROP, FLIP)
    batch = data.__getitems__([0, 1, 5])
    assert batch['inputs'].shape == (3, 3, 3, 16, 16)
    assert not torch.equal(batch['inputs'][:, 0], batch['inputs'][:, 1])
    assert data.example(3, root='absent', pipeline=views_of(CROP, CROP, FLIP))['inputs'].shape == (3, 3, 3, 16, 16)


def test_a_view_does_not_depend_on_what_another_draws(folder_tree):
    weak, strong = (folder(folder_tree, first, CROP) for first in (FLIP, JITTER))
    one, other = (data.__getitems__([2, 3])['inputs'] for data in (weak, strong))
    assert not torch.equal(one[:, 0], other[:, 0])
    assert torch.equal(one[:, 1], other[:, 1])


def test_draws_are_a_function_of_seed_epoch_sample_and_draw(folder_tree):
    data = folder(folder_tree, CROP, CROP)

    def read(index, epoch, seed):
        data.set_epoch(epoch, seed)
        return data.__getitems__([index])['inputs']

    first = read(2, 0, 0)
    assert torch.equal(first, read(2, 0, 0))
    for other in (read(2, 1, 0), read(2, 0, 1), read(2 + len(data), 0, 0)):
        assert not torch.equal(first, other)


def test_views_of_two_sizes_are_a_list(folder_tree):
    given = (CROP, CROP, SMALL, SMALL)
    data, shapes = folder(folder_tree, *given), [(16, 16), (16, 16), (8, 8), (8, 8)]
    batch = data.__getitems__([0, 1, 5])
    assert [tuple(view.shape) for view in batch['inputs']] == [(3, 3, *shape) for shape in shapes]
    assert [tuple(view.shape) for view in data[4]['inputs']] == [(3, *shape) for shape in shapes]
    example = ImageFolder.example(3, root='absent', classes=['a'], pipeline=views_of(*given))
    assert [view.shape for view in example['inputs']] == [view.shape for view in batch['inputs']]
    assert {view.device.type for view in example['inputs']} == {'meta'}


def test_views_of_unlike_images_of_one_batch_are_refused(folder_tree):
    save_image(folder_tree / 'train' / 'cat' / 'wide.png', 24, 48, seed=9)
    data = folder(folder_tree, CROP, [dict(type='torchvision/Resize', size=12)])
    with pytest.raises(InputError, match=r'the pipeline leaves images of \(12, \d+\) and \(12, 24\) in one batch'):
        data.__getitems__(range(len(data)))


@pytest.mark.parametrize('workers', [1, 2])
def test_the_number_of_workers_does_not_matter(folder_tree, workers):
    init_default_scope('openmix')
    part = dict(type='ImageFolder', root=str(folder_tree), split='train')
    recipe = dict(
        dataset=dict(
            type='Pools',
            labelled=dict(part, subset=3, pipeline=CROP),
            unlabelled=dict(part, pipeline=views_of(FLIP, CROP, SMALL)),
            ratio=2,
        ),
        sampler=dict(type='PoolSampler'),
        collate_fn=dict(type='identity_collate'),
        batch_size=6,
    )

    def batches(number):
        loader = Runner.build_dataloader(dict(recipe, num_workers=number, persistent_workers=number > 0), seed=3)
        found = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            loader.dataset.set_epoch(epoch, 5)
            found += list(loader)
        return found

    alone, shared = batches(0), batches(workers)
    assert len(alone) == len(shared) == 10
    for one, other in zip(alone, shared):
        for pool in ('labelled', 'unlabelled'):
            assert torch.equal(one[pool]['ids'], other[pool]['ids'])
        assert torch.equal(one['labelled']['inputs'], other['labelled']['inputs'])
        for view, same in zip(one['unlabelled']['inputs'], other['unlabelled']['inputs'], strict=True):
            assert torch.equal(view, same)


def test_the_generators_of_a_view_are_left_to_no_other():
    seed_generators(1, 2, 3)
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    first = MultiView([[lambda x: x + torch.randint(255, ()).to(torch.uint8)]])(image)
    seed_generators(1, 2, 3)
    again = MultiView([[lambda x: x + torch.randint(255, ()).to(torch.uint8)], []])(image)
    assert torch.equal(first[0], again[0])
    assert torch.equal(again[1], image)


def test_what_does_not_do_is_refused():
    with pytest.raises(InputError, match='at least one pipeline'):
        MultiView([])
