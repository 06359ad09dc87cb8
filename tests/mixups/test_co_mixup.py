import pytest
import torch
import torch.nn.functional as F
from torch import nn

from openmix.errors import InputError
from openmix.losses import mix_bce, mix_ce
from openmix.mixups import CoMixup, MixContext
from openmix.mixups.co_mixup import compatibility, take_blocks
from openmix.ops.joint_cut import cut_jointly


def classifier():
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, padding=1)
    return nn.Sequential(
        convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5)
    )


def context_of(z, model=None):
    return MixContext(z, torch.arange(len(z)) % 5, network=model or classifier())


class Given(MixContext):
    """A context with a given saliency map."""

    def __init__(self, x, saliency):
        super().__init__(x)
        self.given = saliency

    def saliency(self, training=False, keep_loss=False):
        return self.given


def slow_compatibility(saliency, omega):
    """Compute the compatibility of one part in a loop over blocks."""
    n, height, width = saliency.shape
    places = []
    for image in saliency:
        best, place = -1.0, (0, 0)
        for row in range(height - min(8, height) + 1):
            for column in range(width - min(8, width) + 1):
                mean = image[row : row + 8, column : column + 8].double().mean().item()
                if mean > best:
                    best, place = mean, (row, column)
        places.append(place)
    apart = torch.tensor([[float(abs(a[0] - b[0]) + abs(a[1] - b[1])) for b in places] for a in places])
    if apart.sum() > 0:
        apart = apart / apart.sum() * n
    return (1 - omega) * torch.eye(n) + omega * apart


@pytest.mark.parametrize(('height', 'width'), [(16, 16), (12, 20), (4, 4)])
def test_compatibility_equals_a_loop(height, width):
    saliency = torch.rand(6, height, width)
    found = compatibility(saliency, 3, 0.3)
    for part in range(2):
        torch.testing.assert_close(found[part], slow_compatibility(saliency[3 * part : 3 * part + 3], 0.3))


def test_blocks_are_taken_from_their_place():
    z, source = torch.rand(5, 3, 8, 12), torch.randint(5, (4, 4, 3))
    taken = take_blocks(z, source)
    for n in range(4):
        for row in range(8):
            for column in range(12):
                wanted = z[source[n, row // 2, column // 4], :, row, column]
                assert torch.equal(taken[n, :, row, column], wanted)


@pytest.mark.parametrize('omega', [0.001, 0.2])
def test_equals_the_costs_written_out(omega):
    """Costs, parts and columns by loops; the cut itself has tests of its own."""
    n, part, blocks = 6, 3, 4
    z, saliency = torch.rand(n, 3, 16, 24), torch.rand(n, 16, 24) ** 4
    policy = CoMixup(part=part, omega=omega, clean_weight=0.0)
    torch.manual_seed(1)
    mixed, mix = policy(z, Given(z, saliency))
    torch.manual_seed(1)
    prior = torch.distributions.Dirichlet(torch.full((2, part), 2.0)).sample()
    cost = torch.zeros(2, 16, part)
    for g in range(2):
        for i in range(part):
            image = saliency[part * g + i]
            for row in range(blocks):
                for column in range(blocks):
                    block = image[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
                    share = block.sum() / image.sum()
                    cost[g, blocks * row + column, i] = -share - 0.05 / 16 * prior[g, i].log()
    alike = torch.stack([slow_compatibility(saliency[:part], omega), slow_compatibility(saliency[part:], omega)])
    cut = cut_jointly(16 * cost, (blocks, blocks), alike, 0.32, 1.0, 0.83 * 16, 5e-4 * 16, 4)
    for g in range(2):
        for i in range(part):
            out = part * g + i
            image = torch.zeros(3, 16, 24)
            for site in range(16):
                rows = slice(4 * (site // 4), 4 * (site // 4) + 4)
                columns = slice(6 * (site % 4), 6 * (site % 4) + 6)
                for j in range(part):
                    image[:, rows, columns] += cut[g, i, site, j] * z[part * g + j, :, rows, columns]
            torch.testing.assert_close(mixed[out], image)
            for j in range(part):
                column = mix.source[out].tolist().index(part * g + j)
                assert mix.weight[out, column].item() == pytest.approx(cut[g, i, :, j].mean().item())


@pytest.mark.parametrize('n', [1, 2, 5, 20, 23])
def test_labels_are_the_shares_of_the_pixels_within_a_part(n):
    z = torch.rand(n, 3, 16, 16)
    _, mix = CoMixup(part=5)(z, context_of(z))
    k = min(n, 5)
    assert mix.source.shape == (n, k)
    assert torch.equal(mix.source[:, 0], torch.arange(n))
    # Twice the shares are whole numbers of blocks: nothing is rounded away.
    assert torch.equal((mix.weight * 32).round() / 32, mix.weight)
    used = mix.weight > 0
    assert (torch.div(mix.source, 5, rounding_mode='floor') == torch.arange(n)[:, None] // 5)[used].all()
    for row in mix.source[: n - n % 5]:
        assert len(set(row.tolist())) == k


def test_salient_quarters_are_put_together():
    """Four images with one salient quarter each: every quarter shows the image that has something there."""
    z, saliency = torch.rand(4, 3, 16, 16), torch.full((4, 16, 16), 0.01)
    for i in range(4):
        saliency[i, 8 * (i // 2) : 8 * (i // 2) + 8, 8 * (i % 2) : 8 * (i % 2) + 8] = 1
    _, mix = CoMixup(gamma=0.0, clean_weight=0.0)(z, Given(z, saliency))
    for n in range(4):
        for i in range(4):
            shown = mix.mask[n, mix.source[n].tolist().index(i)]
            assert (shown[saliency[i] == 1] == 1).all()


def test_the_penalty_makes_outputs_of_a_part_different():
    torch.manual_seed(0)
    z = torch.rand(20, 3, 16, 16)
    context = Given(z, torch.rand(20, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2) ** 3)

    def outputs(policy):
        torch.manual_seed(0)
        return len({tuple(image.flatten().tolist()) for image in policy(z, context)[0]})

    assert outputs(CoMixup(gamma=0.0, clean_weight=0.0)) == 1
    assert outputs(CoMixup(clean_weight=0.0)) > 15


def test_without_clean_weight_the_saliency_pass_leaves_nothing_behind():
    model, z = classifier().train(), torch.rand(7, 3, 16, 16)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    policy, context = CoMixup(clean_weight=0.0), context_of(z, model)
    mixed, _ = policy(z, context)
    assert not mixed.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert policy.clean_weight == 0
    assert context.clean_loss is None


def test_clean_weight_trains_on_the_saliency_pass():
    model, z = classifier().train(), torch.rand(7, 3, 16, 16)
    policy, context = CoMixup(clean_weight=0.5), context_of(z, model)
    policy(z, context)
    (policy.clean_weight * context.clean_loss).backward()
    found = [p.grad.clone() for p in model.parameters()]
    again = classifier().train()
    (0.5 * F.cross_entropy(again(z), context.y)).backward()
    for gradient, parameter in zip(found, again.parameters()):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_any_float(dtype):
    z = torch.rand(6, 3, 16, 24).to(dtype)
    mixed, mix = CoMixup(part=4)(z, context_of(z, classifier().to(dtype)))
    assert mixed.dtype == dtype
    torch.testing.assert_close(mixed, mix.blend(z), rtol=0.01, atol=0.01)


def test_losses_of_any_number_of_sources_take_it():
    z = torch.rand(9, 3, 16, 16)
    context = context_of(z)
    _, mix = CoMixup(part=4)(z, context)
    logits = torch.randn(9, 5)
    shares = torch.zeros(9, 5)
    for n in range(9):
        for source, weight in zip(mix.source[n], mix.weight[n]):
            shares[n, context.y[source]] += weight
    torch.testing.assert_close(mix_ce(logits, context.y, mix), -(shares * logits.log_softmax(1)).sum(1).mean())
    bce = F.binary_cross_entropy_with_logits(logits, shares, reduction='sum') / 9
    torch.testing.assert_close(mix_bce(logits, context.y, mix), bce)


@pytest.mark.parametrize(
    ('call', 'line'),
    [
        (lambda z: CoMixup()(z), 'needs a context'),
        (lambda z: CoMixup()(z, MixContext(z)), 'network and the labels'),
        (lambda z: CoMixup()(z, context_of(z[:2])), 'the context holds'),
        (lambda z: CoMixup()(z, context_of(z), torch.tensor([1, 0])), 'no pairs'),
        (lambda z: CoMixup(block_num=5)(z, context_of(z)), 'does not divide into 5 x 5'),
        (lambda z: CoMixup(part=0), 'CoMixup: part'),
        (lambda z: CoMixup(tau=-1.0), 'CoMixup: tau'),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(InputError, match=line):
        call(torch.rand(4, 3, 16, 16))
