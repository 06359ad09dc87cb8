"""`MixTransform`: as torchvision's transforms of batches, and as a collate function."""

from collections import OrderedDict, UserDict
from typing import NamedTuple

import native
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from openmix.errors import InputError
from openmix.integrations.transform import MixTransform
from openmix.losses import mix_ce


@pytest.mark.parametrize('as_collate', [True, False])
@pytest.mark.parametrize('target', ['soft', 'mix'])
def test_twenty_steps_are_those_of_the_native_loop(target, as_collate):
    transform = MixTransform(native.policy(), num_classes=native.CLASSES, target=target)
    loader = DataLoader(native.samples(), native.BATCH, collate_fn=transform if as_collate else None)
    network, found = native.model(), []
    steps = native.optimizer(network)
    for _ in range(native.STEPS // len(loader)):
        for batch in loader:
            images, labels, *mix = batch if as_collate else transform(batch)
            logits = network(images)
            loss = mix_ce(logits, labels, *mix) if mix else F.cross_entropy(logits, labels)
            steps.zero_grad()
            loss.backward()
            steps.step()
            found.append(loss.item())
    assert found == pytest.approx(native.losses(), rel=1e-5)


def test_structures_and_classes_are_those_of_torchvisions_transform():
    """The same call of both, and results of the same types, shapes and dtypes."""
    images, labels = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8), torch.tensor([0, 1, 2, 3])
    given = [
        ((images, labels),),
        ([images, labels],),
        (images, labels),
        ({'image': images, 'labels': labels, 'id': 7},),
        (tv_tensors.Image(images), labels),
        (images.float() / 255, labels),
    ]
    for arguments in given:
        ours = MixTransform({'type': 'CutMix'}, num_classes=5)(*arguments)
        theirs = v2.CutMix(num_classes=5)(*arguments)
        assert type(ours) is type(theirs)
        pairs = [(ours[k], theirs[k]) for k in theirs] if isinstance(theirs, dict) else zip(ours, theirs)
        for mine, other in pairs:
            assert type(mine) is type(other)
            if isinstance(other, torch.Tensor):
                assert (mine.shape, mine.dtype) == (other.shape, other.dtype)


def test_bytes_are_mixed_with_rounding():
    images, labels = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8), torch.arange(6)
    mixed, _, mix = MixTransform({'type': 'Mixup'}, target='mix')(images, labels)
    lam = mix.lam.double()[:, None, None, None]
    wanted = lam * images.double() + (1 - lam) * images[mix.partner].double()
    assert (mixed.double() - wanted).abs().max() <= 0.51
    assert mixed.dtype == torch.uint8


@pytest.mark.parametrize('labels', [torch.rand(4), (torch.rand(4, 5) > 0.5).float()], ids=['regression', 'multi-label'])
def test_floating_labels_are_mixed_as_they_are(labels):
    images = torch.rand(4, 3, 8, 8)
    transform = MixTransform({'type': 'CutMix'})
    torch.manual_seed(0)
    _, soft = transform(images, labels)
    torch.manual_seed(0)
    *_, mix = MixTransform({'type': 'CutMix'}, target='mix')(images, labels)
    share = mix.lam.view(-1, *[1] * (labels.dim() - 1))
    torch.testing.assert_close(soft, share * labels + (1 - share) * labels[mix.partner])


def test_labels_are_found_by_a_getter_and_kept_with_the_mix():
    batch = {'x': torch.rand(4, 3, 8, 8), 'y': torch.arange(4)}
    found = MixTransform({'type': 'Mixup'}, labels_getter=lambda one: one['y'], target='mix')(batch)
    assert found.keys() == {'x', 'y', 'mix'}
    assert torch.equal(found['y'], batch['y'])
    assert batch.keys() == {'x', 'y'}
    only = MixTransform({'type': 'Mixup'}, labels_getter=None)(batch['x'])
    assert only[0].shape == batch['x'].shape


def test_workers_and_pinned_memory_take_the_mix():
    loader = DataLoader(native.samples(12), 6, collate_fn=MixTransform({'type': 'CutMix'}, target='mix'), num_workers=1)
    (first, _, mix), (second, *_) = loader
    assert first.shape == second.shape == (6, 3, 8, 8)
    assert mix.source.shape == (6, 2)
    assert hasattr(mix, 'pin_memory')


class Pair(NamedTuple):
    image: torch.Tensor
    label: torch.Tensor


class Sample(UserDict):
    """A mapping that is no dict, as several libraries have one."""


def test_named_tuples_and_mappings_keep_their_class():
    images, labels = torch.rand(4, 3, 8, 8), torch.arange(4)
    transform = MixTransform({'type': 'CutMix'}, num_classes=5)
    mapping = Sample(image=images, label=labels)
    for batch in (
        Pair(images, labels),
        mapping,
        OrderedDict(mapping),
        [Pair(*both) for both in zip(images, labels)],
        [Sample(image=image, label=label) for image, label in zip(images, labels)],
    ):
        found = transform(batch)
        assert type(found) is type(batch[0] if isinstance(batch, list) else batch)
        assert [one.shape for one in (found if isinstance(found, tuple) else found.values())] == [(4, 3, 8, 8), (4, 5)]
    assert torch.equal(mapping['label'], labels)
    kept = MixTransform({'type': 'CutMix'}, target='mix')(Pair(images, labels))
    assert (type(kept), len(kept)) == (tuple, 3)


IMAGES = torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize(
    ('options', 'batch', 'line'),
    [
        ({}, (IMAGES, torch.arange(4)), 'need num_classes'),
        ({'num_classes': 3}, (IMAGES, torch.arange(4)), 'label'),
        ({'num_classes': 4}, (IMAGES[0], torch.arange(4)), 'one tensor of images'),
        ({'num_classes': 4}, (IMAGES, IMAGES, torch.arange(4)), 'give a labels_getter'),
        ({'num_classes': 4}, {'image': IMAGES, 'y': torch.arange(4)}, 'give a labels_getter'),
        ({'num_classes': 4}, (IMAGES, torch.arange(4), tv_tensors.Mask(IMAGES[:, 0])), "the Mask in entry '2'"),
        ({}, [(IMAGES[0], 1), (IMAGES[1],)], r'samples of one batch have the same entries, got 2 \(0, 1\) and 1 \(0\)'),
        ({}, [{'image': IMAGES[0], 'label': 1}, {'image': IMAGES[1]}], r'got 2 \(image, label\) and 1 \(image\)'),
        ({'target': 'hard'}, None, "'soft' or 'mix'"),
        ({'policy': {'type': 'Mixup', 'sites': ('', 'layer1')}}, None, 'mixes features'),
        ({'policy': {'type': 'RegMixup'}}, None, 'RegMixup adds the loss of the clean images'),
        ({'policy': {'type': 'OneOf', 'policies': [{'type': 'CutMix'}, {'type': 'RegMixup'}]}}, None, 'RegMixup adds'),
        ({'policy': {'type': 'SUMix', 'policy': {'type': 'CutMix'}}}, None, 'SUMix adds losses of what the network'),
        ({'policy': {'type': 'RecursiveMix'}}, None, 'RecursiveMix adds losses of what the network sees'),
        ({'policy': 3}, None, 'must be a policy'),
    ],
)
def test_what_cannot_be_mixed_is_one_line(options, batch, line):
    with pytest.raises(InputError, match=line):
        MixTransform(**{'policy': {'type': 'Mixup'}, **options})(batch)
