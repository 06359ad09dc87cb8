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

# Backbone and a head of 100 classes, from the architectures' definitions.
PARAMETERS = {
    'classification/cifar100/resnet18.py': 11_220_132,
    'classification/cifar100/resnext50.py': 23_177_124,
    'classification/cifar100/wrn28_8.py': 23_401_012,
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
    assert bases.model.policy.type == 'NoMix'


def test_parameter_counts_name_recipes():
    assert PARAMETERS.keys() <= set(RECIPES)
