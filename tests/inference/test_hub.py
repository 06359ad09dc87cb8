"""A folder for the Hugging Face Hub: its weights give the run's logits, its card the run's results."""

import itertools
import json

import pytest
import timm
import torch
import torchvision
import yaml
from markdown_it import MarkdownIt
from safetensors.torch import load_file

import openmix
from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.inference.hub import card, measured
from openmix.registry import MODELS

COMMAND = 'publish_model.py'
ROWS = [
    {'epoch': 1, 'iter': 40, 'time_s': 1.0, 'lr': 0.1, 'loss': 2.0, 'accuracy/top1': 20.0, 'accuracy/nll': 2.25},
    {'epoch': 2, 'iter': 80, 'time_s': 2.0, 'lr': 0.1, 'loss': 1.0, 'accuracy/top1': 81.25, 'accuracy/nll': 0.5},
]


def trained(folder, backbone, policy='type="CutMix", alpha=0.2', rows=ROWS):
    """Write the checkpoint of a run on digits with random weights, as a training does; return its model and path."""
    recipe = folder / 'mine.py'
    recipe.write_text(
        "_base_ = 'configs/classification/digits/resnet20.py'\n"
        f'model = dict(backbone=dict(_delete_=True, {backbone}), policy=dict(_delete_=True, {policy}))\n'
    )
    torch.manual_seed(0)
    cfg = prepare(load_config(recipe))
    model = MODELS.build(cfg.model)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(0.05 * torch.rand_like(value))
    meta = {'iter': 80, 'batches_per_epoch': 40, 'seed': 3, 'recipe': 'abc'}
    meta |= {'dataset_meta': {'classes': [f'digit {n}' for n in range(10)]}}
    meta['resolved_recipe'] = json.loads(json.dumps(cfg._cfg_dict.to_dict(), default=str))
    (folder / 'run').mkdir()
    torch.save({'meta': meta, 'state_dict': model.state_dict()}, folder / 'run/epoch_2.pth')
    (folder / 'run/metrics.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    return model.eval(), folder / 'run/epoch_2.pth'


def logits(model, x):
    with torch.no_grad():
        return model(x)


def normalised(model, pixels):
    return (pixels - model.data_preprocessor.mean) / model.data_preprocessor.std


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_timm_loads_the_folder_and_its_file(call, tmp_path, pixels):
    model, path = trained(tmp_path, 'type="TimmBackbone", name="test_vit", img_size=16')
    code, said, err = call(COMMAND, path, '--format', 'hf', '--out', tmp_path / 'mine')
    assert code == 0, err
    assert said.strip() == str(tmp_path / 'mine')
    assert sorted(file.name for file in (tmp_path / 'mine').iterdir()) == [
        'README.md',
        'config.json',
        'model.safetensors',
    ]
    x = normalised(model, pixels)
    wanted = logits(model, x)
    whole = timm.create_model(f'local-dir:{tmp_path / "mine"}', pretrained=True).eval()
    close(logits(whole, x), wanted)
    file = str(tmp_path / 'mine/model.safetensors')
    close(logits(timm.create_model('test_vit', num_classes=10, img_size=16, checkpoint_path=file).eval(), x), wanted)
    data = timm.data.resolve_model_data_config(whole)
    assert tuple(data['input_size']) == (3, 16, 16)
    assert data['crop_pct'] == 1.0
    assert list(data['mean']) == model.data_preprocessor.mean.flatten().tolist()
    assert json.loads((tmp_path / 'mine/config.json').read_text())['label_names'][3] == 'digit 3'
    ours = openmix.load_model(tmp_path / 'mine', device='cpu')
    close(logits(ours, pixels), wanted)
    assert ours.classes[3] == 'digit 3'


def test_torchvision_loads_the_file_by_the_cards_own_lines(call, tmp_path, pixels, monkeypatch):
    model, path = trained(tmp_path, 'type="TorchvisionBackbone", name="shufflenet_v2_x0_5"')
    code, _, err = call(COMMAND, path, '--format', 'hf', '--out', tmp_path / 'mine')
    assert code == 0, err
    text = (tmp_path / 'mine/README.md').read_text()
    assert yaml.safe_load(text.split('---')[1])['library_name'] == 'torchvision'
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(text.partition('```python\n')[2].partition('```')[0], names)
    wanted = logits(model, normalised(model, pixels))
    close(logits(names['model'].eval(), normalised(model, pixels)), wanted)
    close(logits(openmix.load_model('mine', device='cpu'), pixels), wanted)
    plain = torchvision.models.shufflenet_v2_x0_5(num_classes=10)
    assert load_file('mine/model.safetensors').keys() == plain.state_dict().keys()


@pytest.mark.parametrize('policy', ['type="NoMix"', 'type="AutoMix", site="layer3"'])
def test_a_network_of_openmix_keeps_its_names(call, tmp_path, pixels, policy):
    model, path = trained(tmp_path, 'type="ThinResNet", depth=8, width=4', policy)
    code, _, err = call(COMMAND, path, '--format', 'hf', '--out', tmp_path / 'mine')
    assert code == 0, err
    close(logits(openmix.load_model(tmp_path / 'mine', device='cpu'), pixels), logits(model, normalised(model, pixels)))
    assert "openmix.load_model('mine')" in (tmp_path / 'mine/README.md').read_text()


def test_timm_takes_the_network_that_is_evaluated_of_a_learned_policy(call, tmp_path, pixels):
    model, path = trained(tmp_path, 'type="TimmBackbone", name="test_resnet"', 'type="AutoMix", site="layer3"')
    code, _, err = call(COMMAND, path, '--format', 'hf', '--out', tmp_path / 'mine')
    assert code == 0, err
    wanted = logits(model, normalised(model, pixels))
    close(logits(openmix.load_model(tmp_path / 'mine', device='cpu'), pixels), wanted)
    assert not torch.allclose(logits(model.backbone, pixels) @ model.head.fc.weight.T, wanted)


@pytest.mark.slow
def test_the_card_has_the_results_of_the_checkpoint(nursery, tmp_path):
    _, path = trained(tmp_path, 'type="TimmBackbone", name="test_resnet"')
    done = nursery.run([COMMAND, path, '--format', 'hf'], tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == f'{tmp_path}/run/epoch_2-hf\n'
    text = (tmp_path / 'run/epoch_2-hf/README.md').read_text()
    head = yaml.safe_load(text.split('---')[1])
    assert head['library_name'] == 'timm'
    assert head['pipeline_tag'] == 'image-classification'
    (model,) = head['model-index']
    (result,) = model['results']
    assert result['dataset'] == {'name': 'Digits', 'type': 'digits', 'split': 'test'}
    found = {metric['name']: (metric['type'], metric['value']) for metric in result['metrics']}
    assert found == {'accuracy/top1': ('accuracy', 81.25), 'accuracy/nll': ('nll', 0.5)}
    for words in ('| policy | `CutMix(alpha=0.2)` |', '| seed | 3 |', '| `accuracy/top1` | 81.25 |'):
        assert words in text


def test_without_a_validation_of_these_weights_the_card_says_so(call, tmp_path):
    _, path = trained(tmp_path, 'type="TimmBackbone", name="test_resnet"', rows=ROWS[:1])
    code, _, err = call(COMMAND, path, '--format', 'hf')
    assert code == 0
    assert err.splitlines() == [f"note: '{path.parent}' has no validation of these weights; the card has no results"]
    text = (tmp_path / 'run/epoch_2-hf/README.md').read_text()
    assert 'model-index' not in text
    assert 'The run did not validate these weights.' in text


def test_a_moving_average_and_raw_weights_have_their_own_results(tmp_path):
    row = {'epoch': 1, 'iter': 4, 'time_s': 1.0, 'loss': 1.0, 'accuracy/top1': 60.0, 'accuracy/raw/top1': 50.0}
    row['accuracy/online/top1'] = 40.0
    (tmp_path / 'metrics.jsonl').write_text(json.dumps(row) + '\n')
    path = tmp_path / 'iter_4.pth'
    assert measured(path, 4, ema=True) == {'accuracy/top1': 60.0}
    assert measured(path, 4, ema=False) == {'accuracy/top1': 50.0}
    assert measured(path, 5, ema=False) == {}
    del row['accuracy/raw/top1']
    (tmp_path / 'metrics.jsonl').write_text(json.dumps(row) + '\n')
    assert measured(path, 4, ema=True) == {}
    assert measured(path, 4, ema=False) == {'accuracy/top1': 60.0}


def test_a_folder_with_files_is_refused_and_left_as_it_is(call, tmp_path):
    _, path = trained(tmp_path, 'type="TimmBackbone", name="test_resnet"')
    out = tmp_path / 'mine'
    out.mkdir()
    (out / 'kept').write_text('kept')
    code, _, err = call(COMMAND, path, '--format', 'hf', '--out', out)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert 'has files; name a new folder' in err
    assert [file.name for file in out.iterdir()] == ['kept']
    (out / 'kept').unlink()
    assert call(COMMAND, path, '--format', 'hf', '--out', out)[0] == 0
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith('.')] == []


def test_what_others_wrote_stays_text_in_the_card():
    hostile = "a|b `c` <img src=x onerror=alert(1)> [x](javascript:y) **d** ' \n---\n# e ```"
    recipe = {'model': {'type': hostile, 'backbone': {'type': hostile}, 'policy': {'type': 'Mixup', 'alpha': hostile}}}
    recipe['val_dataloader'] = {'dataset': {'type': hostile, 'split': hostile}}
    text = card(hostile, {'seed': hostile, 'epoch': 3}, recipe, None, {'accuracy/`top|1': 50.0})
    _, head, body = text.split('---\n', 2)
    assert yaml.safe_load(head)['library_name'] == 'openmix'
    parsed = MarkdownIt('commonmark').enable('table').parse(body)
    inside = [token for token in parsed if token.type == 'inline']
    line = ' '.join(hostile.split())
    kinds = {child.type for token in inside for child in token.children}
    assert kinds <= {'text', 'text_special', 'code_inline', 'softbreak'}
    assert not any(token.type == 'html_block' for token in parsed)
    assert [token.tag for token in parsed if token.type == 'heading_open'] == ['h1', 'h2', 'h2']
    shown = [''.join(child.content for child in token.children) for token in inside]
    assert shown[0] == line
    cells = dict(itertools.pairwise(shown))
    assert cells['backbone'] == f'{line}()'
    assert cells['policy'] == f'Mixup(alpha={line})'
    assert (cells['seed'], cells['epoch'], cells['accuracy/`top|1']) == (line, '3', '50')
    (fence,) = [token for token in parsed if token.type == 'fence']
    compile(fence.content, 'card', 'exec')
    assert f'load_model({hostile!r})' in fence.content
