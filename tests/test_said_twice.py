"""A setting that a command replaces gives an error line if the recipe or an option sets it too."""

import pytest

from openmix.options import OptionText, sets

DIGITS = 'classification/digits/resnet20.py'
TRAIN = ('train.py', DIGITS)
TEST = ('test.py', DIGITS, 'a.pth')


@pytest.fixture
def refused(nursery):
    """Return a function that runs a command, which must be refused, and returns its line."""

    def run(*words):
        done = nursery.run(words)
        assert (done.returncode, done.stdout) == (2, ''), done.stderr
        assert done.stderr.count('\n') == 1
        return done.stderr

    return run


@pytest.mark.parametrize(
    ('arguments', 'option'),
    [
        (['--seed', 3], 'randomness.seed=4'),
        (['--seed', 3], 'randomness={seed: 4}'),
        (['--seed', 0], 'randomness.seed=4'),
        (['--work-dir', 'a'], 'work_dir=b'),
        (['--deterministic'], 'randomness.deterministic=False'),
        (['--amp'], 'optim_wrapper.type=OptimWrapper'),
        (['--auto-scale-lr'], 'auto_scale_lr.enable=False'),
    ],
)
def test_an_option_that_an_argument_overrules(refused, arguments, option):
    line = refused(*TRAIN, *arguments, '--cfg-options', option)
    assert line.startswith(f'error: {arguments[0]} and --cfg-options ')


def test_an_option_that_an_argument_of_an_evaluation_overrules(refused):
    assert '--work-dir and --cfg-options work_dir' in refused(*TEST, '--work-dir', 'a', '--cfg-options', 'work_dir=b')


def test_another_launcher_than_the_commands(refused, tmp_path):
    told = "the recipe: launcher is 'pytorch', and the command's is 'none'"
    assert told in refused(*TRAIN, '--cfg-options', 'launcher=pytorch')
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(f"_base_ = 'configs/{DIGITS}'\nlauncher = 'pytorch'\n")
    assert told in refused(TRAIN[0], recipe)
    assert '--launcher and --cfg-options launcher' in refused(*TEST, '--cfg-options', 'launcher=pytorch')
    # An evaluation reads the recipe that a run of several processes has kept.
    assert 'a.pth' in refused(TEST[0], recipe, TEST[2])


def test_a_dry_run_resumes_nothing(refused):
    assert '--dry-run trains anew' in refused(*TRAIN, '--resume', '--dry-run', 3)


@pytest.mark.parametrize(
    'words',
    [
        (*TRAIN, '--resume', ''),
        (*TRAIN, '--resume='),
        (*TRAIN, '--work-dir', ''),
        (*TEST, '--out', ''),
        ('benchmark.py', 'run', 'quickstart', '--work-dir', ''),
    ],
)
def test_an_argument_that_is_empty(refused, words):
    """What a shell makes of "$FOLDER" that is not set is not the default."""
    assert 'an empty text says nothing' in refused(*words)


def test_where_options_set_something():
    assert sets({'a.b': 1}, 'a.b')
    assert sets({'a': {'b': 1}}, 'a.b')
    assert sets({'a': {'b.c': 1}}, 'a.b.c')
    assert sets({'a': OptionText('{b: 1}')}, 'a.b')
    assert not sets({'a.b': 1, 'a': {'c': 1}, 'd': OptionText('{b: 1}')}, 'a.c.b')
    assert not sets({'a': OptionText('b')}, 'a.b')
