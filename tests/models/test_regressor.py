"""A regression: its data, its head, its losses and its metric, against numbers computed by hand."""

import math

import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from openmix.data.number_list import NumberList
from openmix.data.rotated_digits import RotatedDigits, rotated
from openmix.errors import InputError
from openmix.evaluation.regression_error import RegressionError
from openmix.facts import Facts
from openmix.mixups import MixContext, Mixup, PairedBy
from openmix.models.heads.regression_head import RegressionHead
from openmix.models.regressor import MixRegressor
from openmix.registry import MODELS


def model(policy=None, outputs=2, **more):
    init_default_scope('openmix')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MixRegressor',
            backbone=dict(type='ThinResNet', depth=8, width=4),
            head=dict(type='RegressionHead', num_outputs=outputs, **more),
            policy=policy or dict(type='NoMix'),
            data_preprocessor=dict(type='ImagePreprocessor', mean=(0.5,) * 3, std=(0.25,) * 3),
        )
    )


class Data:
    """Training data that only tell their numbers."""

    def __init__(self, numbers, names=('a', 'b')):
        self.known, self.numbers = Facts('Data', (), (0.5,) * 3, (0.2,) * 3, (16, 16), names), torch.tensor(numbers)


NUMBERS = [[1.0, 100.0], [3.0, 500.0], [8.0, 300.0], [4.0, 300.0]]


@pytest.mark.parametrize(
    ('loss', 'distance'), [('mix_mse', lambda a, b: (a - b) ** 2), ('mix_l1', lambda a, b: abs(a - b))]
)
def test_the_loss_is_that_of_mixed_standardised_numbers(loss, distance):
    regressor = model(dict(type='Mixup'), loss=dict(type=loss))
    regressor.read_data(Data(NUMBERS))
    x, y = torch.randn(4, 3, 16, 16), torch.tensor(NUMBERS)
    torch.manual_seed(3)
    found = regressor.loss({'inputs': x, 'labels': y})['loss']
    torch.manual_seed(3)
    mixed, mix = Mixup()(x)
    outputs = regressor.head(regressor.backbone(mixed))
    total = 0.0
    for n in range(4):
        for k in range(2):
            column = [row[k] for row in NUMBERS]
            mean = sum(column) / 4
            std = math.sqrt(sum((one - mean) ** 2 for one in column) / 4)
            own, other = ((column[row] - mean) / std for row in (n, int(mix.partner[n])))
            lam = float(mix.lam[n])
            total += distance(outputs[n, k].item(), lam * own + (1 - lam) * other)
    assert found.item() == pytest.approx(total / 8, rel=1e-5)


def test_predictions_are_in_the_unit_of_the_data_and_resume_with_it():
    regressor = model()
    regressor.read_data(Data(NUMBERS))
    resumed = model()
    resumed.load_state_dict(regressor.state_dict())
    x = torch.randn(2, 3, 16, 16)
    for one in (regressor.eval(), resumed.eval()):
        found = one.predict({'inputs': x, 'labels': None, 'ids': torch.arange(2)})
        outputs = one.head(one.backbone(x))
        wanted = outputs * torch.tensor(NUMBERS).std(0, correction=0) + torch.tensor(NUMBERS).mean(0)
        torch.testing.assert_close(found['values'], wanted)


def test_partners_are_drawn_by_standardised_numbers():
    regressor = model(dict(type='PairedBy', by='label_distance', bandwidth=0.01, policy=dict(type='Mixup')), outputs=1)
    y = torch.tensor([[1000.0], [2001.0], [1001.0], [2000.0]])
    regressor.read_data(Data(y.tolist(), ('a',)))
    context = regressor.context(torch.randn(4, 3, 16, 16), y)
    assert context.y is None
    _, mix = regressor.policy(context.x, context)
    assert mix.partner.tolist() == [2, 3, 0, 1]


def test_metrics_are_those_of_loops_and_count_a_repeated_image_once():
    metric = RegressionError()
    values, y = torch.tensor([[1.0, 5.0], [2.0, 7.0], [4.0, 6.0]]), torch.tensor([[2.0, 5.0], [2.0, 9.0], [1.0, 3.0]])
    for rows in ([0, 1], [2, 0]):
        metric.process(None, [{'values': values[rows], 'labels': y[rows], 'ids': torch.tensor(rows)}])
    found = metric.evaluate(3)
    mae, rmse, r2 = [], [], []
    for k in range(2):
        off = [float(values[n, k] - y[n, k]) for n in range(3)]
        mean = float(y[:, k].mean())
        mae.append(sum(map(abs, off)) / 3)
        rmse.append(math.sqrt(sum(one**2 for one in off) / 3))
        r2.append(1 - sum(one**2 for one in off) / sum((float(one) - mean) ** 2 for one in y[:, k]))
    wanted = {'mae': sum(mae) / 2, 'rmse': sum(rmse) / 2, 'r2': sum(r2) / 2}
    assert found == pytest.approx({f'regression/{name}': value for name, value in wanted.items()})


def test_digits_are_rotated_by_their_angles():
    train, test = RotatedDigits(), RotatedDigits(split='test')
    assert (len(train), len(test)) == (1442, 355)
    angles = torch.cat([train.numbers, test.numbers])
    assert -45 <= angles.min() < -44
    assert 44 < angles.max() <= 45
    batch = train.__getitems__([5, 7])
    assert torch.equal(batch['labels'], train.numbers[[5, 7]])
    part = RotatedDigits(subset=20)
    assert torch.equal(part.numbers, train.numbers[part.rows])
    bar = torch.zeros(1, 1, 15, 15, dtype=torch.uint8)
    bar[:, :, 7, 8:] = 255  # from the centre to the right
    turned = rotated(bar, torch.tensor([90.0]))
    assert turned[0, 0, :7, 7].min() > 200  # counterclockwise: now to the top
    assert int(turned.sum()) == pytest.approx(int(bar.sum()), rel=0.05)


@pytest.fixture
def folder(tmp_path):
    for n in range(4):
        Image.new('RGB', (20, 16), (60 * n, 0, 0)).save(tmp_path / f'{n}.png')
    (tmp_path / 'train.csv').write_text('weight,file,age\n1,0.png,31.5\n2,1.png,-4\n\n3,2.png,1e2\n')
    return tmp_path


def test_a_list_has_its_files_and_numbers(folder):
    data = NumberList(str(folder), targets=['age', 'weight'], size=16)
    assert data.numbers.tolist() == [[31.5, 1.0], [-4.0, 2.0], [100.0, 3.0]]
    batch = data.__getitems__([2, 0])
    assert batch['inputs'].shape == (2, 3, 16, 16)
    assert batch['inputs'][:, 0, 0, 0].tolist() == [120, 0]
    assert batch['labels'].tolist() == [[100.0, 3.0], [31.5, 1.0]]
    assert len(NumberList(str(folder), targets=['age'], size=16, subset=2)) == 2


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('file,ages\n0.png,1\n', r"has no column 'age'; did you mean 'ages'"),
        ('file,age\n0.png,old\n', r":2: 'old' is no number"),
        ('file,age\n0.png,nan\n', 'age of image 0 is no finite number'),
        ('file,age\n0.png,1\n0.png,2\n', ':3: the image of line 2 again'),
        ('file,age\n0.png\n', ':2: 1 fields, and the first line has 2'),
        ('file,age\n9.png,1\n', '9.png of 1 images missing'),
        ('file,age\n', 'lists no image'),
        ('', "has no column 'file'"),
    ],
)
def test_a_list_that_is_wrong_is_one_line(folder, text, line):
    (folder / 'train.csv').write_text(text)
    with pytest.raises(InputError, match=line):
        NumberList(str(folder), targets=['age'], size=16)


def test_two_lists_share_what_both_name(folder):
    (folder / 'val.csv').write_text('file,age\n./2.png,1\n')
    (folder / 'test.csv').write_text('file,age\n3.png,1\n')
    train, val, test = (NumberList.drawn(str(folder), split, ['age']) for split in ('train', 'val', 'test'))
    assert train.shares(val)
    assert not train.shares(test)


IMAGES = torch.rand(4, 3, 8, 8)


def paired_by_class():
    context = MixContext(IMAGES)
    context.numbers = torch.rand(4, 1)
    PairedBy(Mixup(), by='same_class')(IMAGES, context)


FACTS = Facts('Faces', (), (0.5,) * 3, (0.2,) * 3, (16, 16), ('age',))


@pytest.mark.parametrize(
    ('call', 'line'),
    [
        (lambda: RegressionHead(4, loss=dict(type='mix_ce')), 'mix_ce is a loss of classes'),
        (lambda: RegressionHead(4, 0), 'num_outputs'),
        (lambda: model(dict(type='AutoMix')), 'AutoMix is learned'),
        (lambda: model(dict(type='SUMix', policy=dict(type='CutMix'))), 'RegressionHead has no num_classes'),
        (lambda: model(dict(type='RecursiveMix')), 'RecursiveMix'),
        (lambda: FACTS.num_classes, r'Faces has numbers \(age\) and no classes'),
        (
            lambda: MixRegressor.check_facts({}, Facts('A', ('x', 'y'), (0.5,), (0.2,), (8, 8))),
            'have classes or no labels',
        ),
        (lambda: MixRegressor.check_facts({'head': {'num_outputs': 3}}, FACTS), 'num_outputs is 3'),
        (lambda: model().check_data(Data([[1.0, 2.0], [1.0, 3.0]])), 'a is the same number in all'),
        (lambda: model().loss({'inputs': torch.randn(4, 3, 16, 16)}), 'the batch has none'),
        (paired_by_class, "by='same_class' is for classes"),
        (lambda: model().network('a prediction'), 'a prediction needs a classifier'),
    ],
)
def test_what_is_no_regression_is_one_line(call, line):
    with pytest.raises(InputError, match=line):
        call()


def test_a_policy_whose_losses_would_be_left_out_is_refused(monkeypatch):
    monkeypatch.setattr(Mixup, 'adds_losses', True)
    with pytest.raises(InputError, match='Mixup adds losses of classes'):
        model(dict(type='Until', policy=dict(type='Mixup'), epoch=3))
