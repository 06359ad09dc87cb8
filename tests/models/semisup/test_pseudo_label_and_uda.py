"""Pseudo-Label and UDA by value."""

import pytest
import torch
from toys import B, U, batch, logits_of, mean, method, nll, softmax, total_of


def test_pseudo_label_is_that_of_the_comparison():
    model, data = method('PseudoLabel', threshold=0.6, weight=2.0), batch(1)
    (of_x,), (of_u,) = (
        logits_of(model, data['labelled']['inputs']),
        logits_of(model, data['unlabelled']['inputs'][:, 0]),
    )
    model.before_step(10, 100)  # a quarter of the ramp over 0.4
    found = model.loss(data)
    unlabelled, kept = 0.0, 0
    for z in of_u:
        p = softmax(z)
        if max(p) >= 0.6:
            unlabelled, kept = unlabelled + nll(z, p.index(max(p))), kept + 1
    assert 0 < kept < U
    labelled = mean(nll(z, c) for z, c in zip(of_x, data['labelled']['labels'].tolist()))
    assert found['labelled_loss'].item() == pytest.approx(labelled, rel=1e-12)
    assert found['unlabelled_loss'].item() == pytest.approx(0.25 * 2 * unlabelled / U, rel=1e-12)
    assert found['mask_rate'].item() == kept / U


def test_its_weight_rises_over_its_share_of_the_training():
    model, data = method('PseudoLabel', threshold=0.2), batch(1)
    rates = []
    for step in (0, 5, 20, 40, 41, 99):
        model.before_step(step, 100)
        rates.append(model.loss(data)['unlabelled_loss'].item())
    assert [rate / rates[-1] for rate in rates] == pytest.approx([0, 0.125, 0.5, 1, 1, 1])


def test_the_pass_of_unlabelled_images_keeps_statistics():
    model, data, alone = method('PseudoLabel'), batch(1), method('PseudoLabel')
    total_of(model, model.loss(data)).backward()
    alone.online()(data['labelled']['inputs'])
    assert int(model.backbone.norm.num_batches_tracked) == 1
    assert torch.equal(model.backbone.norm.running_mean, alone.backbone.norm.running_mean)
    assert [len(x) for x in model.backbone.seen] == [B, U]


def test_an_image_of_one_view_needs_no_dimension_of_views():
    data = batch(1)
    plain = {**data, 'unlabelled': {**data['unlabelled'], 'inputs': data['unlabelled']['inputs'][:, 0]}}
    found, same = method('PseudoLabel').loss(data), method('PseudoLabel').loss(plain)
    assert all(torch.equal(found[key], same[key]) for key in found)


def test_uda_is_that_of_the_paper_and_its_mask_reads_the_prediction_before_it_is_sharpened():
    threshold, temperature = 0.75, 0.4
    model, data = method('UDA', threshold=threshold, temperature=temperature, weight=3.0), batch(2)
    of_x, of_weak, of_strong = logits_of(model, data['labelled']['inputs'], *data['unlabelled']['inputs'].unbind(1))
    found = model.loss(data)
    unlabelled, kept, sharp = 0.0, 0, 0
    for weak, strong in zip(of_weak, of_strong):
        target = softmax(weak, temperature)
        sharp += max(target) >= threshold
        if max(softmax(weak)) >= threshold:
            unlabelled += sum(q * nll(strong, c) for c, q in enumerate(target))
            kept += 1
    assert 0 < kept < sharp, 'the two masks differ on this batch'
    labelled = mean(nll(z, c) for z, c in zip(of_x, data['labelled']['labels'].tolist()))
    assert found['labelled_loss'].item() == pytest.approx(labelled, rel=1e-12)
    assert found['unlabelled_loss'].item() == pytest.approx(3 * unlabelled / U, rel=1e-12)
    assert found['mask_rate'].item() == kept / U


def test_the_target_of_uda_has_no_gradient(monkeypatch):
    model, data = method('UDA', threshold=0.3), batch(2)
    x, weak, strong = (torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (B, U, U))
    monkeypatch.setattr(model, 'together', lambda *_: (x, weak, strong))
    found = model.loss(data)
    assert found['mask_rate'] > 0
    one, other = torch.autograd.grad(found['unlabelled_loss'], [weak, strong], allow_unused=True)
    assert one is None
    assert other.any()
