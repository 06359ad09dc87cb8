"""Data sets, their splits, and transforms of single images and of batches; no mixing here."""

from openmix.import_folder import import_folder

import_folder(__name__, __path__)
