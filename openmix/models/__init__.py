"""Models: the classifier, its data preprocessor, backbones, heads and teachers. A file here is registered."""

from openmix.import_folder import import_folder

import_folder(__name__, __path__)
