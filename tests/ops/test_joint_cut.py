"""Compare graph cuts with many labels with brute force, and with loops that follow the method's description."""

import itertools

import pytest
import torch

from openmix.ops import joint_cut
from openmix.ops.joint_cut import cut_jointly, cut_shares, duplicates, neighbours, share_energy


def checkerboard(height, width):
    return ((torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0).flatten()[:, None]


def bonds(height, width):
    """List the edges of the grid: pairs of horizontal or vertical neighbours."""
    for row, column in itertools.product(range(height), range(width)):
        if column + 1 < width:
            yield row * width + column, row * width + column + 1
        if row + 1 < height:
            yield row * width + column, (row + 1) * width + column


def slow_energy(unary, shares, size, beta, bonus):
    total = 0.0
    for site, source in itertools.product(range(len(unary)), range(unary.shape[1])):
        total += shares[site][source].item() * unary[site][source].item()
    for a, b in bonds(*size):
        total += beta / 2 * ((shares[a] - shares[b]) ** 2).sum().item()
    return total - bonus * sum(int((site == 0.5).any()) for site in shares)


def labels_of(n, pairs=()):
    halves = [(torch.eye(n)[a] + torch.eye(n)[b]) / 2 for a, b in pairs]
    return torch.stack([*torch.eye(n), *halves])


def brute_force(unary, near, labels, beta, bonus):
    """Find the labelling (B, S, n) with minimal energy by trying all."""
    choices = itertools.product(range(len(labels)), repeat=unary.shape[1])
    every = labels[torch.tensor(list(choices))]
    energy = share_energy(unary[:, None], every, near, beta, bonus)
    return every[energy.argmin(1)]


@pytest.mark.parametrize('size', [(1, 1), (1, 4), (3, 2), (4, 4)])
def test_energy_equals_a_loop(size):
    sites = size[0] * size[1]
    unary, labels = torch.randn(5, sites, 3), labels_of(3, [(0, 1), (0, 2), (1, 2)])
    shares = labels[torch.randint(6, (5, sites))]
    energy = share_energy(unary, shares, neighbours(*size), 0.7, 0.1)
    for n in range(5):
        assert energy[n].item() == pytest.approx(slow_energy(unary[n], shares[n], size, 0.7, 0.1), abs=1e-4)


@pytest.mark.parametrize('beta', [0.1, 0.5, 2.0])
@pytest.mark.parametrize(('size', 'shared'), [((2, 2), False), ((2, 2), True), ((3, 3), False)])
def test_cut_is_within_a_percent_of_brute_force(beta, size, shared):
    torch.manual_seed(0)
    n, sites, number = 3, size[0] * size[1], 200
    near, unary = neighbours(*size), torch.randn(number, sites, n)
    pairs = [(0, 1), (0, 2), (1, 2)] if shared else []
    options = {}
    if shared:
        options = dict(
            pairs=torch.tensor(pairs).expand(number, -1, -1), allowed=torch.ones(number, 3, dtype=torch.bool)
        )
    least = share_energy(unary, brute_force(unary, near, labels_of(n, pairs), beta, 0.01), near, beta, 0.01)
    shares = cut_shares(unary, near, checkerboard(*size), beta, bonus=0.01, **options)
    gap = share_energy(unary, shares, near, beta, 0.01) - least
    assert gap.min() > -1e-4
    assert gap.mean() < 0.01 * least.abs().mean()
    assert (gap < 1e-4).float().mean() > 0.9
    assert set(shares.unique().tolist()) <= {0.0, 0.5, 1.0}
    torch.testing.assert_close(shares.sum(2), torch.ones(number, sites))


def least_energy(unary, height, width, beta):
    """Compute the exact minimal energy (B,) by dynamic programming over the labels of the last `width` nodes."""
    number, n = len(unary), unary.shape[2]
    differ = beta * (1 - torch.eye(n))
    least = torch.zeros(number, *[1] * width)
    for row in range(height):
        for column in range(width):
            above = least.movedim(1 + column, -1)
            above = torch.minimum(above, above.amin(-1, keepdim=True) + beta) if row else above
            own = unary[:, row * width + column].view(number, *[1] * (width - 1), n)
            least = (above + own).movedim(-1, 1 + column)
            if column:
                shape = [n if axis in (column, column + 1) else 1 for axis in range(width + 1)]
                least = least + differ.view(shape)
    return least.flatten(1).amin(1)


def test_least_energy_equals_brute_force():
    unary = torch.randn(30, 6, 3)
    near = neighbours(2, 3)
    wanted = share_energy(unary, brute_force(unary, near, labels_of(3), 0.5, 0.0), near, 0.5)
    torch.testing.assert_close(least_energy(unary, 2, 3, 0.5), wanted)


def test_cut_of_saliency_is_within_a_fifth_of_a_percent():
    torch.manual_seed(0)
    number, n = 200, 8
    salient = torch.nn.functional.interpolate(torch.rand(number * n, 1, 8, 8) ** 4, scale_factor=2, mode='bilinear')
    salient = torch.nn.functional.avg_pool2d(salient, 4).view(number, n, 16)
    unary = -16 * (salient / salient.sum(2, keepdim=True)).mT
    shares = cut_shares(unary, neighbours(4, 4), checkerboard(4, 4), 0.32)
    least = least_energy(unary, 4, 4, 0.32)
    gap = share_energy(unary, shares, neighbours(4, 4), 0.32) - least
    assert gap.min() > -1e-3
    assert gap.mean() < 0.002 * least.abs().mean()


def test_a_pair_that_is_not_allowed_shares_no_site():
    torch.manual_seed(0)
    unary, pairs = torch.zeros(50, 4, 3), torch.tensor([[0, 1], [1, 2]]).expand(50, -1, -1)
    options = dict(near=neighbours(2, 2), side=checkerboard(2, 2), beta=0.1, pairs=pairs, bonus=1.0)
    for allowed in ([True, False], [False, True], [False, False]):
        shares = cut_shares(unary, allowed=torch.tensor(allowed).expand(50, -1), **options)
        halves = (shares == 0.5).any(1)
        wanted = [allowed[0], any(allowed), allowed[1]]
        assert torch.equal(halves, torch.tensor(wanted).expand(50, -1))


def test_a_cut_is_never_above_the_labelling_before():
    torch.manual_seed(0)
    near, unary = neighbours(4, 4), torch.randn(100, 16, 6)
    before = torch.eye(6)[torch.randint(6, (100, 16))]
    good = cut_shares(unary, near, checkerboard(4, 4), 0.5)
    for start in (before, good):
        after = cut_shares(unary, near, checkerboard(4, 4), 0.5, before=start)
        assert (share_energy(unary, after, near, 0.5) <= share_energy(unary, start, near, 0.5) + 1e-5).all()


def slow_duplicates(present):
    """Find the duplicate sources that each output must lose, by comparing sets."""
    sets = [sorted(row.nonzero().flatten().tolist()) for row in present]
    lost = torch.zeros_like(present)
    for i, j in itertools.combinations(range(len(sets)), 2):
        if sets[i] == sets[j] and len(sets[i]) > 1:
            lost[i, sets[i][0]] = True
            lost[j, sets[i][1]] = True
    return lost


def test_duplicates_equal_a_loop():
    torch.manual_seed(0)
    present = torch.rand(200, 5, 3) < 0.5
    present[..., 0] |= ~present.any(2)
    assert torch.equal(duplicates(present), torch.stack([slow_duplicates(group) for group in present]))


def slow_joint_cut(cost, size, compatibility, beta, gamma, threshold, bonus, sweeps, labels):
    """Solve one group: every output in turn, by exhaustive cuts."""
    m = cost.shape[1]
    near = neighbours(*size)
    shares = torch.stack([torch.eye(m)[each] for each in labels])
    lost = torch.zeros(m, m)
    for sweep in range(sweeps):
        if sweep == sweeps - 1 and sweep > 0:
            lost = slow_duplicates(shares.sum(1) > 0).float()
        for i in range(m):
            used = torch.zeros(m)
            for j in range(m):
                if j != i:
                    used += shares[j].sum(0)
            weighed = [sum((compatibility[a, b] * used[b]).item() for b in range(m)) for a in range(m)]
            penalty = torch.tensor([2 * gamma * use if use > threshold else 0.0 for use in weighed])
            unary = cost + penalty + gamma * lost[i]
            held = shares[i].sum(0)
            pairs = []
            if sweep > 0:
                most = held.argsort(descending=True)[:3].tolist()
                pairs = [(a, b) for a, b in itertools.combinations(most, 2) if held[a] > 0 and held[b] > 0]
            shares[i] = brute_force(unary[None], near, labels_of(m, pairs), beta, bonus)[0]
    return shares


def exhaustive(unary, near, side, beta, pairs=None, allowed=None, bonus=0.0, before=None):
    """Compute `cut_shares` by trying every labelling."""
    found = []
    for b in range(len(unary)):
        of = [] if pairs is None else [pair for pair, may in zip(pairs[b].tolist(), allowed[b]) if may]
        found.append(brute_force(unary[b : b + 1], near, labels_of(unary.shape[2], of), beta, bonus)[0])
    return torch.stack(found)


@pytest.mark.parametrize(('m', 'sweeps', 'gamma'), [(1, 2, 1.0), (2, 4, 1.0), (3, 1, 1.0), (3, 4, 1.0), (3, 3, 0.2)])
def test_joint_cut_equals_a_loop_over_outputs(monkeypatch, m, sweeps, gamma):
    torch.manual_seed(0)
    groups, size = 4, (2, 2)
    cost = -3 * torch.rand(groups, 4, m)
    compatibility = 0.8 * torch.eye(m) + 0.2 * torch.rand(groups, m, m)
    settings = dict(beta=0.3, gamma=gamma, threshold=3.1, bonus=0.01, sweeps=sweeps)
    monkeypatch.setattr(joint_cut, 'cut_shares', exhaustive)
    torch.manual_seed(1)
    shares = cut_jointly(cost, size, compatibility, **settings)
    torch.manual_seed(1)
    labels = torch.randint(m, (groups, m, 4))
    for group in range(groups):
        wanted = slow_joint_cut(cost[group], size, compatibility[group], labels=labels[group], **settings)
        assert torch.equal(shares[group], wanted)


def test_the_penalty_keeps_sources_from_being_used_by_all():
    torch.manual_seed(0)
    cost = -torch.rand(3, 16, 6)
    cost[:, :, 0] -= 5
    settings = dict(
        size=(4, 4), compatibility=torch.eye(6).expand(3, 6, 6), beta=0.3, threshold=13.3, bonus=0.0, sweeps=4
    )
    free = cut_jointly(cost, gamma=0.0, **settings).sum(2)
    spread = cut_jointly(cost, gamma=10.0, **settings).sum(2)
    assert (free[:, :, 0] == 16).all()
    # The others together stay below the threshold wherever an output takes it.
    assert (spread[:, :, 0].sum(1) <= 13.3 + 16).all()
    assert ((spread.sum(1, keepdim=True) - spread)[spread > 0] <= 13.3).all()
