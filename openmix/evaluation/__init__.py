"""Metrics and readouts."""

from openmix.evaluation import accuracy

__all__ = ['accuracy']
