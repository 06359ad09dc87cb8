"""OpenMixup's configs and checkpoints as openmix's recipes and weights."""
