"""Every recipe merges, says what it is, and builds at full size."""

import ast

import pytest
import torch
from mmengine.registry import init_default_scope

from openmix.config import configs_dir, load_config
from openmix.registry import DATASETS, METRICS, MODELS, find

RECIPES = sorted(
    path.relative_to(configs_dir()).as_posix()
    for path in configs_dir().rglob('*.py')
    if not {'_base_', 'tables'} & set(path.relative_to(configs_dir()).parts)
)

# From the architectures' definitions on CIFAR; on ImageNet as torchvision, timm and the papers publish them.
PARAMETERS = {
    'classification/cifar100/resnet18.py': 11_220_132,
    'classification/cifar100/resnext50.py': 23_177_124,
    'classification/cifar100/wrn28_8.py': 23_401_012,
    **{f'classification/imagenet/resnet18_{epochs}ep.py': 11_689_512 for epochs in (100, 300)},
    **{f'classification/imagenet/resnet34_{epochs}ep.py': 21_797_672 for epochs in (100, 300)},
    **{f'classification/imagenet/resnet50_{epochs}ep.py': 25_557_032 for epochs in (100, 300)},
    **{f'classification/imagenet/resnet101_{epochs}ep.py': 44_549_160 for epochs in (100, 300)},
    'classification/imagenet/resnet50_rsb_a3.py': 25_557_032,
    'classification/imagenet/resnet50_rsb_a3_table10.py': 25_557_032,
    'classification/imagenet/resnext101_100ep.py': 44_177_704,
    'classification/imagenet/deit_small.py': 22_050_664,
    'classification/imagenet/swin_tiny.py': 28_288_354,
    # Those of ImageNet but for the last layer: 200, 100 and 10 classes in place of 1,000.
    'classification/cub200/resnet18.py': 11_689_512 - 800 * 513,
    'classification/cub200/resnext50.py': 25_028_904 - 800 * 2049,
    'classification/fgvc_aircraft/resnet18.py': 11_689_512 - 900 * 513,
    'classification/fgvc_aircraft/resnext50.py': 25_028_904 - 900 * 2049,
    'classification/stl10/resnet18.py': 11_689_512 - 990 * 513,
    'classification/stl10/resnet50.py': 25_557_032 - 990 * 2049,
}


@pytest.mark.parametrize('recipe', RECIPES)
def test_recipe_builds(recipe):
    init_default_scope('openmix')
    cfg = load_config(recipe)
    dataset = dict(cfg.train_dataloader.dataset)
    cls = find(DATASETS, dataset.pop('type'))
    if cls.__name__ == 'ImageFolder':
        dataset['classes'] = [f'class {i}' for i in range(7)]
    facts = cls.facts(**dataset)
    cfg.model.head.num_classes = len(facts.classes)
    cfg.model.data_preprocessor.update(mean=facts.mean, std=facts.std)
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
    assert model(torch.empty(2, 3, *facts.size, device='meta')).shape == (2, len(facts.classes))
    if recipe in PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[recipe]
    METRICS.build(cfg.val_evaluator)


@pytest.mark.parametrize('recipe', RECIPES)
def test_recipe_reads_like_a_methods_section(recipe):
    docstring = ast.get_docstring(ast.parse((configs_dir() / recipe).read_text())) or ''
    assert f'Command: python tools/train.py {recipe}' in docstring
    bases = load_config(recipe)
    # DeiT and RSB mix by default; a table's rows replace either.
    assert bases.model.policy.type == ('OneOf' if 'deit' in recipe or 'swin' in recipe or 'rsb' in recipe else 'NoMix')


def test_parameter_counts_name_recipes():
    assert PARAMETERS.keys() <= set(RECIPES)
