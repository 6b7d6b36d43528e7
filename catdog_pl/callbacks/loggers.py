"""What describes a run beside its checkpoints: the saved configuration, and where loggers write."""

from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import Logger

from catdog_pl.io.files import atomic_write
from catdog_pl.runs import RunFolder


class SaveConfig(SaveConfigCallback):
    """Saves the configuration into the run's folder, whatever loggers there are."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``config.yaml``, or a numbered one for a run that is resumed."""
        run = RunFolder(Path(trainer.default_root_dir))
        with atomic_write(run.new_config()) as part:
            part.write_text(self._dump(), encoding="utf-8")
        for logger in trainer.loggers:  # which hear the model's own parameters from Lightning
            logger.log_hyperparams(run.remembered())

    def _dump(self) -> str:
        """Return the configuration as YAML, without callbacks where an option of theirs cannot be written."""
        try:
            return str(self.parser.dump(self.config, skip_none=False))
        except (TypeError, ValueError):
            config = self.config.clone()
            config.trainer.callbacks = None
            return str(self.parser.dump(config, skip_none=False))


def make_save_dir_optional(logger: type[Logger]) -> None:
    """Let a logger be chosen without its ``save_dir``, which is the run's folder then."""
    init: Any = logger.__init__
    if signature(logger).parameters["save_dir"].default is Parameter.empty:
        init.__defaults__ = (None, *init.__defaults__)


def write_into(folder: Path, options: Any) -> None:
    """Set where a logger writes, if its options leave it open."""
    if "save_dir" in options and options["save_dir"] in (None, ".", "./mlruns"):
        options["save_dir"] = str(folder)
    if "tracking_uri" in options and not options["tracking_uri"]:  # MLflow 3 takes no plain folder any more
        Path(options["save_dir"]).mkdir(parents=True, exist_ok=True)
        options["tracking_uri"] = f"sqlite:///{options['save_dir']}/mlflow.db"
        options["artifact_location"] = options["artifact_location"] or f"{options['save_dir']}/mlruns"
