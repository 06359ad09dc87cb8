"""ResNet-18 (7x7 stem) on the 5,000 labelled images of STL-10, for Automatic Mixup, Table 1 (supervised columns).

Published: Mixup 78.94 %. The paper states no supervised recipe for this data set: learning rate, decay and epochs
are those of its other small sets.
Command: python tools/train.py classification/stl10/resnet18.py
"""

_base_ = ['../../_base_/datasets/stl10.py', '../../_base_/schedules/sgd_cosine.py', '../../_base_/runtime.py']

model = dict(
    type='MixClassifier',
    backbone=dict(type='TorchvisionBackbone', name='resnet18'),
    head=dict(type='LinearHead', loss=dict(type='mix_ce')),
    policy=dict(type='NoMix'),
)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
train_cfg = dict(max_epochs=400)
# No supervised recipe for this data set was released; these are the defaults of the library that its authors trained
# with: one step of the learning rate an epoch, the last batch norm of every residual block at 0, bilinear crops.
published = {
    'param_scheduler.0.convert_to_iter_based': False,
    'model.backbone.zero_init_residual': True,
    'model.data_preprocessor.augment.0.interpolation': 'bilinear',
}
