"""Heads map pooled features to logits and compute the loss."""

from openmix.import_folder import import_folder
from openmix.registry import MODELS

import_folder(__name__, __path__)

# `from openmix.models.heads import LinearHead` works for every registered one, and no file lists them.
globals().update({one.__name__: one for one in MODELS.module_dict.values() if one.__module__.startswith(__name__)})
