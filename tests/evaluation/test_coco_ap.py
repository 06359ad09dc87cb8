"""COCO's AP by cases worked out by hand; it is another number than VOC's."""

import importlib.util

import pytest
from test_voc_ap import BOX, FAR, answer, image

from openmix.errors import InputError
from openmix.evaluation.coco_ap import COCOAveragePrecision

pytestmark = pytest.mark.filterwarnings('ignore')
installed = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ('torchmetrics', 'pycocotools'))),
    reason="torchmetrics or pycocotools is not installed: pip install -e '.[detection]'",
)


def measured(*images):
    metric = COCOAveragePrecision()
    metric.process(None, [answer(list(range(len(images))), images)])
    return metric.evaluate(len(images))


@installed
def test_three_of_ten_found_is_31_of_101():
    """The recalls are 0, 0.01, ..., 1, of which 31 are at most 0.3; VOC's 11 points give 27.3."""
    objects = [([30.0 * i, 0.0, 30.0 * i + 20, 20.0], 0, False) for i in range(10)]
    found = measured(image([(objects[i][0], 0.9, 0) for i in range(3)], objects))
    assert found == {name: pytest.approx(100 * 31 / 101, rel=1e-5) for name in COCOAveragePrecision.names}


@installed
def test_difficult_objects_do_not_count_nor_do_classes_without_objects():
    objects = [(BOX, 0, False), (FAR, 0, True)]
    found = measured(image([(FAR, 0.95, 0), (BOX, 0.9, 0), (BOX, 0.9, 1)], objects))
    assert found['coco/AP50'] == pytest.approx(100, rel=1e-5)
    # An IoU of 0.7 by plain widths passes the thresholds up to 0.65 for certain, and none from 0.75 on.
    part = [10.0, 10.0, 10 + 19 * 0.7, 29.0]
    found = measured(image([(part, 0.9, 0)], objects[:1]))
    assert (found['coco/AP50'], found['coco/AP75']) == (pytest.approx(100, rel=1e-5), 0)
    assert 39.9 < found['coco/AP'] < 50.1


@installed
def test_nothing_to_measure_is_refused():
    with pytest.raises(InputError, match='none of the images has an object that counts'):
        measured(image([(BOX, 0.9, 0)], [(BOX, 0, True)]))


def test_without_the_packages_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    line = r"COCOAveragePrecision needs torchmetrics and pycocotools: pip install -e '\.\[detection\]'"
    with pytest.raises(InputError, match=line):
        COCOAveragePrecision()
