"""Mixing policies. Every file in this folder is imported and registers its policies."""

from openmix.import_folder import import_folder
from openmix.mixups.base import MixPolicy, PairPolicy
from openmix.mixups.context import MixContext
from openmix.registry import MIXUPS

import_folder(__name__, __path__)

# So that `from openmix.mixups import CutMix` works for every registered policy without a list of them.
globals().update({name: cls for name, cls in MIXUPS.module_dict.items() if isinstance(name, str)})

__all__ = ['MixContext', 'MixPolicy', 'PairPolicy', *MIXUPS.module_dict]
