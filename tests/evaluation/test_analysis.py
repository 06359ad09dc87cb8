"""Test confusion, reliability and temperature by hand calculations, kept logits, and the command."""

import csv
import json
import math
import types

import pytest
import torch
import torch.nn.functional as F

from openmix.config import load_config
from openmix.engine import launch
from openmix.errors import InputError
from openmix.evaluation.analysis import confidence, confusion, fit_temperature, reliability
from openmix.evaluation.logits_hook import Answers, SaveLogitsHook, read_answers
from openmix.registry import DATASETS, MODELS


def answers(logits, labels):
    logits = torch.tensor(logits)
    return Answers(torch.arange(len(logits)), torch.tensor(labels), logits)


def test_confusion_has_true_classes_in_rows():
    found = confusion(answers([[2.0, 1, 0], [2.0, 1, 0], [0.0, 1, 0]], [0, 2, 1]))
    assert found.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_confidence_by_hand():
    largest, right, nll = confidence(answers([[math.log(3.0), 0.0], [0.0, math.log(9.0)]], [0, 0]))
    assert largest.tolist() == pytest.approx([0.75, 0.9])
    assert right.tolist() == [1, 0]
    assert nll == pytest.approx(-(math.log(0.75) + math.log(0.1)) / 2)


def test_reliability_by_hand():
    bins = reliability(torch.tensor([0.25, 0.5, 0.75, 1.0]), torch.tensor([1, 0, 0, 1]), 2)
    assert [tuple(one) for one in bins] == [(0.0, 0.5, 2, 0.375, 0.5), (0.5, 1.0, 2, 0.875, 0.5)]
    (empty, _) = reliability(torch.tensor([0.75]), torch.tensor([1]), 2)
    assert empty.images == 0
    assert math.isnan(empty.accuracy)


def test_the_temperature_has_the_least_loss():
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (500,), generator=g)
    logits = 6 * (torch.randn(500, 4, generator=g) + F.one_hot(labels, 4))
    found = fit_temperature(logits, labels)
    loss = lambda t: F.cross_entropy(logits.double() / t, labels).item()  # noqa: E731
    scanned = min((loss(t), t) for t in torch.linspace(1, 15, 1401, dtype=torch.float64).tolist())[1]
    assert found == pytest.approx(scanned, abs=0.011)
    assert loss(found) < loss(1.0)


@pytest.mark.parametrize('sign', [1, -1])
def test_no_temperature_is_best(sign):
    """Of classes that are all right lower ones are better without end, of logits that mislead higher ones."""
    labels = torch.tensor([0, 1, 2, 0])
    logits = sign * F.one_hot(labels, 3).double()
    loss = [F.cross_entropy(logits / t, labels).item() for t in (0.1, 1, 10)]
    assert sorted(loss, reverse=sign < 0) == loss
    with pytest.raises(InputError, match=f'no temperature is best: .* {"lower" if sign > 0 else "higher"} ones'):
        fit_temperature(logits, labels)


def test_kept_logits_are_read_back_one_an_id(tmp_path):
    out = tmp_path / 'x.npz'
    hook = SaveLogitsHook(str(out))
    parts = [(torch.tensor([[1.0, 2], [3, 4]]), [1, 0], [2, 0]), (torch.tensor([[5.0, 6], [3, 4]]), [1, 0], [1, 0])]
    hook.before_test_epoch(None)
    for i, (logits, labels, ids) in enumerate(parts):
        batch = dict(logits=logits, labels=torch.tensor(labels), ids=torch.tensor(ids))
        hook.after_test_iter(types.SimpleNamespace(), i, None, [batch])
    hook.after_test_epoch(None, {})
    found = read_answers(out)
    assert (found.ids.tolist(), found.labels.tolist()) == ([0, 1, 2], [0, 1, 1])
    assert found.logits.tolist() == [[3, 4], [5, 6], [1, 2]]


def test_files_that_hold_no_logits(tmp_path):
    (tmp_path / 'x.npz').write_bytes(b'nothing')
    with pytest.raises(InputError, match='no file of logits'):
        read_answers(tmp_path / 'x.npz')
    with pytest.raises(InputError, match='no file '):
        read_answers(tmp_path / 'y.npz')
    with pytest.raises(InputError, match=r'out must end with \.npz'):
        SaveLogitsHook('x.txt')


def test_the_command(call, tmp_path):
    pytest.importorskip('torchmetrics', reason='needs torchmetrics: the extra [evaluation]')
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(
        "_base_ = 'configs/classification/digits/resnet20.py'\n"
        'model = dict(backbone=dict(depth=8, width=2))\n'
        'test_dataloader = dict(dataset=dict(subset=40))\n'
    )
    checkpoint, out = tmp_path / 'model.pth', tmp_path / 'out'
    cfg = launch.prepare(load_config(recipe))
    weights = MODELS.build(cfg.model).state_dict()
    data = DATASETS.build(dict(cfg.test_dataloader.dataset))
    fitted = [int(item['labels']) for item in map(data.__getitem__, range(40)) if int(item['ids']) % 2 == 0]
    # A network that says the most frequent class of the first half of all images.
    bias = 3 * F.one_hot(torch.tensor(max(set(fitted), key=fitted.count)), 10).float()
    weights['head.fc.weight'].zero_()
    weights['head.fc.bias'].copy_(bias)
    torch.save({'state_dict': weights}, checkpoint)
    options = ['--out', out, '--bins', 5, '--cfg-options', f'work_dir={tmp_path / "log"}']
    code, said, err = call('analyze.py', recipe, checkpoint, *options)
    assert code == 0, err
    assert said.split()[-1] == str(out)
    pictures = {f'{name}.{kind}' for name in ('confusion', 'reliability') for kind in ('png', 'svg')}
    assert {path.name for path in out.iterdir()} == {
        *pictures, *('confusion.csv', 'classes.csv', 'reliability.csv', 'calibration.json')
    }  # fmt: skip
    found = json.loads((out / 'calibration.json').read_text())
    assert found['scaled'].keys() == found['as trained'].keys() == {'nll', 'ece', 'rms', 'mce'}
    assert found['temperature'] > 0
    with (out / 'confusion.csv').open() as file:
        counts = [list(map(int, row[1:])) for row in list(csv.reader(file))[1:]]
    assert sum(map(sum, counts)) == 40
    with (out / 'classes.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row['right']) for row in rows] == [counts[i][i] for i in range(10)]
    with (out / 'reliability.csv').open() as file:
        assert sum(int(row['images']) for row in csv.DictReader(file)) == 40  # the same half twice
    weights['head.fc.bias'].copy_(-bias)
    torch.save({'state_dict': weights}, checkpoint)
    code, said, err = call('analyze.py', recipe, checkpoint, *options)
    assert (code, said.split()[-1]) == (0, str(out)), err
    assert 'no temperature: ' in err
    found = json.loads((out / 'calibration.json').read_text())
    assert (found['temperature'], 'scaled' in found) == (None, False)
    code, said, err = call('analyze.py', recipe, checkpoint, '--bins', 0)
    assert (code, said) == (2, '')
    assert '--bins must be' in err


def test_a_model_that_answers_numbers_has_no_logits_to_keep(tmp_path):
    answer = dict(values=torch.zeros(2, 1), labels=torch.zeros(2, 1), ids=torch.arange(2))
    with pytest.raises(InputError, match='the model answers values, labels, ids, no logits; leave it out'):
        SaveLogitsHook(str(tmp_path / 'a.npz')).after_test_iter(None, 0, outputs=[answer])
