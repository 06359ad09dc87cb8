"""The bank of ODC against loops over a scripted history; k-means; clusters that are small or empty."""

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from openmix.errors import InputError
from openmix.models.selfsup import cluster_bank, k_means
from openmix.models.selfsup.cluster_bank import (
    ClusterBank,
    cluster_cross_entropy,
    cluster_means,
    cluster_sizes,
    cluster_weights,
    renewed_clusters,
    two_means,
)

IMAGES, K, P = 40, 5, 4


def unit(z):
    return z / z.norm(dim=-1, keepdim=True)


def rows(n=IMAGES, seed=0):
    return torch.randn(n, P, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bank_of(features, labels, **options):
    bank = ClusterBank(K, P, **options)
    bank.features.allocate(len(labels))
    bank.labels.allocate(len(labels))
    bank.double()
    bank.fill(features, labels)
    return bank


def slow_renewal(features, labels, centroids, least):
    """Dissolve and divide as the paper says, image by image; the halves are those of `two_means`."""
    labels, centroids = labels.tolist(), [row.clone() for row in centroids]
    small = [k for k in range(len(centroids)) if labels.count(k) < least]
    others = [k for k in range(len(centroids)) if k not in small]
    for n, label in enumerate(labels):
        if label in small:
            labels[n] = max(others, key=lambda k, n=n: float(features[n] @ centroids[k]))
    for empty in small:
        largest = max(range(len(centroids)), key=labels.count)
        inside = [n for n, label in enumerate(labels) if label == largest]
        for n, second in zip(inside, two_means(features[inside])):
            labels[n] = empty if second else largest
        for k in (largest, empty):
            members = [features[n] for n, label in enumerate(labels) if label == k]
            centroids[k] = sum(members) / len(members)
    return torch.tensor(labels), torch.stack(centroids)


@pytest.mark.parametrize('momentum', [0.5, 0.0])
def test_a_scripted_history(momentum):
    """Read, then move; labels by the moved row; plain means; weights; small clusters: step by step."""
    options = dict(momentum=momentum, least=4, centroids_every=3, small_every=2)
    labels = torch.arange(IMAGES) % K
    bank = bank_of(rows(), labels, **options)
    features = unit(rows())

    def means():
        return torch.stack([features[labels == k].mean(0) for k in range(K)])

    centroids, renewed, moved_labels = means(), 0, 0
    for step in range(12):
        ids = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(step))[:16]
        new = rows(16, seed=100 + step) + torch.tensor([4.0, 0, 0, 0])  # drifts to few clusters
        assert torch.equal(bank.read(ids), labels[ids])
        sizes = torch.tensor([(labels == k).sum() for k in range(K)])
        wanted = sizes.double() ** -0.5
        torch.testing.assert_close(bank.weights(ids), (wanted / wanted.sum()).float())
        changed = 0
        for place, n in enumerate(ids.tolist()):
            features[n] = unit(momentum * features[n] + (1 - momentum) * unit(new[place]))
            nearest = max(range(K), key=lambda k, n=n: float(features[n] @ centroids[k]))
            changed += int(labels[n] != nearest)
            labels[n] = nearest
        assert bank.update(ids, new).item() == pytest.approx(changed / len(ids))
        moved_labels += changed
        if step % 3 == 2:
            for k in range(K):
                if (labels == k).any():
                    centroids[k] = features[labels == k].mean(0)
        if step % 2 == 1:
            renewed += any((labels == k).sum() < 4 for k in range(K))
            labels, centroids = slow_renewal(features, labels, centroids, 4)
        bank.maintain(step)
        torch.testing.assert_close(bank.features.rows, features)
        assert torch.equal(bank.labels.rows, labels)
        torch.testing.assert_close(bank.centroids, centroids)
    assert renewed > 1
    assert moved_labels > 20
    assert (bank.centroids.norm(dim=1) < 0.99).all()  # plain means of unit vectors


def test_an_image_that_occurs_twice_has_one_label_and_one_row():
    bank = bank_of(rows(), torch.arange(IMAGES) % K)
    new = rows(3, seed=7)
    bank.update(torch.tensor([2, 9, 2]), new)
    other = bank_of(rows(), torch.arange(IMAGES) % K)
    other.update(torch.tensor([9, 2]), new[1:])
    assert torch.equal(bank.features.rows, other.features.rows)
    assert torch.equal(bank.labels.rows, other.labels.rows)


def test_the_loss_is_not_shrunk_by_the_number_of_clusters():
    """log 200 for a network that knows nothing, whatever the sizes; else the weighted mean."""
    y, weights = torch.arange(200), cluster_weights(torch.arange(1, 201))
    assert cluster_cross_entropy(torch.zeros(200, 200), y, weights).item() == pytest.approx(5.2983, abs=1e-4)
    logits = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    y, weights = torch.tensor([0, 1, 1, 4, 2, 2, 2]), torch.tensor([0.1, 0.4, 0.2, 0.1, 0.2], dtype=torch.float64)
    wanted = sum(-weights[k] * logits[n].log_softmax(0)[k] for n, k in enumerate(y)) / sum(weights[k] for k in y)
    torch.testing.assert_close(cluster_cross_entropy(logits, y, weights), wanted)
    torch.testing.assert_close(wanted, F.cross_entropy(logits, y, weights))
    assert torch.autograd.gradcheck(lambda z: cluster_cross_entropy(z, y, weights), logits)
    assert cluster_cross_entropy(logits.bfloat16(), y, weights).dtype == torch.float32


def test_means_and_sizes():
    features, labels = rows(6), torch.tensor([3, 0, 3, 3, 0, 1])
    old = rows(K, seed=3)
    means = cluster_means(features, labels, old)
    for k in range(K):
        wanted = features[labels == k].mean(0) if (labels == k).any() else old[k]
        torch.testing.assert_close(means[k], wanted)
    assert cluster_sizes(labels, K).tolist() == [2, 1, 0, 3, 0]
    assert cluster_weights(torch.tensor([4, 1, 0])).tolist() == pytest.approx([0.2, 0.4, 0.4])


def test_two_means_against_scikit_learn():
    from sklearn.cluster import KMeans

    x = torch.cat([rows(15) + 3, rows(25, seed=1)])
    second = two_means(x)
    theirs = torch.from_numpy(KMeans(2, n_init=10, random_state=0).fit(x.numpy()).labels_) == 1
    assert torch.equal(second, theirs) or torch.equal(second, ~theirs)
    assert two_means(torch.ones(5, P)).tolist() == [False, True, False, True, False]
    assert two_means(rows(2)).sum() == 1


def test_an_empty_cluster_gets_one_half_of_the_largest():
    features, labels = unit(rows()), torch.zeros(IMAGES, dtype=torch.int64)
    labels[:5], labels[5:9] = 1, 2
    centroids = cluster_means(features, labels, torch.zeros(K, P, dtype=torch.float64))
    found, means = renewed_clusters(features, labels, centroids, 1)
    assert (cluster_sizes(found, K) > 0).all()
    for one, other in zip((found, means), slow_renewal(features, labels, centroids, 1)):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(means, cluster_means(features, found, means))  # none is stale
    # Of images that all look alike, too.
    same = unit(torch.ones(IMAGES, P, dtype=torch.float64))
    found, _ = renewed_clusters(same, torch.zeros_like(labels), centroids, 1)
    assert sorted(cluster_sizes(found, K).tolist()) == [5, 5, 10, 10, 10]


def test_nothing_happens_where_no_cluster_is_small():
    features, labels = unit(rows()), torch.arange(IMAGES) % K
    centroids = rows(K)
    found, means = renewed_clusters(features, labels, centroids, IMAGES // K)
    assert found is labels
    assert means is centroids


def groups(n=30, seed=0):
    centres = 5 * torch.eye(P)
    return centres[torch.arange(n) % P] + 0.1 * rows(n, seed).float()


def test_k_means_finds_groups_of_all_and_of_a_part_of_the_images(monkeypatch):
    for of_a_cluster in (256, 5):
        monkeypatch.setattr(k_means, '_OF_A_CLUSTER', of_a_cluster)
        torch.manual_seed(3)
        labels = k_means.k_means('ODC', groups(), P)
        assert labels.dtype == torch.int64
        assert [len(labels[start::P].unique()) for start in range(P)] == [1] * P
        assert len(labels[:P].unique()) == P


def test_faiss_is_used_where_it_is_installed(monkeypatch):
    """A stand-in with the interface of faiss.Kmeans; its nearest centroids are the first rows."""
    asked = {}

    class Kmeans:
        def __init__(self, d, k, **options):
            asked.update(d=d, k=k, **options)
            self.index = self

        def train(self, x):
            self.centres = x[: asked['k']]

        def search(self, x, count):
            distances = torch.cdist(torch.from_numpy(x), torch.from_numpy(self.centres)).topk(count, largest=False)
            return distances[0].numpy(), distances[1].numpy()

    fake = SimpleNamespace(Kmeans=Kmeans, __spec__=SimpleNamespace(name='faiss'))
    monkeypatch.setitem(sys.modules, 'faiss', fake)
    labels = k_means.k_means('ODC', groups(), P)
    assert labels.tolist() == [n % P for n in range(30)]
    assert {key: asked[key] for key in ('d', 'k', 'niter')} == dict(d=P, k=P, niter=20)


def test_the_other_processes_are_told_where_the_first_cannot_cluster(monkeypatch):
    sent = []

    def fails(*args):
        raise MemoryError

    monkeypatch.setattr(k_means, 'broadcast', lambda labels, source: sent.append(labels.clone()))
    monkeypatch.setattr(k_means, '_by_scikit_learn', fails)
    monkeypatch.setattr(k_means, '_by_faiss', fails)
    with pytest.raises(MemoryError):
        k_means.k_means('ODC', torch.randn(6, 2), 2)
    assert sent[0].tolist() == [-1] * 6
    monkeypatch.setattr(k_means, 'get_rank', lambda: 1)
    monkeypatch.setattr(k_means, 'broadcast', lambda labels, source: labels.copy_(sent[0]))
    with pytest.raises(InputError, match='ODC: the first process could not cluster'):
        k_means.k_means('ODC', torch.randn(6, 2), 2)


def test_images_that_look_alike_to_the_network_are_refused():
    with pytest.raises(InputError, match='only 2 different embeddings for 10 training images'):
        k_means.k_means('ODC', torch.eye(2).repeat(5, 1), 3)


@pytest.mark.parametrize(
    ('options', 'said'),
    [(dict(clusters=1), 'clusters'), (dict(momentum=1.0), 'momentum'), (dict(least=0), 'least')],
)
def test_options_that_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        ClusterBank(**dict(clusters=K, width=P) | options)


def test_images_that_are_too_few_are_refused():
    class Images(list):
        def unaugmented(self):
            return self

    with pytest.raises(InputError, match=r'clusters is 5, and there are 4 training images; set model.clusters to at'):
        cluster_bank.check_clusters('ODC', Images(range(4)), 5, 1)
    with pytest.raises(InputError, match=r'least is 9.* 8 a cluster, .*; set model.least to at most 8'):
        cluster_bank.check_clusters('ODC', Images(range(40)), 5, 9)
    with pytest.raises(InputError, match='unaugmented'):
        cluster_bank.check_clusters('ODC', list(range(40)), 5, 8)
    cluster_bank.check_clusters('ODC', Images(range(40)), 5, 8)
