"""Every recipe can be merged, has a description, and builds at full size."""

import ast
from typing import NamedTuple

import pytest
import torch
from mmengine.registry import init_default_scope

from openmix.config import load_config
from openmix.registry import DATASETS, METRICS, MODELS, find
from openmix.shipped import configs_dir

RECIPES = sorted(
    path.relative_to(configs_dir()).as_posix()
    for path in configs_dir().rglob('*.py')
    if not {'_base_', 'tables'} & set(path.relative_to(configs_dir()).parts)
)


class Printed(NamedTuple):
    """The number of parameters of a published network, whose head maps `features` to `classes`."""

    parameters: int
    classes: int
    features: int

    def with_classes(self, classes: int) -> int:
        return self.parameters + (classes - self.classes) * (self.features + 1)


class Detector(NamedTuple):
    """The parts of a Faster R-CNN C4: the ResNet's parameters, channels of its last stages, anchors of a position."""

    backbone: int
    channels: int
    features: int
    anchors: int = 15

    def with_classes(self, classes: int) -> int:
        proposals = 9 * self.channels**2 + self.channels + 5 * self.anchors * (self.channels + 1)
        return self.backbone + proposals + 2 * self.features + 5 * (classes + 1) * (self.features + 1)


class Contrastive(NamedTuple):
    """The parts of MoCo: its backbone without a head, the features of it, the embedding, the norms of the projector.

    `mixed` are the channels that a Mix Block+ reads, `clusters` the classes of a head of embeddings; 0: there is none.
    `gamma` is 1 if the block learns it.
    """

    backbone: int
    features: int
    embedding: int = 128
    norms: int = 0
    mixed: int = 0
    clusters: int = 0
    gamma: int = 1

    def with_classes(self, _: int) -> int:
        projector = (self.features + 1) * (self.features + self.embedding) + 2 * self.norms
        c = self.mixed
        # Keys of the features of both images, gamma, and the content: a convolution, its norm and another convolution.
        block = (2 * c + 1) * c // 2 + self.gamma + c * c // 2 + c + c // 2 if c else 0
        head = (self.embedding + 1) * self.clusters
        return 2 * (self.backbone + projector) + block + head  # query and momentum encoder


class Prototypes(NamedTuple):
    """The parts of SwAV: its backbone without a head, its features, the hidden layer, the embedding, the prototypes."""

    backbone: int
    features: int
    prototypes: int
    hidden: int = 2048
    embedding: int = 128

    def with_classes(self, _: int) -> int:
        projector = (self.features + 3) * self.hidden + (self.hidden + 1) * self.embedding
        return self.backbone + projector + self.embedding * self.prototypes


class Clustering(NamedTuple):
    """The parts of ODC: its backbone without a head, its features, the hidden layer, the embedding, the clusters."""

    backbone: int
    features: int
    hidden: int
    embedding: int
    clusters: int

    def with_classes(self, _: int) -> int:
        projector = (self.features + 1) * self.hidden + (self.hidden + 1) * self.embedding
        return self.backbone + projector + (self.embedding + 1) * self.clusters


def narrow_resnet18(stem, widths):
    """torchvision's ResNet-18 but for the widths of its stages: convolutions, norms of two a channel, no head."""
    total, before = 3 * stem * 49 + 2 * stem, stem
    for width in widths:
        total += 9 * width * (before + 3 * width) + 4 * 2 * width + (before + 2) * width
        before = width
    return total


def small_vit(d, depth, patch, tokens):
    """Blocks of 12 d^2 weights and 13 d biases and norms, class token, positions, patches, the last norm; no head."""
    return depth * (12 * d * d + 13 * d) + d + (tokens + 1) * d + (3 * patch * patch + 1) * d + 2 * d


def small_swin(d, depths, heads, window):
    """Blocks as a ViT's with a table of relative positions for each head; merging between stages; no head."""
    total = (3 * 4 * 4 + 1) * d + 2 * d
    for stage, (blocks, count) in enumerate(zip(depths, heads)):
        if stage:
            total, d = total + 8 * d + 8 * d * d, 2 * d
        total += blocks * (12 * d * d + 13 * d + (2 * window - 1) ** 2 * count)
    return total + 2 * d


# On ImageNet as torchvision, timm and the papers print them; with a CIFAR stem from the architectures' definitions.
RESNET18, RESNET34 = Printed(11_689_512, 1000, 512), Printed(21_797_672, 1000, 512)
RESNET50, RESNET101 = Printed(25_557_032, 1000, 2048), Printed(44_549_160, 1000, 2048)
RESNEXT50, RESNEXT101 = Printed(25_028_904, 1000, 2048), Printed(44_177_704, 1000, 2048)
CIFAR_RESNET18, CIFAR_RESNEXT50 = Printed(11_220_132, 100, 512), Printed(23_177_124, 100, 2048)
RESNET20 = Printed(269_722, 10, 64)  # He et al.: 0.27 M
# With the biases of MixMatch's and FixMatch's code, which prints the first.
WRN28_2, WRN28_8 = Printed(1_469_642, 10, 128), Printed(23_409_092, 100, 512)
# Stem, two convolutions a stage with widths 8, 16 and 32, norms of two a channel; no shortcut has weights.
RESNET8 = Printed(9 * (3 * 8 + 2 * 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32) + 2 * (8 + 2 * 56), 0, 32)
# The same with widths 16, 32 and 64, and a head of 10 classes.
WIDE_RESNET8 = Printed(
    9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 2 * (16 + 2 * 112) + 650, 10, 64
)
SEMISUP = ('pseudo_label', 'mixmatch', 'remixmatch', 'mixmatch_dm', 'uda', 'fixmatch', 'flexmatch')
SEMISUP += ('fixmatch_mixup', 'fixmatch_dm')
SMALL_TRANSFER = ('from_scratch', 'fine_tuning', 'fine_tuning_mixup', 'fine_tuning_dm', 'bss', 'bss_dm', 'co_tuning')
SMALL_TRANSFER += ('co_tuning_dm', 'self_tuning', 'self_tuning_mixup', 'self_tuning_dm')
SELFSUP = (
    'moco_v2',
    'moco_v2_mixup',
    'moco_v2_mixup_both',
    'moco_v2_cutmix',
    'un_mix',
    'mochi',
    'amix_i_paper',
    'amix_c_paper',
)
PARAMETERS = {
    'classification/cifar10/resnet18.py': CIFAR_RESNET18,
    'classification/cifar10/resnet20_small.py': RESNET20,
    'classification/cifar10/resnet20_1000.py': RESNET20,
    'classification/fashion_mnist/resnet20_1000.py': RESNET20,
    **{f'classification/{data}/resnet8_1000.py': WIDE_RESNET8 for data in ('cifar10', 'fashion_mnist')},
    'classification/cifar100/resnet18.py': CIFAR_RESNET18,
    'classification/cifar100/resnext50.py': CIFAR_RESNEXT50,
    'classification/cifar100/wrn28_8.py': Printed(23_401_012, 100, 512),
    'classification/cub200/resnet18.py': RESNET18,
    'classification/cub200/resnext50.py': RESNEXT50,
    'classification/digits/resnet20.py': RESNET20,
    'classification/digits/ad_auto_mix.py': RESNET20,
    'classification/digits/attentive_mix.py': RESNET20,
    'classification/digits/balanced_mixup.py': RESNET20,
    'classification/digits/grid_mix.py': RESNET20,
    'classification/digits/merge_mix.py': Printed(small_vit(96, 4, 4, 16), 0, 96),
    'classification/digits/patch_up.py': RESNET20,
    'classification/digits/sk_mixup.py': RESNET20,
    'classification/digits/smooth_mix.py': RESNET20,
    'classification/digits/align_mix.py': RESNET20,
    'classification/digits/guided_mixup.py': RESNET20,
    'classification/digits/recursive_mix.py': RESNET20,
    'classification/digits/reg_mixup.py': RESNET20,
    'classification/digits/remix_long_tailed.py': RESNET20,
    'classification/digits/snap_mix.py': RESNET20,
    'classification/digits/sumix.py': RESNET20,
    **{f'classification/{data}/resnet8_100.py': WIDE_RESNET8 for data in ('digits', 'fashion_mnist')},
    'classification/digits/deit_100.py': Printed(small_vit(192, 4, 4, 16), 0, 192),
    **{f'regression/rotated_digits/{name}.py': RESNET20 for name in ('resnet20', 'mixup', 'c_mixup')},
    'regression/number_list/resnet18.py': RESNET18,
    'classification/fgvc_aircraft/resnet18.py': RESNET18,
    'classification/fgvc_aircraft/resnext50.py': RESNEXT50,
    'classification/image_folder/resnet18.py': RESNET18,
    **{f'classification/imagenet/resnet18_{epochs}ep.py': RESNET18 for epochs in (100, 300)},
    **{f'classification/imagenet/resnet34_{epochs}ep.py': RESNET34 for epochs in (100, 300)},
    **{f'classification/imagenet/resnet50_{epochs}ep.py': RESNET50 for epochs in (100, 300)},
    **{f'classification/imagenet/resnet101_{epochs}ep.py': RESNET101 for epochs in (100, 300)},
    'classification/imagenet/resnet50_rsb_a3.py': RESNET50,
    'classification/imagenet/resnet50_rsb_a3_table10.py': RESNET50,
    'classification/imagenet/resnext101_100ep.py': RESNEXT101,
    'classification/cifar100/convnext_tiny.py': Printed(28_584_808, 1000, 768),  # of a pixel where ImageNet's has 16
    'classification/cifar100/deit_small.py': Printed(22_050_664, 1000, 384),
    'classification/cifar100/swin_tiny.py': Printed(28_288_354, 1000, 768),
    'classification/imagenet/convnext_tiny.py': Printed(28_589_128, 1000, 768),
    'classification/imagenet/deit_small.py': Printed(22_050_664, 1000, 384),
    'classification/imagenet/swin_tiny.py': Printed(28_288_354, 1000, 768),
    **{f'semisup/cifar10/{method}.py': WRN28_2 for method in SEMISUP},
    **{f'semisup/cifar100/{method}.py': WRN28_8 for method in SEMISUP},
    **{f'semisup/digits/{method}.py': RESNET8 for method in (*SEMISUP, 'supervised')},
    **{
        f'semisup/cifar10_resnet20/{method}.py': RESNET20
        for method in ('supervised', 'fixmatch', 'fixmatch_dm', 'flexmatch')
    },
    **{
        f'transfer/{data}/self_tuning{branch}_resnet50.py': RESNET50
        for data in ('cub200', 'fgvc_aircraft', 'stanford_cars')
        for branch in ('', '_mixup', '_dm')
    },
    **{
        f'transfer/{data}/{method}{mixed}_resnet50.py': RESNET50
        for data in ('cub200', 'fgvc_aircraft', 'stanford_cars')
        for method in ('fine_tuning', 'bss', 'co_tuning')
        for mixed in ('', '_mixup', '_dm')
    },
    'transfer/cub200/self_tuning_resnet18.py': RESNET18,
    **{f'transfer/digits/self_tuning{branch}.py': RESNET8 for branch in ('', '_dm')},
    **{f'transfer/cifar10_lite0/{method}.py': Printed(4_652_008, 1000, 1280) for method in SMALL_TRANSFER},
    **{
        f'transfer/tiny_imagenet10/{method}.py': Printed(narrow_resnet18(64, (16, 32, 64, 128)), 0, 128)
        for method in ('pretraining', *SMALL_TRANSFER)
    },
    **{
        f'selfsup/{data}/{method}.py': Contrastive(
            backbone,
            features,
            embedding,
            features if method == 'i_mix' else 0,
            channels if method.startswith('amix') else 0,
            (20 if data == 'digits' else 200) if method.startswith('amix_c') else 0,
        )
        for data, backbone, features, embedding, channels in (
            ('cifar10', CIFAR_RESNET18.with_classes(0), 512, 128, 256),
            ('digits', RESNET8.parameters, 32, 32, 32),
            ('imagenet', RESNET50.with_classes(0), 2048, 128, 1024),
            ('stl10', RESNET18.with_classes(0), 512, 128, 256),
            ('tiny_imagenet', CIFAR_RESNET18.with_classes(0), 512, 128, 256),
        )
        for method in (*SELFSUP, *(['i_mix'] if data in ('cifar10', 'digits') else []))
    },
    **{
        f'selfsup/{data}/linear_{preset}.py': backbone
        for data, backbone, presets in (
            ('cifar10', CIFAR_RESNET18, ('paper', 'moco')),
            ('imagenet', RESNET50, ('paper', 'moco')),
            ('stl10', RESNET18, ('paper', 'moco', 'authors')),
            ('tiny_imagenet', CIFAR_RESNET18, ('paper', 'moco', 'authors')),
        )
        for preset in presets
    },
    **{
        f'selfsup/stl10/amix_{method}_authors_{schedule}.py': Contrastive(
            RESNET18.with_classes(0), 512, mixed=256, clusters=clusters, gamma=0
        )
        for method, clusters in (('i', 0), ('c', 200))
        for schedule in ('cosine', 'cyclic')
    },
    'selfsup/stl10/amix_c_labels.py': Contrastive(RESNET18.with_classes(0), 512, mixed=256, clusters=10),
    'selfsup/imagenet/amix_i_authors_cosine.py': Contrastive(RESNET18.with_classes(0), 512, mixed=512, gamma=0),
    **{
        f'selfsup/imagenet/amix_c_authors_{schedule}.py': Contrastive(
            RESNET18.with_classes(0), 512, mixed=256, clusters=500, gamma=0
        )
        for schedule in ('cosine', 'cyclic')
    },
    'selfsup/digits/linear.py': RESNET8,
    'selfsup/digits/swav.py': Prototypes(RESNET8.parameters, 32, 30, 64, 32),
    'selfsup/cifar10/swav.py': Prototypes(CIFAR_RESNET18.with_classes(0), 512, 300),
    **{
        f'selfsup/cifar10_resnet20/{method}.py': Contrastive(
            RESNET20.with_classes(0), 64, mixed=mixed, clusters=clusters
        )
        for method, mixed, clusters in (
            ('moco_v2', 0, 0),
            ('amix_i', 64, 0),
            ('amix_bce', 64, 0),
            ('amix_info_nce', 64, 0),
            ('amix_c', 64, 50),
        )
    },
    'selfsup/cifar10_resnet20/i_mix.py': Contrastive(RESNET20.with_classes(0), 64, norms=64),
    'selfsup/cifar10_resnet20/swav.py': Prototypes(RESNET20.with_classes(0), 64, 300),
    'selfsup/stl10/swav.py': Prototypes(RESNET18.with_classes(0), 512, 500),
    'selfsup/imagenet/swav.py': Prototypes(RESNET50.with_classes(0), 2048, 3000),
    'selfsup/digits/odc.py': Clustering(RESNET8.parameters, 32, 64, 32, 20),
    'selfsup/cifar10/odc.py': Clustering(CIFAR_RESNET18.with_classes(0), 512, 512, 256, 500),
    'selfsup/imagenet/odc.py': Clustering(RESNET50.with_classes(0), 2048, 512, 256, 10000),
    'classification/stl10/resnet18.py': RESNET18,
    'classification/stl10/resnet50.py': RESNET50,
    'classification/tiny_imagenet/resnet18.py': CIFAR_RESNET18,
    'classification/tiny_imagenet/resnext50.py': CIFAR_RESNEXT50,
    'classification/tiny_imagenet/resnet18_narrow.py': Printed(narrow_resnet18(64, (32, 64, 128, 256)), 0, 256),
    'classification/tiny_imagenet/resnet18_thin_2500.py': Printed(narrow_resnet18(64, (16, 32, 64, 128)), 0, 128),
    'classification/tiny_imagenet/deit_tiny.py': Printed(small_vit(192, 4, 8, 64), 0, 192),
    'classification/tiny_imagenet/deit_tiny_mixpro.py': Printed(small_vit(192, 4, 8, 64), 0, 192),
    'classification/tiny_imagenet/deit_tiny_smmix.py': Printed(small_vit(192, 4, 8, 64), 0, 192),
    'classification/tiny_imagenet/deit_tiny_tokenmix.py': Printed(small_vit(192, 4, 8, 64), 0, 192),
    'classification/tiny_imagenet/deit_tiny_transmix.py': Printed(small_vit(192, 4, 8, 64), 0, 192),
    'classification/tiny_imagenet/swin_narrow.py': Printed(small_swin(48, (2, 2, 2), (2, 4, 8), 4), 0, 192),
    'detection/bccd/faster_rcnn_resnet18_c4_narrow.py': Detector(narrow_resnet18(64, (32, 64, 128, 256)), 128, 256, 12),
    'detection/voc/faster_rcnn_resnet18_c4.py': Detector(RESNET18.with_classes(0), 256, 512),
    'detection/voc/faster_rcnn_resnet50_c4.py': Detector(RESNET50.with_classes(0), 1024, 2048),
}


def test_every_recipe_is_listed_with_its_parameters():
    assert set(RECIPES) == PARAMETERS.keys()


def test_networks_by_hand_are_those_that_are_printed():
    """The formulas of the small ones, at the sizes that the papers print."""
    assert Printed(small_vit(384, 12, 16, 196), 0, 384).with_classes(1000) == 22_050_664
    assert Printed(small_swin(96, (2, 2, 6, 2), (3, 6, 12, 24), 7), 0, 768).with_classes(1000) == 28_288_354
    # The first stage of the printed one has no shortcut of its own, as its stem is as wide.
    shortcut = 64 * 64 + 2 * 64
    narrow = narrow_resnet18(64, (64, 128, 256, 512)) - shortcut
    assert Printed(narrow, 0, 512).with_classes(1000) == RESNET18.parameters


@pytest.mark.parametrize('recipe', RECIPES)
def test_recipe_builds(recipe):
    init_default_scope('openmix')
    cfg = load_config(recipe)
    dataset = dict(cfg.train_dataloader.dataset)
    cls = find(DATASETS, dataset.pop('type'))
    for images in (cfg.train_dataloader.dataset, dataset.get('labelled') or {}):
        if images.get('type') in ('ImageFolder', 'VOCFolder'):
            images['classes'] = [f'class {i}' for i in range(7)]
    dataset = {key: value for key, value in cfg.train_dataloader.dataset.items() if key != 'type'}
    facts = cls.facts(**dataset)
    find(MODELS, cfg.model.type).complete(cfg.model, facts)
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
    trained = (model.backbone, model.head) if model.networks() else (model,)
    if model.networks():
        assert model(torch.empty(2, 3, *facts.size, device='meta')).shape == (2, len(facts.classes))
    size = sum(p.numel() for part in trained for p in part.parameters())
    assert size == PARAMETERS[recipe].with_classes(len(facts.classes) or len(facts.targets))
    for evaluator in cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]:
        METRICS.build(evaluator)


@pytest.mark.parametrize('recipe', RECIPES)
def test_a_recipe_is_tested_as_it_is_validated(recipe):
    """What changes an inherited `val_dataloader` says `test_dataloader = val_dataloader` again."""
    cfg = load_config(recipe)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator


@pytest.mark.parametrize('recipe', RECIPES)
def test_recipe_reads_like_a_methods_section(recipe):
    docstring = ast.get_docstring(ast.parse((configs_dir() / recipe).read_text())) or ''
    assert f'Command: python tools/train.py {recipe}' in docstring
    if not recipe.startswith('classification/'):
        return
    bases = load_config(recipe)
    if recipe.startswith('classification/digits/'):
        # A recipe shows one policy, or is that of a network which the rows of tables give theirs.
        assert (bases.model.policy.type == 'NoMix') == ('resnet' in recipe or 'deit' in recipe)
        return
    # Training as DeiT's and RSB mix by default; a table's rows replace either.
    mixes = any(name in recipe for name in ('deit', 'swin', 'convnext', 'rsb'))
    assert bases.model.policy.type == ('OneOf' if mixes else 'NoMix')
