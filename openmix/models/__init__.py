"""Models: the classifier, its preprocessor, backbones and heads."""

from openmix.models import backbones, classifier, heads, preprocessor, sites, teacher

__all__ = ['backbones', 'classifier', 'heads', 'preprocessor', 'sites', 'teacher']
