import pytest
import torch
from torch import nn

from openmix.algorithm import Algorithm, Network, limit_labels
from openmix.errors import InputError
from openmix.models.preprocessor import ImagePreprocessor
from openmix.registry import MODELS, TRANSFORMS

MEAN, STD = (0.5, 0.25, 0.1), (0.2, 0.4, 0.5)


def batch(n=4):
    return {
        'inputs': torch.randint(0, 256, (n, 3, 8, 10), dtype=torch.uint8),
        'labels': torch.arange(n),
        'ids': torch.arange(n) + 7,
    }


def test_normalises_pixels_in_0_1():
    data = batch()
    pre = MODELS.build(dict(type='ImagePreprocessor', mean=MEAN, std=STD))
    out = pre(data)
    for c in range(3):
        expected = (data['inputs'][:, c].double() / 255 - MEAN[c]) / STD[c]
        assert torch.allclose(out['inputs'][:, c].double(), expected, atol=1e-6)
    assert out['inputs'].dtype == torch.float32
    assert torch.equal(out['labels'], data['labels'])
    assert torch.equal(out['ids'], data['ids'])
    assert data['inputs'].dtype == torch.uint8  # the loader's batch is left alone


def test_uint8_and_floating_pixels_agree():
    pre, data = ImagePreprocessor(MEAN, STD), batch()
    floating = {'inputs': data['inputs'] / 255}
    assert torch.equal(pre(floating)['inputs'], pre(data)['inputs'])


def test_denormalize_is_the_inverse():
    pre = ImagePreprocessor(MEAN, STD)
    pixels = torch.rand(2, 3, 5, 5)
    assert torch.allclose(pre.denormalize(pre.normalize(pixels)), pixels, atol=1e-6)


def test_augments_uint8_in_training_only():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.dtype)
            return x.flip(-1)

    pre, data = ImagePreprocessor(MEAN, STD, augment=[Spy()]), batch()
    assert torch.equal(pre(data, training=True)['inputs'], pre(data)['inputs'].flip(-1))
    assert seen == [torch.uint8]


def test_builds_its_transforms_by_name():
    augment = [dict(type='BatchRandomCrop', padding=2), dict(type='BatchRandomFlip', p=1.0)]
    pre, data = ImagePreprocessor(MEAN, STD, augment=augment), batch()
    torch.manual_seed(0)
    out = pre(data, training=True)['inputs']
    torch.manual_seed(0)
    cropped = pre.augment[0](data['inputs'])
    assert torch.equal(out, pre({'inputs': cropped.flip(-1)})['inputs'])


def test_channels_last():
    data = batch()
    out = ImagePreprocessor(MEAN, STD, channels_last=True)(data)['inputs']
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, ImagePreprocessor(MEAN, STD)(data)['inputs'])


def test_follows_its_parent_to_a_device_and_keeps_out_of_checkpoints():
    parent = nn.ModuleList([ImagePreprocessor(MEAN, STD)])
    assert not parent.state_dict()
    parent.to('meta')
    out = parent[0](batch())
    assert {value.device.type for value in out.values()} == {'meta'}


def test_full_precision_under_autocast():
    pre, data = ImagePreprocessor(MEAN, STD, augment=[dict(type='BatchRandomFlip', p=1.0)]), batch()
    with torch.autocast('cpu', torch.bfloat16):
        out = pre(data, training=True)['inputs']
    assert out.dtype == torch.float32
    assert torch.equal(out, pre(data, training=True)['inputs'])


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(mean=(0.5,), std=STD), 'one mean and one std'),
        (dict(mean=MEAN, std=(1, 1, 0)), 'every number of std must be > 0, got 0'),
        (dict(mean=MEAN, std=STD, augment=[dict(type='BatchRandomCorp')]), "did you mean 'BatchRandomCrop'"),
        (dict(mean=MEAN, std=STD, augment=[dict(type='BatchRandomCrop', pad=4)]), "unexpected keyword argument 'pad'"),
    ],
)
def test_wrong_arguments_end_in_one_line(kwargs, message):
    with pytest.raises(InputError, match=message) as error:
        ImagePreprocessor(**kwargs)
    assert '\n' not in str(error.value)


FLIP, CROP = dict(type='BatchRandomFlip'), dict(type='BatchRandomCrop', padding=3)
SMALL = dict(type='BatchRandomResizedCrop', size=5)


def pooled(**unlabelled):
    own = batch()
    return {'labelled': own, 'unlabelled': {'inputs': own['inputs'].flip(0), 'ids': own['ids'], **unlabelled}}


def alone(steps, x):
    """Compute a slow reference: one pipeline on one batch, normalised by hand."""
    for step in steps:
        x = TRANSFORMS.build(step)(x)
    return (x.float() / 255 - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


@pytest.mark.parametrize('channels_last', [False, True])
def test_each_pool_and_view_goes_through_its_own_pipeline(channels_last):
    augment = dict(labelled=[FLIP], unlabelled=[[FLIP, CROP], [CROP]])
    pre, data = ImagePreprocessor(MEAN, STD, augment=augment, channels_last=channels_last), pooled()
    torch.manual_seed(0)
    out = pre(data, training=True)
    torch.manual_seed(0)
    x, u = data['labelled']['inputs'], data['unlabelled']['inputs']
    expected = [alone([FLIP], x), alone([FLIP, CROP], u), alone([CROP], u)]
    assert torch.allclose(out['labelled']['inputs'], expected[0], atol=1e-6)
    assert out['unlabelled']['inputs'].shape == (4, 2, 3, 8, 10)
    for view, wanted in enumerate(expected[1:]):
        assert torch.allclose(out['unlabelled']['inputs'][:, view], wanted, atol=1e-6)
    assert torch.equal(out['labelled']['labels'], data['labelled']['labels'])
    if channels_last:
        assert out['unlabelled']['inputs'].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    # Validation sees every image once, as it is.
    assert pre(data)['unlabelled']['inputs'].shape == (4, 3, 8, 10)


def test_without_pools_in_augment_all_are_treated_alike():
    pre, data = ImagePreprocessor(MEAN, STD, augment=[dict(type='BatchRandomFlip', p=1.0)]), pooled()
    out = pre(data, training=True)
    for pool in data:
        assert torch.equal(out[pool]['inputs'], pre(data)[pool]['inputs'].flip(-1))


def test_two_equal_views_differ():
    pre = ImagePreprocessor(MEAN, STD, augment=[[CROP], [CROP]])
    x = pre(batch(), training=True)['inputs']
    assert x.shape == (4, 2, 3, 8, 10)
    assert not torch.equal(x[:, 0], x[:, 1])


def test_views_of_two_sizes_stay_a_list():
    pre, data = ImagePreprocessor(MEAN, STD, augment=[[CROP], [SMALL], [SMALL]], channels_last=True), batch()
    torch.manual_seed(1)
    views = pre(data, training=True)['inputs']
    assert [tuple(view.shape) for view in views] == [(4, 3, 8, 10), (4, 3, 5, 5), (4, 3, 5, 5)]
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in views)
    torch.manual_seed(1)
    for view, steps in zip(views, ([CROP], [SMALL], [SMALL])):
        assert torch.allclose(view, alone(steps, data['inputs']), atol=1e-6)


@pytest.mark.parametrize('several', [torch.stack, list])
def test_views_that_the_data_bring_go_through_the_same_or_their_own_pipeline(several):
    data, mirror = batch(), dict(type='BatchRandomFlip', p=1.0)
    first, second = data['inputs'], data['inputs'].flip(0)
    given = dict(inputs=torch.stack([first, second], 1) if several is torch.stack else [first, second])

    def views(augment):
        out = ImagePreprocessor(MEAN, STD, augment=augment)(given, training=True)['inputs']
        return list(out.unbind(1)) if isinstance(out, torch.Tensor) else out

    for augment, wanted in (
        ([mirror], [first.flip(-1), second.flip(-1)]),
        ([[], [mirror]], [first, second.flip(-1)]),
        ([], [first, second]),
    ):
        for view, pixels in zip(views(augment), wanted, strict=True):
            assert torch.allclose(view, alone([], pixels), atol=1e-6)


def test_what_a_pool_of_half_precision_or_floating_pixels_becomes():
    pre, data = ImagePreprocessor(MEAN, STD, augment=dict(labelled=[], unlabelled=[[FLIP], [FLIP]])), pooled()
    with torch.autocast('cpu', torch.bfloat16):
        out = pre(data, training=True)
    assert {out[pool]['inputs'].dtype for pool in out} == {torch.float32}


@pytest.mark.parametrize(
    ('augment', 'data', 'message'),
    [
        (dict(labelled=[FLIP]), pooled(), 'for the pools labelled, and the batch has labelled, unlabelled'),
        (dict(labelled=[FLIP]), batch(), 'for the pools labelled, and the batch has none'),
        ([[FLIP], [FLIP]], dict(inputs=[batch()['inputs']] * 3), 'augment makes 2 views, and the batch has 3'),
        ([], pooled(labels=torch.arange(3)), "the pool 'unlabelled' of a batch must be a dict"),
        ([], pooled(true_labels=torch.arange(3)), "the pool 'unlabelled' of a batch must be a dict"),
        ([], pooled(ids=[1, 2, 3, 4]), "the pool 'unlabelled' of a batch must be a dict"),
        ([], pooled(inputs=[batch()['inputs'], batch(3)['inputs']]), "the pool 'unlabelled' of a batch"),
        ([], dict(inputs=[]), 'a batch must be a dict of inputs'),
        ([], {}, 'a batch must be a dict of inputs'),
        ([], {'labelled': batch(), 'weight': torch.ones(4)}, 'a batch must be a dict of inputs'),
    ],
)
def test_a_batch_that_does_not_do_is_refused_in_one_line(augment, data, message):
    with pytest.raises(InputError, match=message) as error:
        ImagePreprocessor(MEAN, STD, augment=augment)(data, training=True)
    assert '\n' not in str(error.value)


def test_labels_that_the_model_has_no_place_for_are_told_by_their_pool():
    pre = ImagePreprocessor(MEAN, STD)
    pre.num_classes = 3
    with pytest.raises(InputError, match=r"pool 'labelled': labels must be in \[0, 2\], got 3"):
        pre(pooled())


def test_true_labels_are_held_against_the_classes_too():
    pre = ImagePreprocessor(MEAN, STD)
    pre.num_classes = 4
    pre(pooled(true_labels=torch.tensor([0, 1, 2, 3])))
    for wrong in (4, -1):
        with pytest.raises(InputError, match=rf"'true_labels' of the data, pool 'unlabelled': .* got {wrong}"):
            pre(pooled(true_labels=torch.tensor([0, 1, 2, wrong])))


class Head(nn.Linear):
    """A head that is derived from none of openmix's."""

    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)
        self.num_classes = num_classes


class Own(Algorithm):
    def __init__(self, head):
        super().__init__(data_preprocessor=ImagePreprocessor(MEAN, STD))
        self.backbone, self.head = nn.Flatten(), head

    def networks(self):
        return {} if self.head is None else {'': Network(self.backbone, self.head)}


@pytest.mark.parametrize(('head', 'classes'), [(Head(4, 3), 3), (nn.Linear(4, 3), None), (None, None)])
def test_any_head_that_says_how_many_classes_it_has_limits_the_labels(head, classes):
    own = Own(head)
    limit_labels(own)
    assert own.data_preprocessor.num_classes == classes
    own.data_preprocessor = nn.Identity()  # one that takes no labels is left alone
    limit_labels(own)


@pytest.mark.parametrize('augment', [[FLIP, [FLIP]], FLIP, dict(labelled=dict(weak=[FLIP])), dict(labelled=[[[FLIP]]])])
def test_an_augment_that_is_no_pipeline_is_refused(augment):
    with pytest.raises(InputError, match='augment'):
        ImagePreprocessor(MEAN, STD, augment=augment)
