"""The two networks, what they take from Keras, and their checkpoints."""

from catdog_pl.models.basic import Basic
from catdog_pl.models.classifier import Classifier, DataSpec
from catdog_pl.models.registry import load_checkpoint
from catdog_pl.models.vgg16 import VGG16

__all__ = ["VGG16", "Basic", "Classifier", "DataSpec", "load_checkpoint"]
