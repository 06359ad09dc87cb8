"""Self-Tuning on digits with 20 labels, a small ResNet-8: 2,000 steps.

From pretrained weights of the same network: --weights FILE
Command: python tools/train.py transfer/digits/self_tuning.py
"""

_base_ = '../../_base_/semisup/digits.py'

views = _base_.model.data_preprocessor.augment.unlabelled
model = dict(
    type='SelfTuning',
    projector_width=64,
    # At 0.07 a network that knows nothing yet makes all keys alike.
    temperature=0.3,
    # Queues of 32 keys are renewed as often, and the momentum encoder follows as closely, in 2,000 steps as in 27,000
    # of CUB-200-2011's.
    queue=32,
    momentum=0.97,
    data_preprocessor=dict(augment=dict(_delete_=True, labelled=[views[1], views[1]], unlabelled=[views[1], views[1]])),
)
train_dataloader = dict(batch_size=16 * (1 + 1), dataset=dict(ratio=1, keep_labelled=False))
auto_scale_lr = dict(base_batch_size=16 * (1 + 1))
del views
