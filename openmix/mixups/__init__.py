"""Mixing policies. Every file in this folder is imported and registers its policies."""

import importlib
import pkgutil

from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f'{__name__}.{_file.name}')

# So that `from openmix.mixups import CutMix` works for every registered policy without a list of them.
globals().update({name: cls for name, cls in MIXUPS.module_dict.items() if isinstance(name, str)})

__all__ = ['MixContext', 'MixPolicy', 'PairPolicy', *MIXUPS.module_dict]
