"""ResNet-8 on 100 images of Fashion-MNIST, 400 epochs: ten training images a class and a network that memorises them.

Data: as of resnet20_1000.py. It is validated once, at the end.
Command: python tools/train.py classification/fashion_mnist/resnet8_100.py
Cost: about a minute of one CPU core.
"""

_base_ = './resnet8_1000.py'

train_dataloader = dict(batch_size=50, dataset=dict(subset=100))
optim_wrapper = dict(  # float32: so small a network gains nothing from bfloat16
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
)
auto_scale_lr = dict(base_batch_size=50)
train_cfg = dict(max_epochs=400, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=40))
