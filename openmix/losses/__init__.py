"""Losses: plain functions of (logits, y, mix). Every file in this folder is imported and registers its losses."""

from openmix.import_folder import import_folder
from openmix.registry import LOSSES

import_folder(__name__, __path__)

globals().update(LOSSES.module_dict)

__all__ = [*LOSSES.module_dict]
