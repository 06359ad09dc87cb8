"""ReMixMatch on digits with 20 labels, a small ResNet-8: 2,000 steps.

Command: python tools/train.py semisup/digits/remixmatch.py
"""

_base_ = '../../_base_/semisup/digits.py'

views = _base_.model.data_preprocessor.augment
model = dict(
    type='ReMixMatch',
    data_preprocessor=dict(augment=dict(unlabelled=[views.labelled, views.unlabelled[1], views.unlabelled[1]])),
)
train_dataloader = dict(batch_size=16 * (1 + 1), dataset=dict(ratio=1))
auto_scale_lr = dict(base_batch_size=16 * (1 + 1))
del views
