"""``report``: pages about a trained model, the comparison of several, and what augmentation does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catdog_pl.arguments import ArgumentParser, add_options, option
from catdog_pl.devices import ACCELERATORS, find_device
from catdog_pl.errors import CatDogError, UsageError
from catdog_pl.io.files import atomic_write, refuse_existing
from catdog_pl.process import gc_paused, keep_memory
from catdog_pl.runs import BEST, find_checkpoint

AUGMENTATION = "augmentation.jpg"


@dataclass(frozen=True)
class ReportOptions:
    """The options of ``report``."""

    ckpt_path: str = option(
        "best", "best or last of the newest run, or a file; the same as RUN", metavar="PATH"
    )
    root: Path | None = option(  # noqa: RUF009
        None, "folder with the photographs (default: that of the run)", metavar="FOLDER"
    )
    accelerator: str = option("auto", "auto is a GPU where there is one", choices=ACCELERATORS)
    relabel: Path | None = option(  # noqa: RUF009
        None, "write the likely label errors there, for prepare --relabel", metavar="FILE"
    )
    save_temperature: bool = option(
        False,
        "fit a temperature to the validation photographs and keep it in the checkpoint",
    )


def parser() -> ArgumentParser:
    """Return the command line."""
    parser = ArgumentParser(
        "report",
        description="Write a page about a trained model beside its checkpoint, or compare several.",
        epilog=f"report --augmentation, with the options of fit: writes {AUGMENTATION}, some training "
        "photographs as a fit with these options would see them.",
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="folder of a run, or a checkpoint; several are compared"
    )
    add_options(parser, ReportOptions)
    return parser


def main(argv: Sequence[str]) -> int:
    """Write the page, and print where it is."""
    if "--augmentation" in argv:
        return show_augmentation([word for word in argv if word != "--augmentation"])
    options = parser().parse_intermixed_args(argv)
    runs = options.runs or [options.ckpt_path]
    if len(runs) > 1 and (options.relabel or options.save_temperature):
        raise UsageError("--relabel and --save_temperature are about one model; give one RUN")
    if options.relabel:
        refuse_existing(options.relabel)
    checkpoints = [checkpoint_of(run) for run in runs]
    keep_memory()
    with gc_paused():
        from catdog_pl.report import build
        from catdog_pl.report.subject import Subject
    device = find_device(options.accelerator)
    subjects = [Subject.load(path, device, options.root) for path in checkpoints]
    if len(subjects) > 1:
        build.publish(build.compare(subjects), checkpoints[0].with_name(build.COMPARISON))
        return 0
    (subject,) = subjects
    answers = build.known_answers(subject)
    build.publish(build.report(subject, answers), checkpoints[0].with_name(build.PAGE))
    if options.relabel:
        print(build.relabel(subject, answers, options.relabel))
    if options.save_temperature:
        print(build.save_temperature(subject, answers))
    return 0


def checkpoint_of(run: str) -> Path:
    """Return the checkpoint of a run: the best one of a folder, or the file itself.

    Raises:
        CatDogError: there is none.
    """
    found = find_checkpoint(run)
    if not found.is_dir():
        return found
    if not (found / BEST).is_file():
        raise CatDogError(f"{found} holds no {BEST}; give the folder of a run, or a checkpoint")
    return found / BEST


def show_augmentation(words: Sequence[str]) -> int:
    """Write training photographs as a fit with these options would see them."""
    from catdog_pl.commands.fit import build

    if (cli := build("fit", words)) is None:
        return 0
    cli.run_folder.remove_if_empty()
    from catdog_pl.data.dataset import CachedImageFolder
    from catdog_pl.data.images import resize_rule
    from catdog_pl.data.layout import split_folder
    from catdog_pl.report.gallery import augmented

    data, spec = cli.datamodule, cli.model.data_spec
    size, rule = data.image_size or spec.image_size, data.resize or resize_rule(spec.resize)
    picture = augmented(data, cli.model, CachedImageFolder(split_folder(data.root, "train"), size, rule))
    with atomic_write(Path(AUGMENTATION)) as part:
        part.write_bytes(picture.jpeg)
    print(f"{picture.alt}: {AUGMENTATION}")
    return 0
