"""Models: the classifier, its data preprocessor, backbones, heads and teachers."""

from openmix.models import backbones, classifier, grad_checkpointing, heads, preprocessor, sites, teacher

__all__ = ['backbones', 'classifier', 'grad_checkpointing', 'heads', 'preprocessor', 'sites', 'teacher']
