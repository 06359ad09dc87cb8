"""Data sets of a recipe must have the same labels, and evaluated images must not be trained on."""

from pathlib import Path

import pytest
import torch
from image_trees import save_image
from mmengine.config import Config

from openmix.data.digits import Digits
from openmix.data.splits import Drawn, choose_rows
from openmix.engine.data_check import check_built, check_data, differing, trained_classes
from openmix.errors import InputError

ROOT = Path(__file__).parent.parent.parent
BASES = ROOT / 'configs' / '_base_'


def recipe(train, val, kind='ImageFolder'):
    loaders = {'train': train, 'val': val, 'test': val}
    return Config({f'{part}_dataloader': {'dataset': {'type': kind, **one}} for part, one in loaders.items()})


def tree(root, split, names, shift=0):
    for i, name in enumerate(names):
        for k in range(4):
            save_image(root / split / name / f'{k}.png', 16, 16, 100 * i + k + shift)
    return root


@pytest.fixture
def roots(tmp_path):
    """Make a root with training images of three classes, and another one with validation images."""
    return tree(tmp_path / 'a', 'train', ['cat', 'dog', 'emu']), tmp_path / 'b'


def test_a_class_without_validation_images_keeps_its_number(roots):
    train, val = roots
    tree(val, 'val', ['dog', 'emu'], 50)
    cfg = recipe(dict(root=str(train)), dict(root=str(val), split='val'))
    check_data(cfg)
    assert cfg.val_dataloader.dataset.classes == cfg.test_dataloader.dataset.classes == ['cat', 'dog', 'emu']
    # A recipe whose classes are the same stays as it is.
    tree(val, 'val', ['cat'], 50)
    cfg = recipe(dict(root=str(train)), dict(root=str(val), split='val'))
    before = cfg.to_dict()
    check_data(cfg)
    assert cfg.to_dict() == before


def test_a_size_that_the_pipeline_overrules_is_refused(roots):
    tree(roots[0], 'val', ['cat', 'dog', 'emu'], 50)
    pipeline = [dict(type='torchvision/Resize', size=(48, 64))]

    def check(**options):
        check_data(recipe(dict(root=str(roots[0]), **options), dict(root=str(roots[0]), split='val')))

    for harmless in ({'size': 32}, {'pipeline': pipeline}, {'pipeline': pipeline, 'size': (48, 64)}):
        check(**harmless)
    check(pipeline=pipeline, size=224)  # the default, which asks for nothing
    with pytest.raises(InputError, match='size=32 has no effect, its pipeline leaves images of 48x64'):
        check(pipeline=pipeline, size=32)


@pytest.mark.parametrize(
    ('names', 'options', 'line'),
    [
        (['cat', 'dog', 'hen'], {}, "class 2 is 'hen' here and 'emu' in the training data"),
        (
            ['cat', 'dog', 'emu', 'hen'],
            {},
            "4 classes here, 3 in the training data: 'hen' is not among those of the tr",
        ),
        (['cat', 'dog', 'emu'], {'classes': ['emu', 'dog', 'cat']}, "class 0 is 'emu' here and 'cat' in"),
        (['dog', 'emu'], {'classes': ['dog', 'emu']}, "2 classes here, 3 in the training data: 'cat' is not among th"),
    ],
)
def test_other_classes_are_refused(roots, names, options, line):
    train, val = roots
    tree(val, 'val', names, 50)
    cfg = recipe(dict(root=str(train)), dict(root=str(val), split='val', **options))
    with pytest.raises(InputError, match=f'val_dataloader.dataset: {line}') as error:
        check_data(cfg)
    assert len(str(error.value).splitlines()) == 1


def test_published_data_sets_too():
    check_data(recipe(dict(classes=['n01440764']), dict(classes=['n01440764'], split='test'), 'ImageNet'))
    for kind, train, val in (
        ('ImageNet', dict(classes=['n01440764', 'n01443537']), dict(split='test')),
        ('ImageNet', dict(classes=['n01440764', 'n01443537']), dict(split='test', classes=['n01443537', 'n01440764'])),
    ):
        with pytest.raises(InputError, match=r'val_dataloader.dataset: .*; all must have the same classes'):
            check_data(recipe(train, val, kind))
    cfg = recipe(dict(split='train'), dict(split='test'), 'CIFAR10')
    cfg.val_dataloader.dataset.type = 'STL10'
    with pytest.raises(InputError, match="class 1 is 'bird' here and 'automobile' in the training data"):
        check_data(cfg)


HELD = dict(split='val', val_fraction=0.2)


@pytest.mark.parametrize(
    ('train', 'val', 'shared'),
    [
        (dict(), HELD, True),
        (dict(val_fraction=0.2), HELD, False),
        (dict(val_fraction=0.2, split_seed=1), HELD, True),
        (dict(val_fraction=0.2, split_seed=1), dict(HELD, split_seed=1), False),
        (dict(val_fraction=0.2), dict(HELD, split_seed=1), True),
        (dict(val_fraction=0.1), HELD, True),
        (dict(val_fraction=0.3), HELD, False),
        (dict(val_fraction=0.2, subset=30), dict(HELD, subset=5), False),
        (dict(val_fraction=0.2), dict(split='test'), False),
        (dict(), dict(split='test'), False),
    ],
)
@pytest.mark.parametrize('kind', ['Digits', 'CIFAR10', 'STL10', 'CUB200', 'ImageNet', 'ImageFolder', 'TinyImageNet'])
def test_images_that_are_trained_on_are_refused(tmp_path, kind, train, val, shared):
    if kind == 'ImageFolder':
        tree(tmp_path, 'train', 'ab')
        tree(tmp_path, 'test', 'ab')
    root = {} if kind == 'Digits' else {'root': str(tmp_path / 'none' if kind == 'TinyImageNet' else tmp_path)}
    cfg = recipe({**root, **train}, {**root, **val}, kind)
    if not shared:
        check_data(cfg)
        return
    with pytest.raises(
        InputError, match=r'its images are trained on: .*val_fraction=0.2.*; set val_fraction and'
    ) as error:
        check_data(cfg)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('fractions', [(0.2, 0.2), (0.1, 0.2), (0.3, 0.2), (0.0, 0.2), (0.2, 0.0)])
@pytest.mark.parametrize('seeds', [(0, 0), (0, 1)])
@pytest.mark.parametrize('splits', [('train', 'val'), ('train', 'train'), ('val', 'val'), ('test', 'test')])
def test_the_rule_is_what_the_rows_say(fractions, seeds, splits):
    labels = torch.arange(500) % 7
    drawn = [Drawn('x', *one) for one in zip(splits, fractions, seeds)]
    rows = [set(choose_rows(labels, one.split, one.val_fraction, one.split_seed, None).tolist()) for one in drawn]
    assert drawn[0].shares(drawn[1]) == drawn[1].shares(drawn[0]) == bool(rows[0] & rows[1])
    assert not drawn[0].shares(drawn[1]._replace(source='y'))


def test_a_link_to_the_training_folder_is_that_folder(roots):
    train, _ = roots
    (train / 'val').symlink_to('train')
    with pytest.raises(InputError, match=r'val_dataloader.dataset: its images are trained on'):
        check_data(recipe(dict(root=str(train)), dict(root=str(train), split='val')))


def test_training_images_may_be_asked_for_by_name(roots, capsys):
    train, _ = roots
    check_data(recipe(dict(root=str(train)), dict(root=str(train), split='train')))
    assert "note: val_dataloader reads the split 'train', which is trained on" in capsys.readouterr().err


NOT_THERE = 'transductive=True, and it holds no image of val_dataloader.dataset or test_dataloader.dataset'
IN_BOTH = (
    "dataset.unlabelled: it holds images of val_dataloader.dataset: both read the split 'test'; take another split"
)
SHARED = 'split_seed=0 here and .* there; set val_fraction and split_seed alike in both, or set .*transductive=True'


@pytest.mark.parametrize(
    ('unlabelled', 'val', 'refused', 'refused_where_it_is_asked_for'),
    [
        (dict(split='test'), dict(split='test'), IN_BOTH, None),
        (dict(), dict(split='train', val_fraction=0.2), 'both read the split .train.; take another', None),
        (dict(), HELD, SHARED, None),
        (dict(val_fraction=0.2), HELD, None, NOT_THERE),
        (dict(split='test'), HELD, None, NOT_THERE),
    ],
)
def test_evaluated_images_are_unlabelled_ones_only_where_it_is_asked_for(
    unlabelled, val, refused, refused_where_it_is_asked_for, capsys
):
    def checked(line, transductive):
        cfg = recipe({}, val, 'Digits')
        labelled, other = dict(type='Digits', val_fraction=0.2, subset=20), dict(type='Digits', **unlabelled)
        pools = dict(type='Pools', labelled=labelled, unlabelled=other, transductive=transductive)
        cfg.train_dataloader = dict(dataset=pools, sampler=dict(type='PoolSampler'), batch_size=2)
        if line is not None:
            with pytest.raises(InputError, match=line) as error:
                check_data(cfg)
            assert len(str(error.value).splitlines()) == 1
        else:
            check_data(cfg)
        assert ('without their labels' in capsys.readouterr().err) == (transductive and line is None)

    checked(refused, False)
    checked(refused_where_it_is_asked_for, True)


def test_a_split_that_is_not_known_may_hold_evaluated_images(monkeypatch):
    monkeypatch.setattr(Digits, 'drawn', classmethod(lambda cls, **kwargs: None))
    cfg = recipe({}, dict(split='test'), 'Digits')
    pools = dict(type='Pools', labelled=dict(type='Digits', subset=20), transductive=True)
    cfg.train_dataloader = dict(dataset=pools, sampler=dict(type='PoolSampler'), batch_size=2)
    check_data(cfg)


@pytest.mark.parametrize('meta', [{}, {'dataset_meta': None}, {'dataset_meta': {'classes': None}}, 3])
def test_checkpoints_that_do_not_say(meta):
    assert trained_classes({'meta': meta}, 'x.pth') is None
    assert trained_classes({}, 'x.pth') is None


def test_checkpoints_that_say_no_names():
    assert trained_classes({'meta': {'dataset_meta': {'classes': ('a', 'b')}}}, 'x.pth') == ('a', 'b')
    for classes in (3, 'ab', [1, 2], {'a': 1}):
        with pytest.raises(InputError, match=r"'x.pth' is damaged: the names of its classes are no list of names"):
            trained_classes({'meta': {'dataset_meta': {'classes': classes}}}, 'x.pth')


def test_the_first_difference_is_named():
    assert differing(['a'], ['b'], 'x').startswith("class 0 is 'a' here and 'b' in x")
    assert differing(['a', 'c', 'b'], ['a', 'b', 'c'], 'x').startswith("class 1 is 'c' here and 'b' in x")
    assert differing(['a', 'b'], ['a', 'c', 'd'], 'x').startswith("class 1 is 'b' here and 'c' in x")
    with pytest.raises(InputError, match=r'^here: class 0'):
        check_built(type('Own', (), {'metainfo': {'classes': ['a']}})(), ['b'], 'here', 'x')
    check_built(object(), ['b'], 'here', 'x')


RECIPE = """
_base_ = {bases!r}
model = dict(
    type='MixClassifier',
    backbone=dict(type='ThinResNet', depth=20),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
    data_preprocessor=dict(type='ImagePreprocessor'),
)
root = {root!r}
data = dict(type='ImageFolder', root=root, size=16)
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True), collate_fn=dict(type='identity_collate'))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, root={val!r}, split='val'),
    sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='identity_collate'))
val_evaluator = dict(type='Accuracy')
test_dataloader, test_evaluator = val_dataloader, val_evaluator
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture
def run(nursery):
    """Return a function that runs a command in a new process; it returns the exit code, stdout and stderr."""

    def ended(tool, *args):
        done = nursery.run([tool, *args])
        return done.returncode, done.stdout, done.stderr

    return ended


@pytest.mark.slow
def test_trained_tested_and_resumed_by_one_list_of_classes(run, tmp_path):
    """A class that the validation root lacks keeps its number; a folder renamed after training is refused."""
    train, val = tree(tmp_path / 'a', 'train', ['cat', 'dog', 'emu']), tmp_path / 'b'
    tree(val, 'val', ['dog', 'emu'])
    file, work = tmp_path / 'own.py', tmp_path / 'run'
    file.write_text(
        RECIPE.format(
            bases=[str(BASES / 'schedules' / 'sgd_cosine.py'), str(BASES / 'runtime.py')], root=str(train), val=str(val)
        )
    )
    code, _, said = run('train.py', file, '--work-dir', work)
    assert code == 0, said
    assert 'val has no images of 1 of its classes: cat' in said
    checkpoint = work / 'epoch_1.pth'
    # Renamed where it is trained on and where it is judged: the recipe agrees with itself, the checkpoint does not.
    (train / 'train' / 'dog').rename(train / 'train' / 'hound')
    (val / 'val' / 'dog').rename(val / 'val' / 'hound')
    line = f"dataset: class 1 is 'emu' here and 'dog' in '{checkpoint}'; all must have the same classes"
    resume = ('train.py', file, '--work-dir', work, '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    for tool, *args in (('test.py', file, checkpoint, '--work-dir', tmp_path / 'tested'), resume):
        code, out, said = run(tool, *args)
        assert code == 2
        assert line in said.splitlines()[-1]
        assert 'Traceback' not in said
        assert not [text for text in out.splitlines() if text.startswith(('{', str(work)))]
