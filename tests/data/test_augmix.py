"""Test AugMix: torchvision's operations, the three views of an image, and the consistency loss."""

import itertools
import math

import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from torchvision.transforms import v2

from openmix.data.image_folder import ImageFolder
from openmix.data.views import StackViews
from openmix.errors import InputError
from openmix.losses import jensen_shannon, mix_ce
from openmix.losses.jensen_shannon import jensen_shannon_divergence
from openmix.mix import Mix
from openmix.mixups import Views
from openmix.models.classifier import MixClassifier
from openmix.models.preprocessor import ImagePreprocessor

AUGMIX = dict(type='torchvision/AugMix', all_ops=False)
PIPELINE = [
    dict(type='torchvision/RandomResizedCrop', size=16),
    dict(type='StackViews', transforms=[AUGMIX]),
]
# Operations of the robustness benchmarks' corruptions, left out of the training.
CORRUPTIONS = {'Brightness', 'Color', 'Contrast', 'Sharpness'}
LARGEST = {'ShearX': 0.3, 'ShearY': 0.3, 'TranslateX': 8, 'TranslateY': 8, 'Rotate': 30, 'Solarize': 1, 'Posterize': 4}


def test_torchvisions_augmix_is_the_papers(monkeypatch):
    """1 - m of the image and m of three chains, one to three of nine operations deep."""
    transform = v2.AugMix(all_ops=False)
    draws, applied = [], []
    draw, apply = transform._sample_dirichlet, transform._apply_image_or_video_transform

    def drawn(params):
        draws.append((params, draw(params)))
        return draws[-1][1]

    def operated(image, name, magnitude, **options):
        result = apply(image, name, magnitude, **options)
        applied.append((image, name, magnitude, result))
        return result

    monkeypatch.setattr(transform, '_sample_dirichlet', drawn)
    monkeypatch.setattr(transform, '_apply_image_or_video_transform', operated)
    torch.manual_seed(0)
    depths, names = set(), set()
    for _ in range(80):
        draws.clear()
        applied.clear()
        image = torch.randint(256, (3, 24, 24), dtype=torch.uint8)
        out = transform(image)
        (beta, (m,)), (dirichlet, (w,)) = draws
        assert beta.tolist() == [[1.0, 1.0]]
        assert dirichlet.tolist() == [[1.0, 1.0, 1.0]]
        starts = [i for i, (before, *_) in enumerate(applied) if torch.equal(before[0], image)] + [len(applied)]
        starts = sorted(set(starts))
        for before, name, magnitude, _ in applied:
            assert before.dtype == torch.uint8
            names.add(name)
            if name not in ('AutoContrast', 'Equalize'):
                # Three of ten steps of the range, from none on: severity 3.
                given = LARGEST[name] - magnitude if name in ('Solarize', 'Posterize') else abs(magnitude)
                assert given <= LARGEST[name] * 2 / 9 + (0.5 if name == 'Posterize' else 1e-6)
        if len(starts) != 4:
            continue  # an operation that left the image as it was hides where a chain begins
        ends = [applied[i - 1][3][0].double() for i in starts[1:]]
        depths |= {b - a for a, b in itertools.pairwise(starts)}
        wanted = m[0] * image.double() + m[1] * sum(w[i] * ends[i] for i in range(3))
        assert (out.double() - wanted).abs().max() <= 1 + 1e-3  # cut to whole numbers
    assert depths == {1, 2, 3}
    assert names == set(v2.AugMix._AUGMENTATION_SPACE) - CORRUPTIONS
    assert len(names) == 9


def test_views_are_the_image_and_draws_of_the_transforms():
    image = Image.effect_noise((20, 12), 60).convert('RGB')
    stack = StackViews([v2.AugMix(all_ops=False), v2.RandomVerticalFlip()], count=3)
    torch.manual_seed(0)
    views = stack(image)
    assert views.shape == (4, 3, 12, 20)
    assert views.dtype == torch.uint8
    assert torch.equal(views[0], v2.functional.pil_to_tensor(image))
    torch.manual_seed(0)
    for view in views[1:]:
        assert torch.equal(view, v2.functional.pil_to_tensor(v2.RandomVerticalFlip()(v2.AugMix(all_ops=False)(image))))
    assert len({tuple(view.flatten().tolist()) for view in views}) == 4


def test_a_folder_answers_views_that_repeat(folder_tree):
    data = ImageFolder(str(folder_tree), pipeline=PIPELINE)
    batch = data.__getitems__([0, 5, 7])
    assert batch['inputs'].shape == (3, 3, 3, 16, 16)
    assert batch['labels'].tolist() == [0, 0, 1]
    assert torch.equal(data.__getitems__([5])['inputs'][0], batch['inputs'][1])
    data.set_epoch(1)
    assert not torch.equal(data.__getitems__([0, 5, 7])['inputs'], batch['inputs'])


def slow_divergence(logits):
    """Average the Kullback-Leibler divergences of one sample's (V, C) logits from their mean prediction."""
    p = [[math.exp(v) for v in row] for row in logits.tolist()]
    p = [[v / sum(row) for v in row] for row in p]
    mean = [sum(column) / len(p) for column in zip(*p)]
    return sum(v * math.log(v / m) for row in p for v, m in zip(row, mean)) / len(p)


def slow_loss(logits, y, views, weight):
    total = 0.0
    for n, label in enumerate(y.tolist()):
        of = logits[n * views : (n + 1) * views]
        total += -of[0].log_softmax(0)[label].item() + weight * slow_divergence(of)
    return total / len(y)


def laid_out(n, views):
    return Views()(torch.rand(n, views, 3, 4, 4))[1]


@pytest.mark.parametrize(('n', 'views', 'weight'), [(5, 3, 12.0), (1, 3, 12.0), (4, 2, 0.5), (3, 4, 0.0)])
def test_loss_equals_a_loop(n, views, weight):
    logits, y = 3 * torch.randn(n * views, 7, dtype=torch.float64), torch.arange(n) % 7
    loss = jensen_shannon(logits, y, laid_out(n, views), weight=weight)
    assert loss.item() == pytest.approx(slow_loss(logits, y, views, weight), rel=1e-6)


def test_gradient_by_finite_differences():
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    mix, y = laid_out(2, 3), torch.tensor([1, 3])
    assert torch.autograd.gradcheck(lambda z: jensen_shannon(z, y, mix), logits)


def test_divergence_bounds():
    same = torch.randn(4, 1, 6).expand(-1, 3, -1)
    torch.testing.assert_close(jensen_shannon_divergence(same), torch.zeros(4), atol=1e-6, rtol=0)
    apart = (200 * torch.eye(3))[None].requires_grad_()
    divergence = jensen_shannon_divergence(apart)
    assert divergence.item() == pytest.approx(math.log(3))
    (gradient,) = torch.autograd.grad(divergence.sum(), apart)
    assert gradient.isfinite().all()


def test_one_view_is_the_cross_entropy_of_any_mix():
    logits, y = torch.randn(6, 5), torch.arange(6) % 5
    mix = Mix.pairs(torch.arange(6).roll(1), torch.rand(6))
    torch.testing.assert_close(jensen_shannon(logits, y, mix, smoothing=0.1), mix_ce(logits, y, mix, smoothing=0.1))


def test_half_precision_is_raised():
    logits, y, mix = torch.randn(6, 5), torch.tensor([1, 3]), laid_out(2, 3)
    loss = jensen_shannon(logits.bfloat16(), y, mix)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, jensen_shannon(logits.bfloat16().float(), y, mix))


def test_views_lie_side_by_side_with_their_sample_as_source():
    z = torch.rand(4, 3, 3, 5, 6)
    out, mix = Views()(z)
    assert torch.equal(out, z.reshape(12, 3, 5, 6))
    assert mix.source[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert (mix.weight == 1).all()
    assert torch.equal(Views()(z[:, 0])[0], z[:, 0])


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_classifier_trains_on_them(folder_tree, channels_last, dtype):
    init_default_scope('openmix')
    torch.manual_seed(0)
    model = MixClassifier(
        backbone=dict(type='ThinResNet', depth=8, width=4),
        head=dict(type='LinearHead', num_classes=3, loss=dict(type='jensen_shannon')),
        policy=dict(type='Views'),
        data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.25,) * 3, channels_last=channels_last),
    )
    batch = ImageFolder(str(folder_tree), pipeline=PIPELINE).__getitems__([0, 6, 12])
    data = model.data_preprocessor(batch, training=True)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        loss = model(**data, mode='loss')['loss']
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    if dtype == torch.float32:
        again = model.head(model.backbone(data['inputs'].reshape(9, 3, 16, 16)))
        assert loss.item() == pytest.approx(slow_loss(again.detach().double(), batch['labels'], 3, 12.0), rel=1e-4)


def test_views_in_the_channels_last_format():
    preprocessor = ImagePreprocessor((0.5,) * 3, (0.25,) * 3, channels_last=True)
    x = preprocessor(dict(inputs=torch.randint(256, (2, 3, 3, 8, 8), dtype=torch.uint8)), training=True)['inputs']
    assert x.shape == (2, 3, 3, 8, 8)
    assert Views()(x)[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ('call', 'line'),
    [
        (lambda: StackViews([], 2), 'at least one transform'),
        (lambda: StackViews([v2.AugMix()], 0), 'StackViews: count'),
        (lambda: StackViews([v2.CenterCrop(3)])(Image.new('RGB', (8, 8))), 'what changes the size'),
        (lambda: jensen_shannon(torch.rand(7, 3), torch.arange(3), laid_out(7, 1)), 'not those of the batch'),
        (
            lambda: jensen_shannon(torch.rand(7, 3), torch.arange(3), Mix(laid_out(7, 1).source % 3, torch.ones(7, 1))),
            '7 rows',
        ),
        (lambda: jensen_shannon(torch.rand(6, 3), torch.arange(3), laid_out(3, 2), weight=-1.0), 'weight'),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(InputError, match=line):
        call()
