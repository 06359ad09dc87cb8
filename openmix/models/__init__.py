"""Models: the classifier, its data preprocessor, backbones, heads, teachers. Every file that registers is imported."""

from openmix.import_folder import import_folder

import_folder(__name__, __path__)
