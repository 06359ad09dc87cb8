"""A loader that its data set refuses is named, whether the command checks it or only the runner does."""

import pytest

from openmix.config import load_config
from openmix.engine import launch
from openmix.engine.runner import Runner
from openmix.errors import InputError

DIGITS = 'classification/digits/resnet20.py'


@pytest.mark.parametrize('part', ['train', 'val', 'test'])
def test_each_loader_is_told_by_its_name(part, tmp_path):
    cfg = launch.prepare(load_config(DIGITS))
    cfg.work_dir = str(tmp_path)
    cfg[f'{part}_dataloader'].sampler = dict(type='PoolSampler')
    runner = Runner.from_cfg(cfg)
    with pytest.raises(InputError, match=rf'^{part}_dataloader\.sampler: Digits has no pools'):
        runner.test() if part == 'test' else runner.train()


def test_a_run_holds_labels_against_the_classes_of_its_model(tmp_path):
    cfg = launch.prepare(load_config(DIGITS))
    cfg.work_dir = str(tmp_path)
    assert Runner.from_cfg(cfg).model.data_preprocessor.num_classes == 10
