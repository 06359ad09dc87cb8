"""Linear evaluation: the head alone is trained, on a backbone that a self-supervised run leaves."""

import json

import pytest
import torch
from torch import nn

from openmix.config import load_config
from openmix.engine.frozen_backbone import FrozenBackboneHook
from openmix.errors import InputError
from openmix.registry import MODELS


def built():
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='LinearProbe',
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='LinearHead', num_classes=3),
        )
    )


def test_a_step_is_that_of_a_linear_classifier_on_features_in_evaluation_mode():
    model = built().train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    x, y = torch.randn(6, 3, 16, 16), torch.arange(6) % 3
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with torch.no_grad():
        features = model.backbone(x)
    slow = nn.Linear(16, 3)
    slow.load_state_dict(model.head.fc.state_dict())
    loss = model.loss(dict(inputs=x, labels=y))['loss']
    wanted = nn.functional.cross_entropy(slow(features), y)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    optimizer.step()
    torch.testing.assert_close(model.head.fc.weight.grad, slow.weight.grad)
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ['head.fc.weight', 'head.fc.bias']
    assert all(torch.equal(value, before[key]) for key, value in model.backbone.state_dict().items())


def test_a_batch_without_labels_is_refused():
    with pytest.raises(InputError, match='labels'):
        built().loss(dict(inputs=torch.randn(2, 3, 16, 16)))


def test_a_backbone_that_changed_is_found():
    class Runner:
        model = built()

    hook = FrozenBackboneHook()
    hook.before_train(Runner)
    hook.after_train(Runner)
    Runner.model.backbone.train()
    Runner.model.backbone(torch.randn(4, 3, 16, 16))  # moves the running statistics
    with pytest.raises(InputError, match=r'of the backbone changed, the first is .*running_mean'):
        hook.after_train(Runner)


@pytest.mark.parametrize('recipe', ['imagenet/linear_moco', 'stl10/linear_moco', 'stl10/linear_authors'])
def test_crops_are_those_of_released_code(recipe):
    """torchvision's defaults: bilinear, 0.08 to 1 of the area, and on ImageNet the centre of 256 px."""
    cfg = load_config(f'selfsup/{recipe}.py')
    if recipe.startswith('imagenet'):
        crop = dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bilinear')
        assert cfg.train_dataloader.dataset.pipeline[0] == crop
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            resize, centre = loader.dataset.pipeline
            assert resize == dict(type='torchvision/Resize', size=256, interpolation='bilinear')
            assert centre == dict(type='torchvision/CenterCrop', size=224)
    else:
        crop = cfg.model.data_preprocessor.augment[0]
        assert crop == dict(type='BatchRandomResizedCrop', size=96, scale=(0.08, 1.0), interpolation='bilinear')


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_a_run_without_labels_to_its_linear_evaluation(nursery, tmp_path):
    """By the commands of the page, as processes; the backbone ends as the first run left it."""
    few = ['train_dataloader.dataset.subset=256', 'val_dataloader.dataset.subset=64']
    small = ['--cfg-options', *few, 'train_cfg.max_epochs=1']
    words = ['train.py', 'selfsup/digits/moco_v2.py', '--work-dir', 'moco', *small, 'model.queue=128']
    first = nursery.run([*words, 'train_cfg.val_interval=1'], tmp_path)
    assert first.returncode == 0, first.stderr[-2000:]
    (weights,) = (tmp_path / 'moco').glob('epoch_*.pth')
    words = ['train.py', 'selfsup/digits/linear.py', '--work-dir', 'probe', '--weights', str(weights), *small]
    second = nursery.run(words, tmp_path)
    assert second.returncode == 0, second.stderr[-2000:]
    assert 'linear/top1' in json.loads((tmp_path / 'probe/result.json').read_text())['metrics']
    states = [torch.load(next((tmp_path / run).glob('epoch_*.pth')))['state_dict'] for run in ('moco', 'probe')]
    backbones = [{k: v for k, v in state.items() if k.startswith('backbone.')} for state in states]
    assert backbones[0].keys() == backbones[1].keys()
    assert all(torch.equal(value, backbones[1][key]) for key, value in backbones[0].items())
