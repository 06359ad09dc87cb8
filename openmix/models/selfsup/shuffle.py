"""Pass images through a network in another order, over all processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.dist import broadcast, get_rank, get_world_size
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.losses.labels import at_least_float32
from openmix.mixups.feature_site import FeatureSite
from openmix.ops.gather import gather_rows, row_counts


def shuffled_keys(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Compute `network(x)` with the images of all processes in one random order, each normalised with others.

    Rank 0 draws the permutation (Shuffling BN; He et al., CVPR 2020, Section 3.3). No gradient flows.

    Args:
        network: maps (N, 3, H, W) to (N, P).
        x: (N, 3, H, W), equally many in every process.

    Returns:
        (N, P), in the order of `x`.

    Raises:
        InputError: the processes have different numbers of images.
    """
    n = len(x)
    if len(set(counts := row_counts(x))) > 1:
        raise InputError(f'batches of {counts} images in the processes cannot be shuffled; set drop_last=True')
    alone = x.is_meta or get_world_size() == 1
    order = torch.randperm(n * len(counts), device=x.device)
    if not alone:
        broadcast(order, 0)
    mine = slice(0, n) if alone else slice(get_rank() * n, (get_rank() + 1) * n)
    keys = gather_rows(network(gather_rows(x, counts)[order[mine]]), counts)
    return keys[order.argsort()[mine]]


class Beside:
    """Compute keys, and features inside the network, of images in one pass, as one row of numbers an image.

    One tensor gives every image its own of both, however the images are shuffled.

    Args:
        site: where the features are.
        backbone: maps (N, 3, H, W) to (N, D).
        embed: maps (N, D) to keys (N, P).
    """

    def __init__(self, site: FeatureSite, backbone: nn.Module, embed: Callable[[Tensor], Tensor]) -> None:
        self.site, self.backbone, self.embed = site, backbone, embed
        self.width, self.shape = 0, torch.Size()

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the rows (N, P + C h w) of images (N, 3, H, W)."""
        features, output = self.site.beside(self.backbone, x)
        keys = self.embed(output)
        self.width, self.shape = keys.shape[1], features.shape[1:]
        return torch.cat([keys, at_least_float32(features).flatten(1)], 1)

    def parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys (N, P) and the features (N, C, h, w) of rows that a call computed."""
        return rows[:, : self.width], rows[:, self.width :].unflatten(1, self.shape)
