"""Models: the classifier, its preprocessor, backbones and heads."""

from openmix.models import backbones, classifier, heads, preprocessor, sites

__all__ = ['backbones', 'classifier', 'heads', 'preprocessor', 'sites']
