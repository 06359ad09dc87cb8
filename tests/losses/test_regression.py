import pytest
import torch

from openmix.errors import InputError
from openmix.losses import mix_l1, mix_mse
from openmix.mix import Mix

DISTANCE = {mix_mse: lambda a, b: (a - b) ** 2, mix_l1: lambda a, b: abs(a - b)}
losses = pytest.mark.parametrize('loss', DISTANCE)


def slow(loss, predicted, y, mix):
    """Average the distance to the mixed label over samples and outputs, in float64."""
    n, d = predicted.shape
    total = 0.0
    for i in range(n):
        for j in range(d):
            sources = zip(mix.source[i].tolist(), mix.weight[i].tolist())
            label = sum(weight * y[source, j].item() for source, weight in sources)
            total += DISTANCE[loss](predicted[i, j].item(), label)
    return total / (n * d)


def batch(d, n=9):
    g = torch.Generator().manual_seed(d)
    predicted, y = (torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2))
    return predicted, y, Mix.pairs(torch.randperm(n, generator=g), torch.rand(n, generator=g))


@losses
@pytest.mark.parametrize('d', [1, 3])
def test_equals_the_loop_over_samples(loss, d):
    predicted, y, mix = batch(d)
    assert loss(predicted, y, mix).item() == pytest.approx(slow(loss, predicted, y, mix), abs=1e-6)
    short = Mix(mix.source[:4], mix.weight[:4])  # of a longer pool
    assert loss(predicted[:4], y, short).item() == pytest.approx(slow(loss, predicted[:4], y, short), abs=1e-6)


@losses
def test_three_sources_and_a_clean_batch(loss):
    predicted, y, _ = batch(2)
    source = torch.stack([torch.arange(9), torch.randperm(9), torch.randperm(9)], 1)
    mix = Mix(source, torch.tensor([[0.5, 0.3, 0.2]]).expand(9, 3))
    assert loss(predicted, y, mix).item() == pytest.approx(slow(loss, predicted, y, mix), abs=1e-6)
    plain = {mix_mse: torch.nn.functional.mse_loss, mix_l1: torch.nn.functional.l1_loss}[loss]
    torch.testing.assert_close(loss(predicted, y, Mix.none(9)), plain(predicted, y))


@losses
def test_numbers_are_labels_of_one_output_and_classes_one_hot_ones(loss):
    predicted, y, mix = batch(1)
    assert torch.equal(loss(predicted, y[:, 0], mix), loss(predicted, y, mix))
    classes = torch.arange(9) % 4
    logits = torch.randn(9, 4, dtype=torch.float64)
    one_hot = torch.nn.functional.one_hot(classes, 4).double()
    torch.testing.assert_close(loss(logits, classes, mix), loss(logits, one_hot, mix))


@losses
def test_bfloat16_is_computed_in_float32_and_masked_rows_add_nothing(loss):
    predicted, y, mix = batch(2)
    low = predicted.bfloat16()
    assert loss(low, y, mix).dtype == torch.float32
    torch.testing.assert_close(loss(low, y, mix), loss(low.float(), y, mix))
    rows = torch.zeros(9)
    rows[2] = 1
    only = Mix(mix.source[2:3], mix.weight[2:3])
    torch.testing.assert_close(loss(predicted, y, mix, rows=rows), loss(predicted[2:3], y, only) / 9)


@losses
def test_labels_of_another_width_are_refused(loss):
    predicted, y, mix = batch(2)
    with pytest.raises(InputError, match=f'{loss.__name__}: labels of 1 classes do not fit logits of 2'):
        loss(predicted, y[:, :1], mix)
    with pytest.raises(InputError, match=rf'{loss.__name__}: labels must be \(M,\) int64 or \(M, C\)'):
        loss(predicted, y[:, 0], mix)
    with pytest.raises(InputError, match='rows'):
        loss(predicted, y, mix, rows=torch.ones(3))
