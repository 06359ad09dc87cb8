"""Faster R-CNN C4 by value: equal to torchvision's where the settings coincide, else worked by hand."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, box_iou, nms, roi_align

from openmix.errors import InputError
from openmix.facts import Facts
from openmix.models.detection.anchors import ExactAnchors
from openmix.models.detection.faster_rcnn import FasterRCNN
from openmix.models.detection.preprocessor import DetectionPreprocessor
from openmix.models.detection.roi_heads import Res5Heads
from openmix.models.detection.rpn import ProposalNetwork
from openmix.models.detection.selection import BalancedSampler, BoxMatcher, suppressed
from openmix.models.detection.stages import Stages
from openmix.registry import MODELS

NARROW = dict(type='TimmBackbone', name='resnet18', channels=(4, 8, 8, 16))
SMALL = dict(backbone=NARROW, num_classes=3, anchor_sizes=(16, 40), pre_nms=(60, 40), post_nms=(30, 20), rois=12)


def detector(seed=0, **more):
    """A small detector whose outputs are far from those of an untrained one."""
    torch.manual_seed(seed)
    model = FasterRCNN(**{**SMALL, **more})
    for layer in (model.rpn.head.cls_logits, model.rpn.head.bbox_pred):
        nn.init.normal_(layer.weight, std=0.1)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.2)
    return model


def batch(sizes=((96, 128), (80, 112)), seed=0):
    """Padded images with objects."""
    draw = torch.Generator().manual_seed(seed)
    height, width = (max(size[i] for size in sizes) for i in range(2))
    inputs = torch.zeros(len(sizes), 3, height, width)
    for image, (h, w) in zip(inputs, sizes):
        image[:, :h, :w] = torch.randn(3, h, w, generator=draw)
    boxes = [torch.tensor([[4.0, 6, 44, 50], [30.0, 20, 70, 75]]), torch.tensor([[20.0, 10, 90, 60]])]
    labels = [torch.tensor([0, 2]), torch.tensor([1])]
    return {
        'inputs': inputs,
        'sizes': list(sizes),
        'boxes': boxes[: len(sizes)],
        'box_labels': labels[: len(sizes)],
        'ids': torch.arange(len(sizes)),
    }


class AlignedPooling(MultiScaleRoIAlign):
    """What torchvision has no option for."""

    def forward(self, x, boxes, image_shapes):
        return roi_align(x['0'], boxes, 14, 1 / 16, sampling_ratio=-1, aligned=True)


class Head(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.stage, self.norm = model.backbone.last_stage(), model.roi_heads.norm

    def forward(self, x):
        return self.norm(self.stage(x)).mean((2, 3))


def torchvision_twin(model):
    """torchvision's FasterRCNN of the same weights and, as far as it has them, the same settings."""
    model = copy.deepcopy(model)
    model.backbone.out_channels = model.backbone.channels
    (pre, post) = model.rpn._pre_nms_top_n, model.rpn._post_nms_top_n
    twin = TorchvisionFasterRCNN(
        model.backbone,
        rpn_anchor_generator=model.rpn.anchor_generator,
        rpn_head=model.rpn.head,
        rpn_pre_nms_top_n_train=pre['training'],
        rpn_pre_nms_top_n_test=pre['testing'],
        rpn_post_nms_top_n_train=post['training'],
        rpn_post_nms_top_n_test=post['testing'],
        box_roi_pool=AlignedPooling(['0'], 14, -1),
        box_head=Head(model),
        box_predictor=model.roi_heads.box_predictor,
        box_batch_size_per_image=model.roi_heads.rois,
        size_divisible=1,
    )
    # Its images are normalised and padded already.
    twin.transform = Given()
    return twin


class Given(nn.Module):
    def forward(self, images, targets=None):
        return self.list, targets

    def postprocess(self, result, image_shapes, original_image_sizes):
        return result


def run_twin(twin, given):
    twin.transform.list = ImageList(given['inputs'], given['sizes'])
    targets = [{'boxes': b, 'labels': y + 1} for b, y in zip(given['boxes'], given['box_labels'])]
    return twin(list(given['inputs']), targets)


class First:
    """Samples the first boxes with an object and the first of the background, as many as a balanced sampler would."""

    def __init__(self, count, fraction):
        self.count, self.most = count, int(count * fraction)

    def __call__(self, labels):
        pairs = []
        for y in labels:
            positive = (y >= 1) & ((y >= 1).cumsum(0) <= self.most)
            pairs.append((positive, (y == 0) & ((y == 0).cumsum(0) <= self.count - positive.sum())))
        return [one for one, _ in pairs], [other for _, other in pairs]


def test_boxes_equal_torchvisions():
    model, given = detector().eval(), batch()
    with torch.no_grad():
        ours, theirs = model.predict(given), run_twin(torchvision_twin(model).eval(), given)
    for i, one in enumerate(theirs):
        assert len(one['boxes']) > 5
        torch.testing.assert_close(ours['boxes'][i], one['boxes'])
        torch.testing.assert_close(ours['scores'][i], one['scores'])
        assert torch.equal(ours['box_labels'][i], one['labels'] - 1)


def test_losses_and_gradients_equal_torchvisions_where_the_settings_coincide():
    """With its beta of 1 / 9, the same samples, and as many anchors sampled as the loss is divided by."""
    model, given = detector(beta=1 / 9).train(), batch()
    twin = torchvision_twin(model).train()
    for one in (model, twin):
        one.rpn.fg_bg_sampler, one.roi_heads.fg_bg_sampler = First(256, 0.5), First(12, 0.25)
    ours, theirs = model.loss(given), run_twin(twin, given)
    # (6 x 8 positions) x 6 anchors in the padded images: 288 of them, of which 256 are sampled.
    assert ours.keys() == theirs.keys() == {'loss_objectness', 'loss_rpn_box_reg', 'loss_classifier', 'loss_box_reg'}
    for key, value in theirs.items():
        assert value > 0.001
        torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-6)
    sum(ours.values()).backward()
    sum(theirs.values()).backward()
    for name, key in (('backbone.conv1', 'backbone.conv1'), ('rpn.head.bbox_pred', 'rpn.head.bbox_pred')):
        mine, its = model.get_submodule(name).weight.grad, twin.get_submodule(key).weight.grad
        assert mine.abs().max() > 0
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        model.backbone.layer4[0].conv1.weight.grad, twin.backbone.layer4[0].conv1.weight.grad, rtol=1e-4, atol=1e-6
    )


def test_proposal_losses_are_l1_over_256_images_by_hand():
    """Four anchors of one image: an object, background, one between, and background; all are sampled."""
    network = ProposalNetwork(8, ExactAnchors((16,), (1.0,), 16), (10, 10), (5, 5))
    logits = torch.tensor([[1.0], [-2.0], [3.0], [0.5]])
    offsets = torch.tensor([[0.3, -0.2, 0.1, 0.0], [9.0] * 4, [9.0] * 4, [9.0] * 4])
    targets = torch.tensor([[0.1, 0.2, 0.1, -1.0], [-math.inf] * 4, [0.0] * 4, [0.0] * 4])
    objectness, box = network.compute_loss(logits, offsets, [torch.tensor([1.0, 0.0, -1.0, 0.0])], [targets])
    # log(1 + e^-1) + log(1 + e^-2) + log(1 + e^0.5), and 0.2 + 0.4 + 0 + 1.
    assert objectness.item() == pytest.approx((0.313262 + 0.126928 + 0.974077) / 256, rel=1e-5)
    assert box.item() == pytest.approx(1.6 / 256, rel=1e-6)
    two, box = network.compute_loss(
        logits.repeat(2, 1), offsets.repeat(2, 1), [torch.tensor([1.0, 0.0, -1.0, 0.0])] * 2, [targets] * 2
    )
    assert (two.item(), box.item()) == (pytest.approx(objectness.item()), pytest.approx(1.6 / 256))


def test_region_losses_are_l1_over_the_sampled_by_hand(monkeypatch):
    """Three regions: class 2, the background, class 1, each by the offsets of its own class."""
    heads = Res5Heads(4, 2, 16, rois=3)
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    offsets = torch.arange(36.0).view(3, 12)
    labels, wanted = torch.tensor([2, 0, 1]), torch.zeros(3, 4)
    wanted[0] = torch.tensor([8.0, 9.5, 10.0, 13.0])  # of its offsets 8, 9, 10, 11
    wanted[1] = -math.inf
    wanted[2] = torch.tensor([28.0, 28.0, 30.0, 31.25])  # of its offsets 28, 29, 30, 31
    monkeypatch.setattr(heads, 'select_training_samples', lambda p, t: (p, None, [labels], [wanted]))
    monkeypatch.setattr(heads, 'classified', lambda *_: (logits, offsets))
    found = heads.losses(nn.Identity(), torch.zeros(1, 4, 2, 2), [], [])
    classes = -(2 - math.log(1 + math.e + math.e**2)), -(3 - math.log(math.e**3 + 2)), math.log(3)
    assert found['loss_classifier'].item() == pytest.approx(sum(classes) / 3, rel=1e-5)
    assert found['loss_box_reg'].item() == pytest.approx((0.5 + 2 + 1 + 0.25) / 3, rel=1e-6)


def test_anchors_are_exact_and_a_stride_apart():
    """No rounding, and the stride is that of the backbone where 75 pixels have 5 positions."""
    anchors = ExactAnchors((32, 64), (0.5, 1.0, 2.0), 16)
    first, second = anchors(ImageList(torch.empty(2, 3, 75, 40), [(75, 40)] * 2), [torch.empty(2, 8, 5, 3)])
    assert torch.equal(first, second)
    assert first.shape == (5 * 3 * 6, 4)
    grid = first.view(5, 3, 6, 4)
    root = math.sqrt(2)
    wide, square, tall = grid[0, 0, 0].tolist(), grid[0, 0, 3].tolist(), grid[0, 0, 5].tolist()
    assert wide == pytest.approx([-16 * root, -8 * root, 16 * root, 8 * root])
    assert square == [-32, -32, 32, 32]
    assert tall == pytest.approx([-32 / root, -32 * root, 32 / root, 32 * root])
    assert torch.allclose(grid[4, 2] - grid[0, 0], torch.tensor([32.0, 64, 32, 64]))
    areas = (grid[..., 2] - grid[..., 0]) * (grid[..., 3] - grid[..., 1])
    assert areas[0, 0].tolist() == pytest.approx([1024, 4096] * 3)


def test_objects_are_matched_as_torchvision_matches():
    torch.manual_seed(0)
    corner = torch.rand(400, 2) * 80
    boxes = torch.cat([corner, corner + 5 + torch.rand(400, 2) * 40], 1)
    quality = box_iou(boxes[:6], boxes[4:])
    for high, low, force in ((0.7, 0.3, True), (0.5, 0.5, False)):
        ours, theirs = BoxMatcher(high, low, force)(quality), Matcher(high, low, force)(quality.clone())
        assert torch.equal(ours, theirs)
        assert {-1, 4}.issubset(ours.tolist())


def test_samples_are_balanced_and_uniform():
    """At most half with an object; where there are fewer, more background; and none that is neither."""
    sampler = BalancedSampler(8, 0.5)
    labels = [
        torch.tensor([1.0] * 10 + [0.0] * 20 + [-1.0] * 30),
        torch.tensor([0.0] * 20 + [2.0]),
        torch.tensor([1.0, 0.0, -1.0]),
        torch.tensor([3.0] * 6),
        torch.tensor([0.0] * 5),
    ]
    counts = [(4, 4), (1, 7), (1, 1), (4, 0), (0, 5)]
    drawn = torch.zeros(60)
    torch.manual_seed(0)
    for _ in range(1000):
        positive, negative = sampler(labels)
        assert [(int(p.sum()), int(n.sum())) for p, n in zip(positive, negative)] == counts
        for y, p, n in zip(labels, positive, negative):
            assert (y[p] >= 1).all()
            assert (y[n] == 0).all()
        drawn += positive[0].float() + negative[0].float()
    # 4 of 10 and 4 of 20; three deviations of a binomial of 1000 are 46 and 38.
    assert (drawn[:10] - 400).abs().max() < 70
    assert (drawn[10:30] - 200).abs().max() < 60


def test_nms_of_many_groups_equals_one_after_the_other():
    torch.manual_seed(0)
    boxes = torch.rand(300, 2).mul(60).repeat(1, 2) + torch.tensor([0.0, 0, 20, 20])
    scores, groups = torch.rand(300), torch.randint(3, (300,))
    kept = suppressed(boxes, scores, groups, 0.5, 300)
    each = [torch.where(groups == g)[0] for g in range(3)]
    alone = torch.cat([places[nms(boxes[places], scores[places], 0.5)] for places in each])
    assert torch.equal(kept, alone[scores[alone].argsort(descending=True)])
    assert torch.equal(suppressed(boxes, scores, groups, 0.5, 7), kept[:7])


@pytest.mark.parametrize(
    ('backbone', 'channels', 'stride', 'width'),
    [
        (dict(type='TorchvisionBackbone', name='resnet18'), 256, 16, 512),
        (dict(type='TorchvisionBackbone', name='resnet50'), 1024, 16, 2048),
        (NARROW, 8, 16, 16),
        (dict(type='CIFARResNet', depth=18), 256, 4, 512),
    ],
)
def test_the_stages_of_a_backbone_are_all_of_it(backbone, channels, stride, width):
    """Under the same names; cut and joined they give the features of the whole."""
    torch.manual_seed(0)
    whole = MODELS.build(backbone).eval()
    stages = Stages(whole)
    assert (stages.channels, stages.stride, stages.num_features) == (channels, stride, width)
    assert list(stages.state_dict()) == list(whole.state_dict())
    x = torch.randn(1, 3, 65, 80)
    with torch.no_grad():
        features = stages(x)
        assert features.shape[1:] == (channels, -(-65 // stride), 80 // stride)
        torch.testing.assert_close(stages.last_stage()(features).mean((2, 3)), whole(x))


@pytest.mark.parametrize(
    ('backbone', 'line'),
    [
        (dict(type='TorchvisionBackbone', name='vgg11'), 'VGG has no stages layer1, layer2, layer3, layer4'),
        (dict(type='ThinResNet', depth=8), 'ThinResNet has no stages'),
    ],
)
def test_a_backbone_without_stages_is_refused(backbone, line):
    with pytest.raises(InputError, match=f'backbone: {line}'):
        FasterRCNN(backbone, 3)


@pytest.mark.parametrize(
    ('given', 'line'),
    [
        (dict(num_classes=None), 'num_classes is not given'),
        (dict(num_classes=0), 'num_classes must be >= 1'),
        (dict(rois=0), 'rois must be'),
        (dict(beta=-1.0), 'beta must be'),
        (dict(anchor_sizes=()), 'anchor_sizes must be a list of numbers'),
        (dict(anchor_sizes=(32, -1)), 'anchor_sizes must be'),
        (dict(pre_nms=(100,)), 'pre_nms must be two numbers'),
        (dict(post_nms=(100, 0)), 'post_nms must be'),
    ],
)
def test_numbers_out_of_range_are_refused(given, line):
    with pytest.raises(InputError, match=f'FasterRCNN: {line}'):
        FasterRCNN(**{**SMALL, **given})


def test_the_protocols_settings():
    """The defaults, as MoCo's and detectron2's configurations have them."""
    with torch.device('meta'):
        model = FasterRCNN(dict(type='TorchvisionBackbone', name='resnet50'), 20)
    rpn, heads = model.rpn, model.roi_heads
    assert rpn.head.cls_logits.out_channels == 15
    assert (rpn._pre_nms_top_n, rpn._post_nms_top_n) == (
        {'training': 12000, 'testing': 6000},
        {'training': 2000, 'testing': 1000},
    )
    assert (rpn.nms_thresh, rpn.proposal_matcher.high_threshold, rpn.proposal_matcher.low_threshold) == (0.7, 0.7, 0.3)
    assert (rpn.fg_bg_sampler.count, rpn.fg_bg_sampler.positives) == (256, 128)
    assert (heads.fg_bg_sampler.count, heads.fg_bg_sampler.positives) == (512, 128)
    assert heads.box_coder.weights == (10, 10, 5, 5)
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.05, 0.5, 100)
    assert (rpn.beta, heads.beta, heads.stride) == (0, 0, 16)
    assert all(parameter.requires_grad for parameter in model.parameters())
    small = FasterRCNN(**SMALL)
    predictor = small.roi_heads.box_predictor
    assert predictor.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.4)
    assert predictor.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.3)
    assert not predictor.cls_score.bias.any()
    assert not predictor.bbox_pred.bias.any()


class Noting(nn.Module):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, x):
        self.seen.append(x.detach())
        return x, x


def test_a_region_is_normalised_after_the_stage_and_averaged():
    """Aligned pooling with stride 16: the value at the middle of a linear ramp is the middle's."""
    heads = Res5Heads(2, 1, 16).eval()
    ramp = torch.arange(10.0).view(1, 1, 1, 10).expand(1, 2, 10, 10)
    box = torch.tensor([[32.0, 48.0, 96.0, 112.0]])  # columns 2 to 6 in features, whose centres are at + 0.5
    seen = []
    heads.box_predictor = Noting(seen)
    heads.norm.running_mean.fill_(1)
    heads.norm.weight.data.fill_(3)
    heads.classified(nn.Identity(), ramp.contiguous(), [box])
    expected = 3 * (3.5 - 1) / math.sqrt(1 + heads.norm.eps)
    assert seen[0].shape == (1, 2)
    assert seen[0].flatten().tolist() == pytest.approx([expected] * 2, rel=1e-5)


def test_boxes_come_back_in_the_pixels_of_the_original():
    model, given = detector().eval(), batch()
    with torch.no_grad():
        here = model.predict(given)
        there = model.predict({**given, 'original_sizes': torch.tensor([[48, 256], [160, 112]])})
    for i, factors in enumerate(([2.0, 0.5, 2.0, 0.5], [1.0, 2.0, 1.0, 2.0])):
        torch.testing.assert_close(there['boxes'][i], here['boxes'][i] * torch.tensor(factors))
        assert torch.equal(there['scores'][i], here['scores'][i])
    assert there['boxes'][0][:, 3].max() <= 48


def test_an_image_without_objects_trains_the_background():
    model, given = detector().train(), batch()
    given['boxes'][1], given['box_labels'][1] = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    losses = model.loss(given)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    given['boxes'], given['box_labels'] = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    losses = model.loss(given)
    assert losses['loss_rpn_box_reg'] == losses['loss_box_reg'] == 0
    sum(losses.values()).backward()


def test_mixed_precision_decodes_boxes_in_float32():
    model, given = detector().train(), batch()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(given)
        found = model.eval().predict(given)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert {one.dtype for one in [*found['boxes'], *found['scores']]} == {torch.float32}


def test_images_are_normalised_then_padded():
    preprocess = DetectionPreprocessor((0.5, 0.25, 0.0), (0.5, 1.0, 2.0))
    images = [torch.full((3, 4, 6), 255, dtype=torch.uint8), torch.zeros(3, 5, 3, dtype=torch.uint8)]
    out = preprocess({'inputs': images, 'boxes': [1, 2]})
    assert out['sizes'] == [(4, 6), (5, 3)]
    assert out['boxes'] == [1, 2]
    assert out['inputs'].shape == (2, 3, 5, 6)
    assert torch.equal(out['inputs'][0, :, :4], torch.tensor([1.0, 0.75, 0.5])[:, None, None].expand(3, 4, 6))
    assert torch.equal(out['inputs'][1, :, :, :3], torch.tensor([-1.0, -0.25, 0.0])[:, None, None].expand(3, 5, 3))
    assert not out['inputs'][0, :, 4:].any()
    assert not out['inputs'][1, :, :, 3:].any()
    for wrong in (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [torch.zeros(3, 4, 4)], [], None):
        with pytest.raises(InputError, match='DetectionPreprocessor: a batch must be a dict of inputs, a list'):
            preprocess({'inputs': wrong})
    with pytest.raises(InputError, match='DetectionPreprocessor: needs one mean'):
        DetectionPreprocessor((0.5,), (0.5, 0.5))


def test_the_data_say_how_many_classes_there_are():
    facts = Facts('Pets', ('cat', 'dog'), (0.1,) * 3, (0.2,) * 3, (4, 4))
    model = dict(type='FasterRCNN', data_preprocessor=dict(type='DetectionPreprocessor'))
    FasterRCNN.complete(model, facts)
    assert model['num_classes'] == 2
    assert model['data_preprocessor']['mean'] == (0.1,) * 3
    FasterRCNN.check_facts(model, facts)
    with pytest.raises(InputError, match='model: num_classes is 1, but the data of Pets have 2 classes'):
        FasterRCNN.check_facts({'num_classes': 1}, facts)
    with pytest.raises(InputError, match='model: num_classes is 3, but the data of Pets have 2 classes'):
        FasterRCNN.check_facts({'num_classes': 3}, facts)


def test_a_batch_without_boxes_is_refused():
    given = batch()
    with pytest.raises(InputError, match='FasterRCNN learns from boxes'):
        detector().loss({key: given[key] for key in ('inputs', 'sizes', 'ids')})


def test_the_weights_of_a_classifier_fit():
    """Those of the last stage too, which region heads run."""
    whole, model = MODELS.build(NARROW), detector()
    model.backbone.load_state_dict(whole.state_dict())
    assert torch.equal(model.backbone.last_stage()[0].conv1.weight, whole.layer4[0].conv1.weight)
    twin = copy.deepcopy(model)
    assert twin.backbone.last_stage() is not model.backbone.last_stage()
    assert OrderedDict(twin.named_parameters()).keys() == OrderedDict(model.named_parameters()).keys()
    assert F.mse_loss(twin.backbone(torch.ones(1, 3, 32, 32)), model.backbone(torch.ones(1, 3, 32, 32))) == 0
