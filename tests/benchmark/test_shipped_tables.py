"""Compare the shipped tables with counts and sums that were taken from the papers."""

import pytest
from mmengine.registry import init_default_scope

from openmix.benchmark.claims import on_print
from openmix.benchmark.table import load_table, table_names
from openmix.check import check_recipe
from openmix.config_hash import config_hash
from openmix.errors import InputError

# (rows, columns, printed numbers, their sum). The papers' gain rows are left out, a dash is no number.
PRINTED = {
    'automatic_mixup/table1': (9, 4, 36, 2478.42),
    'automatic_mixup/table2': (10, 6, 60, 4904.02),
    'automatic_mixup/table3': (11, 6, 66, 4818.16),
    'automatic_mixup/table4': (12, 4, 48, 4204.06),
    'automatic_mixup/table5': (11, 4, 38, 2017.91),  # Un-Mix and WBSIM have one number each
    'automatic_mixup/table6': (8, 3, 24, 1633.30),
    'automatic_mixup/table7': (7, 2, 14, 892.42),
    'automatic_mixup/table8': (7, 2, 14, 770.86),
    'automatic_mixup/figure2b': (5, 2, 0, 0.0),  # figures print no numbers
    'automatic_mixup/figure2c': (4, 4, 0, 0.0),
    'automatic_mixup/figure5': (17, 3, 0, 0.0),
    'decoupled_mixup/table1': (9, 10, 90, 6869.78),
    'decoupled_mixup/table2': (10, 6, 57, 4209.72),  # Vanilla has no DM
    'decoupled_mixup/table3': (10, 5, 40, 3104.74),  # five heads, four numbers a row
    'decoupled_mixup/table4': (9, 4, 36, 2902.57),
    'decoupled_mixup/table5': (8, 8, 32, 2637.70),  # two data sets and two networks, four numbers a row
    'decoupled_mixup/table6': (8, 9, 72, 4843.18),
    'decoupled_mixup/table7': (9, 5, 45, 3345.14),
    'decoupled_mixup/table8': (5, 8, 40, 3115.58),
    'decoupled_mixup/table9': (5, 3, 15, 1044.96),
    'decoupled_mixup/figure2': (3, 4, 0, 0.0),
    'decoupled_mixup/figure6': (5, 13, 0, 0.0),  # 5 values of eta, 4 of xi and 4 of t, each at two of the other
    'decoupled_mixup/figure7': (3, 2, 0, 0.0),
    'openmixup/cifar10_resnet18': (10, 4, 40, 3859.77),
    'openmixup/cifar100': (15, 9, 127, 10251.39),
    'openmixup/cifar100_vit': (15, 6, 81, 6423.98),
    'openmixup/imagenet_resnet': (17, 9, 100, 7637.88),
    'openmixup/imagenet_rsb_a3': (11, 1, 11, 857.24),
    'openmixup/imagenet_vit': (14, 3, 38, 3064.65),
    'cifar10_dynamic': (4, 3, 0, 0.0),  # this and what follows: nobody published it
    'cifar10_small': (4, 2, 0, 0.0),
    'cifar10_static': (7, 2, 0, 0.0),
    'digits_dynamic': (7, 6, 0, 0.0),
    'few/settings': (5, 2, 0, 0.0),
    'few/digits_100': (10, 2, 0, 0.0),
    'few/digits_100_further': (14, 2, 0, 0.0),
    'few/digits_100_attention': (8, 2, 0, 0.0),
    'few/cifar10_1000': (10, 2, 0, 0.0),
    'few/cifar10_2000': (10, 2, 0, 0.0),
    'few/fashion_mnist_100': (10, 2, 0, 0.0),
    'few/fashion_mnist_1000': (10, 2, 0, 0.0),
    'few/tiny_imagenet50': (10, 2, 0, 0.0),
    'digits_semisup': (13, 1, 0, 0.0),
    'cifar10_semisup': (4, 1, 0, 0.0),
    'cifar10_selfsup': (12, 1, 0, 0.0),
    'cifar10_transfer': (13, 2, 0, 0.0),
    'tiny_imagenet10_transfer': (13, 3, 0, 0.0),
    'quickstart': (4, 2, 0, 0.0),
    'bccd': (4, 2, 0, 0.0),
    'tiny_imagenet50': (3, 2, 0, 0.0),
    'tiny_imagenet50_transformers': (1, 4, 0, 0.0),
}
# (distinct runs of a seed, distinct runs of the stages before them); other tables have no stages.
RUNS = {
    'automatic_mixup/table1': (36, 18),
    'automatic_mixup/table4': (48, 48),
    'automatic_mixup/table5': (38, 38),
    'automatic_mixup/table6': (8, 16),  # the metrics of a row are of one run; pre-trained, then linearly evaluated
    'automatic_mixup/table7': (14, 14),
    'automatic_mixup/table8': (14, 7),
    'automatic_mixup/figure2b': (9, 9),  # plain infoNCE is one run of both columns
    'automatic_mixup/figure2c': (16, 16),
    'automatic_mixup/figure5': (16, 6),
    'bccd': (4, 3),
    'tiny_imagenet10_transfer': (39, 1),
}
# (deviations, their sum): the two tables that print them.
SPREADS = {'decoupled_mixup/table6': (72, 19.25), 'decoupled_mixup/table7': (45, 18.82)}


def test_every_table_is_counted():
    assert set(PRINTED) == set(table_names())


@pytest.mark.parametrize('name', table_names())
def test_numbers_are_those_of_the_print(name):
    table = load_table(name)
    numbers = [cell.published for cell in table.cells if cell.published is not None]
    found = (len(table.rows), len(table.columns), len(numbers), round(sum(numbers), 2))
    assert found == PRINTED[name]
    spreads = [cell.spread for cell in table.cells if cell.spread is not None]
    assert (len(spreads), round(sum(spreads), 2)) == SPREADS.get(name, (0, 0.0))


@pytest.mark.parametrize('name', table_names())
def test_claims_on_the_print(name):
    """A claim holds on the printed numbers or says by `printed: false` and a note that it does not."""
    table = load_table(name)
    for claim in table.claims:
        found = on_print(claim, table.cells, table.gains)
        if found.outcome != 'not yet run':  # the numbers are a figure's curves, or lost
            assert (found.outcome == 'held') == claim.printed, f'{claim.text}: {found.failing}'
        assert claim.printed or claim.note, claim.text


@pytest.mark.parametrize('name', table_names())
def test_cells_resolve(name):
    """Every implemented cell fits its recipe; cells share a folder where, and only where, they are the same run."""
    hashes = {}
    for cell in load_table(name).cells:
        if cell.implemented:
            digest = config_hash(cell.resolve())
            assert hashes.setdefault(cell.folder, digest) == digest
    assert len(set(hashes.values())) == len(hashes)
    if name in RUNS:
        assert len(hashes) == RUNS[name][0]


@pytest.mark.parametrize('name', table_names())
def test_earlier_stages_have_only_arguments_that_are_there(name):
    init_default_scope('openmix')
    checked = set()
    for cell in load_table(name).cells:
        stage = cell.earlier if cell.implemented else None
        while stage is not None:
            digest = config_hash(stage.recipe)
            if digest not in checked:
                try:
                    check_recipe(stage.recipe)
                except InputError as error:
                    pytest.fail(f'{cell.name}: {error}')
            checked.add(digest)
            stage = stage.cell.earlier
    assert len(checked) == RUNS.get(name, (0, 0))[1]


@pytest.mark.parametrize('name', table_names())
def test_departures_are_noted(name):
    table = load_table(name)
    assert table.title
    assert table.source
    absent = any(cell.published is None for cell in table.cells) and any(cell.published for cell in table.cells)
    assert table.notes or not absent


def test_every_published_cell_can_be_trained_but_of_one_method():
    """As README.md says."""
    tables = [load_table(name) for name in table_names()]
    cells = [cell for table in tables for cell in table.cells if cell.published is not None]
    left = [f'{cell.table}: {cell.name}' for cell in cells if not cell.implemented]
    assert left == ['openmixup/imagenet_resnet: Grafting / ResNet-50 / 100 epochs']
    assert len(cells) == sum(numbers for _, _, numbers, _ in PRINTED.values())


def test_detectors_start_from_the_cells_of_table5():
    """They are implemented when those are: pre-trained, linearly evaluated on a frozen backbone, then fine-tuned."""
    table = load_table('automatic_mixup/table6')
    assert all(cell.implemented for cell in table.cells)
    metrics = {cell.column: cell.metric for cell in table.cells}
    assert metrics == {'AP': 'voc/AP', 'AP50': 'voc/AP50', 'AP75': 'voc/AP75'}
    names = {'MoCo.V2': None, 'Mixup': 'Mixup', 'CutMix': 'CutMix', 'Un-Mix': 'OneOf', 'MoCHi': None, 'AMix-I': 'AMix'}
    chosen = [cell for cell in table.cells if cell.row in names]
    assert len({cell.folder for cell in chosen}) == 6  # the columns of a row are one run
    for cell in (cell for cell in chosen if cell.column == 'AP75'):
        assert cell.resolve().model.type == 'FasterRCNN'
        probe = cell.earlier
        assert (probe.cell.config, probe.seed) == ('selfsup/imagenet/linear_paper.py', 0)
        first = probe.cell.earlier
        kind = 'MoCHi' if cell.row == 'MoCHi' else 'MoCo'
        assert (first.cell.config, first.recipe.model.type) == ('selfsup/imagenet/moco_v2.py', kind)
        policy = first.recipe.model.get('policy')
        assert (policy and policy.type) == names[cell.row]
