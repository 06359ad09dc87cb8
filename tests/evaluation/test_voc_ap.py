"""VOC's 11-point AP by value: cases worked out by hand, and a slow reference."""

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from openmix.errors import InputError
from openmix.evaluation import voc_ap
from openmix.evaluation.voc_ap import THRESHOLDS, Found, VOCAveragePrecision, average_precisions, eleven_points

BOX = [10.0, 10.0, 29.0, 29.0]  # pixels 11 to 29 of the files, which count from 1
FAR = [60.0, 60.0, 79.0, 79.0]


def image(detections=(), objects=()):
    """Make an image of detections (box, score, label) and objects (box, label, difficult)."""
    boxes, scores, labels = zip(*detections) if detections else ((), (), ())
    true_boxes, true_labels, difficult = zip(*objects) if objects else ((), (), ())
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.array(true_boxes, np.float32).reshape(-1, 4),
        np.array(true_labels, np.int64),
        np.array(difficult, bool),
    )


def ap50(*images, classes=1):
    return average_precisions(images, classes)[:, 0].tolist()


def reference(images, label, threshold):
    """The protocol in loops: one detection after the other, each against the objects of its image."""
    lines, counted = [], 0
    for number, one in enumerate(images):
        counted += sum(bool(y == label and not hard) for y, hard in zip(one.true_labels, one.difficult))
        for box, score, y in zip(one.boxes.tolist(), one.scores.tolist(), one.labels):
            if y == label:
                shifted = [box[0] + 1, box[1] + 1, box[2], box[3]]
                lines.append((float(f'{score:.3f}'), number, [float(f'{value:.1f}') for value in shifted]))
    taken, right, wrong, curve = set(), 0, 0, []
    for _, number, (left, top, end, bottom) in sorted(lines, key=lambda line: -line[0]):  # Python's sort is stable
        one, best, nearest = images[number], -1.0, None
        for j, (x0, y0, x1, y1) in enumerate(one.true_boxes.tolist()):
            if one.true_labels[j] != label:
                continue
            x0, y0 = x0 + 1, y0 + 1
            width = max(min(end, x1) - max(left, x0) + 1, 0)
            height = max(min(bottom, y1) - max(top, y0) + 1, 0)
            union = (end - left + 1) * (bottom - top + 1) + (x1 - x0 + 1) * (y1 - y0 + 1) - width * height
            if width * height / union > best:
                best, nearest = width * height / union, j
        if nearest is not None and best > threshold:
            if not one.difficult[nearest]:
                if (number, nearest) in taken:
                    wrong += 1
                else:
                    taken.add((number, nearest))
                    right += 1
        else:
            wrong += 1
        curve.append((right / counted if counted else float('nan'), right / max(right + wrong, 1e-300)))
    total = 0.0
    for recall in np.arange(0.0, 1.1, 0.1):
        total += max([precision for r, precision in curve if r >= recall], default=0.0) / 11
    return 100 * total


def test_it_equals_the_slow_reference():
    """Over classes with and without objects, difficult ones, boxes that overlap by every share, and equal scores."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(12):
        objects = [
            ([x, y, x + w, y + h], int(rng.integers(3)), bool(rng.random() < 0.2))
            for x, y, w, h in rng.integers(5, 40, (rng.integers(0, 5), 4)).astype(float).tolist()
        ]
        near = [
            (np.add(box, rng.normal(0, 2.5, 4)).tolist(), float(np.round(rng.random(), 1)), label)
            for box, label, _ in objects
            for _ in range(rng.integers(0, 3))
        ]
        stray = [
            ([x, y, x + 12.34, y + 9.87], float(rng.random()), int(rng.integers(4)))
            for x, y in rng.uniform(0, 60, (rng.integers(0, 4), 2)).tolist()
        ]
        images.append(image([*near, *stray], objects))
    expected = [[reference(images, label, threshold / 100) for threshold in THRESHOLDS] for label in range(4)]
    got = average_precisions(images, 4)
    assert got.shape == (4, 10)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert 5 < got[:3].mean() < 95
    assert not got[3].any()


def test_three_of_ten_found_is_three_elevenths():
    """The fourth recall, 0.30000000000000004, is above three tenths."""
    objects = [([30.0 * i, 0.0, 30.0 * i + 20, 20.0], 0, False) for i in range(10)]
    found = [(objects[i][0], 0.9, 0) for i in range(3)]
    assert ap50(image(found, objects)) == [pytest.approx(100 * 3 / 11)]


def test_the_points_that_a_recall_of_tenths_reaches():
    reached = {1: 2, 2: 3, 3: 3, 4: 5, 5: 6, 6: 6, 7: 7, 8: 9, 9: 10, 10: 11}
    for right, points in reached.items():
        assert eleven_points(np.arange(1, right + 1) / 10, np.ones(right)) == pytest.approx(points / 11)


def test_a_second_detection_of_an_object_is_wrong():
    objects = [(BOX, 0, False), (FAR, 0, False)]
    found = [(BOX, 0.9, 0), (BOX, 0.8, 0), (FAR, 0.7, 0)]
    # Precision 1 up to a recall of 0.5 (6 points), then 2 of 3.
    assert ap50(image(found, objects)) == [pytest.approx(100 * (6 + 5 * 2 / 3) / 11)]


def test_a_difficult_object_neither_helps_nor_hurts():
    objects = [(BOX, 0, False), (FAR, 0, True)]
    for found in ([(FAR, 0.9, 0), (FAR, 0.85, 0), (BOX, 0.8, 0)], [(BOX, 0.8, 0)]):
        assert ap50(image(found, objects)) == [pytest.approx(100)]
    # Alone it is no object, and a first detection on it does not divide by zero.
    assert ap50(image([(FAR, 0.9, 0)], objects[1:])) == [0]


def test_the_nearest_object_alone_decides():
    """A detection that is nearest to a taken or difficult object does not fall to the next one."""
    near, next_to = [0.0, 0.0, 20.0, 20.0], [0.0, 4.0, 20.0, 24.0]
    found = [(near, 0.9, 0), ([0.0, 1.0, 20.0, 21.0], 0.8, 0)]
    assert ap50(image(found, [(near, 0, False), (next_to, 0, False)])) == [pytest.approx(100 * 6 / 11)]
    assert ap50(image(found, [(near, 0, True), (next_to, 0, False)])) == [0]


def test_an_overlap_of_the_threshold_itself_is_too_little():
    """By widths that count both ends: 10 of 20 columns of the object are covered by the first, 11 by the second."""
    truth = [(np.add(BOX, [-1, -1, 0, 0]).tolist(), 0, False)]  # pixels 10 to 29 counted from 1
    half, more = [9.0, 9.0, 19.0, 29.0], [9.0, 9.0, 20.0, 29.0]
    assert ap50(image([(half, 0.9, 0)], truth)) == [0]
    assert ap50(image([(more, 0.9, 0)], truth)) == [pytest.approx(100)]


def test_equal_rounded_scores_keep_the_order_of_images_and_answers():
    objects = [(BOX, 0, False)]
    right_first = image([(BOX, 0.90001, 0), (FAR, 0.90049, 0)], objects)
    wrong_first = image([(FAR, 0.90001, 0), (BOX, 0.90049, 0)], objects)
    assert ap50(right_first) == [pytest.approx(100)]
    assert ap50(wrong_first) == [pytest.approx(50)]
    assert ap50(image([(FAR, 0.9, 0)]), image([(BOX, 0.9, 0)], objects)) == [pytest.approx(50)]
    assert ap50(image([(BOX, 0.9, 0)], objects), image([(FAR, 0.9, 0)])) == [pytest.approx(100)]


def test_classes_do_not_meet_and_one_without_objects_counts_zero():
    found = [(BOX, 0.9, 0), (BOX, 0.9, 1)]
    assert ap50(image(found, [(BOX, 0, False)]), classes=3) == [pytest.approx(100), 0, 0]
    assert ap50(image([], [(BOX, 0, False)])) == [0]


def answer(ids, images):
    names = ('boxes', 'scores', 'box_labels', 'true_boxes', 'true_box_labels', 'difficult')
    columns = {name: [torch.from_numpy(one[i]) for one in images] for i, name in enumerate(names)}
    return {'ids': torch.tensor(ids), **columns}


def measured(monkeypatch, *ranks):
    """Evaluate what each process holds, gathered by the first."""
    metrics = []
    for batches in ranks:
        metric = VOCAveragePrecision()
        metric.dataset_meta = {'classes': ('cat', 'dog')}
        for ids, images in batches:
            metric.process(None, [answer(ids, images)])
        metrics.append(metric)
    monkeypatch.setattr(voc_ap, 'all_gather_object', lambda results: [metric.results for metric in metrics])
    return metrics[0].evaluate(99)


def test_one_answer_an_id_from_all_processes_in_the_order_of_ids(monkeypatch):
    a = image([(BOX, 0.9, 0)], [(BOX, 0, False)])
    b = image([(FAR, 0.9, 0), (BOX, 0.9, 1)], [(BOX, 0, False), (BOX, 1, False)])
    alone = measured(monkeypatch, [([0, 1], [a, b])])
    split = measured(monkeypatch, [([1, 0], [b, a])], [([0], [a])])
    assert alone == split
    # Cat: 1 of 2 found before a wrong one: 6 / 11. Dog: found.
    assert alone['voc/AP50'] == alone['voc/AP75'] == pytest.approx((100 * 6 / 11 + 100) / 2)
    assert alone['voc/AP'] == pytest.approx(alone['voc/AP50'])
    assert set(alone) == set(VOCAveragePrecision.names)


def test_ap75_and_the_mean_over_thresholds(monkeypatch):
    """An IoU of 0.747 passes 5 of the 10 thresholds."""
    moved = [10.0, 10.0, 24.2, 29.0]  # 14.2 of 19 columns, counting both ends as the protocol does
    truth = BOX
    wide = voc_ap.overlaps(np.array([[11.0, 11.0, 24.2, 29.0]]), np.array([[11.0, 11.0, 29.0, 29.0]]))[0, 0]
    got = measured(monkeypatch, [([0], [image([(moved, 0.5, 0)], [(truth, 0, False), (truth, 1, False)])])])
    assert wide == pytest.approx(14.2 / 19)
    assert got == {
        'voc/AP50': pytest.approx(50),
        'voc/AP75': 0,
        'voc/AP': pytest.approx(50 * 5 / 10),
    }


def test_answers_in_bfloat16_are_kept():
    given = answer([0], [image([(BOX, 0.5, 0)], [(BOX, 0, False)])])
    halved = {key: [one.bfloat16() for one in given[key]] for key in ('boxes', 'scores')}
    metric = VOCAveragePrecision()
    metric.process(None, [{**given, **halved}])
    ((_, found),) = metric.results
    assert (found.boxes.tolist(), found.scores.tolist()) == ([BOX], [0.5])


def test_what_is_missing_is_told(monkeypatch):
    given = answer([0], [image([(BOX, 0.9, 0)], [(BOX, 0, False)])])
    metric = VOCAveragePrecision()
    with pytest.raises(InputError, match="must hold 'difficult'"):
        metric.process(None, [{key: value for key, value in given.items() if key != 'difficult'}])
    metric.process(None, [given])
    with pytest.raises(InputError, match='does not name its classes'):
        metric.evaluate(1)


def test_images_without_an_object_that_counts_measure_nothing(monkeypatch):
    for images in ([image([(BOX, 0.9, 0)], [(BOX, 0, True)]), image()], [image([(BOX, 0.9, 0)])]):
        with pytest.raises(InputError, match='VOCAveragePrecision: none of the images has an object that counts'):
            measured(monkeypatch, [(list(range(len(images))), images)])


def test_the_log_has_each_class(monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, line: said.append(line))
    measured(monkeypatch, [([0], [image([(BOX, 0.9, 0)], [(BOX, 0, False), (BOX, 1, False)])])])
    assert said == ['AP50 of each class: cat 100.0, dog 0.0']
