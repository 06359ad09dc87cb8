# Pascal VOC: trained on trainval of 2007 and 2012, 16 images a step, tested on test of 2007, as in MoCo's transfer.
_base_ = '../loaders/boxes.py'

train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        type='VOC',
        root='data/voc',
        split='train',
        empty='drop',
        pipeline=[
            dict(type='ResizeShortestSide', size=[*range(480, 801, 32)], max_size=1333),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='VOC',
        root='data/voc',
        split='test',
        pipeline=[dict(type='ResizeShortestSide', size=800, max_size=1333)],
    ),
)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=16)
