"""Detectors, one file each; what they share stands beside them."""

from openmix.import_folder import import_folder

import_folder(__name__, __path__)
