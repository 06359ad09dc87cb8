"""Losses: plain functions of (logits, y, mix). Every file in this folder is imported and registers its losses."""

import importlib
import pkgutil

from openmix.registry import LOSSES

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f'{__name__}.{_file.name}')

globals().update(LOSSES.module_dict)

__all__ = [*LOSSES.module_dict]
