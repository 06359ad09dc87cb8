"""Self-Tuning on CUB-200-2011 with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 64.17, 75.13 and 80.22 % with 15, 30 and 50 % of the labels, best validation.
For more labels: --cfg-options train_dataloader.dataset.labelled.subset=0.3
Command: python tools/train.py transfer/cub200/self_tuning_resnet50.py
"""

_base_ = [
    '../../_base_/datasets/cub200_pools.py',
    '../../_base_/schedules/transfer_27k.py',
    '../../_base_/runtime.py',
]

# A batch has 24 images of each pool, and a queue 32 keys: several processes need smaller batches or longer queues.
model = dict(
    type='SelfTuning',
    backbone=dict(type='TorchvisionBackbone', name='resnet50', weights='IMAGENET1K_V1'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    projector_width=1024,
    queue=32,
    temperature=0.07,
    momentum=0.999,
    ten_crop=224,
)
default_hooks = dict(logger=dict(interval=100), checkpoint=dict(interval=3000, by_epoch=False))
# As in the released code; the text of Decoupled Mixup has 5e-4.
published = {'optim_wrapper.optimizer.weight_decay': 1e-4}
