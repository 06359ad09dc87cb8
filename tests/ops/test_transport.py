"""Test transport: compare the assignment with a loop over rounds and blocks, and the move with slices."""

import numpy as np
import pytest
import torch

from openmix.errors import InputError
from openmix.ops.transport import assign_blocks, move_blocks


def slow_assignment(saliency, wanted, penalty, rounds):
    """Solve one grid in loops: in every round, every block asks for a position, and every position decides."""
    height, width = saliency.shape
    places = [(i, j) for i in range(height) for j in range(width)]
    tall, wide = max(1, height - 1), max(1, width - 1)
    refused = {place: set() for place in places}
    taken = {}
    for _ in range(rounds):
        asking = {}
        for block in places:
            costs = []
            for place in places:
                if wanted[place] and place not in refused[block]:
                    way = ((block[0] - place[0]) * wide) ** 2 + ((block[1] - place[1]) * tall) ** 2
                    cost = np.float32(penalty) * np.float32(way / (tall * wide) ** 2) - saliency[block]
                    costs.append((way, place, cost))
            if costs:
                _, place, cost = min(costs, key=lambda found: found[:2])
                if cost < 0:
                    asking.setdefault(place, []).append((cost, block))
        taken = {place: min(who)[1] for place, who in asking.items()}
        for place, who in asking.items():
            for _, block in who:
                if block != taken[place]:
                    refused[block].add(place)
    return [np.ravel_multi_index(taken.get(place, place), (height, width)) for place in places]


def draw(n, height, width, seed=0, share=0.5, equal=False):
    rng = np.random.default_rng(seed)
    saliency = np.ones((n, height, width)) if equal else rng.random((n, height, width)) ** 4
    saliency = (saliency / saliency.sum((1, 2), keepdims=True)).astype(np.float32)
    return saliency, rng.random((n, height, width)) < share


@pytest.mark.parametrize('equal', [False, True])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.9])
@pytest.mark.parametrize(('height', 'width'), [(2, 2), (4, 4), (8, 8), (3, 5), (1, 6), (1, 1)])
@pytest.mark.parametrize('penalty', [0.8, 0.05])
def test_equals_the_loop(height, width, share, equal, penalty):
    saliency, wanted = draw(4, height, width, seed=height, share=share, equal=equal)
    rounds = max(height, width)
    got = assign_blocks(torch.from_numpy(saliency), torch.from_numpy(wanted), penalty, rounds)
    expected = [slow_assignment(*one, penalty, rounds) for one in zip(saliency, wanted)]
    assert np.array_equal(got, expected)


def test_equals_the_loop_on_the_finest_published_grid():
    saliency, wanted = draw(1, 16, 16, seed=3)
    got = assign_blocks(torch.from_numpy(saliency), torch.from_numpy(wanted), 0.8, 16)
    assert got[0].tolist() == slow_assignment(saliency[0], wanted[0], 0.8, 16)
    assert (got[0] != torch.arange(256)).any()


def matrix_plan(saliency, wanted, penalty):
    """Run the published algorithm on dense cost matrices: a rejection raises the cost of the position by one."""
    n, side, _ = saliency.shape
    at = torch.arange(side * side)
    way = ((at[:, None] // side - at // side) ** 2 + (at[:, None] % side - at % side) ** 2).float() / (side - 1) ** 2
    cost = penalty * way - saliency.view(n, -1, 1) * wanted.view(n, 1, -1).float()
    for _ in range(side):
        plan = torch.zeros_like(cost).scatter_(2, cost.min(2).indices[..., None], 1)
        won = torch.zeros_like(cost).scatter_(1, (plan * cost).min(1).indices[:, None], 1) * plan
        cost += plan - won
    return won


@pytest.mark.parametrize('side', [2, 4, 8, 16])
def test_wanted_places_get_what_the_published_algorithm_gives_them(side):
    saliency, wanted = (torch.from_numpy(part) for part in draw(20, side, side, seed=side))
    plan, flat = matrix_plan(saliency, wanted, 0.8), wanted.flatten(1)
    assert bool((plan.sum(1) == 1)[flat].all())
    assert torch.equal(plan.argmax(1)[flat], assign_blocks(saliency, wanted, 0.8, side)[flat])


def test_each_block_is_taken_at_most_once_where_it_is_wanted():
    saliency, wanted = (torch.from_numpy(part) for part in draw(50, 8, 8))
    source = assign_blocks(saliency, wanted, 0.05, 8)
    for taken, open_ in zip(source, wanted.flatten(1)):
        assert len(taken[open_].unique()) == int(open_.sum())


def test_a_lone_salient_block_moves_to_the_nearest_wanted_place():
    saliency, wanted = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    saliency[0, 0, 0] = 1
    wanted[0, 2, 2] = wanted[0, 1, 3] = True
    source = assign_blocks(saliency, wanted, 0.8, 4).view(4, 4)
    assert source[2, 2] == 0
    assert source[1, 3] == 7
    assert assign_blocks(saliency, wanted, 2.0, 4).view(-1).tolist() == list(range(16))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(('grid', 'size'), [((2, 2), (4, 6)), ((4, 3), (8, 9)), ((1, 4), (3, 4))])
def test_moves_blocks_as_slices_do(grid, size, dtype):
    torch.manual_seed(0)
    z = torch.rand(3, 2, *size).to(dtype)
    source = torch.randint(grid[0] * grid[1], (3, grid[0] * grid[1]))
    moved = move_blocks(z, source, grid)
    tall, wide = size[0] // grid[0], size[1] // grid[1]
    for n in range(3):
        for place, block in enumerate(source[n].tolist()):
            (i, j), (k, m) = divmod(place, grid[1]), divmod(block, grid[1])
            here = moved[n, :, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
            assert torch.equal(here, z[n, :, k * tall : (k + 1) * tall, m * wide : (m + 1) * wide])


def test_too_fine_a_grid_is_an_input_error():
    with pytest.raises(InputError, match='25 x 25 blocks is too fine'):
        assign_blocks(torch.rand(1, 25, 25), torch.ones(1, 25, 25, dtype=torch.bool), 0.8, 1)
