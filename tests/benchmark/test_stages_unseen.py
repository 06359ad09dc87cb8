"""No cell is judged by images that one of its earlier stages is trained on."""

import pytest

from openmix.benchmark.backbones import check_fits
from openmix.benchmark.table import load_table
from openmix.benchmark.trials import trials_of
from openmix.benchmark.unseen import check_stages
from openmix.engine.backbone_fit import check_backbones
from openmix.engine.data_check import check_unseen
from openmix.errors import InputError

RECIPE = """
model = dict(type='MixClassifier', policy=dict(type='NoMix'), head=dict(type='LinearHead'))
train_cfg = dict(max_epochs={epochs}, val_interval=1)
train_dataloader = dict(dataset=dict(type='Digits', split='train'))
val_dataloader = dict(dataset=dict(type='Digits', split='test'))
"""
TABLE = """
title: Two stages on the same images
metric: accuracy/top1
readout: last
columns:
  A: {{config: {root}/last.py, from: {{config: {root}/first.py{more}}}}}
rows:
  Searched: {{grid: {{train_cfg.max_epochs: [1, 2]}}}}
  Plain: {{}}
  Alone: {{from: null, grid: {{train_cfg.max_epochs: [1, 2]}}}}
"""
HELD_OUT = """
validation:
  train_dataloader.dataset.val_fraction: 0.1
  val_dataloader.dataset.val_fraction: 0.1
  val_dataloader.dataset.split: val
  from.train_dataloader.dataset.val_fraction: 0.1
"""


@pytest.fixture
def written(tmp_path):
    """Writes the table; gives the trials of some of its rows."""
    for name, epochs in (('first', 3), ('last', 1)):
        (tmp_path / f'{name}.py').write_text(RECIPE.format(epochs=epochs))

    def write(rows, more='', end=''):
        (tmp_path / 'mine.yaml').write_text(TABLE.format(root=tmp_path, more=more) + end)
        table = load_table(tmp_path / 'mine.yaml')
        return trials_of(table, table.select(rows), tmp_path / 'work', 1, tmp_path / 'weights')

    return write


def test_a_search_whose_first_stage_trains_on_the_held_out_images_is_refused(written):
    with pytest.raises(InputError) as caught:
        check_stages(written('Searched'), check_unseen)
    line = str(caught.value)
    assert "cell 'Searched / A, search max-epochs-1, trial 0': val_dataloader.dataset: the earlier stage" in line
    assert "split='val', val_fraction=0.1, split_seed=0 here and split='train', val_fraction=0.0" in line
    assert "'from.train_dataloader.dataset.val_fraction' in the table's validation does so" in line


def test_a_search_that_holds_them_out_of_every_stage_runs(written):
    trials = written(None, end=HELD_OUT)
    assert not check_stages(trials, check_unseen)
    searched, final, alone = (
        next(trial for trial in trials if trial.cell.row == row) for row in ('Searched', 'Plain', 'Alone')
    )
    assert searched.earlier.cell.resolve().train_dataloader.dataset.val_fraction == 0.1
    assert 'val_fraction' not in final.earlier.cell.resolve().train_dataloader.dataset
    assert alone.earlier is None


@pytest.mark.parametrize(
    ('more', 'line'),
    [
        (', train_dataloader.dataset.split: test', 'note'),
        (', train_dataloader.dataset.split: train', ''),
    ],
)
def test_the_final_run_is_held_against_the_first_stage_too(more, line, written):
    notes = check_stages(written('Plain', more), check_unseen)
    assert len(notes) == bool(line)
    assert all("reads the split 'test', on which the earlier stage" in note for note in notes)


def test_every_stage_of_a_chain_counts_and_a_seed_of_its_own_draws_other_images(written):
    inner = ', from: {{config: {root}/first.py, train_dataloader.dataset.val_fraction: 0.1}}'
    root = written('Plain')[0].cell.config.removesuffix('/last.py')
    three = inner.format(root=root)
    with pytest.raises(InputError, match=r"'from\.train_dataloader\.dataset\.val_fraction'"):
        check_stages(written('Searched', three), check_unseen)
    more = ', train_dataloader.dataset.val_fraction: 0.1' + three.replace('0.1', '0.05')
    with pytest.raises(InputError, match=r"'from\.from\.train_dataloader\.dataset\.val_fraction'"):
        check_stages(written('Searched', more), check_unseen)
    unseeded = '  train_dataloader.dataset.split_seed: null\n  val_dataloader.dataset.split_seed: null\n'
    end = f'{HELD_OUT}{unseeded}  from.train_dataloader.dataset.split_seed: null\n'
    assert not check_stages(written('Searched', end=end), check_unseen)
    with pytest.raises(InputError, match=r'split_seed=0 here and .* split_seed=4'):
        check_stages(written('Searched', ', seed: 4', end), check_unseen)


def test_what_names_a_stage_is_no_part_of_a_search(written):
    with pytest.raises(InputError, match='validation, from: config is said in the table'):
        written('Plain', end='validation: {from.config: other.py}\n')


def test_a_run_from_weights_is_held_against_what_they_were_trained_on():
    def reads(split, **more):
        return {'dataset': {'type': 'Digits', 'split': split, **more}}

    judged = {'val_dataloader': reads('val', val_fraction=0.1)}
    with pytest.raises(InputError, match='the run of x was trained on its images'):
        check_unseen(judged, 0, {'train_dataloader': reads('train')}, 0, 'the run of x')
    held_out = {'train_dataloader': reads('train', val_fraction=0.1)}
    assert check_unseen(judged, 0, held_out, 0, 'the run of x') == []
    foreign = {'train_dataloader': {'dataset': {'type': 'UsersOwn'}}}
    (note,) = check_unseen(judged, 0, foreign, 0, 'the run of x')
    assert 'whether the run of x was trained on images that this one is judged by is not known' in note


@pytest.mark.parametrize('width', [4, 8])
def test_a_stage_whose_backbone_does_not_fit_is_refused_before_it_is_trained(written, tmp_path, width):
    for name, own in (('first', width), ('last', 4)):
        text = (tmp_path / f'{name}.py').read_text()
        small = f"backbone=dict(type='ThinResNet', depth=8, width={own}), policy="
        (tmp_path / f'{name}.py').write_text(text.replace('policy=', small))
    trials = written('Plain')
    if width == 4:
        check_fits(trials, check_backbones)
        return
    with pytest.raises(InputError) as caught:
        check_fits(trials, check_backbones)
    line = str(caught.value)
    assert "cell 'Plain / A, trial 0': the backbone of the earlier stage" in line
    assert "its 'conv1.weight' is (8, 3, 3, 3), and (4, 3, 3, 3) in the stage that starts from it" in line
