"""A command that is stopped or fails ends within seconds and leaves no process behind."""

import os
import signal

import pytest
from processes import TOOLS, members, naming, start, until

from openmix.config import load_config
from openmix.data.image_folder import ImageFolder
from openmix.data.imitation import imitation
from openmix.engine.workers import _tell_but_of_hanging_up
from openmix.shipped import configs_dir

pytestmark = pytest.mark.slow
SECONDS = 90  # from the last word to the end, on a loaded machine; what never ends fails all the same
# Of images with one class each; pools, boxes and numbers, of which the recipe below trains nothing, end as others do.
NAMES = sorted(path.stem for path in (configs_dir() / '_base_' / 'datasets').glob('*.py'))
OTHERS = ('voc', 'number_list', 'rotated_digits')
BASES = [name for name in NAMES if name not in OTHERS and not name.endswith(('_semisup', '_pools'))]
SIGNALS = {'SIGINT': signal.SIGINT, 'SIGTERM': signal.SIGTERM}
CODES = {'well': 0, 'error': 2, 'SIGINT': 130, 'SIGTERM': 143}
LAST_WORDS = {'well': 'Result: ', 'error': 'error: ', 'SIGINT': 'saved after', 'SIGTERM': 'saved after'}
MODES = tuple(CODES)
CASES = [('image_folder', mode, persistent) for mode in MODES for persistent in (True, False)]
# Every other base ends in one way, half of them with workers that stay.
CASES += [
    (base, MODES[i % len(MODES)], i // len(MODES) % 2 == 0)
    for i, base in enumerate(base for base in BASES if base != 'image_folder')
]
RECIPE = """
_base_ = ['{bases}/datasets/{base}.py', '{bases}/schedules/sgd_cosine.py', '{bases}/runtime.py']
read_by = dict(batch_size=3, num_workers=2, persistent_workers={persistent}, pin_memory=True)
train_dataloader = dict(**read_by, dataset=dict(**{given}, subset=8))
val_dataloader = dict(**read_by, dataset=dict(**{given}, subset=4))
test_dataloader = val_dataloader
model = dict(
    type='MixClassifier',
    backbone=dict(type='ThinResNet', depth=8, width=2),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='CutMix'),
)
optim_wrapper = dict(optimizer=dict(lr={lr}))
train_cfg = dict(max_epochs={epochs})
default_hooks = dict(logger=dict(interval=1))
vis_backends = []
visualizer = dict(vis_backends=vis_backends)
"""


@pytest.fixture
def running():
    """Yield a list for the commands that a test starts; kill those that still run at the end."""
    commands = []
    yield commands
    for command in commands:
        command.clear()


def write_recipe(folder, base, persistent, epochs, lr=0.01):
    given = {} if base == 'digits' else {'root': str(folder / 'data')}
    recipe = folder / 'recipe.py'
    known = dict(bases=configs_dir() / '_base_', base=base, given=given, persistent=persistent)
    recipe.write_text(RECIPE.format(**known, epochs=epochs, lr=lr))
    return recipe


def dataset_of(base):
    cfg = load_config(configs_dir() / '_base_' / 'datasets' / f'{base}.py')
    return cfg.train_dataloader.dataset.to_dict()


def spoil_images(root):
    for path in root.rglob('*.[jJ][pP]*[gG]'):
        path.write_bytes(b'no image')


def ended(command, code, last_word):
    command.wait_for(last_word, 120)
    assert command.ends(SECONDS) == code, command.said[-3000:]
    assert command.left() == [], command.said[-3000:]
    assert 'Traceback' not in command.said
    assert 'Exception ignored' not in command.said


@pytest.mark.parametrize(('base', 'mode', 'persistent'), CASES)
def test_of_training(nursery, running, tmp_path, base, mode, persistent):
    """`tools/train.py` with workers; a signal goes to the whole process group, as from a terminal."""
    (tmp_path / 'data').mkdir()
    dataset = dataset_of(base)
    # Images that lie in memory are read before there are workers: the second step fails instead.
    by_image = mode == 'error' and 'pipeline' in dataset
    recipe = write_recipe(
        tmp_path,
        base,
        persistent,
        epochs=1 if mode in ('well', 'error') else 100_000,
        lr=1e30 if mode == 'error' and not by_image else 0.01,
    )
    words = ['train.py', recipe, '--work-dir', tmp_path / 'run']
    if by_image:
        with imitation(dataset, tmp_path / 'data'):
            spoil_images(tmp_path / 'data')
        command = nursery.start(words, tmp_path / 'log')
    else:
        command = nursery.start(words, tmp_path / 'log', dataset, tmp_path / 'data')
    running.append(command)
    if mode in SIGNALS:
        command.wait_for('s an iteration')
        assert len(members(command.pid)) > 2  # the workers live
        command.to_all(SIGNALS[mode])
    ended(command, CODES[mode], LAST_WORDS[mode])
    last = command.said.strip().splitlines()[-1]
    if mode == 'well':
        assert (tmp_path / 'run' / 'result.json').is_file()
    elif mode == 'error':
        assert last.startswith(f'error: {tmp_path}' if by_image else 'error: loss')
        assert ('is not a readable image' if by_image else 'became nan') in last
    else:
        assert last.startswith('saved after iteration')
        assert (tmp_path / 'run' / 'latest.pth').is_file() or list((tmp_path / 'run').glob('epoch_*.pth'))


@pytest.fixture
def images(tmp_path):
    with imitation(dataset_of('image_folder'), tmp_path / 'data'):
        return tmp_path


@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_with_workers_that_are_started_otherwise(nursery, running, images, method):
    recipe = write_recipe(images, 'image_folder', True, epochs=100_000)
    more = f"train_dataloader.update(num_workers=1)\nenv_cfg = dict(mp_cfg=dict(mp_start_method='{method}'))\n"
    recipe.write_text(recipe.read_text() + more)
    command = nursery.start(['train.py', recipe, '--work-dir', images / 'run'], images / 'log')
    running.append(command)
    command.wait_for('s an iteration')
    command.to_all(signal.SIGTERM)
    ended(command, 143, 'saved after')


STUCK = """
custom_imports = dict(imports=['stuck_transform'])
train_dataloader['dataset']['pipeline'] = [dict(type='Stuck')]
"""


@pytest.mark.parametrize('twice', ['interrupted twice', 'killed'])
def test_with_workers_inside_a_batch(nursery, running, images, twice):
    """Nobody waits for a batch that is not wanted any more, and workers outlive nobody."""
    recipe = write_recipe(images, 'image_folder', True, epochs=1)
    recipe.write_text(recipe.read_text() + STUCK)
    command = nursery.start(['train.py', recipe, '--work-dir', images / 'run'], images / 'log')
    running.append(command)
    command.wait_for('Checkpoints go to')
    assert until(lambda: len(members(command.pid)) > 2, SECONDS)
    if twice == 'killed':
        # The trainer alone, as by a machine that is out of memory.
        signal.pidfd_send_signal(os.pidfd_open(command.pid), signal.SIGKILL)
        assert command.ends(SECONDS) == -signal.SIGKILL
        assert command.left() == []
        return
    command.to_all(signal.SIGINT)
    assert command.ends(1) is None  # it waits for its batch; two signals at once would be one
    command.to_all(signal.SIGINT)
    ended(command, 130, 'interrupted')


LAST_OF_ONE = """
model['backbone'] = dict(type='TorchvisionBackbone', name='resnet18')
train_dataloader.update(batch_size=7)
train_dataloader['dataset']['pipeline'] = [dict(type='torchvision/Resize', size=(32, 32))]
train_dataloader['dataset']['size'] = 32
"""


def test_by_a_last_batch_of_one_image(nursery, running, images):
    """Eight images in batches of seven, which batch norm would refuse at the end of the epoch: no step is taken."""
    recipe = write_recipe(images, 'image_folder', True, epochs=1)
    recipe.write_text(recipe.read_text() + LAST_OF_ONE)
    command = nursery.start(['train.py', recipe, '--work-dir', images / 'run'], images / 'log')
    running.append(command)
    ended(command, 2, 'error: train_dataloader: the last batch of an epoch has 1 image, not 7: model.backbone')
    assert 's an iteration' not in command.said


def test_of_a_dry_run(nursery, running, images):
    recipe = write_recipe(images, 'image_folder', True, epochs=1)
    command = nursery.start(['train.py', recipe, '--dry-run', '3'], images / 'log')
    running.append(command)
    ended(command, 0, 'dry run: ')


def test_of_a_dry_run_that_is_interrupted(nursery, running, images):
    recipe = write_recipe(images, 'image_folder', True, epochs=100_000)
    command = nursery.start(['train.py', recipe, '--dry-run', '100000'], images / 'log')
    running.append(command)
    command.wait_for('s an iteration')
    command.to_all(signal.SIGINT)
    ended(command, 130, 'interrupted')


def test_of_a_table_and_of_an_evaluation(running, images):
    """In fresh processes: a cell of a table, then its weights on the test images."""
    recipe = write_recipe(images, 'image_folder', True, epochs=1)
    table = images / 'table.yaml'
    table.write_text(
        f'title: One cell\nsource: none\nmetric: accuracy/top1\nreadout: last\nvariant: corrected\nbase: {recipe}\n'
        'columns:\n  MCE: {}\nrows:\n  CutMix: {}\n'
    )
    running.append(start([TOOLS / 'benchmark.py', 'run', table, '--work-dir', images / 'run'], images / 'table.log'))
    ended(running[0], 0, '[1/1]')
    (weights,) = (images / 'run').rglob('epoch_1.pth')
    words = [TOOLS / 'test.py', recipe, weights, '--work-dir', images / 'test']
    running.append(start(words, images / 'test.log'))
    ended(running[1], 0, '"accuracy/top1"')
    assert until(lambda: not naming(images), 15)


def test_of_two_processes_by_an_error_of_one(running, images):
    """The other waits for it in a collective operation, and is not left waiting."""
    recipe = write_recipe(images, 'image_folder', True, epochs=100)
    recipe.write_text(recipe.read_text() + 'train_dataloader.update(num_workers=1, batch_size=2)\n')
    ImageFolder(str(images / 'data'), subset=8).path(0).write_bytes(b'no image')
    words = [TOOLS / 'dist_train.sh', recipe, 2, '--work-dir', images / 'run']
    running.append(start(words, images / 'log', program='bash'))
    running[0].wait_for('is not a readable image')
    assert running[0].ends(240) == 1  # torchrun's own; it gives the others 30 s
    assert until(lambda: not naming(images), 15)
    assert '[rank0]: Traceback' not in running[0].said
    assert 'error: model' not in running[0].said  # the lost connection is not blamed on a part of the recipe


def test_a_worker_says_all_but_that_the_trainer_hung_up(capsys):
    for error in (ConnectionResetError('reset by peer'), ValueError('of a thread of the data set')):
        _tell_but_of_hanging_up(type(error), error, None)
    assert capsys.readouterr().err == 'ValueError: of a thread of the data set\n'
