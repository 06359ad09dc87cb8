"""k-means of the embeddings of all training images, by scikit-learn, or by faiss where it is installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from mmengine.dist import broadcast, get_rank, get_world_size
from torch import Tensor, nn

from openmix.errors import InputError
from openmix.ops.gather import gather_rows

_IMAGES = 64  # images of a batch whose embeddings are computed
_OF_A_CLUSTER = 256  # images a cluster, on average, from which the centroids are computed; as faiss has it


@runtime_checkable
class ReadableOnce(Protocol):
    """Training images that can be read once without random transforms."""

    def unaugmented(self) -> Any: ...

    def __len__(self) -> int: ...


@torch.no_grad()
def embeddings_of_all(
    name: str, dataset: ReadableOnce, preprocessor: nn.Module, embed: Callable[[Tensor], Tensor]
) -> Tensor:
    """Compute the embeddings (N, P) of all images without random transforms; each process computes a part of them.

    Args:
        name: the algorithm, for the message.
        dataset: the training images.
        preprocessor: makes the input of the network.
        embed: maps (n, 3, H, W) to (n, P), in evaluation mode.

    Raises:
        InputError: an image cannot be read, or an embedding is not finite.
    """
    images, places, found = dataset.unaugmented(), [], []
    for first in range(_IMAGES * get_rank(), len(images), _IMAGES * get_world_size()):
        read = images.__getitems__(range(first, min(first + _IMAGES, len(images))))
        batch = preprocessor(read, training=False)
        places.append(batch['ids'])
        found.append(embed(batch['inputs']))
    if not found:  # fewer batches than processes; every process gathers
        some = preprocessor(images.__getitems__(range(1)), training=False)
        places, found = [some['ids']], [embed(some['inputs'])]
    ids, rows = gather_rows(torch.cat(places)), gather_rows(torch.cat(found))
    order = torch.full((len(images),), -1, dtype=torch.int64, device=ids.device)
    order[ids] = torch.arange(len(ids), device=ids.device)
    if unread := int((order < 0).sum()):
        raise InputError(
            f'{name}: {unread} of {len(images)} training images cannot be read, and each needs a cluster; leave them '
            'out of the data, such as by a list in subset'
        )
    if not bool(rows.isfinite().all()):
        raise InputError(f'{name}: the network gives embeddings that are not finite, from which no cluster can be made')
    return rows[order]


def k_means(name: str, x: Tensor, clusters: int, iterations: int = 20) -> Tensor:
    """Cluster the rows of x (N, P) by their Euclidean distance; return (N,) int64 labels, alike in all processes.

    The first process clusters. Centroids are those of at most 256 rows a cluster, drawn at random, as in faiss.
    A cluster may stay empty.

    Raises:
        InputError: there are fewer different rows than clusters.
    """
    labels = torch.empty(len(x), dtype=torch.int64, device=x.device)
    seed = int(torch.randint(2**31 - 1, ()))
    if get_rank() == 0:
        found = _by_faiss if importlib.util.find_spec('faiss') else _by_scikit_learn
        try:
            labels.copy_(found(x.float().cpu(), clusters, iterations, seed))
        except BaseException:
            # The others wait for an answer.
            broadcast(labels.fill_(-1), 0)
            raise
    broadcast(labels, 0)
    if len(labels) and bool(labels[0] < 0):
        raise InputError(f'{name}: the first process could not cluster the images; it says why')
    used = len(labels.unique())
    if used < clusters and (distinct := len(x.unique(dim=0))) < clusters:
        raise InputError(
            f'{name}: clusters is {clusters}, and the network gives only {distinct} different embeddings for '
            f'{len(x)} training images, so that a cluster would be empty; take fewer clusters or other weights'
        )
    return labels


def _by_scikit_learn(x: Tensor, clusters: int, iterations: int, seed: int) -> Tensor:
    # Importing it takes half a second.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    some = x
    if len(x) > _OF_A_CLUSTER * clusters:
        drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        some = x[drawn[: _OF_A_CLUSTER * clusters].sort()[0]]
    fitted = KMeans(clusters, n_init=1, max_iter=iterations, random_state=seed)
    with warnings.catch_warnings():
        # It stops at the iterations that are asked for.
        warnings.simplefilter('ignore', ConvergenceWarning)
        fitted.fit(some.numpy())
    return torch.from_numpy(fitted.predict(x.numpy())).long()


def _by_faiss(x: Tensor, clusters: int, iterations: int, seed: int) -> Tensor:
    import faiss

    fitted = faiss.Kmeans(x.shape[1], clusters, niter=iterations, seed=seed, max_points_per_centroid=_OF_A_CLUSTER)
    rows = x.contiguous().numpy()
    fitted.train(rows)
    return torch.from_numpy(fitted.index.search(rows, 1)[1][:, 0]).long()
