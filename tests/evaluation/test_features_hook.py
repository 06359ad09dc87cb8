"""Test the features of a test, their places by t-SNE, and the command."""

import csv
import types

import pytest
import torch
from test_attacks import classifier, data

from openmix.errors import InputError
from openmix.evaluation.features_hook import FeaturesHook, in_plane


def test_features_are_those_that_the_head_reads():
    model, batch = classifier(), data()
    hook, runner = FeaturesHook(), types.SimpleNamespace(model=model)
    hook.before_test_epoch(runner)
    for rows in (slice(8, 16), slice(0, 8)):
        hook.after_test_iter(runner, 0, {key: value[rows] for key, value in batch.items()})
    hook.after_test_epoch(runner)
    order = batch['ids'].argsort()
    network = model.network('')
    with torch.no_grad():
        logits = network.head(hook.features)
        wanted = network(model.data_preprocessor.network_input(batch['inputs'][order] / 255))
    torch.testing.assert_close(logits, wanted)
    assert torch.equal(hook.labels, batch['labels'][order])
    assert torch.equal(hook.ids, batch['ids'][order])


def test_groups_stay_together_and_a_seed_gives_the_same_places():
    centres = 20 * torch.eye(3, 6).repeat_interleave(12, 0)
    features = centres + torch.rand(36, 6, generator=torch.Generator().manual_seed(0))
    places = in_plane(features, 5.0, 3)
    assert (places == in_plane(features, 5.0, 3)).all()
    groups = torch.from_numpy(places).reshape(3, 12, 2)
    middles = groups.mean(1)
    within = (groups - middles[:, None]).norm(dim=2).max()
    between = torch.pdist(middles).min()
    assert between > 2 * within


def test_what_t_sne_cannot_place_is_one_line():
    for perplexity in (0, 10, float('nan')):
        with pytest.raises(InputError, match='perplexity must be'):
            in_plane(torch.rand(10, 3), perplexity)
    with pytest.raises(InputError, match='finite features'):
        in_plane(torch.full((10, 3), torch.nan), 3)


@pytest.mark.slow
def test_the_command(call, digits_checkpoint, tmp_path):
    checkpoint, options = digits_checkpoint
    out = tmp_path / 'out'
    words = ['tsne.py', 'classification/digits/resnet20.py', checkpoint, '--count', 40, '--out', out]
    code, _, err = call(*words, '--perplexity', 5, '--cfg-options', *options)
    assert code == 0, err
    assert (out / 'tsne.png').read_bytes()[:4] == b'\x89PNG'
    with (out / 'tsne.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert len({row['class'] for row in rows}) == 10
    code, _, err = call(*words, '--perplexity', 40, '--cfg-options', *options)
    assert code == 2
    assert err.splitlines()[-1] == 'error: perplexity must be in (0, 40), got 40.0'
