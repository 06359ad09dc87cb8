"""Backbones map images (N, 3, H, W) to pooled features (N, num_features); the names of their modules are the sites."""

from openmix.import_folder import import_folder
from openmix.registry import MODELS

import_folder(__name__, __path__)

# `from openmix.models.backbones import ThinResNet` works for every registered one, and no file lists them.
globals().update({one.__name__: one for one in MODELS.module_dict.values() if one.__module__.startswith(__name__)})
