"""Data sets, their splits, and transforms of single images and of batches; no mixing here."""

from openmix.data import batch_transforms, cifar, collate, digits, image_folder, pipeline, tiny_imagenet

__all__ = ['batch_transforms', 'cifar', 'collate', 'digits', 'image_folder', 'pipeline', 'tiny_imagenet']
