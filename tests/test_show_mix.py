"""Test tools/show_mix.py as a command: the class names in the picture and the weights that it loads."""

import runpy
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from openmix.config import load_config
from openmix.engine.launch import fill_from_data
from openmix.errors import InputError
from openmix.evaluation import draw
from openmix.registry import MODELS

ROOT = Path(__file__).parent.parent
DIGITS = 'classification/digits/resnet20.py'
OWN = """
import torch
from torch.utils.data import Dataset
from openmix.registry import DATASETS


@DATASETS.register_module()
class Nameless(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(3, 16, 16, dtype=torch.uint8), labels=index % 2, ids=index)

    def set_epoch(self, epoch, seed=0):
        pass
"""
RECIPE = """
_base_ = {base!r}
custom_imports = dict(imports=['own_nameless'], allow_failed_imports=False)
model = dict(head=dict(num_classes=2), data_preprocessor=dict(mean=(0.5,) * 3, std=(0.5,) * 3))
train_dataloader = dict(dataset=dict(_delete_=True, type='Nameless'), num_workers=0)
val_dataloader = dict(dataset=dict(_delete_=True, type='Nameless'))
test_dataloader = val_dataloader
"""


def save_checkpoint(path, classes):
    init_default_scope('openmix')
    weights = MODELS.build(fill_from_data(load_config(DIGITS)).model).state_dict()
    torch.save({'state_dict': weights, 'meta': {'dataset_meta': {'classes': classes}}}, path)


def test_a_checkpoint_of_other_classes_is_refused(call, tmp_path):
    names = [str(digit) for digit in range(10)]
    for classes, expected in ((names, 0), (names[::-1], 2)):
        save_checkpoint(tmp_path / 'some.pth', classes)
        options = ('--checkpoint', tmp_path / 'some.pth', '--out', tmp_path / 'mix.png', '--count', 2)
        code, _, said = call('show_mix.py', DIGITS, *options)
        assert code == expected, said
    assert said.splitlines()[-1].startswith("error: train_dataloader.dataset: class 0 is '0' here and '9' in")


def test_data_that_name_no_classes_are_drawn_by_number(call, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'own_nameless.py').write_text(OWN)
    (tmp_path / 'own.py').write_text(RECIPE.format(base=str(ROOT / 'configs' / DIGITS)))
    code, _, said = call(
        'show_mix.py', tmp_path / 'own.py', '--policy', 'CutMix', '--count', 2, '--out', tmp_path / 'mix.png'
    )
    assert code == 0, said
    assert Image.open(tmp_path / 'mix.png').width > 100


def test_options_that_would_not_count_are_refused(call):
    for options, told in (
        (('--ema',), '--ema needs --checkpoint'),
        (('--maps', '--strip'), '--strip draws no masks'),
    ):
        code, _, said = call('show_mix.py', DIGITS, *options)
        assert code == 2
        assert told in said


POOLED = """
from openmix.models.classifier import MixClassifier
from openmix.registry import MODELS


@MODELS.register_module()
class Labelled(MixClassifier):
    def loss(self, batch):
        return super().loss(batch['labelled'])
"""
POOLS = """
_base_ = {base!r}
custom_imports = dict(imports=['own_labelled'])
model = dict(type='Labelled', policy=dict(_delete_=True, type='CutMix'))
train_dataloader = dict(
    batch_size=8,
    sampler=dict(_delete_=True, type='PoolSampler'),
    dataset=dict(_delete_=True, type='Pools', ratio=3, labelled=dict(type='Digits', subset=20)),
)
"""


def test_of_pools_the_labelled_images_are_drawn(call, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'own_labelled.py').write_text(POOLED)
    (tmp_path / 'pools.py').write_text(POOLS.format(base=str(ROOT / 'configs' / DIGITS)))
    widths = []
    for count in (1, 5):
        for options in ((), ('--strip',)):
            code, _, said = call(
                'show_mix.py', tmp_path / 'pools.py', '--count', count, '--out', tmp_path / 'mix.png', *options
            )
            assert code == 0, said
            widths.append(Image.open(tmp_path / 'mix.png').size)
    assert widths[0] != widths[2]  # so many samples as were asked for


def test_a_mixed_branch_is_drawn_as_it_trains(call, tmp_path, monkeypatch):
    """Labelled images with unlabelled ones, whose labels are the pseudo-labels; so is a branch of labelled images."""
    kept, whole = [], draw.draw_mixes

    def recorded(mixes, classes, count):
        kept.extend(mixes)
        return whole(mixes, classes, count)

    monkeypatch.setattr(draw, 'draw_mixes', recorded)
    options = ['model.threshold=0.0', 'model.labelled_branch={policy: {type: CutMix}}']
    given = ('--out', tmp_path / 'mix.png', '--count', 3)
    code, _, said = call('show_mix.py', 'semisup/digits/fixmatch_dm.py', *given, '--cfg-options', *options)
    assert code == 0, said
    assert Image.open(tmp_path / 'mix.png').width > 100
    mixed, labelled = kept
    assert mixed.title.startswith('branch: Mixup')
    assert mixed.title.endswith('3 of 3 pairs count')
    assert labelled.title.startswith('labelled_branch: CutMix')
    assert (len(mixed.pixels), len(labelled.pixels)) == (6, 3)
    assert mixed.mix.partner.tolist() == [3, 4, 5]
    lam = mixed.mix.lam.view(-1, 1, 1, 1)
    assert (lam <= 0.5).all()
    torch.testing.assert_close(mixed.mixed, lam * mixed.pixels[:3] + (1 - lam) * mixed.pixels[3:], atol=1e-5, rtol=0)
    assert torch.equal(mixed.labels[:3], labelled.labels)


def test_pairs_that_all_policies_mix_are_drawn_once(call, tmp_path, monkeypatch):
    kept, whole = [], draw.draw_mixes

    def recorded(mixes, classes, count):
        figure = whole(mixes, classes, count)
        kept.append([axes.get_ylabel() for axes in figure.axes[::count]])
        return figure

    monkeypatch.setattr(draw, 'draw_mixes', recorded)
    options = ('--policy', 'Mixup', 'CutMix', 'NoMix', '--maps', '--out', tmp_path / 'mix.png', '--count', 3)
    code, _, said = call('show_mix.py', DIGITS, *options)
    assert code == 0, said
    pairs = ['sample', 'partner']
    # NoMix has no pairs: each image is its own partner.
    assert kept == [[*pairs, 'Mixup', 'mask', 'CutMix', *pairs, 'NoMix']]


def test_what_a_semi_supervised_recipe_has_not_is_not_drawn(call, tmp_path):
    for options, told in (
        ((), 'show_mix draws what a mixed branch of FixMatch mixes, and the recipe has none; give one, as in --cfg-'),
        (('--cfg-options', 'model.branch={policy: {type: CutMix}, lam: [0, 0.5]}'), 'CutMix cannot keep the share'),
    ):
        code, _, said = call('show_mix.py', 'semisup/digits/fixmatch.py', '--out', tmp_path / 'mix.png', *options)
        assert (code, len(said.splitlines())) == (2, 1), said
        assert told in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('option', [(), ('--strip',), ('--gallery',)])
def test_labels_that_are_numbers_are_not_drawn_as_classes(call, tmp_path, option):
    recipe = 'regression/rotated_digits/mixup.py'
    code, _, said = call('show_mix.py', recipe, '--out', tmp_path / 'mix.png', *option)
    assert code == 2
    assert said == "error: show_mix reads 'logits', and MixRegressor answers 'values'; leave it out\n"
    assert not list(tmp_path.iterdir())


def test_pools_of_which_not_one_alone_has_labels_are_refused():
    mixable = runpy.run_path(str(ROOT / 'tools' / 'show_mix.py'))['mixable']
    plain = {'inputs': 1, 'labels': 2}
    assert mixable(plain) is plain
    assert mixable({'labelled': plain, 'unlabelled': {'inputs': 3}}) is plain
    for others in ({'a': {'inputs': 3}}, {'a': plain, 'b': plain}):
        with pytest.raises(InputError, match='the one pool that has labels, of a'):
            mixable(others)


def test_a_file_in_the_place_of_the_events_is_found_before_the_work(call, tmp_path):
    (tmp_path / 'show_mix').write_text('mine')
    code, _, said = call('show_mix.py', DIGITS, '--out', tmp_path / 'a.png')
    assert code == 2
    assert said.endswith(f'{tmp_path}/show_mix is no folder\n')
    assert [path.name for path in tmp_path.iterdir()] == ['show_mix']


def test_every_policy_mixes_the_same_pairs_of_the_same_images(call, tmp_path, monkeypatch):
    kept, whole = [], draw.draw_mixes

    def recorded(mixes, classes, count):
        kept.extend(mixes)
        return whole(mixes, classes, count)

    monkeypatch.setattr(draw, 'draw_mixes', recorded)
    code, _, said = call(
        'show_mix.py', DIGITS, '--policy', 'Mixup', 'CutMix', '--count', 4, '--out', tmp_path / 'm.png'
    )
    assert code == 0, said
    mixup, cutmix = kept
    assert torch.equal(mixup.pixels, cutmix.pixels)
    assert mixup.mix.partner.tolist() == cutmix.mix.partner.tolist() == [3, 0, 1, 2]


def gallery_of(call, monkeypatch, tmp_path, *options):
    """Draw a gallery of three pairs of digits; return the drawn batches, and what was printed."""
    kept, whole = [], draw.draw_gallery

    def recorded(mixes, classes, count):
        kept.extend(mixes)
        return whole(mixes, classes, count)

    monkeypatch.setattr(draw, 'draw_gallery', recorded)
    code, printed, said = call(
        'show_mix.py', DIGITS, '--gallery', '--count', 3, '--out', tmp_path / 'mix.png', *options
    )
    assert code == 0, said
    return kept, printed


def test_a_gallery_has_every_policy_on_the_same_pairs(call, tmp_path, monkeypatch):
    """In the order of their names, with the arguments of the recipe; CoMixup pairs images in its own way."""
    policies = '[{type: GridMix, grid: 2}, {type: CutMix, alpha: 0.5}]'
    options = ('--rows', '[cgiu]*', '--cfg-options', f'model.policy={{type: OneOf, policies: {policies}}}')
    kept, printed = gallery_of(call, monkeypatch, tmp_path, *options)
    assert [batch.title for batch in kept] == ['CoMixup', 'CutMix', 'GridMix', 'GuidedMixup', 'InterIntra']
    assert 'left out: model.policy: Until' in printed
    for batch in kept[1:]:
        assert batch.mix.source.tolist() == [[0, 2], [1, 0], [2, 1]]
        assert torch.equal(batch.pixels, kept[1].pixels)
    cells = kept[2].mix.mask.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4)
    assert bool((cells == cells[..., :1]).all())  # the recipe's grid of 2 x 2
    assert Image.open(tmp_path / 'mix.png').height > Image.open(tmp_path / 'mix.png').width


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (('--gallery', '--maps'), '--gallery draws one row of images a policy'),
        (('--gallery', '--policy', 'CutMix'), '--gallery draws one row of images a policy'),
        (('--rows', 'Cut*'), '--rows chooses policies of --gallery'),
        (('--gallery', '--rows', 'Cat*'), "--rows: no policy is named as 'Cat*'; there are"),
        (('--gallery', '--rows', 'Until'), 'a gallery needs a policy that mixes pairs'),
        (
            ('--gallery', '--rows', 'Gr*', '--cfg-options', 'model.policy={type: GridMix, grid: 1}'),
            'GridMix: grid must be',
        ),
    ],
)
def test_a_gallery_says_what_it_cannot_draw(call, tmp_path, options, told):
    code, _, said = call('show_mix.py', DIGITS, '--out', tmp_path / 'mix.png', *options)
    assert code == 2
    assert told in said.splitlines()[-1]


def test_a_policy_that_mixes_two_batches_is_not_drawn(call, tmp_path):
    recipe = 'classification/digits/recursive_mix.py'
    code, _, said = call('show_mix.py', recipe, '--out', tmp_path / 'a.png')
    assert code == 2
    assert said.endswith('RecursiveMix mixes it with the batch before; draw another policy\n')
