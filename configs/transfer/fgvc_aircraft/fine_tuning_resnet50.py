"""Fine-tuning on FGVC-Aircraft with 15 % of the labels, ResNet-50 from ImageNet weights.

Published in Decoupled Mixup, Table 6: 39.57, 57.46 and 67.93 % with 15, 30 and 50 % of the labels.
For more labels: --cfg-options train_dataloader.dataset.subset=0.3
Command: python tools/train.py transfer/fgvc_aircraft/fine_tuning_resnet50.py
"""

_base_ = '../cub200/fine_tuning_resnet50.py'

train_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
val_dataloader = dict(dataset=dict(type='FGVCAircraft', root='data/fgvc_aircraft'))
test_dataloader = val_dataloader
