"""Metrics, complexity counts and figures."""

from openmix.evaluation import accuracy, mixed_accuracy

__all__ = ['accuracy', 'mixed_accuracy']
