"""Recipes of semi-supervised methods: what is wrong is told in a line with its place, before a run."""

import json

import pytest
from algorithm_cases import ALGORITHMS

from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.engine.preflight import try_parts
from openmix.errors import InputError
from openmix.overrides import apply_overrides
from openmix.parts import parts


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / 'recipe.py'
    path.write_text(ALGORITHMS['FixMatch'].text(tmp_path))
    return path


CUT = dict(type='CutMix')


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (
            {'model.threshold': 1.5},
            r'model: FixMatch: threshold must be in \[0, 1\], got 1.5 \(in override model.threshold\)',
        ),
        ({'model.branch.wieght': 1.0}, "model.branch: MixedBranch has no 'wieght'; did you mean 'weight'"),
        ({'model.branch.weight': 'x'}, "model.branch: MixedBranch: weight must be a number, got 'x'"),
        ({'model.branch.policy.type': 'Mixap'}, r"model.branch.policy: unknown mixup 'Mixap'; did you mean 'Mixup'"),
        (
            {'model.branch.policy': {**CUT, '_delete_': True}, 'model.branch.lam': [0, 0.5]},
            'CutMix cannot keep the share',
        ),
        (
            {'model.branch.loss': dict(type='decoupled_ce', side='own')},
            "decoupled_ce has no 'side'; did you mean 'sides'",
        ),
        ({'model.branch.loss': dict(type='mix_ce', rows=1)}, "model.branch.loss: mix_ce has no 'rows'"),
        ({'model.branch.loss': dict(type='jensen_shannon')}, "branch: loss: jensen_shannon has no argument 'rows'"),
        (
            {'model.data_preprocessor.augment.unlabelled': [[], [], []]},
            r'FixMatch reads 2 views of every unlabelled image \(weak, strong\), and the batch has 3',
        ),
        ({'model.head.num_classes': 3}, 'head.num_classes is 3, but the data of Digits have 10 classes'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(recipe, options, line):
    with pytest.raises(InputError, match=line) as error:
        try_parts(prepare(apply_overrides(load_config(recipe), options)))
    assert '\n' not in str(error.value)


def test_the_parts_of_a_branch_are_found(recipe):
    found = {part.place: part.built.__name__ for part in parts(load_config(recipe).to_dict())}
    assert found['model.branch'] == 'MixedBranch'
    assert found['model.branch.policy'] == 'Mixup'


def test_data_of_one_pool_are_refused_by_the_command(recipe, call, tmp_path):
    one = ['train_dataloader.dataset={type: Digits, subset: 20, _delete_: true}']
    one += ['train_dataloader.sampler={type: DefaultSampler, shuffle: true, _delete_: true}']
    one += ['model.data_preprocessor.augment=[]']
    code, _, said = call('train.py', recipe, '--work-dir', tmp_path / 'run', '--cfg-options', *one)
    lines = [line for line in said.splitlines() if ' - WARNING - ' not in line]
    assert code == 2, said
    assert len(lines) == 1, said
    assert "FixMatch trains on the pools 'labelled' and 'unlabelled', and the batch has not both; set" in lines[0]
    assert not (tmp_path / 'run').exists()


def test_unequal_classes_are_refused_by_the_command_where_equal_shares_are_presumed(call, tmp_path):
    recipe, run = tmp_path / 'recipe.py', tmp_path / 'run'
    recipe.write_text(ALGORITHMS['ReMixMatch'].text(tmp_path))
    (tmp_path / 'labelled.txt').write_text(''.join(f'{row}\n' for row in range(57)))
    listed = [f'train_dataloader.dataset.labelled.subset={tmp_path}/labelled.txt']
    code, _, said = call('train.py', recipe, '--work-dir', run, '--dry-run', 1, '--cfg-options', *listed)
    assert code == 2, said
    assert 'ReMixMatch: the classes have ' in said
    assert "give their shares, or 'uniform', as label_distribution" in said


def test_what_is_measured_reaches_the_records(recipe, call, tmp_path):
    short = ['train_cfg.max_epochs=1', 'optim_wrapper.accumulative_counts=1', 'model.threshold=0.0']
    workers = {'num_workers': 0, 'persistent_workers': False}
    alone = [f'{part}_dataloader.{key}={value}' for part in ('train', 'val', 'test') for key, value in workers.items()]
    code, said, error = call('train.py', recipe, '--work-dir', tmp_path / 'run', '--cfg-options', *short, *alone)
    assert code == 0, said + error
    (line,) = (json.loads(text) for text in (tmp_path / 'run/metrics.jsonl').read_text().splitlines())
    assert line['mask_rate'] == 1
    assert 0 <= line['pseudo_label_accuracy'] <= 1
    parts = [line[f'{key}_loss'] for key in ('labelled', 'unlabelled', 'branch')]
    assert line['loss'] == pytest.approx(sum(parts), rel=1e-5)
