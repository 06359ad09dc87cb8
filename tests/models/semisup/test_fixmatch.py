"""FixMatch by value, and what holds for every method that compares views in one pass."""

import copy

import pytest
import torch
from toys import CLASSES, B, U, batch, logits_of, mean, method, nll, softmax, total_of

from openmix.errors import InputError
from openmix.models.semisup.targets import confident, cross_entropy, probabilities


def test_its_losses_are_those_of_the_paper():
    model, data = method('FixMatch', threshold=0.6, weight=2.0), batch(2)
    weak, strong = data['unlabelled']['inputs'].unbind(1)
    of_x, of_weak, of_strong = logits_of(model, data['labelled']['inputs'], weak, strong)
    found = model.loss(data)
    y, truth = data['labelled']['labels'].tolist(), data['unlabelled']['true_labels'].tolist()
    labelled = mean(nll(z, c) for z, c in zip(of_x, y))
    unlabelled, kept, right = 0.0, 0, 0
    for a, b, c in zip(of_weak, of_strong, truth):
        p = softmax(a)
        if max(p) >= 0.6:
            guess = p.index(max(p))
            unlabelled, kept, right = unlabelled + nll(b, guess), kept + 1, right + (guess == c)
    assert 0 < kept < U
    assert found['labelled_loss'].item() == pytest.approx(labelled, rel=1e-12)
    assert found['unlabelled_loss'].item() == pytest.approx(2 * unlabelled / U, rel=1e-12)
    assert found['mask_rate'].item() == kept / U
    assert found['pseudo_label_accuracy'].item() == pytest.approx(right / kept)
    assert total_of(model, found).item() == pytest.approx(labelled + 2 * unlabelled / U, rel=1e-12)


def test_all_images_are_one_batch_for_batch_norm():
    model, data = method('FixMatch'), batch(2)
    model.loss(data)
    assert [len(x) for x in model.backbone.seen] == [B + 2 * U]
    assert int(model.backbone.norm.num_batches_tracked) == 1


def test_if_all_are_masked_the_loss_is_zero_and_its_gradient_finite():
    model, data = method('FixMatch', threshold=1.0, std=0.1), batch(2)
    found = model.loss(data)
    assert found['unlabelled_loss'].item() == 0
    assert found['mask_rate'].item() == 0
    assert found['pseudo_label_accuracy'].isnan()  # of no image; records leave it out
    found['unlabelled_loss'].backward()
    assert all(not p.grad.any() and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('truth', [torch.zeros(U - 1).long(), torch.zeros(U, CLASSES), [0] * U])
def test_known_labels_that_are_not_one_an_image_are_refused_in_a_line(truth):
    model, data = method('FixMatch'), batch(2)
    data['unlabelled']['true_labels'] = truth
    with pytest.raises(InputError, match=f"true_labels of the pool 'unlabelled' .* {U} pseudo-labels, got a") as error:
        model.loss(data)
    assert '\n' not in str(error.value)


def test_a_pseudo_label_has_no_gradient():
    z = torch.randn(U, CLASSES, dtype=torch.float64, requires_grad=True)
    assert not probabilities(z).requires_grad


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_confidence_is_that_of_float32(dtype):
    z = (2 * torch.randn(4000, CLASSES, generator=torch.Generator().manual_seed(0))).to(dtype)
    mask = confident(probabilities(z), 0.8).mask
    assert mask.dtype == torch.float32
    assert torch.equal(mask, (z.float().softmax(1).amax(1) >= 0.8).float())
    assert not torch.equal(mask, (z.softmax(1).amax(1) >= 0.8).float()), 'this batch tells nothing'


def test_a_mask_weighs_rows_of_all():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(U, CLASSES, dtype=torch.float64, generator=g)
    y, mask = torch.randint(CLASSES, (U,), generator=g), (torch.rand(U, generator=g) < 0.5).double()
    wanted = sum(m * nll(row, c) for row, c, m in zip(z.tolist(), y.tolist(), mask.tolist())) / U
    assert 0 < mask.sum() < U
    assert cross_entropy(z, y, mask).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(threshold=1.2), r'FixMatch: threshold must be in \[0, 1\], got 1.2'),
        (dict(threshold=-0.1), r'FixMatch: threshold must be in \[0, 1\], got -0.1'),
        (dict(weight=-1), 'FixMatch: weight must be >= 0, got -1'),
    ],
)
def test_an_option_out_of_range_is_refused(options, line):
    with pytest.raises(InputError, match=line):
        method('FixMatch', **options)


def test_a_batch_that_does_not_fit_is_refused():
    model, data = method('FixMatch'), batch(2)
    plain = data['labelled']
    with pytest.raises(InputError, match="trains on the pools 'labelled' and 'unlabelled', and the batch has not both"):
        model.loss(plain)
    with pytest.raises(InputError, match='has not both'):
        model.loss({'labelled': plain})
    with pytest.raises(InputError, match=r'reads 2 views of every unlabelled image \(weak, strong\), .* has 3'):
        model.loss(batch(3))
    with pytest.raises(InputError, match='reads one view of every labelled image, and the batch has 2'):
        model.loss({**data, 'labelled': {**plain, 'inputs': torch.stack([plain['inputs']] * 2, 1)}})
    without = {key: value for key, value in plain.items() if key != 'labels'}
    with pytest.raises(InputError, match='learns from the labels'):
        model.loss({**data, 'labelled': without})
    other = copy.deepcopy(data)
    other['unlabelled']['inputs'] = other['unlabelled']['inputs'][..., :3]
    with pytest.raises(InputError, match='all views must have the size of the labelled images'):
        model.loss(other)
