"""Split batch norm against batch norms of the parts."""

import pytest
import torch
from torch import nn

from openmix.errors import InputError
from openmix.models.split_batch_norm import SplitBatchNorm, split_batch_norm


@pytest.mark.parametrize('shape', [(8, 3), (8, 3, 4, 5)])
def test_each_part_is_normalised_by_itself(shape):
    torch.manual_seed(0)
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    plain = kind(3).double()
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    split = split_batch_norm(plain, 4)
    assert isinstance(split, SplitBatchNorm)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out, means, variances = split(x), [], []
    for part in range(4):
        alone = kind(3).double()
        alone.load_state_dict(plain.state_dict())
        torch.testing.assert_close(out[part::4], alone(x[part::4]))
        means.append(alone.running_mean)
        variances.append(alone.running_var)
    torch.testing.assert_close(split.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(split.running_var, torch.stack(variances).mean(0))
    assert split.num_batches_tracked == 1
    assert not torch.allclose(out, plain(x))
    split.eval(), plain.eval()
    plain.load_state_dict(split.state_dict())
    torch.testing.assert_close(split(x), plain(x))
    assert torch.autograd.gradcheck(split.train(), x[:, :, :1, :1] if x.dim() == 4 else x)


def test_all_norms_of_a_network_are_replaced_and_others_refused():
    network = split_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=0.1))), 2)
    assert (network[1][0].splits, network[1][0].eps) == (2, 0.1)
    with pytest.raises(InputError, match='SyncBatchNorm cannot be split'):
        split_batch_norm(nn.Sequential(nn.SyncBatchNorm(4)), 2)
