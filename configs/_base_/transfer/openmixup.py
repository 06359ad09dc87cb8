# Settings of OpenMixup's configs of Self-Tuning, with which the authors' own rows were trained, for `published`. Of the
# mixed branches only their code was released, without a config.
crop = [
    dict(type='torchvision/Resize', size=256, interpolation='bilinear'),
    dict(type='torchvision/RandomResizedCrop', size=224, interpolation='bilinear'),
    dict(type='torchvision/RandomHorizontalFlip'),
]
centre = [
    dict(type='torchvision/Resize', size=256, interpolation='bilinear'),
    dict(type='torchvision/CenterCrop', size=224),
]
published = {
    'model.projector_layers': 2,
    'model.data_preprocessor.mean': (0.4914, 0.4822, 0.4465),
    'model.data_preprocessor.std': (0.2023, 0.1994, 0.2010),
    'train_dataloader.dataset.labelled.pipeline': [dict(type='MultiView', views=[crop, crop])],
    'model.ten_crop': None,
    'val_dataloader.dataset.pipeline': centre,
    'test_dataloader.dataset.pipeline': centre,
    'optim_wrapper.optimizer.nesterov': False,
    # The rule for the head names another module.
    'optim_wrapper.paramwise_cfg.parts.head.lr': 1e-3,
    'param_scheduler': [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False)],
}
del crop, centre
