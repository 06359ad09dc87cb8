"""Data sets, their splits, and transforms of single images and of batches; no mixing here."""

from openmix.data import (
    batch_transforms,
    cifar,
    collate,
    cub200,
    digits,
    fgvc_aircraft,
    image_folder,
    imagenet,
    pipeline,
    rand_augment,
    random_erasing,
    sampler,
    stanford_cars,
    stl10,
    tiny_imagenet,
    views,
)

__all__ = [
    'batch_transforms',
    'cifar',
    'collate',
    'cub200',
    'digits',
    'fgvc_aircraft',
    'image_folder',
    'imagenet',
    'pipeline',
    'rand_augment',
    'random_erasing',
    'sampler',
    'stanford_cars',
    'stl10',
    'tiny_imagenet',
    'views',
]
