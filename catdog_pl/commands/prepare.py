"""``prepare``: photographs -> checked and split folders."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from catdog_pl.arguments import ArgumentParser, add_options, local_path
from catdog_pl.data.prepare.config import PrepareConfig
from catdog_pl.data.prepare.sources import NAMED
from catdog_pl.errors import CatDogError, UsageError, disk_line, one_line
from catdog_pl.process import gc_paused, program


def parser() -> ArgumentParser:
    """Return the command line of ``prepare``."""
    words = ArgumentParser(
        "prepare",
        description="Make ROOT/{train,validation,test}/<class>/ from photographs. Each is decoded and"
        " checked; what is bad is left out and listed in ROOT/manifest.csv. Sources are never changed.",
    )
    words.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="a folder, a zip or tar archive, or the URL of one, with a folder for each class or with"
        " Kaggle's file names (cat.0.jpg, dog.0.jpg); Parquet, a WebDataset, or a CSV of names and labels;"
        f" s3:// and the like; or by name: {', '.join(NAMED)}",
    )
    words.add_argument(
        "--check", metavar="ROOT", type=local_path, help="only check a prepared folder; changes nothing"
    )
    add_options(words, PrepareConfig)
    return words


def main(argv: Sequence[str]) -> int:
    """Prepare a folder, or check a prepared one; return 1 where the check finds a fault, else 0.

    Raises:
        CatDogError: a source or ROOT cannot be used.
    """
    options = parser().parse_args(argv)
    if options.check and options.sources:
        raise UsageError("--check looks at one prepared folder and takes no SOURCE")
    config = PrepareConfig.from_options(options)
    with gc_paused():
        from catdog_pl.data.prepare.pipeline import check, prepare
    try:
        if options.check:
            return 0 if check(options.check, config.jobs, config.min_side) else 1
        prepare(config)
    except OSError as error:
        raise CatDogError(f"{disk_line(error, config.root)}, or give another --root") from error
    root = "" if config.root == Path("data") else f" --root {shlex.quote(str(config.root))}"
    print(one_line(f"Next: {program()} fit --model basic{root}"))
    return 0
