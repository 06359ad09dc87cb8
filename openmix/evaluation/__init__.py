"""Metrics, complexity counts and figures."""

from openmix.import_folder import import_folder

import_folder(__name__, __path__)
