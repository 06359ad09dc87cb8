"""FlexMatch: thresholds and memory over a scripted history."""

from collections import Counter

import pytest
import torch
from toys import CLASSES, B, U, batch, mean, method, nll, softmax

from openmix.errors import InputError
from openmix.models.semisup.flexmatch import flexible, learning_status

IMAGES, THRESHOLD = 11, 0.8


def flexmatch(**options):
    model = method('FlexMatch', threshold=THRESHOLD, **options)
    model.labels.allocate(IMAGES)
    return model


def step_of(model, monkeypatch, seed, scale):
    """Take a step on drawn logits and ids, in which images occur twice; return losses, the logits and the ids."""
    g = torch.Generator().manual_seed(seed)
    weak, strong, of_x = (scale * torch.randn(n, CLASSES, dtype=torch.float64, generator=g) for n in (U, U, B))
    monkeypatch.setattr(model, 'together', lambda *_: (of_x, weak, strong))
    data = batch(2)
    data['unlabelled']['ids'] = torch.randint(IMAGES, (U,), generator=g)
    return model.loss(data), weak.tolist(), strong.tolist(), data['unlabelled']['ids'].tolist()


def test_a_history_is_that_of_the_paper(monkeypatch):
    model, memory = flexmatch(weight=2.0), [-1] * IMAGES
    seen = Counter()
    for seed in range(40):
        counts = Counter(memory)  # from before this batch
        beta = [counts[c] / max(counts.values()) for c in range(CLASSES)]  # with the images that have none
        found, weak, strong, ids = step_of(model, monkeypatch, seed, scale=0.8 if seed < 10 else 3)
        unlabelled, kept = 0.0, 0
        for z, other, place in zip(weak, strong, ids):
            p = softmax(z)
            guess = p.index(max(p))
            if max(p) >= THRESHOLD * beta[guess] / (2 - beta[guess]):
                unlabelled, kept = unlabelled + nll(other, guess), kept + 1
            if max(p) >= THRESHOLD:
                memory[place] = guess
            seen['passed, but not sure'] += THRESHOLD > max(p) >= THRESHOLD * beta[guess] / (2 - beta[guess])
        seen['repeated'] += len(set(ids)) < U
        seen['all have a label'] += -1 not in memory
        seen['most have none'] += max(counts.values()) == counts[-1]
        seen['masked'] += kept < U
        assert found['unlabelled_loss'].item() == pytest.approx(2 * unlabelled / U, rel=1e-6), seed
        assert found['mask_rate'].item() == pytest.approx(kept / U), seed
        assert model.labels.rows.tolist() == memory, seed
        if seed == 0:
            assert kept == U, 'every image counts before any has a label'
    whole = ('passed, but not sure', 'repeated', 'all have a label', 'most have none', 'masked')
    assert all(seen[what] for what in whole), seen


def test_an_image_that_occurs_twice_keeps_the_label_that_is_confident(monkeypatch):
    model, data = flexmatch(), batch(2)
    sure, unsure = [9.0, 0, 0, 0, 0], [0.1, 0, 0.3, 0, 0]
    weak = torch.tensor([sure, unsure, unsure, *[unsure] * (U - 3)], dtype=torch.float64)
    monkeypatch.setattr(model, 'together', lambda *_: (weak[:B], weak, weak))
    data['unlabelled']['ids'] = torch.tensor([5, 5, 5, *range(6, 6 + U - 3)])
    model.loss(data)
    assert model.labels.rows.tolist() == [-1, -1, -1, -1, -1, 0, -1, -1, -1, -1, -1]


def test_status_and_thresholds():
    labels = torch.tensor([-1, -1, -1, -1, 0, 0, 1])
    status = learning_status(labels, 3)
    assert status.tolist() == pytest.approx([2 / 4, 1 / 4, 0])
    assert learning_status(labels[4:], 3).tolist() == pytest.approx([1, 1 / 2, 0])
    assert flexible(0.9, status).tolist() == pytest.approx([0.9 * 0.5 / 1.5, 0.9 * 0.25 / 1.75, 0])


def test_the_memory_is_no_part_of_a_classifier():
    """It is saved with a run, and a checkpoint is loaded where the data are others."""
    model, other = flexmatch(), method('FlexMatch')
    assert {key for key in model.state_dict() if key not in other.state_dict()} == {'labels.rows'}
    with pytest.raises(InputError, match='no rows before a runner allocates them'):
        other.loss(batch(2))


def test_labelled_loss(monkeypatch):
    model, data = flexmatch(), batch(2)
    z = torch.randn(B, CLASSES, dtype=torch.float64)
    monkeypatch.setattr(model, 'together', lambda *_: (z, *torch.randn(2, U, CLASSES, dtype=torch.float64)))
    wanted = mean(nll(row, c) for row, c in zip(z.tolist(), data['labelled']['labels'].tolist()))
    assert model.loss(data)['labelled_loss'].item() == pytest.approx(wanted)
