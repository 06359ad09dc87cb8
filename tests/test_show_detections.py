"""Test drawings of detections: what a figure holds, the command as a process, and the hook in a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from algorithm_cases import ALGORITHMS, write_boxes
from matplotlib.colors import to_rgb
from mmengine.registry import init_default_scope
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from openmix.config import load_config
from openmix.engine import launch
from openmix.errors import InputError
from openmix.evaluation.draw_boxes import DrawDetectionsHook, detected_images, draw_detections
from openmix.registry import MODELS

CLASSES = ('cat', 'dog')
DIGITS = 'classification/digits/resnet20.py'


def batch_and_answer():
    """Two images that were halved, one with objects of which one is difficult, and one without."""
    batch = {
        'inputs': [torch.full((3, 20, 30), 9, dtype=torch.uint8), torch.zeros(3, 30, 20, dtype=torch.uint8)],
        'original_sizes': torch.tensor([[40, 60], [60, 40]]),
    }
    answer = {
        'boxes': [torch.tensor([[1.0, 2, 11, 32], [5.0, 6, 50, 30]]), torch.tensor([[0.0, 0, 9, 9]])],
        'scores': [torch.tensor([0.9, 0.5]), torch.tensor([0.4])],
        'box_labels': [torch.tensor([1, 0]), torch.tensor([0])],
        'true_boxes': [torch.tensor([[2.0, 3, 12, 33], [7.0, 8, 20, 20]]), torch.zeros(0, 4)],
        'true_box_labels': [torch.tensor([1, 1]), torch.zeros(0, dtype=torch.int64)],
        'difficult': [torch.tensor([False, True]), torch.zeros(0, dtype=torch.bool)],
    }
    return batch, answer


def drawn(axes):
    """The corners, colour, line and text of the boxes of a panel."""
    boxes = [
        (*patch.get_xy(), patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height())
        for patch in axes.patches
    ]
    styles = [(to_rgb(patch.get_edgecolor()), patch.get_linestyle()) for patch in axes.patches]
    return boxes, styles, [text.get_text() for text in axes.texts]


def test_a_figure_has_the_boxes_at_their_places_in_the_pixels_of_the_file():
    batch, answer = batch_and_answer()
    figure = draw_detections(list(detected_images(batch, answer, 0.5)), CLASSES)
    found, truth, none_found, none_there = figure.axes
    boxes, styles, texts = drawn(found)
    assert boxes == [(1, 2, 11, 32), (5, 6, 50, 30)]
    assert texts == ['0.90', '0.50']
    dog, cat = (colour for colour, _ in styles)
    assert dog != cat
    boxes, styles, texts = drawn(truth)
    assert boxes == [(2, 3, 12, 33), (7, 8, 20, 20)]
    assert styles == [(dog, '-'), (dog, '--')]
    assert texts == []
    assert (drawn(none_found)[0], drawn(none_there)[0]) == ([], [])
    assert [ax.get_title() for ax in figure.axes] == ['2 detections', '2 objects', '0 detections', '0 objects']
    assert found.images[0].get_extent() == [0, 60, 40, 0]
    assert np.asarray(found.images[0].get_array()).shape == (20, 30, 3)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(CLASSES)
    assert [to_rgb(patch.get_facecolor()) for patch in legend.get_patches()] == [cat, dog]


def test_without_objects_there_is_one_panel_and_a_label_without_a_name_is_refused():
    batch, answer = batch_and_answer()
    found = {key: answer[key] for key in ('boxes', 'scores', 'box_labels')}
    images = list(detected_images({'inputs': batch['inputs']}, found, 0.3))
    assert len(draw_detections(images, CLASSES).axes) == 2
    assert images[0].size == (20, 30)
    with pytest.raises(InputError, match='a box has the label 1, and 1 classes are named'):
        draw_detections(images, ('cat',))


@pytest.fixture(scope='module')
def pets(tmp_path_factory):
    """A recipe of the small detector, and a checkpoint of weights by which it finds much."""
    folder = tmp_path_factory.mktemp('pets')
    write_boxes(folder / 'boxes')
    (folder / 'recipe.py').write_text(ALGORITHMS['FasterRCNN'].text(folder / 'images'))
    init_default_scope('openmix')
    torch.manual_seed(0)
    model = MODELS.build(launch.prepare(load_config(folder / 'recipe.py')).model)
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    meta = {'dataset_meta': {'classes': CLASSES}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, folder / 'some.pth')
    torch.save(
        {'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': CLASSES[::-1]}}}, folder / 'o.pth'
    )
    return folder


def show(nursery, pets, *options, checkpoint='some.pth'):
    done = nursery.run(['show_detections.py', 'recipe.py', checkpoint, *options], cwd=pets)
    assert 'Traceback' not in done.stderr
    return done


def test_the_command_draws_test_images_and_files(nursery, pets):
    """A row for each, in a picture and in TensorBoard's events; a threshold leaves out what is unsure."""
    before = set(pets.iterdir())
    heights = []
    for out, options in (
        ('few.png', ['--count', '1']),
        ('many.png', ['--count', '3', '--threshold', '0.9']),
        ('file.png', ['--images', 'boxes/JPEGImages/test_0.png']),
    ):
        done = show(nursery, pets, '--out', f'shown/{out}', *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f'shown/{out}\n'
        heights.append(Image.open(pets / 'shown' / out).size)
    (w, h), (w3, h3), (w1, _) = heights
    assert (w3, w1) == (w, w // 2)
    assert h3 > 2 * h
    assert set(pets.iterdir()) - before == {pets / 'shown'}
    assert {path.name for path in (pets / 'shown').iterdir()} == {'few.png', 'many.png', 'file.png', 'show_detections'}
    events = EventAccumulator(str(pets / 'shown/show_detections/vis_data'))
    events.Reload()
    assert events.Tags()['images'] == ['detections']


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (['--images', 'recipe.py'], 'recipe.py'),
        (['--images', 'boxes/JPEGImages/test_0.png', '--count', '2'], '--count chooses test images'),
        (['--threshold', '1.5'], '--threshold must be'),
        (['--count', '0'], '--count must be >= 1'),
        (['--out', 'a.gif'], 'the picture is one of .png, .pdf, .svg'),
        (['--out', 'some.pth'], '--out'),
        (['--ema'], 'some.pth'),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, pets, monkeypatch, options, told):
    monkeypatch.chdir(pets)
    code, _, said = call('show_detections.py', 'recipe.py', 'some.pth', *options)
    assert code == 2
    assert said.splitlines()[-1].startswith('error: ')
    assert told in said.splitlines()[-1]
    assert not (pets / 'show_detections').exists()


def test_a_file_in_the_place_of_the_events_is_found_before_the_work(call, pets, tmp_path, monkeypatch):
    monkeypatch.chdir(pets)
    (tmp_path / 'show_detections').write_text('mine')
    code, _, said = call('show_detections.py', 'recipe.py', 'some.pth', '--out', tmp_path / 'a.png')
    assert code == 2
    assert said.startswith('error: --out: cannot write ')
    assert said.endswith(f'{tmp_path}/show_detections is no folder\n')
    assert [path.name for path in tmp_path.iterdir()] == ['show_detections']


def test_other_classes_and_classifiers_are_refused(nursery, pets):
    done = show(nursery, pets, '--out', 'no.png', checkpoint='o.pth')
    assert done.returncode == 2
    assert "error: test_dataloader.dataset: class 0 is 'cat' here and 'dog' in 'o.pth'" in done.stderr
    done = nursery.run(['show_detections.py', DIGITS, 'some.pth', '--out', 'no.png'], cwd=pets)
    assert done.returncode == 2
    assert "show_detections reads 'box_labels' and 'boxes' and 'scores', and MixClassifier answers" in done.stderr
    assert not (pets / 'no.png').exists()


def test_a_run_records_a_figure_of_each_validation(pets):
    hook = "custom_hooks = [*_base_.custom_hooks, dict(type='DrawDetectionsHook', count=4, threshold=0.0)]\n"
    backends = "vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]\n"
    text = ALGORITHMS['FasterRCNN'].text(pets / 'images').replace('num_workers=2', 'num_workers=0')
    text = text.replace('persistent_workers=True', 'persistent_workers=False')
    (pets / 'drawn.py').write_text(text + hook + backends + 'visualizer = dict(vis_backends=vis_backends)\n')
    cfg = launch.prepare(load_config(pets / 'drawn.py'))
    cfg.work_dir = str(pets / 'run')
    launch.train(cfg)
    # Four images of the two batches of three.
    pictures = sorted((pets / 'run').rglob('vis_image/*.png'))
    assert [path.name for path in pictures] == ['detections_4.png', 'detections_8.png']
    assert Image.open(pictures[0]).height > 2 * Image.open(pictures[0]).width / 2
    (events,) = (pets / 'run').rglob('events.out.tfevents.*')
    found = EventAccumulator(str(events))
    found.Reload()
    assert [one.step for one in found.Images('detections')] == [4, 8]
    for wrong, told in ((dict(count=0), 'count must be >= 1'), (dict(threshold=2.0), 'threshold must be')):
        with pytest.raises(InputError, match=f'DrawDetectionsHook: {told}'):
            DrawDetectionsHook(**wrong)
