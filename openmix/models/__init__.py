"""Models: the classifier, its preprocessor, backbones and heads."""

from openmix.models import backbones, classifier, grad_checkpointing, heads, preprocessor, sites, teacher

__all__ = ['backbones', 'classifier', 'grad_checkpointing', 'heads', 'preprocessor', 'sites', 'teacher']
