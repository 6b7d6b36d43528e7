"""Cats and dogs: the 2018 Keras workshop in PyTorch Lightning, number for number.

Use it from Python like this::

    from catdog_pl import Basic, CatDogDataModule, fit, predict, prepare

    prepare("sample")
    run = fit(Basic(), CatDogDataModule("data"), max_epochs=8)
    run.test()
    for answer in predict(["cat.jpg", "https://example.org/dog.png"], run.best):
        print(answer.source, answer.label, answer.probability)

A map of the rooms. Imports run one way, from the top of this list to the bottom, and
``tests/test_imports.py`` holds the table:

    errors       all errors that a user sees, each one line
    process      the process that a command runs in: its start and end, its memory
    arguments    options that are declared once, in a dataclass
    devices      the word after --accelerator -> a device
    io/          files, folders, downloads
    data/        images, the datamodule, augmentation; prepare/ sorts photographs, sample/ draws some
    keras/       Keras' file formats and rules
    models/      the networks, their checkpoints and layer tables
    runs         the folders in which fits keep their files
    callbacks/   epoch lines, history, checkpoints and early stopping of a fit
    prediction/  pictures of any kind -> cat or dog
    report/      the evaluation of a test, and the page about a model
    export/      models in other formats
    failures     errors of the parser, Lightning, torch and the disk, in one line each
    cli          fit, validate and test on LightningCLI; short_forms are its short options
    api          prepare, fit and test as functions, for notebooks and scripts
    commands/    one thin file for each command
    __main__     the table of commands

Nothing heavy is imported before a name is used, so that ``--help`` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catdog_pl.api import Run, fit, prepare
    from catdog_pl.data.datamodule import CatDogDataModule
    from catdog_pl.models.basic import Basic
    from catdog_pl.models.checkpoint import load_checkpoint
    from catdog_pl.models.pretrained import Transfer
    from catdog_pl.models.vgg16 import VGG16
    from catdog_pl.prediction.predictor import Prediction, predict

__version__ = "0.1.0"

__all__ = [
    "VGG16",
    "Basic",
    "CatDogDataModule",
    "Prediction",
    "Run",
    "Transfer",
    "fit",
    "load_checkpoint",
    "predict",
    "prepare",
]

_HOMES = {
    "Basic": "models.basic",
    "CatDogDataModule": "data.datamodule",
    "Prediction": "prediction.predictor",
    "Run": "api",
    "Transfer": "models.pretrained",
    "VGG16": "models.vgg16",
    "fit": "api",
    "load_checkpoint": "models.checkpoint",
    "predict": "prediction.predictor",
    "prepare": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
