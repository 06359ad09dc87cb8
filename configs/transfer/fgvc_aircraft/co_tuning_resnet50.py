"""Co-Tuning on FGVC-Aircraft with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 44.09, 61.65 and 72.73 % with 15, 30 and 50 % of the labels.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/fgvc_aircraft/co_tuning_resnet50.py
"""

_base_ = '../cub200/co_tuning_resnet50.py'

train_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
val_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
test_dataloader = val_dataloader
