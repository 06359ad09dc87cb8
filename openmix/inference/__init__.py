"""Use a trained classifier: load it from a checkpoint, and predict the classes of images."""

from openmix.inference.model import ImageClassifier, load_model
from openmix.inference.predictions import Prediction, predict

__all__ = ['ImageClassifier', 'Prediction', 'load_model', 'predict']
