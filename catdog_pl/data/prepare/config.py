"""What a user asks of ``prepare``, and the command line that says it."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catdog_pl.arguments import ArgumentParser, local_path
from catdog_pl.data.prepare.archives import Limits
from catdog_pl.data.prepare.looking import processors
from catdog_pl.data.prepare.sources import PETS, SAMPLE, check_source, identity, is_archive
from catdog_pl.data.prepare.splits import SPLITS, WORKSHOP, Fractions, Sizes
from catdog_pl.errors import UsageError
from catdog_pl.io.http import mask

SEED = 2018
MIN_SIDE = 32


@dataclass(frozen=True)
class Order:
    """What a user asks of ``prepare``.

    Attributes:
        sources: folders, archives, URLs of archives, ``sample`` or ``oxford-pets``.
        root: the folder to prepare.
        amounts: photographs of each class per split; or fractions.
        seed: of the split.
        overwrite: replace the splits that ROOT holds.
        strict: refuse where a photograph would be left out for a fault.
        link: hard links instead of copies.
        min_side: the shortest side that is not too small, in pixels.
        jobs: processes that decode.
        limits: for each archive.
        sha256: of the only archive, in hexadecimal.
    """

    sources: tuple[str, ...]
    root: Path = Path("data")
    amounts: Sizes | Fractions = WORKSHOP
    seed: int = SEED
    overwrite: bool = False
    strict: bool = False
    link: bool = False
    min_side: int = MIN_SIDE
    jobs: int = 1
    limits: Limits = field(default_factory=Limits)
    sha256: str | None = None

    def asked(self) -> dict[str, Any]:
        """What decides the result, in plain values: the same again gives the same folder."""
        return {
            "sources": [[mask(source), identity(source, self.root)] for source in self.sources],
            "amounts": list(self.amounts),
            "seed": self.seed,
            "min_side": self.min_side,
            "strict": self.strict,
            "link": self.link,
        }


def parser() -> argparse.ArgumentParser:
    """The command line of ``prepare``."""
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
        f" Kaggle's file names (cat.0.jpg, dog.0.jpg); {SAMPLE!r}, which is drawn; {PETS!r}, which is"
        " downloaded (0.8 GB)",
    )
    words.add_argument(
        "--root", type=local_path, default=Path("data"), help="folder to prepare (default: data)"
    )
    words.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the splits, manifest and report that ROOT holds; asked for the same amounts and seed,"
        " photographs that are there already keep their split",
    )
    words.add_argument(
        "--check", metavar="ROOT", type=local_path, help="only check a prepared folder; changes nothing"
    )
    _add_split_options(words.add_argument_group("splits"))
    _add_check_options(words.add_argument_group("checks"))
    _add_other_options(words.add_argument_group("files"))
    return words


def order(options: argparse.Namespace) -> Order:
    """The order in what was parsed.

    Raises:
        UsageError: a value is not valid, or there is no such source.
    """
    if not options.sources:
        raise UsageError(
            f"name a SOURCE, for example {SAMPLE!r}, or a folder with --check; --help tells more"
        )
    for source in options.sources:
        check_source(source)
    archives = [source for source in options.sources if is_archive(source)]
    if options.sha256 and (len(archives), len(options.sources)) != (1, 1):
        raise UsageError("--sha256 is that of one archive; give it with this archive as the only SOURCE")
    return Order(
        sources=tuple(options.sources),
        root=options.root,
        amounts=_amounts(options),
        seed=options.seed,
        overwrite=options.overwrite,
        strict=options.strict,
        link=options.link,
        min_side=options.min_side,
        jobs=options.jobs,
        limits=Limits(options.max_files, int(options.max_gigabytes * 10**9)),
        sha256=options.sha256,
    )


def _add_split_options(group: argparse._ArgumentGroup) -> None:
    amounts = group.add_mutually_exclusive_group()
    names = tuple(split.upper() for split in SPLITS)
    amounts.add_argument(
        "--sizes",
        type=int,
        nargs=3,
        metavar=names,
        help="photographs of each class per split (default: the workshop's 2000 1000 100); where there are"
        " fewer, the same proportions",
    )
    amounts.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        metavar=names,
        help="parts of each class instead, such as 0.8 0.1 0.1: all photographs are used, and the split of"
        " each depends on nothing but itself and the seed",
    )
    group.add_argument("--seed", type=int, default=SEED, help=f"of the split (default: {SEED})")


def _add_check_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--strict", action="store_true", help="refuse where a photograph would be left out")
    group.add_argument(
        "--min-side",
        type=_positive,
        default=MIN_SIDE,
        help=f"pixels that both sides must have (default: {MIN_SIDE})",
    )
    group.add_argument(
        "--sha256", type=_sha256, metavar="HEX", help="what the bytes of the archive must give"
    )
    group.add_argument(
        "--jobs",
        type=_positive,
        default=processors(),
        help="processes that decode (default: one per processor)",
    )


def _add_other_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--link", action="store_true", help="hard links instead of copies, where the disk can")
    group.add_argument(
        "--max-files",
        type=_positive,
        default=Limits().files,
        help=f"an archive with more is refused (default: {Limits().files:,})",
    )
    group.add_argument(
        "--max-gigabytes",
        type=float,
        default=Limits().unpacked_bytes / 10**9,
        help="an archive that unpacks to more is refused (default: %(default)g)",
    )


def _amounts(options: argparse.Namespace) -> Sizes | Fractions:
    if options.fractions:
        fractions = Fractions(*options.fractions)
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
            raise UsageError(
                f"--fractions {_spaced(fractions)}: three parts that are together 1, as 0.8 0.1 0.1"
            )
        return fractions
    sizes = Sizes(*options.sizes) if options.sizes else _default_sizes(options.sources)
    if min(sizes) < 0 or sum(sizes) == 0:
        raise UsageError(f"--sizes {_spaced(sizes)}: three counts, not negative and not all zero")
    return sizes


def _default_sizes(sources: Sequence[str]) -> Sizes:
    if list(sources) != [SAMPLE]:
        return WORKSHOP
    from catdog_pl.data.sample import SAMPLE_COUNTS  # brings what draws, which no other source needs

    return Sizes(**SAMPLE_COUNTS)


def _spaced(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word}: a count of 1 or more")
    return number


def _sha256(word: str) -> str:
    if len(word) != 64 or not all(letter in "0123456789abcdefABCDEF" for letter in word):
        raise argparse.ArgumentTypeError(f"{word!r}: 64 hexadecimal digits")
    return word.lower()
