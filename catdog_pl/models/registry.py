"""The table of model names. A model is imported when it is asked for: this module costs nothing."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from catdog_pl.errors import UsageError

if TYPE_CHECKING:
    from catdog_pl.models.classifier import Classifier

MODELS: dict[str, str] = {
    "basic": "catdog_pl.models.basic:Basic",
    "vgg16": "catdog_pl.models.vgg16:VGG16",
    "transfer": "catdog_pl.models.pretrained:Transfer",
    "sequential": "catdog_pl.models.sequential:Sequential",
}
"""Name on the command line and in checkpoints -> ``module:Class``."""


def model_class(name: str) -> "type[Classifier]":
    """Import and return the class of a model.

    Raises:
        UsageError: there is no such model.
    """
    cls: type[Classifier] = resolve_name(MODELS[model_name(name)])
    return cls


def class_path(name: str) -> str:
    """Return the class path of a model for configuration files; runs resume by it, so it stays.

    Raises:
        UsageError: there is no such model.
    """
    return f"catdog_pl.models.{MODELS[model_name(name)].partition(':')[2]}"


def model_name(path: object) -> str:
    """Return the name behind any path of a model's class; a name is returned unchanged.

    jsonargparse writes the shortest path that leads to a class, such as ``catdog_pl.Basic``. The path may
    come from a file and be anything.

    Raises:
        UsageError: there is no such model.
    """
    package, _, attribute = str(path).rpartition(".")
    for name, target in MODELS.items():
        module, _, cls = target.partition(":")
        if path == name or (attribute == cls and package in ("catdog_pl", "catdog_pl.models", module)):
            return name
    raise UsageError(f"Model {path!r} is unknown; valid are {', '.join(MODELS)}")
