"""Training beyond mmengine: exact resume, seeding by iteration, AMP on any device, results, launching."""

from openmix.import_folder import import_folder

import_folder(__name__, __path__)
