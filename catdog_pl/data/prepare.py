"""``prepare``: raw photographs -> ROOT/{train,validation,test}/<class>/.

sources -> one `Photo` each -> content hashed -> a split drawn from it -> built in staging -> put in place
"""

import argparse
import hashlib
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePath

from tqdm import tqdm

from catdog_pl.data.archives import Limits
from catdog_pl.data.photo import Photo, Verdict
from catdog_pl.data.sources import SAMPLE, check_source, find_photos
from catdog_pl.data.splits import SPLITS, WORKSHOP, Group, Sizes, draw, scaled, split_by_sizes
from catdog_pl.data.staging import Staging, refuse_existing
from catdog_pl.errors import CatDogError, UsageError

SEED = 2018


@dataclass(frozen=True)
class Order:
    """What a user asks of ``prepare``.

    Attributes:
        sources: folders, archives, or the word ``sample``.
        root: the folder to prepare.
        sizes: photographs of each class per split; fewer, in the same proportions, where there are fewer.
        seed: of the split.
        overwrite: replace the splits that ROOT holds.
    """

    sources: tuple[str, ...]
    root: Path = Path("data")
    sizes: Sizes = WORKSHOP
    seed: int = SEED
    overwrite: bool = False


def main(argv: Sequence[str]) -> int:
    """Run ``prepare``.

    Args:
        argv: the words after the command's name.

    Returns:
        0.

    Raises:
        CatDogError: a source or ROOT cannot be used.
    """
    photos = prepare(_order(_parser().parse_args(argv)))
    print("Next: python -m catdog_pl fit --model basic")
    return 0 if photos else 1


def prepare(order: Order) -> list[Photo]:
    """Prepare a folder.

    Args:
        order: what to do.

    Returns:
        Every photograph found, with its split or the reason why it has none.

    Raises:
        CatDogError: a source or ROOT cannot be used; ROOT is then as it was.
    """
    for source in order.sources:
        check_source(source)
    staging = Staging(order.root)
    if order.root.exists() and staging.open():
        print(f"Finished the run that was interrupted in {order.root}")
    if not order.overwrite:
        refuse_existing(order.root, SPLITS)
    staging.open()
    photos = find_photos(order.sources, staging, Limits())
    _hash(photos)
    sizes = _assign(photos, order)
    _place(photos, staging)
    staging.commit()
    _report(photos, order, sizes)
    return photos


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m catdog_pl prepare",
        description="Make ROOT/{train,validation,test}/<class>/ from photographs. Sources are never changed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="a folder or a zip or tar archive, with one folder per class or with Kaggle's file names"
        f" (cat.0.jpg, dog.0.jpg); or {SAMPLE!r}, which draws a built-in data set",
    )
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder to prepare (default: data)")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=3,
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="photographs of each class per split (default: the workshop's 2000 1000 100);"
        " where there are fewer, the same proportions",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the split (default: {SEED})")
    parser.add_argument("--overwrite", action="store_true", help="replace the splits that ROOT holds")
    return parser


def _order(options: argparse.Namespace) -> Order:
    sizes = Sizes(*options.sizes) if options.sizes else _default_sizes(options.sources)
    if min(sizes) < 0 or sum(sizes) == 0:
        raise UsageError(f"--sizes {' '.join(map(str, sizes))}: three counts, not negative, not all zero")
    return Order(tuple(options.sources), options.root, sizes, options.seed, options.overwrite)


def _default_sizes(sources: Sequence[str]) -> Sizes:
    if list(sources) != [SAMPLE]:
        return WORKSHOP
    counts = import_module("catdog_pl.data.sample").SAMPLE_COUNTS
    return Sizes(*(counts[split] for split in SPLITS))


def _hash(photos: Iterable[Photo]) -> None:
    """Read every photograph once."""
    readable = [photo for photo in photos if photo.verdict is Verdict.OK]
    for photo in tqdm(readable, desc="reading", unit="photo", disable=None):
        try:
            with open(photo.path, "rb") as file:
                photo.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            photo.verdict, photo.reason = Verdict.UNREADABLE, f"it cannot be read ({error.strerror})"


def _assign(photos: Iterable[Photo], order: Order) -> Sizes:
    """Give every photograph of each class its split; the sizes that were possible."""
    classes: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.label and photo.verdict is Verdict.OK:
            classes[photo.label].append(photo)
    _check_classes(classes, order)
    sizes = scaled(order.sizes, min(map(len, classes.values())))
    for members in classes.values():
        groups = [Group(draw(photo.sha256, order.seed)) for photo in members]
        for photo, split in zip(members, split_by_sizes(groups, sizes), strict=True):
            photo.split = split
    return sizes


def _check_classes(classes: dict[str, list[Photo]], order: Order) -> None:
    where = ", ".join(order.sources)
    if not classes:
        raise CatDogError(
            f"{where}: no photograph in it whose class is told by a folder or a Kaggle file name"
        )
    if len(classes) != 2:
        found = ", ".join(sorted(classes))
        raise CatDogError(f"{where}: photographs of two classes are needed, found are those of {found}")
    wanted = sum(size > 0 for size in order.sizes)
    name, fewest = min(((name, len(members)) for name, members in classes.items()), key=lambda pair: pair[1])
    if fewest < wanted:
        raise CatDogError(f"{where}: {fewest} of class {name} are too few for {wanted} splits")


def _place(photos: Iterable[Photo], staging: Staging) -> None:
    """Build the split folders in staging: unpacked files are moved, a user's files are copied."""
    taken: set[str] = set()
    chosen = [photo for photo in photos if photo.split]
    for photo in tqdm(chosen, desc="copying", unit="photo", disable=None):
        folder = staging.new / str(photo.split) / str(photo.label)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / _free_name(photo, folder, taken)
        if photo.ours:
            os.rename(photo.path, target)
        else:
            shutil.copyfile(photo.path, target)


def _free_name(photo: Photo, folder: Path, taken: set[str]) -> str:
    """The photograph's own file name, with a part of its hash where another has the same."""
    name = PurePath(photo.origin).name
    if f"{folder}/{name}".casefold() in taken:
        name = f"{PurePath(name).stem}-{photo.sha256[:12]}{PurePath(name).suffix}"
    taken.add(f"{folder}/{name}".casefold())
    return name


def _report(photos: Iterable[Photo], order: Order, sizes: Sizes) -> None:
    counts = Counter((photo.split, photo.label) for photo in photos if photo.split)
    classes = sorted({label for _, label in counts if label})
    if sizes != order.sizes:
        wanted = " / ".join(map(str, order.sizes))
        print(
            f"Fewer photographs than {wanted} per class: the same proportions, {' / '.join(map(str, sizes))}"
        )
    print(f"{order.root!s:<12}" + "".join(f"{label:>8}" for label in classes))
    for split in SPLITS:
        print(f"{split:<12}" + "".join(f"{counts[split, label]:>8}" for label in classes))
