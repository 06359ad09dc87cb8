"""Sinkhorn's iterations against loops over probabilities, in the order of the paper."""

import pytest
import torch

from openmix.ops.sinkhorn import sinkhorn


def slow(scores, epsilon, iterations):
    """Scale exp(scores / epsilon), prototypes first and samples second, entry by entry."""
    q = (scores.double() / epsilon).exp().T.clone()
    clusters, samples = q.shape
    q /= q.sum()
    for _ in range(iterations):
        for k in range(clusters):
            q[k] *= (1 / clusters) / sum(q[k])
        for n in range(samples):
            q[:, n] *= (1 / samples) / sum(q[:, n])
    return (q * samples).T


@pytest.mark.parametrize('iterations', [1, 3])
def test_against_loops(iterations):
    scores = torch.rand(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted = slow(scores, 0.05, iterations)
    torch.testing.assert_close(sinkhorn(scores, 0.05, iterations), wanted)
    torch.testing.assert_close(sinkhorn(scores.float(), 0.05, iterations).double(), wanted, rtol=1e-4, atol=1e-6)
    # Samples are normalised last: their sums are exact, those of the clusters are not.
    found = sinkhorn(scores, 0.05, iterations)
    torch.testing.assert_close(found.sum(1), torch.ones(7, dtype=torch.float64))
    assert (found.sum(0) - 7 / 4).abs().max() > 1e-3


def test_rows_that_do_not_count_change_nothing():
    scores = torch.rand(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([False, True, True, False, True, True, True])
    found = sinkhorn(scores, 0.05, 3, rows)
    torch.testing.assert_close(found[rows], slow(scores[rows], 0.05, 3))
    assert found.isfinite().all()


def test_a_small_epsilon_neither_overflows_nor_empties_a_sample():
    scores = torch.tensor([[1.0, 0.9], [-1.0, -0.9], [0.8, 0.95]])
    found = sinkhorn(scores, 0.001, 3)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert sinkhorn(scores.bfloat16(), 0.05, 3).dtype == torch.float32


def test_many_iterations_balance_the_clusters():
    scores = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sinkhorn(scores, 0.1, 200).sum(0), torch.full((5,), 12.0), rtol=1e-3, atol=0)
