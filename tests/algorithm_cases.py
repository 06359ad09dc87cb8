"""One small recipe per algorithm; a test fails for a registered algorithm without one."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openmix.shipped import configs_dir

# The toys are imported like a user's files, from a folder in PYTHONPATH.
sys.path.insert(0, str(Path(__file__).parent / 'algorithms'))

_HEAD = """
_base_ = ['{configs}/_base_/schedules/sgd_cosine.py', '{configs}/_base_/runtime.py']
"""
_TAIL = """
test_dataloader = val_dataloader
test_evaluator = val_evaluator
optim_wrapper = dict(type='AutocastOptimWrapper', accumulative_counts=2, optimizer=dict(lr=0.05))
train_cfg = dict(max_epochs=2)
default_hooks = dict(checkpoint=dict(minutes=0.001), logger=dict(interval=2))
custom_hooks = [*_base_.custom_hooks, {hooks}]
vis_backends = []
visualizer = dict(vis_backends=vis_backends)
"""
_FOLDER = """
def images(split, pipeline, **more):
    return dict(
        batch_size=4,
        num_workers=2,
        persistent_workers=True,
        dataset=dict(type='ImageFolder', root='{images}', split=split, pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
        collate_fn=dict(type='identity_collate'),
        **more,
    )
crop = dict(type='torchvision/RandomResizedCrop', size=16)
val_dataloader = images('val', [dict(type='torchvision/Resize', size=(16, 16))])
backbone = dict(type='ThinResNet', depth=8, width=4)
"""


_POOLS = """
def digits(**dataset):
    return dict(
        batch_size=12,
        num_workers=2,
        persistent_workers=True,
        dataset=dataset,
        collate_fn=dict(type='identity_collate'),
    )
train_dataloader = dict(
    **digits(
        type='Pools', labelled=dict(type='Digits', subset=20), unlabelled=dict(type='Digits', subset=30), ratio=2
    ),
    sampler=dict(type='PoolSampler'),
)
val_dataloader = dict(**digits(type='Digits', split='test', subset=21), sampler=dict(type='DefaultSampler'))
val_evaluator = dict(type='Accuracy')
weak = [dict(type='BatchRandomFlip')]
strong = [*weak, dict(type='BatchRandomCrop', padding=4)]
backbone = dict(type='ThinResNet', depth=8, width=4)
"""


@dataclass(frozen=True)
class Case:
    """The settings of one algorithm for its tests.

    Attributes:
        recipe: recipe of a training of two epochs, with the fields `{configs}`, `{images}` (a folder of images) and
            `{boxes}` (a folder of images with boxes beside it).
        metric: the metric for a table.
        module: module of the toy; '' for an algorithm of openmix.
        classifies: true if it trains a classifier.
        mixes: true if it trains on mixed images.
        more_images: options for training on more images.
        full: options for its usual size.
        hooks: what stands in the list of its hooks beside the usual ones.
    """

    recipe: str
    metric: str
    module: str = ''
    classifies: bool = False
    mixes: bool = False
    more_images: dict[str, Any] = field(default_factory=dict)
    full: dict[str, Any] = field(default_factory=dict)
    hooks: str = "dict(type='EMAHook', momentum=0.01)"

    def text(self, images: Path) -> str:
        """Return the text of the recipe's file."""
        imports = f"custom_imports = dict(imports=['{self.module}'])\n" if self.module else ''
        whole = _HEAD + imports + self.recipe + _TAIL.replace('{hooks}', self.hooks)
        whole = whole.replace('{configs}', str(configs_dir())).replace('{images}', str(images))
        return whole.replace('{boxes}', str(images.with_name('boxes')))

    def table(self, recipe: Path) -> str:
        """Return the text of a table's file with this recipe as its only cell."""
        head = f'title: A toy\nsource: none\nmetric: {self.metric}\nreadout: last\ntrials: 1\n'
        return head + f'base: {recipe}\ncolumns: {{Plain: {{}}}}\nrows: {{Toy: {{}}}}\n'


def _semi_supervised(name: str, views: str, options: str = '', labelled: str = '*weak', **full: Any) -> Case:
    """Make the case of a method of two pools, with the views of an unlabelled image.

    Args:
        name: the method.
        views: the pipelines of an unlabelled image, by name.
        options: its own options.
        labelled: the pipelines of a labelled image by name, or the transforms of the only one.
        full: options for its usual size, besides the backbone.
    """
    model = f"""
model = dict(
    type='{name}',
    backbone=backbone,
    head=dict(type='LinearHead'),
    data_preprocessor=dict(type='ImagePreprocessor', augment=dict(labelled=[{labelled}], unlabelled=[{views}])),
    {options}
)
"""
    return Case(
        _POOLS + model,
        'accuracy/top1',
        classifies=True,
        more_images={'train_dataloader.dataset.unlabelled.subset': 40},
        full={'model.backbone': dict(type='WideResNet', depth=28, widen_factor=2, _delete_=True)} | full,
    )


def write_boxes(folder: Path) -> None:
    """Write images with one or two objects in Pascal VOC's layout; the last batch of an epoch of 3 is incomplete."""
    rng = np.random.default_rng(0)
    for split, count in (('trainval', 10), ('test', 5)):
        names = [f'{split}_{i}' for i in range(count)]
        for i, name in enumerate(names):
            height, width = 40 + 4 * (i % 2), 48
            pixels = rng.integers(0, 128, (height, width, 3), np.uint8)
            text = f'<size><width>{width}</width><height>{height}</height></size>'
            for j in range(1 + i % 2):
                left, top = (int(value) for value in rng.integers(0, 16, 2))
                pixels[top : top + 24, left : left + 28] = (255, 0, 0) if (i + j) % 2 else (0, 0, 255)
                kind = 'cat' if (i + j) % 2 else 'dog'
                box = f'<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{left + 28}</xmax><ymax>{top + 24}</ymax>'
                text += f'<object><name>{kind}</name><bndbox>{box}</bndbox></object>'
            for kind in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / 'JPEGImages' / f'{name}.png')
            (folder / 'Annotations' / f'{name}.xml').write_text(f'<annotation>{text}</annotation>')
        (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(names))


_ASYMMETRIC = "dict(policy=dict(type='Mixup', alpha=0.2), lam=(0, 0.5), loss=dict(type='decoupled_ce', sides='own'))"
ALGORITHMS = {
    'MixClassifier': Case(
        _FOLDER
        + """
train_dataloader = images('train', [crop])
val_evaluator = dict(type='Accuracy')
model = dict(
    type='MixClassifier',
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomFlip')]),
    backbone=backbone,
    head=dict(type='LinearHead'),
    policy=dict(type='OneOf', policies=[dict(type='Mixup', sites=('', 'layer1')), dict(type='CutMix')]),
)
""",
        'accuracy/top1',
        classifies=True,
        mixes=True,
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
    ),
    'MixRegressor': Case(
        """
def digits(split, **more):
    return dict(
        batch_size=4,
        num_workers=2,
        persistent_workers=True,
        dataset=dict(type='RotatedDigits', split=split, subset=21),
        sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
        collate_fn=dict(type='identity_collate'),
    )
train_dataloader, val_dataloader = digits('train'), digits('test')
val_evaluator = dict(type='RegressionError')
model = dict(
    type='MixRegressor',
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomCrop', padding=2)]),
    backbone=dict(type='ThinResNet', depth=8, width=4),
    head=dict(type='RegressionHead'),
    policy=dict(type='PairedBy', by='label_distance', policy=dict(type='Mixup', sites=('', 'layer1'))),
)
""",
        'regression/mae',
        mixes=True,
        more_images={'train_dataloader.dataset.subset': 40},
        full={'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True)},
    ),
    'EmbeddingMixClassifier': Case(
        _FOLDER
        + """
train_dataloader = images('train', [crop], drop_last=True)
val_evaluator = dict(type='Accuracy')
losses = [dict(type='mix_ce', of='labels'), dict(type='info_nce', of='queue_of_other_labels')]
model = dict(
    type='EmbeddingMixClassifier',
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomFlip')]),
    backbone=backbone,
    head=dict(type='LinearHead'),
    policy=dict(type='AMix', mixer_losses=losses),
    queue=16,
    labels='clusters',
    bank=dict(type='ClusterBank', clusters=2, momentum=0.0, least=1, centroids_every=2),
)
""",
        'accuracy/top1',
        classifies=True,
        mixes=True,
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.queue': 65536,
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
        hooks='',
    ),
    'BSS': Case(
        _FOLDER
        + """
train_dataloader = images('train', [crop])
val_evaluator = dict(type='Accuracy')
model = dict(
    type='BSS',
    weight=0.01,
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomFlip')]),
    backbone=backbone,
    head=dict(type='LinearHead'),
    policy=dict(type='Mixup'),
    ten_crop=12,
)
""",
        'accuracy/top1',
        classifies=True,
        mixes=True,
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
    ),
    'CoTuning': Case(
        _FOLDER
        + """
train_dataloader = images('train', [crop])
val_evaluator = dict(type='Accuracy')
model = dict(
    type='CoTuning',
    source=dict(num_classes=7, pretrained=False),
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomFlip')]),
    backbone=backbone,
    head=dict(type='LinearHead'),
    policy=dict(type='Mixup'),
    ten_crop=12,
)
""",
        'accuracy/top1',
        classifies=True,
        mixes=True,
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.source.num_classes': 1000,
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
    ),
    'PseudoLabel': _semi_supervised('PseudoLabel', 'weak', 'threshold=0.11'),
    'MixMatch': _semi_supervised('MixMatch', 'weak, weak', f'branch={_ASYMMETRIC}'),
    'ReMixMatch': _semi_supervised('ReMixMatch', 'weak, strong, strong'),
    'UDA': _semi_supervised('UDA', 'weak, strong', 'threshold=0.11'),
    'FlexMatch': _semi_supervised('FlexMatch', 'weak, strong', 'threshold=0.11'),
    'FixMatch': _semi_supervised('FixMatch', 'weak, strong', "threshold=0.2, branch=dict(policy=dict(type='Mixup'))"),
    'SelfTuning': _semi_supervised(
        'SelfTuning',
        'weak, strong',
        f"projector_width=8, queue=16, momentum=0.9, moves='pass', query_passes=2, branch={_ASYMMETRIC}",
        labelled='weak, strong',
        **{'model.projector_width': 1024, 'model.queue': 64},
    ),
    'LinearProbe': Case(
        _FOLDER
        + """
train_dataloader = images('train', [crop])
val_evaluator = dict(type='Accuracy', prefix='linear')
model = dict(
    type='LinearProbe',
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomFlip')]),
    backbone=backbone,
    head=dict(type='LinearHead'),
)
""",
        'linear/top1',
        classifies=True,
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
        hooks="dict(type='FrozenBackboneHook')",
    ),
    'MoCo': Case(
        _FOLDER
        + """
views = dict(type='MultiView', views=[[dict(type='torchvision/ColorJitter', brightness=0.4)]] * 2)
train_dataloader = images('train', [crop, views], drop_last=True)
val_evaluator = dict(type='KNNAccuracy', k=3)
losses = [
    dict(type='info_nce', of='queue_of_other_labels'),
    dict(type='mix_ce', of='labels'),
    dict(type='pair_bce', of='extrapolated_keys', temperature=0.2, schedule='cosine'),
]
learned = dict(type='AMix', mixer_losses=losses)
model = dict(
    type='MoCo',
    backbone=backbone,
    width=8,
    queue=16,  # longer than two batches, after which a run is resumed: its pointer is not at the start again
    momentum=0.9,
    hidden_norm=True,
    policy=dict(type='OneOf', policies=[dict(type='Mixup', sites=('', 'layer1')), learned]),
    views='both',
    labels='clusters',
    bank=dict(type='ClusterBank', clusters=2, momentum=0.0, least=1, centroids_every=2),
    data_preprocessor=dict(type='ImagePreprocessor'),
)
""",
        'knn/top1',
        mixes=True,
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.width': 128,
            'model.queue': 65536,
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
        hooks="dict(type='FeatureBankHook')",
    ),
    'MoCHi': Case(
        _FOLDER
        + """
views = dict(type='MultiView', views=[[dict(type='torchvision/ColorJitter', brightness=0.4)]] * 2)
train_dataloader = images('train', [crop, views], drop_last=True)
val_evaluator = dict(type='KNNAccuracy', k=3)
model = dict(
    type='MoCHi',
    hardest=4,
    of_keys=3,
    of_query=2,
    warmup_epochs=1,
    backbone=backbone,
    width=8,
    queue=8,
    momentum=0.9,
    data_preprocessor=dict(type='ImagePreprocessor'),
)
""",
        'knn/top1',
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.width': 128,
            'model.queue': 65536,
            'model.hardest': 1024,
            'model.of_keys': 1024,
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
        hooks="dict(type='FeatureBankHook')",
    ),
    'SwAV': Case(
        _FOLDER
        + """
small = [dict(type='torchvision/Resize', size=(8, 8)), dict(type='torchvision/ColorJitter', brightness=0.4)]
large = [dict(type='torchvision/ColorJitter', brightness=0.4)]
train_dataloader = images('train', [crop, dict(type='MultiView', views=[large, large, small])], drop_last=True)
val_evaluator = dict(type='KNNAccuracy', k=3)
model = dict(
    type='SwAV',
    backbone=backbone,
    prototypes=6,
    width=8,
    hidden=16,
    queue=8,
    queue_epoch=0,
    data_preprocessor=dict(type='ImagePreprocessor'),
)
""",
        'knn/top1',
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.width': 128,
            'model.hidden': 2048,
            'model.prototypes': 3000,
            'model.queue': 3840,
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
        hooks="dict(type='FeatureBankHook')",
    ),
    'ODC': Case(
        _FOLDER
        + """
train_dataloader = images('train', [crop], drop_last=True)
val_evaluator = dict(type='KNNAccuracy', k=3)
model = dict(
    type='ODC',
    backbone=backbone,
    clusters=3,
    width=8,
    hidden=16,
    dropout=0.2,
    least=3,
    centroids_every=2,
    data_preprocessor=dict(type='ImagePreprocessor', augment=[dict(type='BatchRandomFlip')]),
)
""",
        'knn/top1',
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.clusters': 10000,
            'model.width': 256,
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
        hooks="dict(type='FeatureBankHook')",
    ),
    'FasterRCNN': Case(
        """
def images(split, **more):
    return dict(
        batch_size=3,
        num_workers=2,
        persistent_workers=True,
        dataset=dict(type='VOCFolder', root='{boxes}', split=split, classes=('cat', 'dog'), **more),
        sampler=dict(type='DefaultSampler', shuffle=split == 'trainval'),
        collate_fn=dict(type='identity_collate'),
    )
pipeline = [dict(type='ResizeShortestSide', size=[32, 40, 48]), dict(type='torchvision/RandomHorizontalFlip')]
train_dataloader = images('trainval', empty='drop', pipeline=pipeline)
val_dataloader = images('test', pipeline=[dict(type='ResizeShortestSide', size=40)])
val_evaluator = dict(type='VOCAveragePrecision')
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(type='DetectionPreprocessor'),
    backbone=dict(type='TimmBackbone', name='resnet18', channels=(4, 8, 8, 16), zero_init_last=False),
    anchor_sizes=(16, 32),
    pre_nms=(40, 20),
    post_nms=(20, 10),
    rois=8,
)
""",
        'voc/AP50',
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.anchor_sizes': (32, 64, 128, 256, 512),
            'model.pre_nms': (12000, 6000),
            'model.post_nms': (2000, 1000),
            'model.rois': 512,
            'train_dataloader.dataset.pipeline.0.size': [480, 800],
        },
    ),
    'ToyConsistency': Case(
        _POOLS
        + """
model = dict(
    type='ToyConsistency',
    backbone=backbone,
    head=dict(type='LinearHead'),
    data_preprocessor=dict(type='ImagePreprocessor', augment=dict(labelled=weak, unlabelled=[weak, strong])),
)
""",
        'accuracy/top1',
        'consistency',
        classifies=True,
        more_images={'train_dataloader.dataset.unlabelled.subset': 40},
        full={'model.backbone': dict(type='WideResNet', depth=28, widen_factor=2, _delete_=True)},
    ),
    'ToyContrast': Case(
        _FOLDER
        + """
jitter = dict(type='torchvision/ColorJitter', brightness=0.4)
train_dataloader = images('train', [crop, dict(type='StackViews', transforms=[jitter], count=1)])
val_evaluator = dict(type='ToyNeighbour')
model = dict(type='ToyContrast', backbone=backbone, data_preprocessor=dict(type='ImagePreprocessor'))
""",
        'neighbour/top1',
        'contrast',
        full={
            'model.backbone': dict(type='TorchvisionBackbone', name='resnet50', _delete_=True),
            'model.queue': 65536,
            'train_dataloader.dataset.pipeline.0.size': 224,
        },
    ),
    'ToyDetector': Case(
        """
def images(count, training):
    return dict(
        batch_size=3,
        num_workers=2,
        persistent_workers=True,
        dataset=dict(type='ToyBoxes', count=count, training=training),
        sampler=dict(type='DefaultSampler', shuffle=training),
        collate_fn=dict(type='toy_lists'),
    )
train_dataloader = images(13, True)
val_dataloader = images(7, False)
val_evaluator = dict(type='ToyOverlap')
model = dict(type='ToyDetector', data_preprocessor=dict(type='ToyListPreprocessor'))
""",
        'overlap/mean',
        'boxes',
        full={'model.width': 256},
    ),
}
