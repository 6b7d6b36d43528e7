"""The networks, what they take from Keras, and their checkpoints."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catdog_pl.models.basic import Basic
    from catdog_pl.models.checkpoint import load_checkpoint
    from catdog_pl.models.classifier import Classifier
    from catdog_pl.models.pretrained import Transfer
    from catdog_pl.models.sequential import Sequential
    from catdog_pl.models.spec import DataSpec
    from catdog_pl.models.vgg16 import VGG16

__all__ = ["VGG16", "Basic", "Classifier", "DataSpec", "Sequential", "Transfer", "load_checkpoint"]

_HOMES = {
    "Basic": "basic",
    "Classifier": "classifier",
    "DataSpec": "spec",
    "Sequential": "sequential",
    "Transfer": "pretrained",
    "VGG16": "vgg16",
    "load_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, which the modules of this room that need none shall not cost.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
