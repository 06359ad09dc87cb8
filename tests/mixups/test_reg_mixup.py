"""Compare a training step of RegMixup with the two losses of its paper, computed one by one."""

import pytest
import torch

from openmix.errors import InputError
from openmix.mixups import RegMixup
from openmix.models.classifier import MixClassifier
from openmix.ops.beta import draw_lam


def model_of(**options):
    torch.manual_seed(0)
    backbone = dict(type='ThinResNet', depth=8, width=4)
    policy = dict(type='RegMixup', **options)
    return MixClassifier(backbone, dict(type='LinearHead', num_classes=5, init_std=1.0), policy).double()


@pytest.mark.parametrize(('share', 'clean_weight'), [('sample', 1.0), ('batch', 0.25)])
def test_the_loss_is_that_of_the_clean_and_of_the_mixed_batch(share, clean_weight):
    model = model_of(share=share, clean_weight=clean_weight)
    x, y = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.arange(6) % 5
    torch.manual_seed(1)
    losses = model.loss(dict(inputs=x, labels=y))
    torch.manual_seed(1)
    partner = torch.randperm(6)
    lam = draw_lam(1 if share == 'batch' else 6, 10.0).expand(6).double()
    mixed = torch.stack([lam[i] * x[i] + (1 - lam[i]) * x[partner[i]] for i in range(6)])
    of_mixed, of_clean = (model.head(model.backbone(images)).log_softmax(1) for images in (mixed, x))
    wanted = clean = 0.0
    for i in range(6):
        wanted -= (lam[i] * of_mixed[i, y[i]] + (1 - lam[i]) * of_mixed[i, y[partner[i]]]) / 6
        clean -= of_clean[i, y[i]] / 6
    torch.testing.assert_close(losses['loss'], wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(losses['clean_loss'], clean_weight * clean, rtol=1e-6, atol=0)
    assert set(losses) == {'loss', 'clean_loss'}


def test_most_mixed_images_are_near_the_middle():
    torch.manual_seed(0)
    _, mix = RegMixup()(torch.rand(4000, 1, 1, 1))
    assert abs(float(mix.lam.mean()) - 0.5) < 0.01
    assert abs(float(mix.lam.var()) - 1 / 84) < 0.001  # of Beta(10, 10): 1 / (4 (2 alpha + 1))


def test_bad_input_is_an_input_error():
    with pytest.raises(InputError, match='clean_weight must be > 0'):
        RegMixup(clean_weight=0.0)
