"""The commands as functions, for notebooks and scripts: prepare photographs, train, test."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from catdog_pl.cli import CatDogCLI
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.prepare.config import PrepareConfig
from catdog_pl.data.prepare.pipeline import prepare as prepare_folder
from catdog_pl.errors import Interrupted, UsageError
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.registry import class_path
from catdog_pl.runs import BEST, LAST, RunFolder
from catdog_pl.short_forms import SHORT_FORMS

FLAGS = ("plot", "tta")
"""Options that are typed without a value."""


@dataclass(frozen=True)
class Run(RunFolder):
    """A training's folder, which a notebook shows by its learning curves."""

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.path / BEST

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch, from which `fit` resumes."""
        return self.path / LAST

    @property
    def history(self) -> pd.DataFrame:
        """One row for each epoch: loss and accuracy in training and validation, seconds, learning rate."""
        return pd.read_csv(self.path / "metrics.csv")

    def test(self, **options: Any) -> pd.DataFrame:
        """Test the best epoch on the test photographs: print accuracy and crosstab, return a row for each.

        Args:
            options: those of the command ``test``, such as ``tta=True``.

        Returns:
            The columns of ``test.csv``: file, probability (of the second class), predicted, true, logit.

        Raises:
            CatDogError: the checkpoint or the photographs cannot be used.
        """
        from catdog_pl.report.evaluation import Evaluation

        cli = CatDogCLI("test", words({"ckpt_path": self.best} | options))
        cli.run()
        return next(one.table for one in cli.trainer.callbacks if isinstance(one, Evaluation))  # type: ignore[attr-defined]

    def _repr_png_(self) -> bytes | None:
        """Return what a notebook shows: loss, accuracy and learning rate by epoch."""
        if not (self.path / "metrics.csv").is_file():
            return None
        from catdog_pl.report.figures import learning_curves  # matplotlib takes a second to import

        file = io.BytesIO()
        learning_curves(self.history).savefig(file, format="png", dpi=80)
        return file.getvalue()


def prepare(*sources: str | Path, root: str | Path = "data", **options: Any) -> None:
    """Prepare a folder of photographs as the command ``prepare`` does; what is there already stays.

    Args:
        sources: folders, archives, URLs, or a name such as ``sample``.
        root: the folder to prepare.
        options: the command's others, such as ``sizes=(2000, 1000, 100)`` or ``overwrite=True``.

    Raises:
        CatDogError: a source or the folder cannot be used.
    """
    prepare_folder(PrepareConfig(tuple(map(str, sources)), Path(root), **options))


def fit(model: Classifier, data: CatDogDataModule, **options: Any) -> Run:
    """Train as the command ``fit`` does: early stopping, best and last checkpoint, a folder for the run.

    Seeded by ``data.seed``. Interrupted, it keeps the epochs that are done; ``ckpt_path="last"`` goes on.

    Args:
        model: is trained in place, so that it ends with the weights of the last epoch.
        data: what to train on.
        options: those of the command, such as ``max_epochs=9``, ``patience=4``, ``accelerator="gpu"`` or
            ``ckpt_path="last"``; with a dot as ``**{"trainer.limit_train_batches": 10}``.

    Raises:
        UsageError: an option is unknown, not valid, or one of the model or the data.
        Interrupted: somebody stopped it.
        CatDogError: the photographs, the checkpoint or the disk cannot be used, or the training diverged.
    """
    for name in options:
        if SHORT_FORMS.get(name, name).startswith(("model", "data.", "seed_everything", "config")):
            raise UsageError(f"fit takes no {name}; give it to the model or to the CatDogDataModule")
    own = dict(model.hparams)
    size = own.pop("image_size", None)
    settings = {"model": class_path(model.name)} | {f"model.init_args.{name}": own[name] for name in own}
    settings |= {f"data.{name}": value for name, value in data.options.items() if name != "seed"}
    settings |= {"data.image_size": data.image_size or size, "seed_everything": data.seed}
    cli = CatDogCLI("fit", words(settings | options))
    cli.model, cli.datamodule = model, data
    run = Run(cli.run_folder.path)
    try:
        cli.run()
    except Interrupted as stopped:
        if not run.last.is_file():
            raise
        here = f'{stopped}, or here with: fit(model, data, ckpt_path="last")'
        raise Interrupted(here, stopped.exit_code - 128) from None
    return run


def words(settings: dict[str, Any]) -> list[str]:
    """Return options and their values as they would be typed."""
    typed = []
    for name, value in settings.items():
        if name in FLAGS:
            typed += [f"--{name}"] if value else []
        else:
            typed.append(f"--{name}={value if isinstance(value, str | Path) else json.dumps(value)}")
    return typed
