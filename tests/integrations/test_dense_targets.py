"""Masks and boxes that `MixTransform` mixes, against loops over pixels and boxes."""

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from openmix.errors import InputError
from openmix.integrations.transform import MixTransform
from openmix.mix import Mix
from openmix.mixups.base import PairPolicy

N, HEIGHT, WIDTH, CLASSES = 6, 15, 21, 5
CUTTING = [{'type': 'CutMix'}, {'type': 'FMix'}, {'type': 'GridMix', 'grid': 4}]
FADING = [{'type': 'Mixup', 'alpha': 1.0}, {'type': 'SmoothMix'}]


def batch():
    """Images, masks of labels, and boxes with fractions of pixels; the second image has none."""
    torch.manual_seed(3)
    images, masks = torch.rand(N, 3, HEIGHT, WIDTH), torch.randint(CLASSES, (N, HEIGHT, WIDTH))
    targets = []
    for n in range(N):
        count = [3, 0, 1, 4, 2, 5][n]
        low = torch.rand(count, 2) * torch.tensor([WIDTH - 6.0, HEIGHT - 6.0])
        size = 1 + 4.5 * torch.rand(count, 2)
        targets.append({'boxes': torch.cat([low, low + size], 1), 'labels': torch.randint(9, (count,)) + 10 * n})
    return images, masks, targets


def run(policy, seed=0, **options):
    images, masks, targets = batch()
    given = [images, *([masks] if options.get('masks') else []), *([targets] if options.get('boxes') else [])]
    torch.manual_seed(seed)
    return MixTransform(policy, target='mix', **options)(*given)


def own_share(mix, n, i, j):
    return float(mix.lam[n]) if mix.mask is None else float(mix.mask[n, 0, i, j])


def left_of(box, share):
    """Clip a box to its visible pixels, and sum their areas inside the box, pixel by pixel."""
    x1, y1, x2, y2 = box
    seen, area = [], 0.0
    for i in range(HEIGHT):
        for j in range(WIDTH):
            inside = max(0, min(x2, j + 1) - max(x1, j)) * max(0, min(y2, i + 1) - max(y1, i))
            if inside > 0 and share(i, j) > 0:
                seen.append((i, j))
                area += inside * share(i, j)
    if not seen:
        return None
    rows, columns = [i for i, _ in seen], [j for _, j in seen]
    clipped = [max(x1, min(columns)), max(y1, min(rows)), min(x2, max(columns) + 1), min(y2, max(rows) + 1)]
    return clipped, area / ((x2 - x1) * (y2 - y1))


def wanted_boxes(targets, mix, n, placed=lambda box: box):
    """List (clipped box, label, share) of a mixed image of two different ones."""
    found = []
    for source, share_of, place in (
        (n, lambda i, j: own_share(mix, n, i, j), lambda box: box),
        (int(mix.partner[n]), lambda i, j: 1 - own_share(mix, n, i, j), placed),
    ):
        for box, label in zip(targets[source]['boxes'].tolist(), targets[source]['labels'].tolist()):
            left = left_of(place(box), share_of)
            if left is not None:
                found.append((left[0], label, left[1]))
    return found


def check_boxes(found, wanted):
    assert found['labels'].tolist() == [label for _, label, _ in wanted]
    torch.testing.assert_close(found['boxes'], torch.tensor([box for box, *_ in wanted]).view(-1, 4), rtol=0, atol=1e-4)
    torch.testing.assert_close(found['shares'], torch.tensor([share for *_, share in wanted]), rtol=0, atol=1e-4)


@pytest.mark.parametrize('policy', CUTTING, ids=lambda one: one['type'])
def test_a_pixel_takes_the_label_of_its_image(policy):
    images, masks, _ = batch()
    mixed, found, mix = run(policy, masks=True)
    for n in range(N):
        for i in range(HEIGHT):
            for j in range(WIDTH):
                source = n if own_share(mix, n, i, j) == 1 else int(mix.partner[n])
                assert found[n, i, j] == masks[source, i, j]
                torch.testing.assert_close(mixed[n, :, i, j], images[source, :, i, j], rtol=0, atol=1e-6)
    assert (found != masks).any()


@pytest.mark.parametrize('policy', [*CUTTING, *FADING], ids=lambda one: one['type'])
def test_boxes_are_those_of_both_images_clipped_to_what_is_left(policy):
    *_, targets = batch()
    policy = {**policy, 'self_pairs': False}
    dropped = 0
    for seed in range(3):
        _, found, mix = run(policy, seed, boxes=True)
        for n in range(N):
            wanted = wanted_boxes(targets, mix, n)
            check_boxes(found[n], wanted)
            dropped += len(targets[n]['boxes']) + len(targets[int(mix.partner[n])]['boxes']) - len(wanted)
        if policy['type'] == 'Mixup':
            for n in range(N):
                own = len(targets[n]['boxes'])
                torch.testing.assert_close(found[n]['shares'][:own], mix.lam[n].expand(own))
                torch.testing.assert_close(found[n]['boxes'][:own], targets[n]['boxes'])
    assert dropped or policy['type'] in ('Mixup', 'SmoothMix')


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_a_resized_image_brings_its_masks_and_boxes_along(interpolation):
    images, masks, targets = batch()
    policy = {'type': 'ResizeMix', 'interpolation': interpolation, 'self_pairs': False, 'scope': (0.3, 0.8)}
    mixed, labels, found, mix = run(policy, masks=True, boxes=True)
    pasted = 0
    for n in range(N):
        other = int(mix.partner[n])
        inside = [(i, j) for i in range(HEIGHT) for j in range(WIDTH) if own_share(mix, n, i, j) == 0]
        if not inside:
            continue
        pasted += 1
        top, left = inside[0]
        height, width = inside[-1][0] + 1 - top, inside[-1][1] + 1 - left
        for i in range(HEIGHT):
            for j in range(WIDTH):
                if (i, j) not in inside:
                    assert labels[n, i, j] == masks[n, i, j]
                elif interpolation == 'nearest':
                    y, x = (i - top) * HEIGHT // height, (j - left) * WIDTH // width
                    assert labels[n, i, j] == masks[other, y, x]
                    assert torch.equal(mixed[n, :, i, j], images[other, :, y, x])
                else:
                    y, x = (i - top + 0.5) * HEIGHT / height - 0.5, (j - left + 0.5) * WIDTH / width - 0.5
                    near = [
                        masks[other, r, c]
                        for r in (int(y), int(y) + 1)
                        for c in (int(x), int(x) + 1)
                        if r < HEIGHT and c < WIDTH and abs(r - y) <= 0.51 and abs(c - x) <= 0.51
                    ]
                    assert labels[n, i, j] in near

        def placed(box, top=top, left=left, height=height, width=width):
            x1, y1, x2, y2 = box
            return [
                left + x1 * width / WIDTH,
                top + y1 * height / HEIGHT,
                left + x2 * width / WIDTH,
                top + y2 * height / HEIGHT,
            ]

        check_boxes(found[n], wanted_boxes(targets, mix, n, placed))
    assert pasted >= 4


@pytest.mark.parametrize('policy', [*CUTTING, *FADING], ids=lambda one: one['type'])
def test_soft_masks_are_the_shares_of_the_classes(policy):
    _, masks, _ = batch()
    _, found, mix = run(policy, masks='soft', num_classes=CLASSES)
    wanted = torch.zeros(N, CLASSES, HEIGHT, WIDTH)
    for n in range(N):
        for i in range(HEIGHT):
            for j in range(WIDTH):
                wanted[n, masks[n, i, j], i, j] += own_share(mix, n, i, j)
                wanted[n, masks[mix.partner[n], i, j], i, j] += 1 - own_share(mix, n, i, j)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize('policy', [{'type': 'CutMix'}, {'type': 'Mixup'}, {'type': 'OneOf', 'policies': CUTTING}])
def test_images_labels_and_later_draws_are_those_without_masks(policy):
    images, masks, targets = batch()
    torch.manual_seed(5)
    plain, soft = MixTransform(policy, num_classes=N)(images, torch.arange(N))
    after = torch.rand(1)
    torch.manual_seed(5)
    mixed, found, *_ = MixTransform(policy, num_classes=N, masks='soft', boxes=True)(
        (images, torch.arange(N), masks, targets)
    )
    assert torch.equal(mixed, plain)
    assert torch.equal(found, soft)
    assert torch.equal(torch.rand(1), after)


def test_an_image_that_is_its_own_partner_has_each_box_once():
    images, _, targets = batch()
    for policy in ({'type': 'Mixup'}, {'type': 'CutMix'}):
        _, found = MixTransform(policy, boxes=True)(images[:1], targets[:1])
        torch.testing.assert_close(found[0]['boxes'], targets[0]['boxes'])
        torch.testing.assert_close(found[0]['shares'], torch.ones(3))


class Scenes:
    """Samples of a detector: `tv_tensors` of boxes in a format."""

    def __init__(self, form):
        self.form = form

    def __len__(self):
        return N

    def __getitem__(self, n):
        images, masks, targets = batch()
        x1, y1, x2, y2 = targets[n]['boxes'].unbind(1)
        made = torch.stack(
            [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
            if self.form == 'CXCYWH'
            else [x1, y1, x2, y2]
            if self.form == 'XYXY'
            else [x1, y1, x2 - x1, y2 - y1],
            1,
        )
        boxes = tv_tensors.BoundingBoxes(made, format=self.form, canvas_size=(HEIGHT, WIDTH))
        return images[n], masks[n], {'boxes': boxes, 'labels': targets[n]['labels'], 'image_id': n}


@pytest.mark.parametrize('form', ['XYXY', 'XYWH', 'CXCYWH'])
def test_a_loader_collates_and_mixes_boxes_in_their_format(form):
    transform = MixTransform({'type': 'CutMix', 'self_pairs': False}, masks=True, boxes=True, target='mix')
    torch.manual_seed(0)
    ((images, masks, targets, mix),) = DataLoader(Scenes(form), N, collate_fn=transform)
    assert images.shape == (N, 3, HEIGHT, WIDTH)
    assert masks.dtype == torch.int64
    *_, given = batch()
    for n, target in enumerate(targets):
        assert isinstance(target['boxes'], tv_tensors.BoundingBoxes)
        assert (target['boxes'].format.name, target['image_id']) == (form, n)
        a, b, c, d = target['boxes'].as_subclass(torch.Tensor).unbind(1)
        corners = {
            'XYXY': [a, b, c, d],
            'XYWH': [a, b, a + c, b + d],
            'CXCYWH': [a - c / 2, b - d / 2, a + c / 2, b + d / 2],
        }[form]
        found = {**target, 'boxes': torch.stack(corners, 1)}
        check_boxes(found, wanted_boxes(given, mix, n))


def test_samples_that_are_dicts_and_masks_of_torchvision_keep_their_kind():
    images, masks, targets = batch()
    samples = [{'image': images[n], 'mask': masks[n], 'target': targets[n]} for n in range(N)]
    found = MixTransform({'type': 'CutMix'}, masks=True, boxes=True)(samples)
    assert found.keys() == {'image', 'mask', 'target'}
    assert len(found['target']) == N
    _, kept = MixTransform({'type': 'CutMix'}, masks=True)(images, tv_tensors.Mask(masks[:, None].to(torch.uint8)))
    assert type(kept) is tv_tensors.Mask
    assert (kept.shape, kept.dtype) == ((N, 1, HEIGHT, WIDTH), torch.uint8)


def test_masks_and_boxes_that_nobody_asked_for_are_refused():
    images, masks, targets = batch()
    y, mix = torch.arange(N), {'type': 'CutMix'}
    plain, labelled = MixTransform(mix, labels_getter=None), MixTransform(mix, num_classes=N)
    for given in (
        (plain, images, targets),
        (plain, [{'image': images[n], 'target': targets[n]} for n in range(N)]),
        (plain, images, [tv_tensors.BoundingBoxes(BOX, format='XYXY', canvas_size=(HEIGHT, WIDTH))] * N),
        (plain, {'image': images, 'boxes': [one['boxes'] for one in targets]}),
        (labelled, {'image': images, 'label': y, 'targets': targets}),
        (MixTransform(mix, masks=True), images, masks, targets),
    ):
        with pytest.raises(InputError, match=r'the boxes in entry .* give boxes=True'):
            given[0](*given[1:])
    for given in ((labelled, images, y, masks), (plain, {'image': images, 'mask': masks > 2})):
        with pytest.raises(InputError, match=r'the Mask in entry .* give masks=True'):
            given[0](*given[1:])
    # No mask: it is floating, as a map of depths, or has another size.
    *_, depth = labelled(images, y, masks.float())
    assert torch.equal(depth, masks.float())
    *_, words = labelled(images, y, masks[:, :2])
    assert torch.equal(words, masks[:, :2])


def test_what_reaches_past_the_image_is_not_visible():
    image, label = torch.rand(1, 3, HEIGHT, WIDTH), torch.ones(2)
    boxes = torch.tensor([[-4.0, 2.0, 4.0, 6.0], [WIDTH - 3.0, 0.0, WIDTH + 1.0, 5.0]])
    _, (found,) = MixTransform({'type': 'CutMix'}, boxes=True)(image, [{'boxes': boxes, 'labels': label}])
    torch.testing.assert_close(found['shares'], torch.tensor([0.5, 0.75]))
    torch.testing.assert_close(found['boxes'], torch.tensor([[0.0, 2, 4, 6], [WIDTH - 3, 0, WIDTH, 5]]))


class Shift(PairPolicy):
    """Cut the upper half of the partner, and paste it into the lower half."""

    def forward(self, z, context=None, pairs=None):
        partner = self.draw_pairs(z, pairs)
        mask = torch.ones(len(z), 1, *z.shape[2:])
        mask[:, :, z.shape[2] // 2 :] = 0
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z, z[partner].roll(z.shape[2] // 2, 2)), mix


class Bright(PairPolicy):
    """Show the partner where it is brighter, in whatever it is given."""

    def forward(self, z, context=None, pairs=None):
        partner = self.draw_pairs(z, pairs)
        mask = (z.mean(1, keepdim=True) >= z[partner].mean(1, keepdim=True)).float()
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix


def test_masks_follow_any_move_and_boxes_only_a_resized_image():
    images, masks, targets = batch()
    mixed, found, mix = MixTransform(Shift(), masks=True, target='mix')(images, masks)
    half = HEIGHT // 2
    for n in range(N):
        assert torch.equal(found[n, half:], masks[mix.partner[n], : HEIGHT - half])
        torch.testing.assert_close(mixed[n, :, half:], images[mix.partner[n], :, : HEIGHT - half])
    with pytest.raises(InputError, match='Shift moves pixels, but does not resize a whole image'):
        MixTransform(Shift(), boxes=True)(images, targets)


class Earlier(PairPolicy):
    """Say that half of each image is of an earlier batch."""

    def forward(self, z, context=None, pairs=None):
        own, half = torch.arange(len(z))[:, None], torch.full((len(z), 1), 0.5)
        return z, Mix(own, half, earlier=half.expand(-1, 4) / 4)


IMAGES, MASKS, TARGETS = batch()
BOX = torch.tensor([[1.0, 1.0, 4.0, 4.0]])


@pytest.mark.parametrize(
    ('policy', 'options', 'given', 'line'),
    [
        ('Mixup', {'masks': True}, (IMAGES, MASKS), "interpolates pixels, .* masks='soft'"),
        ('SmoothMix', {'masks': True}, (IMAGES, MASKS), 'SmoothMix interpolates pixels'),
        ('Mixup', {'masks': 'soft'}, None, "masks='soft' needs num_classes"),
        ('Mixup', {'masks': 'soft', 'num_classes': 3}, (IMAGES, MASKS), r'must be in \[0, 2\], got 0 to 4'),
        ('CutMix', {'masks': 'hard'}, None, "masks is True, False or 'soft'"),
        ('CutMix', {'boxes': 'all'}, None, 'boxes is True or False'),
        ('CutMix', {'masks': True}, (IMAGES, MASKS.float()), r'masks are one integer tensor \(N, H, W\)'),
        ('CutMix', {'masks': True}, (IMAGES, MASKS[:, :-1]), r'masks of images \(6, 3, 15, 21\) are'),
        ('CutMix', {'boxes': True}, (IMAGES, MASKS), 'boxes=True needs one list'),
        ('CutMix', {'boxes': True}, (IMAGES, TARGETS[:3]), '3 dicts of boxes do not belong to 6 images'),
        ('CutMix', {'boxes': True}, (IMAGES[:1], [{'boxes': BOX, 'labels': torch.arange(2)}]), '1 boxes need as many'),
        ('CutMix', {'boxes': True}, (IMAGES[:1], [{'boxes': BOX[0], 'labels': MASKS[0]}]), r'must be \(B, 4\)'),
        (
            'CutMix',
            {'boxes': True},
            (IMAGES[:1], [{'boxes': BOX, 'labels': torch.ones(1), 'area': torch.ones(1)}]),
            'a target with area is not mixed',
        ),
        (
            'CutMix',
            {'boxes': True},
            (IMAGES[:1], [{'boxes': BOX.flip(1), 'labels': torch.ones(1)}]),
            'ends before it begins',
        ),
        (
            'CutMix',
            {'boxes': True},
            (IMAGES[:1], [{'boxes': BOX[:, [0, 1, 0, 3]], 'labels': torch.ones(1)}]),
            'a box has no area',
        ),
        (
            'CutMix',
            {'boxes': True},
            (IMAGES[:1], [{'boxes': BOX * torch.tensor([1, 1, float('inf'), 1]), 'labels': torch.ones(1)}]),
            'is not finite',
        ),
        (
            'CutMix',
            {'boxes': True},
            (
                IMAGES[:1],
                [{'boxes': tv_tensors.BoundingBoxes(BOX, format='XYXY', canvas_size=(9, 9)), 'labels': torch.ones(1)}],
            ),
            r'of a canvas of \(9, 9\), the images of \(15, 21\)',
        ),
        ('CutMix', {}, (IMAGES, torch.arange(6), tv_tensors.Mask(MASKS)), 'give masks=True'),
        (Earlier(), {'masks': True}, (IMAGES, MASKS), 'Earlier mixes images of earlier batches'),
        (Bright(), {'masks': True}, (IMAGES, MASKS), 'Bright mixes by what it finds'),
        ('PuzzleMix', {'masks': True}, (torch.rand(2, 3, 16, 16), MASKS[:2, :, :16]), 'saliency needs the network'),
    ],
)
def test_what_cannot_follow_the_images_is_one_line(policy, options, given, line):
    policy = {'type': policy} if isinstance(policy, str) else policy
    with pytest.raises(InputError, match=line):
        MixTransform(policy, **options)(*given or ())
