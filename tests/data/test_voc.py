"""Pascal VOC's layout and sets in its format: boxes by value, lists, and what is refused."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch
from image_trees import save_image
from mmengine.config import Config
from PIL import Image
from torch.utils.data import DataLoader
from voc_trees import annotation, write_annotation, write_folder, write_image, write_list, write_official

from openmix.data.box_pipeline import ResizeShortestSide, build_box_pipeline, resized, run_box_pipeline
from openmix.data.collate import identity_collate
from openmix.data.imitation import imitation
from openmix.data.read import read_image
from openmix.data.voc import CLASSES, VOC, VOCFolder
from openmix.engine.data_check import check_data
from openmix.errors import InputError
from openmix.registry import DATASETS
from openmix.shipped import tools_path

FLIP = dict(type='torchvision/RandomHorizontalFlip', p=1.0)
TRAINING = [dict(type='ResizeShortestSide', size=[20, 24, 28, 32], max_size=64), dict(FLIP, p=0.5)]


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path / 'pets')
    return str(tmp_path / 'pets')


def pixels_of(dataset, index):
    return torch.from_numpy(np.asarray(read_image(dataset.path(index))).copy()).permute(2, 0, 1)


def test_boxes_are_those_of_the_file_from_zero(root):
    """A box of all pixels covers the image; 0, which some tools write, counts as 1."""
    data = VOCFolder(root)
    assert data.metainfo['classes'] == ('cat', 'dog')
    batch = data.__getitems__([0, 1, 2, 3])
    assert [tuple(image.shape) for image in batch['inputs']] == [(3, 40, 60), (3, 50, 30), (3, 40, 60), (3, 40, 60)]
    assert torch.equal(batch['inputs'][1], pixels_of(data, 1))
    assert [boxes.tolist() for boxes in batch['boxes']] == [
        [[0, 0, 60, 40], [10, 5, 30, 25]],
        [[4, 4, 20, 30]],
        [[0, 0, 10, 10], [19.5, 9, 40, 39.5]],
        [],
    ]
    assert [labels.tolist() for labels in batch['box_labels']] == [[1, 0], [0], [1, 1], []]
    assert [hard.tolist() for hard in batch['difficult']] == [[False, True], [False], [False, False], []]
    assert batch['ids'].tolist() == [0, 1, 2, 3]
    assert batch['original_sizes'].tolist() == [[40, 60], [50, 30], [40, 60], [40, 60]]
    for key in ('boxes', 'box_labels'):
        assert all(map(torch.equal, batch[key], batch[f'true_{key}']))
    assert batch['boxes'][3].shape == (0, 4)
    one = data[2]
    assert one['ids'] == 2
    assert torch.equal(one['inputs'], batch['inputs'][2])


def test_a_flip_and_a_resize_move_boxes_with_the_pixels(root):
    data = VOCFolder(root, pipeline=[dict(type='torchvision/Resize', size=(80, 90)), FLIP])
    batch = data.__getitems__([0])
    small = read_image(data.path(0)).resize((90, 80), Image.Resampling.BILINEAR)
    assert torch.equal(batch['inputs'][0], torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).flip(2))
    # From 40 x 60 to 80 x 90: x by 1.5, y by 2; then left is 90 - right.
    assert batch['boxes'][0].tolist() == [[0, 0, 90, 80], [45, 10, 75, 50]]
    assert batch['true_boxes'][0].tolist() == [[0, 0, 60, 40], [10, 5, 30, 25]]


@pytest.mark.parametrize(
    ('size', 'shortest', 'longest', 'expected'),
    [
        ((375, 500), 800, 1333, (800, 1067)),
        ((500, 375), 480, 1333, (640, 480)),
        # 800 / 250 would be 1600 wide: 1333 / 500 is 666.5 high, rounded up.
        ((250, 500), 800, 1333, (667, 1333)),
        ((333, 500), 800, 1333, (800, 1201)),
        ((2, 500), 800, 1333, (5, 1333)),
        ((1, 9000), 2, 1333, (1, 1333)),
    ],
)
def test_the_shorter_side_is_resized_unless_the_longer_would_be_too_long(size, shortest, longest, expected):
    assert resized(size, shortest, longest) == expected


def test_several_lengths_are_drawn_alike(root):
    step = ResizeShortestSide(list(range(20, 40, 4)), 60)
    torch.manual_seed(0)
    seen = [step.make_params([Image.new('RGB', (60, 40))])['size'] for _ in range(500)]
    counts = {side: sum(size[0] == side for size in seen) for side in range(20, 40, 4)}
    assert sum(counts.values()) == 500
    assert min(counts.values()) > 70
    assert {tuple(size) for size in seen} == {resized((40, 60), side, 60) for side in counts}


def test_draws_depend_on_seed_pass_and_sample_alone(root):
    data = VOCFolder(root, pipeline=TRAINING, empty='drop')
    loaders = [
        DataLoader(data, batch_size=2, num_workers=workers, collate_fn=identity_collate, shuffle=False)
        for workers in (0, 2)
    ]
    data.set_epoch(3, seed=5)
    alone, by_workers = (list(loader) for loader in loaders)
    for one, other in zip(alone, by_workers, strict=True):
        for key in ('inputs', 'boxes', 'box_labels'):
            assert all(map(torch.equal, one[key], other[key]))
    shapes = set()
    for number in range(12):
        data.set_epoch(number, seed=5)
        shapes.add(tuple(data[0]['inputs'].shape))
    assert len(shapes) == 4
    again = data.__getitems__([0, len(data), 2 * len(data), 3 * len(data)])
    assert again['ids'].tolist() == [0] * 4
    assert len({(tuple(one.shape), float(box[1, 0])) for one, box in zip(again['inputs'], again['boxes'])}) > 1


def test_a_box_that_a_crop_cuts_off_is_left_out_with_its_label(root):
    data = VOCFolder(root, pipeline=[dict(type='torchvision/CenterCrop', size=(16, 20))])
    batch = data.__getitems__([2])  # from (12, 20) on
    assert batch['boxes'][0].tolist() == [[0, 0, 20, 16]]
    assert batch['box_labels'][0].tolist() == [1]
    assert len(batch['true_boxes'][0]) == 2


def test_a_transform_that_does_not_know_boxes_is_refused():
    for step in (dict(type='RandomFlip', prob=0.5), dict(type='StackViews', transforms=[FLIP])):
        with pytest.raises(InputError, match=f'pipeline: {step["type"]} does not move boxes along'):
            build_box_pipeline([step])
    for size in (0, [], [800, 9000]):
        with pytest.raises(InputError, match='ResizeShortestSide: size'):
            build_box_pipeline([dict(type='ResizeShortestSide', size=size)])
    steps = build_box_pipeline([dict(type='torchvision/RandomCrop', size=500)])
    with pytest.raises(InputError, match=r'pipeline: RandomCrop fails on an image of 40x60 \(x.jpg\): '):
        run_box_pipeline(steps, Image.new('RGB', (60, 40)), torch.zeros(0, 4), 'x.jpg')


def test_images_without_objects_are_kept_or_left_out(root):
    assert len(VOCFolder(root)) == 4
    data = VOCFolder(root, empty='drop')
    assert data.rows.tolist() == [0, 1, 2]
    assert data.skipped.line() == f'1 without objects ({root}/JPEGImages/d.jpg)'
    assert data.images_a_class().tolist() == VOCFolder(root).images_a_class().tolist() == [2, 2]
    data.keep(torch.tensor([0, 2]))  # a dog and a cat, and two dogs
    assert data.images_a_class().tolist() == [1, 2]
    write_list(data.path(0).parents[1], 'none', 'df')
    with pytest.raises(InputError, match='VOCFolder: no image of the split has an object'):
        VOCFolder(root, 'none', classes=['cat'], empty='drop')


def test_a_part_of_the_images(root, tmp_path):
    assert VOCFolder(root, subset=2, empty='drop').rows.tolist() != []
    drawn = [VOCFolder(root, subset=2, empty='drop', split_seed=seed) for seed in range(6)]
    assert {len(data) for data in drawn} == {2}
    assert len({tuple(data.rows.tolist()) for data in drawn}) > 1
    assert all(torch.equal(data.chosen()['subset'], data.rows) for data in drawn)
    listed = tmp_path / 'mine.txt'
    listed.write_text('c.jpg\nd.jpg\na.jpg\n')
    assert VOCFolder(root, subset=str(listed)).rows.tolist() == [0, 2, 3]
    assert VOCFolder(root, subset=str(listed), empty='drop').rows.tolist() == [0, 2]
    data = VOCFolder(root)
    data.keep(torch.tensor([1, 2]))
    assert [len(boxes) for boxes in data.__getitems__([0, 1])['boxes']] == [1, 2]
    assert data.images_a_class().tolist() == [1, 1]


def test_the_official_layout_over_years(tmp_path):
    write_official(tmp_path)
    train, test = VOC(str(tmp_path)), VOC(str(tmp_path), split='test')
    assert [path.stem for path in train.paths] == [f'{y}_trainval_{i}' for y in ('2007', '2012') for i in range(2)]
    assert [path.stem for path in test.paths] == ['2007_test_0', '2007_test_1']
    assert train.metainfo['classes'] == CLASSES
    assert len(CLASSES) == 20
    assert train[0]['box_labels'].tolist() == [CLASSES.index('person'), CLASSES.index('tvmonitor')] == [14, 19]
    one = VOC(str(tmp_path), split=[['2012', 'trainval'], ['2007', 'test']])
    assert [path.stem for path in one.paths] == ['2012_trainval_0', '2012_trainval_1', '2007_test_0', '2007_test_1']


@pytest.mark.parametrize(
    ('split', 'told'),
    [
        ('val', "no split 'val'; valid: test, train"),
        ([], 'must be different pairs'),
        (['2007'], 'must be different pairs'),
        ([('2007', 'trainval')] * 2, 'must be different pairs'),
        ([('2007', 7)], 'must be different pairs'),
        ([('2008', 'trainval')], 'VOC2008/ImageSets/Main/trainval.txt is missing; run python tools/prepare_dataset.py'),
    ],
)
def test_splits_that_there_are_not(tmp_path, split, told):
    write_official(tmp_path)
    with pytest.raises(InputError, match=told):
        VOC(str(tmp_path), split=split)


def recipe(root, train='trainval', val='test', **more):
    one = {
        f'{part}_dataloader': dict(dataset=dict(type='VOCFolder', root=root, split=split, **more), sampler=None)
        for part, split in (('train', train), ('val', val))
    }
    return Config(one)


def test_lists_that_share_images_are_not_trained_and_judged_on(root, tmp_path, capsys):
    check_data(recipe(root))
    write_list(tmp_path / 'pets', 'some', 'be')
    with pytest.raises(InputError, match=r"its images are trained on: split='some' in val_dataloader and .*share none"):
        check_data(recipe(root, val='some'))
    check_data(recipe(root, val='trainval'))
    assert "val_dataloader reads the split 'trainval', which is trained on" in capsys.readouterr().err
    write_official(tmp_path)
    train = VOC.drawn(root=str(tmp_path))
    assert not train.shares(VOC.drawn(root=str(tmp_path), split='test'))
    assert train.shares(VOC.drawn(root=str(tmp_path), split=[('2012', 'trainval')]))
    assert VOC.drawn(root=str(tmp_path / 'absent')) is None


def test_classes_must_be_the_same_in_all_splits(root, tmp_path):
    write_image(tmp_path / 'pets', 'g', [('emu', (1, 1, 9, 9))])
    write_list(tmp_path / 'pets', 'birds', 'g')
    with pytest.raises(InputError, match=r"val_dataloader\.dataset: class 0 is 'emu' here and 'cat' in the"):
        check_data(recipe(root, val='birds'))
    # Only some of the classes: they keep the numbers of training.
    write_image(tmp_path / 'pets', 'h', [('dog', (1, 1, 9, 9))])
    write_list(tmp_path / 'pets', 'dogs', 'h')
    cfg = recipe(root, val='dogs')
    check_data(cfg)
    assert cfg.val_dataloader.dataset.classes == ['cat', 'dog']
    assert DATASETS.build(cfg.val_dataloader.dataset)[0]['box_labels'].tolist() == [1]


BOMB = '<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;">]>'
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd">'
BAD = {
    'beyond the right': (annotation([('cat', (1, 1, 61, 40))]), r'object 1 \(cat, 1, 1, 61, 40\) is outside .* 40x60;'),
    'left of it': (annotation([('dog', (1, 1, 9, 9)), ('cat', (-1, 1, 9, 9))]), r'object 2 \(cat, -1, .* is outside'),
    'below it': (annotation([('cat', (1, 1, 9, 40.5))]), 'is outside the image'),
    'no width': (annotation([('cat', (5, 1, 5, 9))]), r'\(cat, 5, 1, 5, 9\) is of no area; correct them, or set bad_b'),
    'turned round': (annotation([('cat', (5, 9, 8, 2))]), 'is of no area'),
    'a class unknown': (annotation([('cta', (1, 1, 9, 9))]), "object 1 is of class 'cta'; did you mean 'cat'"),
    'cut short': (annotation([('cat', (1, 1, 9, 9))])[:-20], 'is not XML that can be read: unclosed token'),
    'no XML': (b'\x89PNG\r\n', 'is not XML that can be read'),
    'empty': ('', 'is not XML that can be read'),
    'an encoding unknown': ('<?xml version="1.0" encoding="klingon"?><annotation/>', 'is not XML that can be read'),
    'entities': (annotation(head=BOMB), 'declares a document type, which may expand entities; remove its DOCTYPE'),
    'a file outside': (annotation(head=OUTSIDE), 'declares a document type'),
    'no size': (annotation(size=False), 'size.height is missing or empty; is it an annotation of Pascal VOC'),
    'no height': (annotation(height=0), 'size must be whole numbers from 1 to .*, got a width of 60 and a height of 0'),
    'a width beyond all images': (
        annotation(width='1e30'),
        r'size must be whole numbers from 1 to 2147483647, got a wi',
    ),
    'half a pixel': (annotation(width=60.5), 'got a width of 60.5 and'),
    'an underscore': (annotation(width='1_00'), "size.width must be a finite number, got '1_00'"),
    'digits of another script': (annotation(width='٦٠'), "size.width must be a finite number, got '٦٠'"),
    'no name': (annotation([('', (1, 1, 9, 9))]), 'name of object 1 is missing or empty'),
    'three corners': (annotation([('cat', (1, 1, 9))]), 'bndbox.ymax of object 1 is missing'),
    'a corner of letters': (
        annotation([('cat', (1, 1, 9, 'x'))]),
        'bndbox.ymax of object 1 must be a finite number, g',
    ),
    'a corner with an underscore': (annotation([('cat', (1, 1, '1_0', 9))]), 'xmax of object 1 must be a finite'),
    'no number': (annotation([('cat', (1, 1, 9, 'nan'))]), 'must be a finite number'),
    'half difficult': (annotation([('cat', (1, 1, 9, 9), 2)]), "object 1: difficult must be 0 or 1, got '2'"),
}


@pytest.mark.parametrize('name', BAD)
def test_a_bad_annotation_is_named(root, tmp_path, name):
    text, told = BAD[name]
    path = write_annotation(tmp_path / 'pets', 'b', text)
    with pytest.raises(InputError, match=told) as error:
        VOCFolder(root, classes=['cat', 'dog'])
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_bad_boxes_are_left_out_and_each_is_listed(root, tmp_path):
    """Only they: the other objects of the image stay, and it is without objects if none is left."""
    path = write_annotation(tmp_path / 'pets', 'b', annotation([('cat', (5, 5, 5, 9)), ('dog', (1, 1, 90, 9))], 50, 30))
    other = write_annotation(tmp_path / 'pets', 'c', annotation([('cat', (7, 7, 7, 7)), ('dog', (1, 1, 9, 9))]))
    with pytest.warns(UserWarning, match='VOCFolder: left out: ') as caught:
        data = VOCFolder(root, bad_boxes='drop', empty='drop')
    expected = [
        f'{path}: object 1 (cat, 5, 5, 5, 9) is of no area',
        f'{path}: object 2 (dog, 1, 1, 90, 9) is outside the image of 50x30',
        f'{other}: object 1 (cat, 7, 7, 7, 7) is of no area',
    ]
    assert data.dropped == expected
    assert str(caught[0].message) == f'VOCFolder: left out: {"; ".join(expected)}'
    assert data.rows.tolist() == [0, 2]
    assert data[1]['boxes'].tolist() == [[0, 0, 9, 9]]
    for key in ('bad_boxes', 'empty'):
        with pytest.raises(InputError, match=f'VOCFolder: {key} must be'):
            VOCFolder(root, **{key: 'ignore'})


@pytest.mark.parametrize(
    ('lines', 'told'),
    [
        (['a', 'b', 'a'], 'trainval.txt:3: expected the name of an image, got .*, the image of line 1 again'),
        (['a 1'], "trainval.txt:1: expected the name of an image, got 'a 1'"),
        (['../a'], 'expected the name of an image'),
        ([], 'lists no image; expected'),
        (['a', 'z'], 'Annotations/z.xml is missing'),
    ],
)
def test_a_bad_list_is_named(root, tmp_path, lines, told):
    write_list(tmp_path / 'pets', 'trainval', lines)
    write_image(tmp_path / 'other', 'z')
    (tmp_path / 'other' / 'JPEGImages' / 'z.jpg').rename(tmp_path / 'pets' / 'JPEGImages' / 'z.jpg')
    with pytest.raises(InputError, match=told):
        VOCFolder(root)


def test_a_missing_or_other_image_is_named(root, tmp_path):
    image = tmp_path / 'pets' / 'JPEGImages' / 'b.jpg'
    image.unlink()
    with pytest.raises(InputError, match=f'VOCFolder: {image} of 4 images missing; put them there'):
        VOCFolder(root)
    save_image(image, 40, 60)
    with pytest.raises(InputError, match=rf'{image} is 40x60, and its annotation says 50x30 \(height x width\)'):
        VOCFolder(root).__getitems__([0, 1])
    data = VOCFolder(root, skip_corrupt=True)
    with pytest.warns(UserWarning, match='its annotation says 50x30'):
        batch = data.__getitems__([0, 1, 2])
    assert batch['ids'].tolist() == [0, 2]
    assert len(batch['inputs']) == len(batch['boxes']) == 2
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(InputError, match='no image of the batch is readable'):
            data.__getitems__([1])
    save_image(image.with_suffix('.png'), 50, 30)
    with pytest.raises(InputError, match='have one name; remove one of them'):
        VOCFolder(root)


def test_a_stand_in_needs_no_files(tmp_path):
    """Two lists of one root, and classes of one's own."""
    given = dict(type='VOCFolder', classes=['b', 'a'], split='holdout')
    with imitation(given, tmp_path) as folder:
        data = DATASETS.build({**given, 'root': str(folder), 'bad_boxes': 'error', 'empty': 'drop'})
        assert data.images_a_class().min() >= 2
        assert data.metainfo['classes'] == ('b', 'a')


@pytest.fixture(scope='module')
def verify():
    spec = importlib.util.spec_from_file_location('verify_dataset', tools_path('verify_dataset.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_verify_reads_both_layouts(root, tmp_path, verify, capsys):
    write_list(tmp_path / 'pets', 'train', 'ab')  # part of trainval
    assert verify(['--type', 'VOCFolder', '--root', root]) == 0
    assert capsys.readouterr().out.splitlines() == [
        'trainval: 4 images, served at several sizes, 2 classes, 2 to 2 images a class',
        'test: 2 images, served at several sizes, 2 classes, 1 to 1 images a class',
        'label  class  trainval  test',
        '0      cat    2         1',
        '1      dog    2         1',
    ]
    write_official(tmp_path)
    assert verify(['--type', 'VOC', '--root', str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (
        'train: 4 images, served at several sizes, 20 classes, 0 to 4 images a class; the official data set has' in said
    )


def test_verify_names_faults(root, tmp_path, verify, capsys):
    path = write_annotation(tmp_path / 'pets', 'b', annotation(head=BOMB))
    assert verify(['--type', 'VOCFolder', '--root', root]) == 2
    said = capsys.readouterr().err
    assert said == f'error: {path} declares a document type, which may expand entities; remove its DOCTYPE\n'
