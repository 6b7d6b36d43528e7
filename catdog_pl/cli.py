"""``fit``, ``validate`` and ``test`` on LightningCLI."""

import re
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, Namespace
from lightning.fabric.plugins.environments.kubeflow import KubeflowEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from catdog_pl.callbacks.checkpoint import (
    AtomicCheckpointIO,
    ModelCheckpoint,
    best_checkpoint,
    model_checkpoint,
)
from catdog_pl.callbacks.history import History
from catdog_pl.callbacks.loggers import SaveConfig, make_save_dir_optional, write_into
from catdog_pl.callbacks.progress import EpochBar, EpochProgress
from catdog_pl.callbacks.training import EarlyStopping, EpochSeed, divergence
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.devices import (
    ACCELERATORS,
    bfloat16_is_fast,
    check_accelerator,
    check_devices,
    find_device,
    launched,
)
from catdog_pl.errors import CatDogError, Interrupted, UsageError, first_line, validate_range
from catdog_pl.failures import failure, refusal, wrong_option
from catdog_pl.io.files import is_url
from catdog_pl.models.checkpoint import compare, data_spec, read_checkpoint, restore_arguments
from catdog_pl.models.classifier import NOTE, Classifier
from catdog_pl.models.registry import class_path, model_name
from catdog_pl.process import is_notebook, keep_memory, program, silence
from catdog_pl.runs import LAST, ROOT, RunFolder, find_checkpoint
from catdog_pl.short_forms import canonical, option_value

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 25,  # the workshop's
    "logger": False,  # metrics.csv is ours; a logger is one option away
    "num_sanity_val_steps": 0,  # every photograph is decoded before the first step, which finds more
    "enable_model_summary": False,  # the totals are printed in Keras' words
    "default_root_dir": str(ROOT),
}


class CatDogCLI(LightningCLI):
    """Parses the words after ``fit``, ``validate`` or ``test`` and builds model, datamodule and trainer.

    A value that is given twice is taken in this order: command line, configuration file, the run of the
    checkpoint, the checkpoint, default.
    """

    def __init__(self, stage: str, argv: Sequence[str]) -> None:
        silence()
        keep_memory()
        for logger in (CSVLogger, TensorBoardLogger):
            make_save_dir_optional(logger)
        self.stage = stage
        words = canonical(argv, class_path)
        self.checkpoint_path = self._find_checkpoint(words)
        self.checkpoint = read_checkpoint(self.checkpoint_path) if self.checkpoint_path else None
        # fit gets another one before its classes are made.
        self.run_folder = RunFolder(self.checkpoint_path.parent if self.checkpoint_path else ROOT)
        self.run_of_checkpoint = RunFolder.of(self.checkpoint_path) if self.checkpoint_path else None
        self.remembered = self.run_of_checkpoint.remembered() if self.run_of_checkpoint else {}
        if stage != "fit":  # how long to train, and on how much, does not concern a test
            kept = re.compile(r"data\.|trainer\.precision")
            self.remembered = {key: value for key, value in self.remembered.items() if kept.match(key)}
        if self.checkpoint is None:  # as a default, it would hand its own defaults on to another class
            words = [f"--model={class_path('basic')}", *words]
        self.history, self.epoch_seed = History(), EpochSeed()
        super().__init__(
            Classifier,
            CatDogDataModule,
            save_config_callback=SaveConfig if stage == "fit" else None,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults=TRAINER_DEFAULTS | {"callbacks": self._callbacks()},
            seed_everything_default=2018,
            parser_kwargs={
                "prog": f"{program()} {stage}",
                "exit_on_error": False,
                "allow_abbrev": False,  # --data.batch_siz must not set batch_size
                "default_env": True,
                "env_prefix": f"PL_{stage.upper()}_",  # PL_FIT__TRAINER__MAX_EPOCHS, as in Lightning
            },
            subclass_mode_model=True,
            args=words,
            run=False,  # the stage is ours to start: with True, checkpoints could import what they name
            auto_configure_optimizers=False,  # the models take the optimizer, over trainable parameters only
            load_from_checkpoint_support=False,  # no class paths in checkpoints; they name their model
        )

    def _find_checkpoint(self, words: list[str]) -> Path | None:
        if any(re.match(r"--(help|print_config|model\.help)\b", word) for word in words):
            return None
        which = option_value(words, "ckpt_path")
        if which is None and self.stage == "fit":
            return None
        model = option_value(words, "model")
        root = Path(option_value(words, "trainer.default_root_dir") or ROOT)
        return find_checkpoint(which or "best", model_name(model) if model else None, root)

    def _callbacks(self) -> list[Callback]:
        """Return the callbacks that are always there; Lightning appends them to the configured ones."""
        if self.stage == "fit":
            return [self.history, self.epoch_seed]
        if self.stage == "validate":
            return []
        # Only a test waits for pandas.
        from catdog_pl.report.evaluation import Evaluation

        return [Evaluation(self.run_folder.path / "test.csv")]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks' groups and ``--ckpt_path``; take defaults from the checkpoint and its run."""
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        start = "Checkpoint to start from: best or last of the newest run, or a path. "
        start += "fit starts from none by default, validate and test from best."
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=start)
        insist = "Compute in bfloat16 also where it is about 100 times slower than float32."
        parser.add_argument("--force_bf16", type=bool, default=False, help=insist)
        views = (
            "In validation and test, answer by four views of each photograph: it, its middle, both mirrored."
        )
        parser.add_argument("--tta", action="store_true", help=views)
        draw = "Keep curves.png in the run's folder current: loss, accuracy and learning rate."
        parser.add_argument("--plot", action="store_true", help=draw)
        page = "After a test, write report.html beside the checkpoint."
        parser.add_argument("--report", action="store_true", help=page)
        parser.link_arguments("data.image_size", "model.init_args.image_size")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        if self.checkpoint is not None:
            arguments = restore_arguments(self.checkpoint)
            size, resize = arguments.pop("image_size"), data_spec(self.checkpoint).resize
            model = {"class_path": class_path(self.checkpoint[NOTE]["model"]), "init_args": arguments}
            parser.set_defaults({"model": model, "data.image_size": size, "data.resize": resize})
        for key, value in self.remembered.items():
            with suppress(KeyError):  # an option of another version
                parser.set_defaults({key: value})

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the words; what is wrong with them is a `UsageError`."""
        assert isinstance(args, list)
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise wrong_option(error, parser) from error
        except Exception as error:
            if not is_url(url := option_value(args, "config") or ""):
                raise
            raise UsageError(
                f"--config {url} cannot be read: {first_line(error)}; download it first"
            ) from error
        if not 0 <= int(self.config.seed_everything) < 2**32:
            raise UsageError(f"--seed_everything {self.config.seed_everything}: it must lie in 0..4294967295")

    def before_instantiate_classes(self) -> None:
        """Check the configuration against the machine and the checkpoint; choose the run's folder."""
        name = model_name(self.config.model.class_path)
        if self.checkpoint is not None:
            if (held := self.checkpoint[NOTE]["model"]) != name:
                raise UsageError(
                    f"checkpoint {self.checkpoint_path} holds the model {held}, "
                    f"--model asks for {name}; leave --model out, or give a checkpoint of {name}"
                )
            lines = compare(self.checkpoint, self.config.model.init_args.as_dict(), self.checkpoint_path)
            for line in [*lines, *self._compare_run()]:
                rank_zero_only(print)(line)
        check_accelerator(self.config.trainer.accelerator)
        check_devices(self.config.trainer.devices, self.config.trainer.accelerator)
        self._check_trainer()
        self.precision = self._precision()
        if self.stage == "fit":
            self.run_folder = self._fit_folder(name)

    def _check_trainer(self) -> None:
        """Refuse what Lightning would divide by, and what would leave the checkpoints out."""
        trainer = self.config.trainer
        if trainer.enable_checkpointing is False or trainer.barebones:
            option = "barebones true" if trainer.barebones else "enable_checkpointing false"
            raise UsageError(f"--trainer.{option}: a fit always keeps its checkpoints; leave the option out")
        validate_range("--trainer.accumulate_grad_batches", trainer.accumulate_grad_batches, 1)
        if trainer.check_val_every_n_epoch is not None:
            validate_range("--trainer.check_val_every_n_epoch", trainer.check_val_every_n_epoch, 1)
        if trainer.val_check_interval == 0:
            raise UsageError(
                "--trainer.val_check_interval is 0; it must be a number of batches, or a part of an epoch "
                "such as 0.5"
            )

    def _precision(self) -> Any:
        """Return the precision to compute in: bfloat16 becomes float32 where the device has to emulate it."""
        trainer = self.config.trainer
        if self.config.force_bf16 or trainer.accelerator not in ACCELERATORS:
            return trainer.precision
        device = find_device(trainer.accelerator)
        if not str(trainer.precision).startswith("bf16") or bfloat16_is_fast(device):
            return trainer.precision
        rank_zero_only(print)(
            f"{'[WARNING]':<10} --precision {trainer.precision}: this {device.type} computes bfloat16 about "
            "100 times slower than float32, so that float32 is used; --force_bf16 true insists",
            file=sys.stderr,
        )
        return "32-true"

    def _compare_run(self) -> list[str]:
        """Return lines that tell which options differ from those of the checkpoint's run."""
        lines = []
        for key, old in self.remembered.items():
            new = self.config.get(key)
            if str(new) != str(old):
                lines.append(f"  {key}: {new} instead of the run's {old}")
            elif key == "data.root" and not Path(new).is_dir():
                raise CatDogError(f"{new}: the run's photographs are not there any more; give --root FOLDER")
        return lines

    def _fit_folder(self, model: str) -> RunFolder:
        """Return the folder to train in: that of the run whose last checkpoint is given, or a new one."""
        # Any other checkpoint starts a new run, so that resuming from best.ckpt keeps what came after it.
        if self.run_of_checkpoint and self.checkpoint_path and self.checkpoint_path.name == LAST:
            return self.run_of_checkpoint
        if self.config.checkpoint.dirpath:
            folder = RunFolder.at("--checkpoint.dirpath", self.config.checkpoint.dirpath)
            if (folder.path / LAST).exists():
                raise CatDogError(
                    f"--checkpoint.dirpath {folder.path} holds a run already; give another folder, or resume "
                    f"it with: {program()} fit --ckpt_path {shlex.quote(str(folder.path / LAST))}"
                )
            return folder
        root = RunFolder.at("--trainer.default_root_dir", self.config.trainer.default_root_dir)
        # Only one of several processes makes the folder; Lightning tells the others where it is.
        return RunFolder.create(model, root.path) if getattr(rank_zero_only, "rank", 0) == 0 else root

    def instantiate_classes(self) -> None:
        """Build model, datamodule and trainer; a value that they refuse is a `UsageError`."""
        # Only for now: the saved configuration must not send the logs of another run into this one's folder.
        given = deepcopy(self.config.trainer.logger)
        for logger in as_list(self.config.trainer.logger):
            if isinstance(logger, Namespace):
                write_into(self.run_folder.path, logger.get("init_args", {}))
        try:
            super().instantiate_classes()
        except BaseException as error:
            self.run_folder.remove_if_empty()
            # Lightning's RuntimeError of SLURM asks for another option of srun.
            is_slurm = isinstance(error, RuntimeError) and "SLURM" in str(error)
            kinds = (ImportError, TypeError, ValueError, MisconfigurationException)
            if isinstance(error, (*kinds, RuntimeError) if is_slurm else kinds):
                raise refusal(error) from error
            raise
        finally:
            self.config.trainer.logger = given
        self.model.tta = self.config.tta
        if self.config.plot:
            from catdog_pl.report.figures import save_curves  # matplotlib is for those who ask

            self.history.draw = save_curves

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer: the run's folder, whole checkpoints, on a terminal or in a notebook a bar."""
        config = self.config_init.trainer
        callbacks, plugins = as_list(config.callbacks), as_list(config.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        enable_bar = config.enable_progress_bar
        if enable_bar is None:
            enable_bar = has_bar or sys.stdout.isatty() or is_notebook()
        if launch := launched():
            if config.devices == "auto" and config.num_nodes == 1:
                kwargs |= {"devices": launch.per_node, "num_nodes": launch.nodes}
            if launch.launcher == "PyTorchJob":
                plugins.append(KubeflowEnvironment())
        progress = EpochProgress()
        if self.stage == "fit":
            callbacks.append(progress)
        if enable_bar and not has_bar:
            callbacks.append(EpochBar(progress))
        trainer = super().instantiate_trainer(
            default_root_dir=str(self.run_folder.path),
            callbacks=callbacks,
            plugins=plugins,
            enable_progress_bar=enable_bar,
            precision=self.precision,
            **kwargs,
        )
        nodes, devices = trainer.num_nodes, trainer.num_devices
        if launch and (nodes, devices) != (launch.nodes, launch.per_node):
            raise UsageError(
                f"{launch.launcher} has started {launch.nodes} x {launch.per_node} processes (nodes x those "
                f"on each), but --trainer.num_nodes and --devices ask for {nodes} x {devices}; leave both out"
            )
        return trainer

    def run(self) -> Any:
        """Run the stage and return what the Trainer's method returns; errors are those of ours."""
        method = getattr(self.trainer, self.stage)
        words = {} if self.stage == "fit" else {"verbose": False}
        is_alone = self.stage == "fit" and self.trainer.is_global_zero
        try:
            with self.run_folder.lock() if is_alone else nullcontext():
                result = method(
                    self.model,
                    datamodule=self.datamodule,
                    ckpt_path=self.checkpoint_path,
                    weights_only=True,
                    **words,
                )
        except SystemExit:  # Lightning's answer to both signals
            if not self.trainer.interrupted:
                raise
            signum = signal.SIGTERM if self.trainer.received_sigterm else signal.SIGINT
            rest = self._how_to_resume() or "; nothing had been saved"
            raise Interrupted(f"stopped in epoch {self.trainer.current_epoch + 1}{rest}", signum) from None
        except Exception as error:
            unread = None if self.stage != "fit" or self.epoch_seed.has_begun else self.checkpoint_path
            known = failure(error, self.run_folder.path, unread, self._how_to_resume())
            if known is None or known is error:
                raise
            raise known from error
        finally:
            self.run_folder.remove_if_empty()
        if is_alone and self.history.rows and (reason := divergence(self.history.rows[-1])):
            raise CatDogError(self._diverged(reason))
        return result

    def _diverged(self, reason: str) -> str:
        good = best_checkpoint(self.trainer) or self.checkpoint_path
        start = f" --ckpt_path {shlex.quote(str(good))}" if good else ""
        rate = min(float(self.model.learning_rate), 1e-3) / 10
        return (
            f"The training diverged in epoch {self.history.rows[-1]['epoch']}: {reason}. No checkpoint holds "
            f"that epoch; try a smaller step: {program()} fit{start} --learning_rate {rate:g}"
        )

    def _how_to_resume(self) -> str:
        keeper = model_checkpoint(self.trainer)  # which has learned the folder that the first process made
        last = Path((keeper and keeper.dirpath) or self.run_folder.path) / LAST
        if self.stage != "fit" or not last.is_file():
            return ""
        command = f"{program()} fit --ckpt_path {shlex.quote(str(last))}"
        return f"; the epochs before are saved, resume with: {command}"


def as_list(value: Any) -> list[Any]:
    """Return an option of the Trainer that may be one, several or null, as a list."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
