"""``fit``, ``validate`` and ``test``: the Trainer's three stages."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import catdog_pl
from catdog_pl.arguments import with_underscores
from catdog_pl.devices import launched
from catdog_pl.errors import UsageError
from catdog_pl.models.registry import class_path
from catdog_pl.process import gc_paused, leave_out_unused, program
from catdog_pl.short_forms import grouped, help_page

if TYPE_CHECKING:
    from catdog_pl.cli import CatDogCLI

PACKAGE = Path(catdog_pl.__file__).parent


def fit(argv: Sequence[str]) -> int:
    """Train a model."""
    if (cli := build("fit", argv)) is None:
        return 0
    from catdog_pl.data.prepare.check import quick_check
    from catdog_pl.models.summary import totals

    if cli.trainer.is_global_zero:
        print(totals(cli.model))
        if fault := quick_check(cli.datamodule.root):
            print(f"{'[WARNING]':<10} {fault}", file=sys.stderr)
    cli.run()
    return 0


def validate(argv: Sequence[str]) -> int:
    """Print loss and accuracy on the validation photographs."""
    if cli := build("validate", argv):
        (metrics,) = cli.run()
        if cli.trainer.is_global_zero:
            print(f"val_loss: {metrics['val_loss']:.4f} - val_acc: {metrics['val_acc']:.4f}")
    return 0


def test(argv: Sequence[str]) -> int:
    """Print the test report and write its CSV into the checkpoint's folder."""
    if cli := build("test", argv):
        cli.run()
        if cli.config.report and cli.trainer.is_global_zero:
            report(cli)
    return 0


def report(cli: "CatDogCLI") -> None:
    """Write the page about a model after its test, whose answers are not computed again."""
    from catdog_pl.report import build
    from catdog_pl.report.answers import Answers
    from catdog_pl.report.evaluation import Evaluation
    from catdog_pl.report.subject import Subject

    assert cli.checkpoint_path is not None, "a test has one"
    assert cli.checkpoint is not None, "and has read it"
    (evaluation,) = (one for one in cli.trainer.callbacks if isinstance(one, Evaluation))  # type: ignore[attr-defined]
    subject = Subject(cli.checkpoint_path, cli.checkpoint, cli.model.eval(), cli.config.data.as_dict())
    tested = Answers(evaluation.table, cli.model.data_spec.class_names, cli.datamodule.folders["test"])
    page = build.report(subject, build.known_answers(subject, tested))
    build.publish(page, cli.checkpoint_path.with_name(build.PAGE))


def build(stage: str, argv: Sequence[str]) -> "CatDogCLI | None":
    """Return the stage's model, datamodule and trainer; None where help was asked for and printed."""
    words = with_underscores(argv)
    options = dict(grouped(words))
    shown = options.get("--help", options.get("-h"))
    if shown == [] and not options.get("--model"):
        print(help_page(stage))
        return None
    if shown == ["all"]:
        words = ["--help"]
    elif shown == []:
        words = [f"--model.help={class_path(options['--model'][-1])}"]
    elif shown:
        raise UsageError(f"--help {' '.join(shown)}: see {program()} {stage} --help, or --help all")
    leave_out_unused()
    with gc_paused():
        from catdog_pl.cli import CatDogCLI

    return CatDogCLI(stage, [word for option in grouped(words) for word in with_shipped_config(*option)])


def with_shipped_config(option: str, values: list[str]) -> list[str]:
    """Return an option's words; the plain name of a configuration file is that of a shipped one.

    A file of the same name in the current folder is meant where its ending or a folder is typed.
    """
    if option not in ("--config", "-c") or len(values) != 1 or Path(values[0]).suffix or "/" in values[0]:
        return [option, *values]
    shipped = {path.stem: path for path in shipped_configs()}
    if values[0] in shipped:
        launch = launched()
        if not (launch.rank if launch else int(os.environ.get("LOCAL_RANK", 0))):  # alone, or the first
            print(f"{'[INFO]':<10} Configuration: {shipped[values[0]]}", file=sys.stderr)
        return [option, str(shipped[values[0]])]
    if Path(values[0]).exists():
        return [option, *values]
    raise UsageError(f"--config {values[0]}: there is no such file; shipped are {', '.join(shipped)}")


def shipped_configs() -> list[Path]:
    """Return the configuration files that come with the package, or lie beside it in its repository."""
    folder = PACKAGE / "configs"
    return sorted((folder if folder.is_dir() else PACKAGE.parent / "configs").glob("*.yaml"))
