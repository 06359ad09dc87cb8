"""openmix: train, compare and extend mixup methods."""

__version__ = '0.1.0'
