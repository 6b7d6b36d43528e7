"""``fit``, ``validate`` and ``test`` on LightningCLI: defaults, the checkpoint's values, the run's folder."""

import inspect
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)

from catdog_pl import runs
from catdog_pl.callbacks.history import EarlyStopping, EpochSeed, History, ModelCheckpoint, SafeCheckpointIO
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.prepare.check import quick_check
from catdog_pl.devices import check_accelerator
from catdog_pl.errors import CatDogError, Interrupted, UsageError
from catdog_pl.models.checkpoint import MODELS, data_spec, read_checkpoint, restore_arguments
from catdog_pl.models.classifier import NOTE, Classifier
from catdog_pl.models.summary import totals
from catdog_pl.process import keep_memory, on_terminal, silence
from catdog_pl.refusals import (
    changes,
    check_local,
    check_monitors,
    failure,
    refusal,
    unrestorable,
)
from catdog_pl.short_forms import canonical, option_value, parse_message

SEED = 2018
MODEL_PATHS = {name: f"catdog_pl.models.{cls.__name__}" for name, cls in MODELS.items()}
NAMES = {path: name for name, path in MODEL_PATHS.items()}

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 25,  # the workshop's
    "logger": False,  # metrics.csv is ours; a logger is one option away
    "num_sanity_val_steps": 0,  # every photograph is decoded before the first step, which finds more
    "enable_model_summary": False,  # the totals are printed in Keras' words
    "default_root_dir": str(runs.ROOT),
}
EARLY_STOPPING_DEFAULTS: dict[str, Any] = {
    "monitor": "val_loss",
    "patience": 2,  # the workshop's; Lightning's own default is 3
    "check_on_train_epoch_end": True,
}
CHECKPOINT_DEFAULTS: dict[str, Any] = {
    "monitor": "val_loss",  # without it "best" would mean "last"
    "filename": "best",
    "enable_version_counter": False,  # each run has its own folder, so best.ckpt is this run's
    # At the end of the epoch, after its history row: a resumed run then starts at the next epoch.
    "save_on_train_epoch_end": True,
}


class CatDogCLI(LightningCLI):
    """Parses one stage's arguments and builds its model, datamodule and trainer; runs nothing by itself.

    What is given twice is taken in this order: command line, configuration file, checkpoint, default.

    Args:
        stage: ``fit``, ``validate`` or ``test``.
        argv: the words behind it, short forms allowed.

    Attributes:
        checkpoint_path: the file to start from, or None.
    """

    def __init__(self, stage: str, argv: Sequence[str]) -> None:
        silence()
        keep_memory()
        self.stage = stage
        words = canonical(argv, MODEL_PATHS)
        self.checkpoint_path = self._find_checkpoint(words)
        self.checkpoint = read_checkpoint(self.checkpoint_path) if self.checkpoint_path else None
        self.run_folder = Path()
        super().__init__(
            Classifier,
            CatDogDataModule,
            save_config_callback=SaveConfigCallback if stage == "fit" else None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=SEED,
            parser_kwargs={
                "prog": f"python -m catdog_pl {stage}",
                "exit_on_error": False,
                "allow_abbrev": False,  # --data.batch_siz must not set batch_size
            },
            subclass_mode_model=True,
            args=words,
            run=False,  # the stage is ours to start: with True, checkpoints could import what they name
            auto_configure_optimizers=False,  # the models take the optimizer, over trainable parameters only
            load_from_checkpoint_support=False,  # no class paths in checkpoints; they name their model
        )

    def _find_checkpoint(self, words: list[str]) -> Path | None:
        if any(word in ("-h", "--help") or word.startswith("--print_config") for word in words):
            return None
        which = option_value(words, "ckpt_path")
        if which is None and self.stage == "fit":
            return None
        asked = option_value(words, "model")
        return runs.find_checkpoint(which or "best", NAMES[asked] if asked else None)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks' groups and ``--ckpt_path``; take defaults from the checkpoint."""
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Checkpoint to start from: best or last of the newest run, or a path. "
            "fit starts from none by default, validate and test from best.",
        )
        parser.link_arguments("data.image_size", "model.init_args.image_size")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.set_defaults(
            {f"early_stopping.{key}": value for key, value in EARLY_STOPPING_DEFAULTS.items()}
        )
        parser.set_defaults({f"checkpoint.{key}": value for key, value in CHECKPOINT_DEFAULTS.items()})
        parser.set_defaults(self._model_defaults())

    def _model_defaults(self) -> dict[str, Any]:
        if self.checkpoint is None:
            return {"model": {"class_path": MODEL_PATHS["basic"]}}
        arguments = restore_arguments(self.checkpoint)
        size = arguments.pop("image_size")
        spec = asdict(data_spec(self.checkpoint))
        return {
            "model": {"class_path": MODEL_PATHS[self.checkpoint[NOTE]["model"]], "init_args": arguments},
            "data.image_size": size,
            "data.resize": spec["resize"],
        }

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and say in one line what is wrong.

        Raises:
            UsageError: an option or a value does not exist.
        """
        assert isinstance(args, list)
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(parse_message(str(error), known_keys(parser, str(error)))) from error
        if not 0 <= int(self.config.seed_everything) < 2**32:
            raise UsageError(f"--seed_everything {self.config.seed_everything}: it must lie in 0..4294967295")

    def before_instantiate_classes(self) -> None:
        """Hold the configuration against the machine and the checkpoint; choose the run's folder."""
        self._check_model()
        if views := self.config.model.init_args.get("cached_views"):
            self.config.data.views = views  # the model keeps what the datamodule repeats
        check_accelerator(self.config.trainer.accelerator)
        check_monitors(self.config)
        if self.config.trainer.enable_progress_bar is None:
            self.config.trainer.enable_progress_bar = on_terminal()
        if self.stage == "fit":
            self._enter_run()
        elif self.checkpoint_path:
            self.run_folder = self.checkpoint_path.parent

    def _check_model(self) -> None:
        name = NAMES.get(self.config.model.class_path)
        if name is None:
            raise UsageError(
                f"model {self.config.model.class_path} is unknown; valid are {', '.join(MODELS)}"
            )
        if self.checkpoint is None:
            return
        if self.checkpoint[NOTE]["model"] != name:
            raise UsageError(
                f"checkpoint {self.checkpoint_path} holds the model {self.checkpoint[NOTE]['model']}, "
                f"--model asks for {name}; leave --model out, or give a checkpoint of {name}"
            )
        for line in changes(self.checkpoint, self.config.model.init_args.as_dict(), self.checkpoint_path):
            print(line)

    def _enter_run(self) -> None:
        for key in ("trainer.default_root_dir", "checkpoint.dirpath"):
            check_local(key, self.config[key])
        root = Path(self.config.trainer.default_root_dir)
        resumed = runs.run_of(self.checkpoint_path) if self.checkpoint_path else None
        self.run_folder = resumed or runs.new_run(NAMES[self.config.model.class_path], root)
        self.save_config_kwargs = {"config_filename": runs.config_name(self.run_folder)}

    def instantiate_classes(self) -> None:
        """Build model, datamodule and trainer, and say in one line what a value was refused for.

        Raises:
            CatDogError: a value is refused.
        """
        try:
            super().instantiate_classes()
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise refusal(error) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with the run's folder and the callbacks that are always there."""
        config = self.config_init
        config.checkpoint.dirpath = config.checkpoint.dirpath or str(self.run_folder)
        trainer_config = config.trainer
        self.epoch_seed = EpochSeed(int(config.seed_everything))
        callbacks = [*(trainer_config.callbacks or []), self._report(), self.epoch_seed]
        if trainer_config.enable_progress_bar:
            callbacks.append(TQDMProgressBar(refresh_rate=10, leave=False))
        # Lightning appends these behind the configured callbacks: last.ckpt must hold what they know by then.
        self.trainer_defaults = {
            **TRAINER_DEFAULTS,
            "callbacks": [last_checkpoint(config.checkpoint.dirpath)],
        }
        return super().instantiate_trainer(
            default_root_dir=str(self.run_folder),
            callbacks=callbacks,
            plugins=[*(trainer_config.plugins or []), SafeCheckpointIO()],
            **kwargs,
        )

    def run(self) -> Any:
        """Run the stage; returns what the Trainer's method returns.

        Raises:
            Interrupted: Ctrl-C or SIGTERM ended it.
            UsageError: Lightning refuses the configuration.
            CatDogError: a photograph, a worker, the disk or the memory failed.
        """
        try:
            return self._stage_method()(
                self.model, datamodule=self.datamodule, ckpt_path=self.checkpoint_path, weights_only=True
            )
        except SystemExit:  # Lightning's answer to both signals
            if not self.trainer.interrupted:
                raise
            raise self._interrupted() from None
        except MisconfigurationException as error:
            raise refusal(error) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            if self.stage != "fit" or self.checkpoint_path is None or self.epoch_seed.has_begun:
                raise
            raise unrestorable(error, self.checkpoint_path) from error
        except (CatDogError, RuntimeError, OSError) as error:
            if isinstance(error, UsageError) or (message := failure(error, self.run_folder)) is None:
                raise
            raise CatDogError(f"{message}{self._how_to_go_on()}") from error

    def _stage_method(self) -> Callable[..., Any]:
        if self.stage == "fit":
            return self.trainer.fit
        return partial(
            self.trainer.validate if self.stage == "validate" else self.trainer.test, verbose=False
        )

    def _interrupted(self) -> Interrupted:
        signum = signal.SIGTERM if self.trainer.received_sigterm else signal.SIGINT
        rest = self._how_to_go_on() or "; nothing had been saved"
        return Interrupted(f"stopped in epoch {self.trainer.current_epoch + 1}{rest}", signum)

    def _how_to_go_on(self) -> str:
        last = self.run_folder / runs.LAST
        if self.stage != "fit" or not last.is_file():
            return ""
        return f"; the epochs before are saved, go on with: python -m catdog_pl fit --ckpt_path {last}"

    def _report(self) -> Callback:
        if self.stage != "test":
            return History(self.run_folder)
        # Only a test waits for pandas and scikit-learn, which take as long to import as half of torch.
        from catdog_pl.report.evaluation import Evaluation

        return Evaluation(self.run_folder / "test.csv")


def last_checkpoint(folder: str) -> ModelCheckpoint:
    """Writes ``last.ckpt`` after every epoch.

    ``save_last`` of the callback that keeps the best would write it only in epochs that were the best.
    """
    return ModelCheckpoint(
        folder, filename=Path(runs.LAST).stem, enable_version_counter=False, save_on_train_epoch_end=True
    )


def known_keys(parser: LightningArgumentParser, error: str) -> list[str]:
    """The canonical keys that the parser takes, with those of the model that its error speaks of."""
    keys = list(parser.get_defaults(skip_validation=True).keys(branches=True))
    named = re.search(r"given class_path '([^']+)'", error)
    if not named or named[1] not in NAMES:
        return keys
    own = inspect.signature(MODELS[NAMES[named[1]]]).parameters
    others = [key for key in keys if not key.startswith("model.init_args.")]
    return others + [f"model.init_args.{name}" for name in own]


def fit(argv: Sequence[str]) -> int:
    """Train a model; ``argv`` are the words behind ``fit``."""
    cli = CatDogCLI("fit", argv)
    if cli.trainer.is_global_zero:
        print(totals(cli.model))
        if fault := quick_check(cli.datamodule.root):
            print(f"{'[WARNING]':<10} {fault}", file=sys.stderr)
    cli.run()
    return 0


def validate(argv: Sequence[str]) -> int:
    """Print loss and accuracy on the validation photographs."""
    cli = CatDogCLI("validate", argv)
    (metrics,) = cli.run()
    print(f"val_loss: {metrics['val_loss']:.4f} - val_acc: {metrics['val_acc']:.4f}")
    return 0


def test(argv: Sequence[str]) -> int:
    """Print the test report and write its CSV into the checkpoint's folder."""
    CatDogCLI("test", argv).run()
    return 0
