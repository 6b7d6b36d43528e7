"""The options of ``prepare``."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from catdog_pl.arguments import option, positive
from catdog_pl.errors import UsageError

_SPLITS = ("TRAIN", "VALIDATION", "TEST")


def _hexadecimal(word: str) -> str:
    if len(word) != 64 or not all(letter in "0123456789abcdefABCDEF" for letter in word):
        raise argparse.ArgumentTypeError(f"{word!r}: 64 hexadecimal digits")
    return word.lower()


@dataclass(frozen=True)
class PrepareConfig:
    """What a user asks of ``prepare``; each field but the first is an option."""

    sources: tuple[str, ...] = ()
    root: Path = option(Path("data"), "folder to prepare")  # noqa: RUF009  # a field
    overwrite: bool = option(
        False,
        "replace the splits, manifest and report that ROOT holds; asked for the same amounts and seed,"
        " photographs that are there already keep their split",
    )
    sizes: tuple[int, int, int] | None = option(
        None,
        "photographs of each class per split; where there are fewer, the same proportions (default: the split"
        " of the source where it has one; else the workshop's 2000 1000 100, or all where there are fewer)",
        group="splits",
        metavar=_SPLITS,
    )
    fractions: tuple[float, float, float] | None = option(
        None,
        "parts of each class instead, such as 0.8 0.1 0.1: all photographs are used, and the split of each"
        " depends on nothing but itself and the seed",
        group="splits",
        metavar=_SPLITS,
    )
    resplit: bool = option(
        False, "mix the photographs of a source that is split already, and split anew", group="splits"
    )
    seed: int = option(2018, "of the split", group="splits")
    classes: tuple[str, str] | None = option(
        None,
        "the folders that are the classes, where that does not show, or there are more than two",
        group="splits",
        metavar=("A", "B"),
    )
    relabel: Path | None = option(  # noqa: RUF009  # a field
        None,
        "corrections in a CSV, as report --relabel writes it: of the photograph with these bytes (column"
        " sha256), the class, or drop to leave it out (column change)",
        group="splits",
        metavar="FILE",
    )
    strict: bool = option(False, "refuse where a photograph would be left out", group="checks")
    min_side: int = option(32, "pixels that both sides must have", group="checks", type=positive(int))
    sha256: str | None = option(
        None, "what the bytes of the archive must give", group="checks", metavar="HEX", type=_hexadecimal
    )
    jobs: int | None = option(
        None, "processes that decode (default: one per processor)", group="checks", type=positive(int)
    )
    link: bool = option(False, "hard links instead of copies, where the disk can", group="files")
    max_files: int = option(
        2_000_000, "an archive with more is refused", group="files", type=positive(int, limit=1_000_000_000)
    )
    max_gigabytes: float = option(
        100.0, "an archive that unpacks to more is refused", group="files",
        type=positive(float),
    )  # fmt: skip

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """Return the configuration in what was parsed."""
        values: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(cls)}
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values)

    def __post_init__(self) -> None:
        """Check the amounts.

        Raises:
            UsageError: they are not valid.
        """
        if self.sizes and self.fractions:
            raise UsageError("--sizes and --fractions are two ways to say the same; give one of them")
        if self.sizes and (min(self.sizes) < 0 or sum(self.sizes) == 0):
            raise UsageError(f"--sizes {_spaced(self.sizes)}: three counts, not negative and not all zero")
        if self.fractions and (min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6):
            raise UsageError(
                f"--fractions {_spaced(self.fractions)}: three parts that are together 1, as 0.8 0.1 0.1"
            )


def _spaced(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
