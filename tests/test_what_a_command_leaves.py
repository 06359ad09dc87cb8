"""Commands do not change the files of a finished run, and report misspelt recipes and wrong options correctly."""

import pytest

from openmix.config import load_config
from openmix.errors import InputError

RECIPE = 'classification/digits/resnet20.py'
SMALL = ('model.backbone.depth=8', 'model.backbone.width=4', 'train_dataloader.dataset.subset=64')
SMALL += ('train_cfg.max_epochs=1',)


@pytest.mark.slow
def test_an_evaluation_leaves_the_run_as_it_was(call, tmp_path, monkeypatch):
    """The recipe in the run's folder is the one that was trained; it trains again."""
    monkeypatch.chdir(tmp_path)
    assert call('train.py', RECIPE, '--work-dir', 'run', '--cfg-options', *SMALL)[0] == 0
    kept = (tmp_path / 'run' / 'resnet20.py').read_bytes()
    events = set(tmp_path.glob('run/**/events*'))
    assert call('test.py', RECIPE, 'run/epoch_1.pth', '--work-dir', 'run', '--cfg-options', *SMALL)[0] == 0
    assert (tmp_path / 'run' / 'resnet20.py').read_bytes() == kept
    assert set(tmp_path.glob('run/**/events*')) == events != set()
    assert load_config('run/resnet20.py').train_cfg.max_epochs == 1


def test_a_recipe_without_training_data_is_refused(call, tmp_path):
    (tmp_path / 'mine.py').write_text(
        f"_base_ = '{RECIPE}'\ntrain_dataloader = train_cfg = optim_wrapper = param_scheduler = None\n"
    )
    code, _, err = call('train.py', tmp_path / 'mine.py', '--work-dir', tmp_path / 'run')
    assert (code, len(err.splitlines())) == (2, 1), err
    assert 'trains nothing' in err


def test_a_misspelt_file_is_looked_for_in_its_own_folder(tmp_path):
    (tmp_path / 'pets.py').write_text('')
    with pytest.raises(InputError, match=r"did you mean '.*/pets\.py'"):
        load_config(tmp_path / 'petz.py')


def test_options_that_do_not_fit_are_not_printed_as_if_they_did(call):
    code, _, err = call('print_config.py', RECIPE, '--cfg-options', 'train_dataloader.batch_size=ten')
    assert code == 2
    assert 'batch_size' in err
