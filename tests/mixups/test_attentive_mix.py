import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.mixups import AttentiveMix, MixContext


def teacher():
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 2))


def mixed_by_hand(own, other, features, top_k):
    """Paste the cells one by one, in float64; return the image and the share of the sample."""
    height, width = own.shape[1:]
    h, w = features.shape[1:]
    activation = {(r, c): features[:, r, c].double().mean().item() for r in range(h) for c in range(w)}
    chosen = sorted(activation, key=activation.__getitem__, reverse=True)[:top_k]
    out, kept = own.double().clone(), height * width
    for row in range(height):
        for column in range(width):
            if (row * h // height, column * w // width) in chosen:
                out[:, row, column] = other[:, row, column].double()
                kept -= 1
    return out, kept / (height * width)


@pytest.mark.parametrize('top_k', [1, 3, 6])
@pytest.mark.parametrize(('height', 'width', 'size'), [(16, 16, None), (10, 14, 12), (16, 12, 16)])
def test_equals_the_cells_one_by_one(top_k, height, width, size):
    z = torch.randn(5, 3, height, width)
    model = teacher().eval()
    torch.manual_seed(0)
    mixed, mix = AttentiveMix(teacher=model, site='1', top_k=top_k, size=size)(z)
    torch.manual_seed(0)
    partner = torch.randperm(5)
    seen = z if size is None else nn.functional.interpolate(z, (size, size), mode='bilinear', align_corners=False)
    features = model[:2](seen).detach()
    for i in range(5):
        wanted, kept = mixed_by_hand(z[i], z[partner[i]], features[partner[i]], top_k)
        assert torch.equal(mixed[i].double(), wanted)
        assert mix.lam[i].item() == pytest.approx(kept, abs=1e-6)


def test_the_cells_of_the_partner_follow_where_it_is_active():
    """A bright corner of the partner is pasted, whatever the sample shows."""
    bright = nn.Sequential(nn.AvgPool2d(4))
    z = torch.zeros(2, 3, 16, 16)
    z[1, :, :4, 12:] = 1
    z[0, :, 12:, :4] = 1
    mixed, mix = AttentiveMix(teacher=bright, site='0', top_k=1, size=None)(z, pairs=torch.tensor([1, 0]))
    assert bool((mixed[0, :, :4, 12:] == 1).all())
    assert mix.lam.tolist() == [15 / 16] * 2
    assert mix.mask[0, 0].flatten().argmin() == 12


def test_the_teacher_is_a_network_by_name_and_stays_out_of_checkpoints():
    policy = AttentiveMix(teacher=dict(name='torchvision/resnet18', pretrained=False), size=64, top_k=2)
    assert policy.state_dict() == {}
    assert not any(parameter.requires_grad for parameter in policy.parameters())
    policy.train()
    assert not any(module.training for module in policy.teacher.modules())
    z = torch.rand(3, 3, 32, 32)
    _, mix = policy(z)
    assert mix.lam.tolist() == [0.5] * 3  # two of the 2 x 2 cells of 16 pixels
    shown = policy.maps(MixContext(z), mix)["partner's activation"]
    assert shown.shape == (3, 1, 2, 2)
    cells = mix.mask[:, :, ::16, ::16]
    assert torch.equal(cells == 0, shown >= shown.flatten(1).topk(2).values[:, -1].view(3, 1, 1, 1))


def test_bad_input_is_an_input_error():
    with pytest.raises(InputError, match='AttentiveMix needs a teacher, as teacher=dict'):
        AttentiveMix()
    with pytest.raises(InputError, match="has no site 'layer4'"):
        AttentiveMix(teacher=teacher())
    policy = AttentiveMix(teacher=teacher(), site='0', top_k=17, size=16)
    with pytest.raises(InputError, match=r"site '0' has \(4, 4\) cells, fewer than top_k=17"):
        policy(torch.rand(2, 3, 16, 16))
