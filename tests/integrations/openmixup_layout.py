"""Configs, networks and checkpoints in OpenMixup's layout, written for the tests from its documented form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

BASE = """
data_source_cfg = dict(type='{data}', root='data/{folder}/')
dataset_type = 'ClassificationDataset'
img_norm_cfg = dict(mean=[0.49, 0.48, 0.44], std=[0.2, 0.19, 0.21])
train_pipeline = [
    dict(type='RandomCrop', size=32, padding=4, padding_mode='reflect'),
    dict(type='RandomHorizontalFlip'),
]
test_pipeline = []
prefetch = True
if not prefetch:
    train_pipeline.extend([dict(type='ToTensor'), dict(type='Normalize', **img_norm_cfg)])
test_pipeline.extend([dict(type='ToTensor'), dict(type='Normalize', **img_norm_cfg)])
data = dict(
    imgs_per_gpu=50,
    workers_per_gpu=4,
    train=dict(type=dataset_type, data_source=dict(split='train', **data_source_cfg), pipeline=train_pipeline,
               prefetch=prefetch),
    val=dict(type=dataset_type, data_source=dict(split='test', **data_source_cfg), pipeline=test_pipeline,
             prefetch=False),
)
evaluation = dict(initial=False, interval=2, imgs_per_gpu=40, workers_per_gpu=4, eval_param=dict(topk=(1, 5)))
checkpoint_config = dict(interval=10, max_keep_ckpts=1)
log_config = dict(interval=25, hooks=[dict(type='TextLoggerHook')])
log_level = 'INFO'
cudnn_benchmark = True
load_from = None
use_fp16 = False
fp16 = dict(loss_scale='dynamic')
"""
CONFIG = """
_base_ = 'base.py'

model = dict(
    type='MixUpClassification',
    pretrained=None,
    alpha={alpha},
    mix_mode={mode},
    mix_args=dict({args}),
    backbone=dict({backbone}),
    head=dict({head}, in_channels=512, num_classes={classes}))
optimizer = dict(type='SGD', lr=0.3, momentum=0.8, weight_decay=0.0005)
optimizer_config = dict(grad_clip={clip})
lr_config = dict(policy='CosineAnnealing', min_lr=0.01)
runner = dict(type='EpochBasedRunner', max_epochs=7)
{more}
"""
RESNET = "type='ResNet_Mix_CIFAR', depth=18, num_stages=4, out_indices=(3,), style='pytorch'"
WIDE = "type='WideResNet', first_stride=1, in_channels=3, depth=10, widen_factor=1, drop_rate=0.0, out_indices=(2,)"
PLAIN = "type='ClsHead', loss=dict(type='CrossEntropyLoss', loss_weight=1.0), with_avg_pool=True, multi_label=False"


def mixup_head(loss, **options):
    """Write a head for soft labels with options of its `CrossEntropyLoss`."""
    written = ''.join(f', {key}={value!r}' for key, value in options.items())
    loss = f"loss=dict(type='CrossEntropyLoss', {loss})"
    return f"type='ClsMixupHead', {loss}, with_avg_pool=True, multi_label=True{written}"


def write_config(folder, data='CIFAR10', **changes):
    """Write a config with its base; return its path."""
    folder.mkdir(exist_ok=True)
    (folder / 'base.py').write_text(BASE.format(data=data, folder=data.lower()))
    parts = {
        'alpha': 1,
        'mode': "'mixup'",
        'args': '',
        'backbone': RESNET,
        'head': PLAIN,
        'clip': None,
        'more': '',
        'classes': 10,
    }
    (folder / 'r18.py').write_text(CONFIG.format(**{**parts, **changes}))
    return folder / 'r18.py'


LEARNED = """
_base_ = 'base.py'

model = dict(
    type='AutoMixup', pretrained=None, alpha=2.0, momentum=0.999, mask_layer=2, mask_loss=0.1, mask_adjust=0.25,
    lam_margin=0.08, mask_up_override=None, debug=True,
    backbone=dict(type='ResNet_CIFAR', depth=18, num_stages=4, out_indices=(2, 3), style='pytorch'),
    mix_block=dict(
        type='PixelMixBlock', in_channels=256, reduction=2, use_scale=True, unsampling_mode=['nearest'],
        lam_concat=False, lam_concat_v=False, lam_mul=False, lam_residual=False, lam_mul_k=-1, value_neck_cfg={neck},
        x_qk_concat=False, x_v_concat=False, mask_loss_mode='L1', mask_loss_margin=0.1, frozen=False, {block}),
    head_one=dict({head}, in_channels=512, num_classes=10),
    head_mix=dict({head}, in_channels=512, num_classes=10),
    head_weights=dict(head_mix_q=1, head_one_q=1, head_mix_k=1, head_one_k={weight}))
custom_hooks = [
    dict(type='CosineScheduleHook', end_momentum=0.999999, adjust_scope=[0.1, 1.0], warming_up='{warming}',
         update_interval=1),
    dict(type='SAVEHook', iter_per_epoch=500, save_interval=12500)]
optimizer = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0001)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy='CosineAnnealing', min_lr=0.05)
runner = dict(type='EpochBasedRunner', max_epochs=4)
"""


def write_learned(folder, **changes):
    """Write the config of a learned policy with its base; return its path."""
    write_config(folder)
    parts = {'head': PLAIN, 'weight': 1, 'warming': 'constant', 'block': '', 'neck': None}
    (folder / 'automix.py').write_text(LEARNED.format(**{**parts, **changes}))
    return folder / 'automix.py'


class SmallResNet(ResNet):
    """ResNet-18 with a 3x3 stem of stride 1 and without max-pooling."""

    def __init__(self):
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.maxpool, self.fc = nn.Identity(), nn.Identity()


class WideBlock(nn.Module):
    def __init__(self, width_in, width, stride, first):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(width_in, eps=1e-3), nn.Conv2d(width_in, width, 3, stride, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(width, eps=1e-3), nn.Conv2d(width, width, 3, 1, 1)
        self.convShortcut = None if stride == 1 and width_in == width else nn.Conv2d(width_in, width, 1, stride)
        self.first = first

    def forward(self, x):
        active = F.leaky_relu(self.bn1(x), 0.1)
        out = self.conv2(F.leaky_relu(self.bn2(self.conv1(active)), 0.1))
        if self.convShortcut is None:
            return out + x
        return out + self.convShortcut(active if self.first else x)


class Stage(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class SmallWide(nn.Module):
    """WRN-10-1 in the form of semi-supervised learning."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.block1 = Stage(WideBlock(16, 16, 1, True))
        self.block2 = Stage(WideBlock(16, 32, 2, False))
        self.block3 = Stage(WideBlock(32, 64, 2, False))
        self.bn1 = nn.BatchNorm2d(64, eps=1e-3)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return F.leaky_relu(self.bn1(x), 0.1).mean((2, 3))


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, 10)

    def forward(self, x):
        return self.fc(x)


class Classifier(nn.Module):
    """A backbone and a head by their names there."""

    def __init__(self, backbone, width):
        super().__init__()
        self.backbone, self.head = backbone, Head(width)

    def forward(self, x):
        return self.head(self.backbone(x))


def classifier(kind):
    """Make a classifier with random weights and statistics, in evaluation mode."""
    torch.manual_seed(3)
    build = {'resnet': lambda: Classifier(SmallResNet(), 512), 'wide': lambda: Classifier(SmallWide(), 64)}
    model = {**build, 'learned': LearnedPolicy}[kind]()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(0.1 * torch.rand_like(value))
    return model.eval()


class Query(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(256, 128, 1)


class Block(nn.Module):
    """The two projections of the block, and the mask of the partner from the features of both."""

    def __init__(self):
        super().__init__()
        self.query, self.value = Query(), nn.Conv2d(256, 1, 1)

    def partners_mask(self, own, partner, side):
        query, key = self.query.conv(own).flatten(2), self.query.conv(partner).flatten(2)
        attention = (query.transpose(1, 2) @ key / 128**0.5).softmax(2)
        value = attention @ self.value(partner).flatten(2).transpose(1, 2)
        return F.interpolate(value.view(len(own), 1, *own.shape[2:]), (side, side)).sigmoid()


class LearnedPolicy(nn.Module):
    """The parts of a learned policy by their names there; two of them have two names."""

    def __init__(self):
        super().__init__()
        self.mix_block = Block()
        self.backbone_q, self.backbone_k = SmallResNet(), SmallResNet()
        self.backbone = self.backbone_k
        for name in ('mix_q', 'mix_k', 'one_q', 'one_k'):
            self.add_module(f'head_{name}', Head(512))
        self.head = self.head_one_k

    def forward(self, x):
        return self.head_mix_k(self.backbone_k(x))


def save(model, path, average=None, prefix='', more=None):
    """Write a checkpoint as mmcv 1.x does, with the buffers of a moving average if there is one."""
    state = {f'{prefix}{name}': value for name, value in model.state_dict().items()}
    for name, value in (average.state_dict() if average else {}).items():
        state[f'{prefix}ema_{name.replace(".", "_")}'] = value
    meta = {'mmcv_version': '1.6.0', 'time': 'now', 'epoch': 7, 'iter': 7000}
    torch.save({'meta': meta, 'state_dict': {**state, **(more or {})}, 'optimizer': {'state': {}}}, path)
