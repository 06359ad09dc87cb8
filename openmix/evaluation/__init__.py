"""Metrics and readouts."""

from openmix.evaluation import accuracy, mixed_accuracy

__all__ = ['accuracy', 'mixed_accuracy']
