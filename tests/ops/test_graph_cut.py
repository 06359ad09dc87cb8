"""Compare batched graph cuts with exact optima, and with the alpha-beta swaps of the official PuzzleMix code.

`graph_cut_gco.npz` contains the `labels` and their `energies` that gco-wrapper 3.0.9 found by swaps on the official
code's integer costs, for the 200 problems of `draw_problems`. The costs are >= 0, so the test compares the ratio of
energies.
"""

import itertools
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_flow

from openmix.ops.graph_cut import cut_grid, grid_energy

STORED = np.load(Path(__file__).with_name('graph_cut_gco.npz'))
KINDS = [(levels, block_num, count) for levels, count in ((3, 40), (2, 10)) for block_num in (2, 4, 8, 16)]


def draw_field(rng, power, side=32):
    """Draw Gaussian noise with amplitudes frequency^-power; a power of 1 to 1.5 is as smooth as natural images."""
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    frequency = np.maximum(np.hypot(y, x), 1 / side)
    noise = rng.standard_normal((side, side // 2 + 1, 2)) @ [1, 1j]
    field = np.fft.irfft2(noise * frequency**-power, s=(side, side))
    return (field - field.mean()) / field.std()


def draw_image(rng):
    """Draw an image (3, 32, 32) in [0, 1] with equal channels."""
    gray = draw_field(rng, 1.2)
    return np.clip(np.stack([0.5 + 0.25 * gray + 0.1 * draw_field(rng, 1.2) for _ in range(3)]), 0, 1)


def draw_saliency(rng):
    """Draw a saliency map (32, 32) like the noisy magnitude of a gradient, with a few bright spots."""
    gradient = rng.standard_normal((3, 32, 32)) + 0.7 * np.stack([draw_field(rng, 0.7) for _ in range(3)])
    return np.sqrt((gradient**2).mean(0)) * np.exp(rng.uniform(0.5, 1.5) * draw_field(rng, 1.5))


def means(x, size):
    """Average (..., H, W) over squares of size x size."""
    *lead, height, width = x.shape
    return x.reshape(*lead, height // size, size, width // size, size).mean((-3, -1))


def whole_costs(images, saliencies, block_num, lam, levels):
    """Compute the int32 costs of the official code: unary (L, b, b), down (b - 1, b), right (b, b - 1).

    Image 0 is the sample; at level l its share is l / (L - 1).
    """
    block = 32 // block_num
    size = min(4, block)
    k = block // size
    beta = 1.2 / (16 * block_num)
    shares = [means(saliency, block) / means(saliency, block).sum() for saliency in saliencies]
    keep, give = shares[1].copy(), shares[0].copy()
    squares = [means(image, size) for image in images]
    bonds = {}
    for axis in (0, 1):
        a, b = (keep, give) if axis == 0 else (keep.T, give.T)
        x = squares if axis == 0 else [square.swapaxes(1, 2) for square in squares]
        bond = np.empty((block_num - 1, block_num))
        for i, j in itertools.product(range(block_num - 1), range(block_num)):
            edge = slice(j * k, (j + 1) * k)
            cost = np.array(
                [[np.abs(p[:, (i + 1) * k - 1, edge] - q[:, (i + 1) * k, edge]).mean() for q in x] for p in x]
            )
            cost *= beta * 0.5
            a[i, j] += cost[0].mean()
            b[i, j] += cost[1].mean()
            a[i + 1, j] += cost[:, 0].mean()
            b[i + 1, j] += cost[:, 1].mean()
            bond[i, j] = beta + (cost[0, 1] + cost[1, 0] - cost[0, 0] - cost[1, 1]) / 2
        bonds[axis] = bond if axis == 0 else bond.T
    top = levels - 1
    chance = [math.comb(top, level) * lam**level * (1 - lam) ** (top - level) for level in range(levels)]
    prior = -0.2 * np.log(np.array(chance) + 1e-8) / block_num**2
    unary = [level / top * keep + (1 - level / top) * give + prior[level] for level in range(levels)]
    return [(1000 * block_num**2 * cost).astype(np.int32) for cost in (np.stack(unary), bonds[0], bonds[1])]


@lru_cache
def draw_problems(levels, block_num, count):
    """Draw the costs of `count` random pairs, each stacked over the pairs."""
    rng = np.random.default_rng(100 * levels + block_num)
    problems = [
        whole_costs(
            [draw_image(rng) for _ in range(2)],
            [draw_saliency(rng) for _ in range(2)],
            block_num,
            rng.uniform(),
            levels,
        )
        for _ in range(count)
    ]
    return [np.stack(costs) for costs in zip(*problems)]


def energies(costs, labels):
    unary, down, right = costs
    level = labels / (unary.shape[1] - 1)
    sites = np.take_along_axis(unary, labels[:, None], 1).sum((1, 2, 3))
    bonds = (down * np.diff(level, axis=1) ** 2).sum((1, 2)) + (right * np.diff(level, axis=2) ** 2).sum((1, 2))
    return sites + bonds


def ours(costs, **kwargs):
    return cut_grid(*(torch.from_numpy(cost).float() for cost in costs), **kwargs).numpy()


def optimum(unary, down, right):
    """Compute the minimal energy of one problem as a minimum cut, with one node per step between adjacent labels.

    An edge cost (l - l')^2 equals one cut edge between nodes of equal steps plus two between different steps.
    """
    levels, height, width = unary.shape
    top = levels - 1
    node = np.arange(top * height * width).reshape(top, height, width)
    source, sink = node.size, node.size + 1
    scale = top**2
    slope = np.diff(unary.astype(np.int64), axis=0) * scale
    edges = [(np.full(node.size, source), node.ravel(), np.maximum(-slope, 0).ravel())]
    edges.append((node.ravel(), np.full(node.size, sink), np.maximum(slope, 0).ravel()))
    # A step can only be taken after the one before it: the node of the source's side is a step taken.
    edges += [(node[step + 1].ravel(), node[step].ravel(), np.full(height * width, 10**8)) for step in range(top - 1)]
    for weight, here, there in ((down, node[:, :-1], node[:, 1:]), (right, node[..., :-1], node[..., 1:])):
        for step, other in itertools.product(range(top), range(top)):
            cost = weight.ravel().astype(np.int64) * (1 if step == other else 2 if step > other else 0)
            edges.append((here[step].ravel(), there[other].ravel(), cost))
            edges.append((there[step].ravel(), here[other].ravel(), cost))
    rows, columns, capacity = (np.concatenate(part).astype(np.int32) for part in zip(*edges))
    graph = coo_array((capacity, (rows, columns)), shape=(node.size + 2,) * 2).tocsr()
    flow = maximum_flow(graph, source, sink).flow_value
    return (flow + np.minimum(slope, 0).sum()) / scale + unary[0].sum()


def stored(kind):
    """Load the labels and energies of the problems of a kind."""
    at = KINDS.index(kind)
    first = sum(count * block_num**2 for _, block_num, count in KINDS[:at])
    _, block_num, count = kind
    labels = STORED['labels'][first : first + count * block_num**2].reshape(count, block_num, block_num)
    place = sum(count for _, _, count in KINDS[:at])
    return labels.astype(int), STORED['energies'][place : place + count]


def test_no_more_than_the_stored_swaps():
    excess = []
    for kind in KINDS:
        costs, (labels, swapped) = draw_problems(*kind), stored(kind)
        # The problems are those that were stored.
        np.testing.assert_allclose(energies(costs, labels), swapped, rtol=1e-4)
        excess.append(energies(costs, ours(costs)) / swapped - 1)
    excess = np.concatenate(excess)
    assert len(excess) == 200
    assert excess.mean() <= 0
    assert excess.max() <= 0.002


@pytest.mark.parametrize('kind', KINDS)
def test_close_to_the_optimum(kind):
    costs = draw_problems(*kind)
    least = np.array([optimum(*problem) for problem in zip(*costs)])
    excess = energies(costs, ours(costs)) / least - 1
    assert excess.min() >= -1e-6
    assert excess.mean() <= 2e-4
    assert excess.max() <= 5e-3


@pytest.mark.parametrize(('levels', 'height', 'width'), [(2, 2, 3), (3, 3, 2), (2, 1, 5), (4, 2, 2), (3, 1, 1)])
def test_equals_trying_every_labelling(levels, height, width):
    rng = np.random.default_rng(height)
    for _ in range(20):
        unary = np.sort(rng.normal(size=(levels - 1, height, width)), 0).cumsum(0)
        unary = np.concatenate([np.zeros((1, height, width)), unary])[None]
        costs = [unary, rng.random((1, height - 1, width)), rng.random((1, height, width - 1))]
        every = itertools.product(range(levels), repeat=height * width)
        least = min(energies(costs, np.array(labels).reshape(1, height, width))[0] for labels in every)
        assert energies(costs, ours(costs, iterations=200))[0] == pytest.approx(least, abs=1e-5)


def test_the_optimum_of_the_test_equals_trying_every_labelling():
    for levels in (2, 3):
        unary, down, right = (cost[:3, ..., :2, :2] for cost in draw_problems(levels, 4, 40 if levels == 3 else 10))
        down, right = down[:, :1], right[:, :, :1]
        for problem in zip(unary, down, right):
            costs = [cost[None] for cost in problem]
            every = itertools.product(range(levels), repeat=4)
            least = min(energies(costs, np.array(labels).reshape(1, 2, 2))[0] for labels in every)
            assert optimum(*problem) == pytest.approx(least)


def test_energy_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    unary, down, right = rng.random((2, 3, 3, 4)), rng.random((2, 2, 4)), rng.random((2, 3, 3))
    labels = rng.integers(0, 3, (2, 3, 4))
    got = grid_energy(*(torch.from_numpy(part) for part in (unary, down, right, labels)))
    for n in range(2):
        total = sum(unary[n, labels[n, i, j], i, j] for i in range(3) for j in range(4))
        total += sum(
            down[n, i, j] * (labels[n, i, j] - labels[n, i + 1, j]) ** 2 / 4 for i in range(2) for j in range(4)
        )
        total += sum(
            right[n, i, j] * (labels[n, i, j] - labels[n, i, j + 1]) ** 2 / 4 for i in range(3) for j in range(3)
        )
        assert got[n].item() == pytest.approx(total)


def test_scale_batch_and_precision_do_not_matter():
    costs = [torch.from_numpy(cost).float() for cost in draw_problems(3, 8, 40)]
    together = cut_grid(*costs)
    alone = torch.cat([cut_grid(*(cost[i : i + 1] for cost in costs)) for i in range(40)])
    scaled = cut_grid(*(cost * 2.0**-13 for cost in costs))
    for other in (alone, scaled):
        torch.testing.assert_close(grid_energy(*costs, other), grid_energy(*costs, together), rtol=2e-3, atol=0)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(cut_grid(*costs), together)


@pytest.mark.parametrize(('unary', 'bond'), [(0.0, 0.0), (0.0, 3.0), (1e-30, 0.0)])
def test_costs_that_say_nothing_have_some_answer(unary, bond):
    labels = cut_grid(torch.full((2, 3, 4, 4), unary), torch.full((2, 3, 4), bond), torch.full((2, 4, 3), bond))
    assert labels.min() >= 0
    assert labels.max() <= 2
    assert bond == 0 or bool((labels == labels[:, :1, :1]).all())


@pytest.fixture
def gco(monkeypatch):
    # It was written for a NumPy that had its own names for Python's types.
    monkeypatch.setattr(np, 'int', int, raising=False)
    monkeypatch.setattr(np, 'float', float, raising=False)
    return pytest.importorskip(
        'gco', reason='the swaps themselves need gco-wrapper, which installs on Python 3.11 and below'
    )


@pytest.mark.parametrize('kind', KINDS)
def test_no_more_than_the_swaps(gco, kind):
    costs, (_, swapped) = draw_problems(*kind), stored(kind)
    labels = np.stack([swap(gco, *problem) for problem in zip(*costs)])
    np.testing.assert_allclose(energies(costs, labels), swapped, rtol=1e-3)
    assert (energies(costs, ours(costs)) / energies(costs, labels) - 1).max() <= 0.002


def swap(gco, unary, down, right):
    level = np.arange(len(unary), dtype=np.float32)
    pair = (level[:, None] - level) ** 2 / np.float32((len(unary) - 1) ** 2)
    sites = np.ascontiguousarray(unary.transpose(1, 2, 0))
    return gco.cut_grid_graph(sites, pair, down, right, algorithm='swap').reshape(unary.shape[1:])
