"""Compare token merging and MergeMix with loops written from their papers."""

import math

import pytest
import timm
import torch
from torch import nn

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mixups import MixContext
from openmix.mixups.merged_attention import merged_attention
from openmix.models.classifier import MixClassifier
from openmix.ops.token_merging import match_tokens, merge_counts, merge_tokens
from openmix.registry import MIXUPS

HEADS = 2


def vit(**options):
    torch.manual_seed(0)
    sizes = dict(img_size=16, patch_size=4, embed_dim=12, depth=3, num_heads=HEADS, num_classes=0)
    model = timm.create_model('vit_tiny_patch16_224', **{**sizes, **options})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.double().train()


def images(n=3, seed=0):
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)).double()


def cosine(a, b):
    return sum(p * q for p, q in zip(a, b)) / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))


def slow_matching(keys, count, leading):
    """Return the groups of tokens, as lists of their places, in their order after merging."""
    sources = range(leading + 1, len(keys), 2)
    targets = range(leading, len(keys), 2)
    edges = []
    for source in sources:
        likeness = [cosine(keys[source], keys[target]) for target in targets]
        best = max(range(len(likeness)), key=likeness.__getitem__)
        edges.append((likeness[best], source, targets[best]))
    joined = {source: target for _, source, target in sorted(edges, key=lambda edge: -edge[0])[:count]}
    groups = [[place] for place in range(leading)] + [[source] for source in sources if source not in joined]
    return groups + [[target, *(s for s, t in joined.items() if t == target)] for target in targets]


@pytest.mark.parametrize(('length', 'leading', 'count'), [(9, 1, 3), (9, 1, 0), (8, 0, 4), (7, 2, 2), (9, 1, 99)])
def test_tokens_are_matched_and_averaged_as_in_loops(length, leading, count):
    g = torch.Generator().manual_seed(length + count)
    keys, tokens = torch.randn(3, length, 4, generator=g), torch.randn(3, length, 5, generator=g)
    sizes = torch.randint(1, 4, (3, length), generator=g).float()
    places = match_tokens(keys, count, leading)
    left = length - min(count, (length - leading) // 2)
    merged, total = merge_tokens(tokens, sizes, places, left)
    assert merged.shape == (3, left, 5)
    for n in range(3):
        groups = slow_matching(keys[n].tolist(), count, leading)
        assert len(groups) == left
        for place, group in enumerate(groups):
            assert all(places[n, member] == place for member in group)
            weights = sizes[n, group]
            torch.testing.assert_close(total[n, place], weights.sum())
            torch.testing.assert_close(merged[n, place], (weights[:, None] * tokens[n, group]).sum(0) / weights.sum())


def test_autocast_changes_nothing_in_the_merging_of_tokens():
    """A token of 257 patches is no number of bf16."""
    keys, tokens = torch.randn(2, 9, 4), torch.randn(2, 9, 5)
    sizes = torch.full((2, 9), 256.0).index_fill(1, torch.tensor([1]), 257.0)
    found = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            places = match_tokens(keys, 3, 1)
            found.append((places, *merge_tokens(tokens, sizes, places, 6)))
    assert all(torch.equal(plain, cast) for plain, cast in zip(*found))


def test_counts_fall_from_three_halves_to_half_of_the_mean_and_keep_their_sum():
    counts = merge_counts(98, 12)
    assert sum(counts) == 98
    assert all(abs(count - (1.5 - i / 11) * 98 / 12) < 1 for i, count in enumerate(counts))
    assert merge_counts(5, 1) == [5]
    assert merge_counts(0, 3) == [0, 0, 0]
    assert sum(merge_counts(7, 4)) == 7


def slow_attention(model, site, x, merged):
    """Walk through the blocks image by image; return for each the groups of tokens and their attention (K, K)."""
    model = model.eval()
    with torch.no_grad():
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(x)))
        counts = merge_counts(round(merged * (tokens.shape[1] - 1)), len(model.blocks))
        found = []
        for z in tokens:
            groups, sizes = [[place] for place in range(len(z))], [1.0] * len(z)
            for place, block in enumerate(model.blocks):
                y = block.norm1(z)
                query, key, _ = block.attn.qkv(y).view(len(z), 3, HEADS, -1).permute(1, 2, 0, 3)
                if place == site:
                    scores = query @ key.transpose(1, 2) / math.sqrt(key.shape[2])
                    found.append((groups, scores.softmax(2).mean(0)))
                    break
                z = z + block.attn(y[None])[0]
                joined = slow_matching(key.mean(0).tolist(), counts[place], 1)
                z = torch.stack(
                    [sum(sizes[i] * z[i] for i in group) / sum(sizes[i] for i in group) for group in joined]
                )
                sizes = [sum(sizes[i] for i in group) for group in joined]
                groups = [[token for i in group for token in groups[i]] for group in joined]
                z = z + block.mlp(block.norm2(z))
    return found


@pytest.mark.parametrize(('site', 'merged'), [(2, 0.5), (1, 0.75), (0, 0.5), (2, 0.0)])
def test_every_patch_gets_the_attention_of_the_token_that_it_is_part_of(site, merged):
    model, x = vit(), images()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = merged_attention(model, f'blocks.{site}.attn', x, merged)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(p.grad is not None for p in model.parameters())
    assert found.shape == (3, 1, 17, 17)
    for n, (groups, attention) in enumerate(slow_attention(model, site, x, merged)):
        assert len(groups) == 17 - sum(merge_counts(round(merged * 16), 3)[:site])
        for i, rows in enumerate(groups):
            for j, columns in enumerate(groups):
                for row in rows:
                    for column in columns:
                        assert found[n, 0, row, column].item() == pytest.approx(attention[i, j].item(), abs=1e-5)


def network():
    return Network(vit(), nn.Linear(12, 4).double())


def test_the_sample_keeps_the_patches_of_most_attention():
    x, net = images(), network()
    policy = MIXUPS.build(dict(type='MergeMix', merged=0.5))
    policy.attach(net)
    for lam, kept in ((0.0, 0), (0.3, 4), (0.5, 8), (0.99, 15), (1.0, 16)):
        torch.manual_seed(1)
        mixed, mix = policy.holding(lam)(x, MixContext(x, network=net), torch.tensor([2, 0, 1]))
        assert torch.equal(mix.lam, torch.full((3,), kept / 16))
        for n, (groups, attention) in enumerate(slow_attention(net.backbone, 2, x, 0.5)):
            scores = [0.0] * 16
            for j, columns in enumerate(groups):
                for column in columns:
                    if column:
                        scores[column - 1] = attention[0, j].item()
            shown = [place for place in range(16) if mix.mask[n, 0, 4 * (place // 4), 4 * (place % 4)] == 1]
            assert len(shown) == kept
            hidden = [place for place in range(16) if place not in shown]
            if shown and hidden:
                assert min(scores[place] for place in shown) >= max(scores[place] for place in hidden) - 1e-6
            for place in range(16):
                rows, columns = (
                    slice(4 * (place // 4), 4 * (place // 4) + 4),
                    slice(4 * (place % 4), 4 * (place % 4) + 4),
                )
                source = x[n] if place in shown else x[mix.partner[n]]
                assert torch.equal(mixed[n, :, rows, columns], source[:, rows, columns])


def test_the_label_share_may_be_drawn_anew():
    policy = MIXUPS.build(dict(type='MergeMix', merged=0.25, rescale=True))
    kept = torch.tensor([0.5, 0.25, 1.0, 0.125])
    torch.manual_seed(5)
    found = policy.label_share(kept)
    torch.manual_seed(5)
    drawn = [0.25 + share * noise for share, noise in zip(kept.tolist(), torch.randn(4).tolist())]
    wanted = [(value - min(drawn)) / (max(drawn) - min(drawn) + 1e-5) for value in drawn]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-5)
    assert found.min() == 0 < found.max() <= 1


def test_the_clean_images_may_be_trained_on_too():
    torch.manual_seed(0)
    sizes = dict(img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=2)
    backbone = dict(type='TimmBackbone', name='deit_tiny_patch16_224', **sizes)
    policy = dict(type='MergeMix', clean_weight=0.5)
    model = MixClassifier(backbone, dict(type='LinearHead', num_classes=3), policy).eval()
    x, y = images().float(), torch.arange(3)
    losses = model.loss(dict(inputs=x, labels=y))
    torch.testing.assert_close(
        losses['clean_loss'], 0.5 * nn.functional.cross_entropy(model.head(model.backbone(x)), y)
    )


def test_maps_for_pictures():
    x, net = images(), network()
    policy = MIXUPS.build(dict(type='MergeMix'))
    policy.attach(net)
    context = MixContext(x, network=net)
    _, mix = policy(x, context)
    assert policy.maps(context, mix)['attention'].shape == (3, 1, 4, 4)


def test_networks_whose_tokens_cannot_be_merged_are_refused():
    policy = MIXUPS.build(dict(type='MergeMix'))
    with pytest.raises(InputError, match='computes no attention map'):
        policy.attach(Network(nn.Conv2d(3, 4, 1), nn.Linear(4, 4)))
    parallel = vit(block_fn=timm.models.vision_transformer.ParallelScalingBlock)
    with pytest.raises(InputError, match='tokens cannot be merged; take a ViT or DeiT of timm'):
        policy.attach(Network(parallel, nn.Linear(12, 4)))
    with pytest.raises(InputError, match=r"site must be 'blocks\.0\.attn' to 'blocks\.2\.attn'"):
        MIXUPS.build(dict(type='MergeMix', site='blocks.3.attn')).attach(network())
    with pytest.raises(InputError, match=r'MergeMix: merged must be in \[0, 1\)'):
        MIXUPS.build(dict(type='MergeMix', merged=1.0))
    with pytest.raises(InputError, match='MergeMix: clean_weight must be >= 0'):
        MIXUPS.build(dict(type='MergeMix', clean_weight=-1.0))
    with pytest.raises(InputError, match='MergeMix reads the attention of a network'):
        policy(images(), MixContext(images()))
