"""The table of model names. A model is imported when it is asked for: this module costs nothing."""

from importlib import import_module
from typing import TYPE_CHECKING

from catdog_pl.errors import UsageError

if TYPE_CHECKING:
    from catdog_pl.models.classifier import Classifier

MODELS: dict[str, str] = {
    "basic": "catdog_pl.models.basic:Basic",
    "vgg16": "catdog_pl.models.vgg16:VGG16",
}
"""Name on the command line and in checkpoints -> ``module:Class``."""

CLASS_PATHS: dict[str, str] = {
    name: f"catdog_pl.models.{target.partition(':')[2]}" for name, target in MODELS.items()
}
"""Name -> class path in configuration files; runs resume by them, so they stay."""


def model_class(name: str) -> "type[Classifier]":
    """Import and return the class of a model.

    Raises:
        UsageError: there is no such model.
    """
    module, _, attribute = MODELS[checked(name)].partition(":")
    cls: type[Classifier] = getattr(import_module(module), attribute)
    return cls


def class_path(name: str) -> str:
    """Return the class path of a model name; a class path of the table is returned unchanged.

    Raises:
        UsageError: there is no such model.
    """
    return CLASS_PATHS[model_name(name)]


def model_name(path: str) -> str:
    """Return the name behind any path of a model's class; a name of the table is returned unchanged.

    jsonargparse writes the shortest path that leads to a class, such as ``catdog_pl.Basic``.

    Raises:
        UsageError: there is no such model.
    """
    package, _, attribute = str(path).rpartition(".")
    for name, target in MODELS.items():
        module, _, cls = target.partition(":")
        if attribute == cls and package in ("catdog_pl", "catdog_pl.models", module):
            return name
    return checked(path)


def checked(name: object) -> str:
    """Return the name if there is such a model; it may come from a file and be anything.

    Raises:
        UsageError: there is none.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise UsageError(f"Model {name!r} is unknown; valid are {', '.join(MODELS)}")
    return name
