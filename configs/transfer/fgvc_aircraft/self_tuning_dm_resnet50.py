"""Self-Tuning with DM(CE) and asymmetric mixing on FGVC-Aircraft, 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 67.57, 80.71 and 84.82 % with 15, 30 and 50 % of the labels, best validation.
For more labels: --cfg-options train_dataloader.dataset.labelled.subset=0.3
Command: python tools/train.py transfer/fgvc_aircraft/self_tuning_dm_resnet50.py
"""

_base_ = '../cub200/self_tuning_dm_resnet50.py'

train_dataloader = dict(dataset=dict(labelled=dict(type='FGVCAircraft', root='data/fgvc_aircraft')))
val_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
test_dataloader = val_dataloader
