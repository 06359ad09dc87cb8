"""Test attacks against slow loops over pixels in float64, and that measuring under them leaves no trace."""

import copy
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from openmix.errors import InputError
from openmix.evaluation.accuracy import Accuracy
from openmix.evaluation.attack_hook import FGSMHook, PGDHook
from openmix.evaluation.attacks import fgsm, pgd, pixel_size
from openmix.registry import HOOKS, MODELS

EPS = 8 / 255


def images(n=3, side=4):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, side, side, generator=g, dtype=torch.float64)
    x[:, :, 0], x[:, :, 1] = 0, 1  # at both ends of the range of pixels
    return x, torch.randint(4, (n,), generator=g)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)).double()


def raises_the_loss(logits_of, image, label):
    """The sign of d(cross-entropy)/d(pixel) of one image (3, H, W), by central differences."""
    sign = torch.zeros_like(image)
    for place in torch.cartesian_prod(*map(torch.arange, image.shape)).tolist():
        step = torch.zeros_like(image)
        step[tuple(place)] = 1e-6
        above, below = (F.cross_entropy(logits_of((image + d)[None]), label[None]) for d in (step, -step))
        sign[tuple(place)] = torch.sign(above - below)
    return sign


def test_fgsm_is_one_step_up_the_loss_within_the_range_of_pixels():
    model, (x, y) = network(), images()
    with torch.no_grad():
        wanted = torch.stack([(a + EPS * raises_the_loss(model, a, b)).clamp(0, 1) for a, b in zip(x, y)])
    torch.testing.assert_close(fgsm(model, x, y, EPS), wanted)
    assert not torch.equal(wanted, x)


def test_pgd_steps_and_projects():
    model, (x, y) = network(), images()
    step, start = EPS / 2, x + 0.9 * EPS
    found = pgd(model, x, y, EPS, step, 3, start)
    with torch.no_grad():
        for image, label, first, got in zip(x, y, start, found):
            at = first.clamp(0, 1)
            for _ in range(3):
                at = at + step * raises_the_loss(model, at, label)
                at = torch.minimum(torch.maximum(at, image - EPS), image + EPS).clamp(0, 1)
            torch.testing.assert_close(got, at)
    assert (found - x).abs().max() <= EPS + 1e-12


@pytest.mark.parametrize('scale', [1, 30, 1000, 1e5])
def test_a_confident_network_is_attacked_along_the_same_slope(scale):
    """Against central differences of log sum_{c != y} exp(z_c) - z_y, which rises with the cross-entropy."""
    model, (x, _) = network().float(), images()
    x = x.float()
    y = model(x).argmax(1)  # what the network is sure of
    found = fgsm(lambda pixels: scale * model(pixels), x, y, EPS)
    assert (F.cross_entropy(model(x), y, reduction='none') > 0).all()
    exact = copy.deepcopy(model).double()

    def margin(pixels):
        z = scale * exact(pixels)
        return torch.stack([torch.cat([one[:k], one[k + 1 :]]).logsumexp(0) - one[k] for one, k in zip(z, y)])

    with torch.no_grad():
        for place in torch.cartesian_prod(*map(torch.arange, x.shape[1:])).tolist():
            step = torch.zeros(x.shape[1:], dtype=torch.float64)
            step[tuple(place)] = 1e-7
            rise = (margin(x.double() + step) - margin(x.double() - step)).sign()
            at = (slice(None), *place)
            torch.testing.assert_close(found[at].double(), (x[at].double() + EPS * rise).clamp(0, 1))


def test_an_attack_in_inference_mode():
    model, (x, y) = network(), images()
    with torch.inference_mode():
        found = fgsm(model, x.clone(), y.clone(), EPS)
        assert torch.equal(found, fgsm(model, x, y, EPS))
    assert torch.equal(found.clone(), fgsm(model, x, y, EPS))


def test_one_step_of_pgd_from_the_image_is_fgsm():
    model, (x, y) = network(), images()
    assert torch.equal(pgd(model, x, y, EPS, EPS, 1), fgsm(model, x, y, EPS))


@pytest.mark.parametrize(
    ('given', 'value'), [('8/255', 8 / 255), (0.1, 0.1), ('0.1', 0.1), (0, 0.0), (1.0, 1.0), ('1.0', 1.0)]
)
def test_sizes(given, value):
    assert pixel_size('eps', given) == pytest.approx(value)


@pytest.mark.parametrize('hook', [FGSMHook, PGDHook])
@pytest.mark.parametrize(
    ('given', 'told'),
    [
        (8, 'for grey levels write 8/255'),
        ('8', 'for grey levels write 8/255'),
        (1, 'one grey level, 1/255, or the whole range, 1.0'),
        ('1', 'one grey level, 1/255, or the whole range, 1.0'),
        (-0.1, '>= 0'),
        (float('nan'), 'got nan'),
        ('1/0', "a fraction such as '8/255'"),
        ('much', "a fraction such as '8/255'"),
        (True, 'number'),
    ],
)
def test_a_size_that_cannot_be_meant(hook, given, told):
    with pytest.raises(InputError, match=r'eps') as caught:
        hook(eps=given)
    assert told in str(caught.value)


def classifier(channels_last=False):
    torch.manual_seed(0)
    preprocessor = dict(
        type='ImagePreprocessor', mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3], channels_last=channels_last
    )
    return MODELS.build(
        dict(
            type='MixClassifier',
            backbone=dict(type='ThinResNet', depth=8, width=8),
            head=dict(type='LinearHead', num_classes=5),
            policy=dict(type='NoMix'),
            data_preprocessor=preprocessor,
        )
    ).eval()


def data(n=16):
    g = torch.Generator().manual_seed(1)
    x = torch.randint(256, (n, 3, 16, 16), generator=g, dtype=torch.uint8)
    return dict(inputs=x, labels=torch.randint(5, (n,), generator=g), ids=torch.arange(n))


def measure(hook, model, batch, sizes=(16,), at=10):
    """Return the metrics of one validation in batches of these sizes."""
    runner, metrics = types.SimpleNamespace(model=model, iter=at, max_iters=10), {}
    hook.before_run(runner)
    hook.before_val_epoch(runner)
    with torch.no_grad():
        for i, part in enumerate(zip(*(value.split(sizes) for value in batch.values()))):
            hook.after_val_iter(runner, i, dict(zip(batch, part)))
    hook.after_val_epoch(runner, metrics)
    return metrics


HOOKS_ = [dict(type='FGSMHook'), dict(type='PGDHook', iterations=2), dict(type='PGDHook', random_start=False)]


@pytest.mark.parametrize('channels_last', [False, True])
def test_without_a_step_the_error_is_the_clean_one(channels_last):
    model, batch = classifier(channels_last), data()
    accuracy = Accuracy()
    with torch.no_grad():
        accuracy.process(batch, model.val_step(batch))
    clean = 100 - accuracy.evaluate(16)['accuracy/top1']
    assert measure(FGSMHook(eps=0), model, batch) == {'fgsm/error': clean}
    assert 0 < clean < 100
    # Images that are wrong already count, and an attack makes others wrong.
    assert measure(FGSMHook(eps=0.1), model, batch)['fgsm/error'] > clean


@pytest.mark.parametrize('cfg', HOOKS_, ids=str)
def test_an_attack_leaves_no_trace_and_does_not_depend_on_batches(cfg):
    model, batch = classifier(), data()
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first = measure(HOOKS.build(cfg), model, batch)
    assert measure(HOOKS.build(cfg), model, batch, (4, 12)) == first
    # A distributed sampler repeats images.
    repeated = {key: torch.cat([value, value[:4]]) for key, value in batch.items()}
    assert measure(HOOKS.build(cfg), model, repeated, (16, 4)) == first
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_ten_crops_are_refused():
    model = classifier()
    model.ten_crop = (8, 8)
    with pytest.raises(InputError, match='evaluated on ten crops; leave ten_crop out'):
        measure(FGSMHook(), model, data())


def test_images_without_labels_are_refused():
    batch = data()
    batch.pop('labels')
    with pytest.raises(InputError, match='must hold labels and ids'):
        measure(FGSMHook(), classifier(), {**batch})


def test_the_last_validation_alone():
    model, batch = classifier(), data()
    assert measure(FGSMHook(only_last=True), model, batch, at=5) == {}
    assert measure(FGSMHook(only_last=True), model, batch) == measure(FGSMHook(), model, batch, at=5)
