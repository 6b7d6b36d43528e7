"""Which photograph goes into which split.

A photograph's position is computed from its content and the seed alone (`position`): the same on every
machine, in whatever order the files were listed and whatever else lies beside them. Fractions use that
position as it is, so that a photograph never changes its split; the counts are then near the fractions, not
equal to them. Sizes are exact, which no rule without a memory can combine with that promise: `split_by_sizes`
starts from the same positions, takes what is over from one split to fill another, and keeps every photograph
that an earlier run has placed (`Group.earlier`) where it was.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from catdog_pl.data.prepare.photo import Photo, Verdict
from catdog_pl.errors import CatDogError

SPLITS = ("train", "validation", "test")


class Sizes(NamedTuple):
    """Photographs of each class in each split."""

    train: int
    validation: int
    test: int


WORKSHOP = Sizes(2000, 1000, 100)


class Fractions(NamedTuple):
    """Parts of each class in each split; together 1."""

    train: float
    validation: float
    test: float


@dataclass(frozen=True, slots=True)
class Group:
    """Photographs of one class that must share a split: one alone, or near duplicates together.

    Attributes:
        position: in [0, 1), from `position`.
        size: how many photographs it holds.
        earlier: the split in which an earlier run has put it.
    """

    position: float
    size: int = 1
    earlier: str | None = None


def assign_splits(
    photos: Iterable[Photo], amounts: Sizes | Fractions, seed: int, earlier: Mapping[str, str], source: str
) -> list[str]:
    """Give every usable photograph its split, photographs that look alike the same one.

    Args:
        photos: all; those that are not usable are passed by.
        amounts: where a class has fewer photographs than the sizes ask for, the same proportions are used.
        seed: another seed gives an independent split.
        earlier: the split of a photograph in an earlier run, by the hash of its bytes.
        source: what errors call the source of the photographs.

    Returns:
        What to tell the user, a line each.

    Raises:
        CatDogError: there are not two classes, or too few photographs for each split to have both.
    """
    classes: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.is_usable and photo.label:
            classes[photo.label].append(photo)
    _check_classes({label: len(members) for label, members in classes.items()}, amounts, source)
    notes = []
    available = min(map(len, classes.values()))
    if isinstance(amounts, Sizes) and available < sum(amounts):
        fewer = scaled(amounts, available)
        notes.append(
            f"Fewer photographs than {' / '.join(map(str, amounts))} of each class:"
            f" {' / '.join(map(str, fewer))}, in the same proportions."
        )
        amounts = fewer
    for members in classes.values():
        split_class(members, amounts, seed, earlier)
    _check_splits(classes, amounts, source)
    return notes


def _check_classes(found: Mapping[str, int], amounts: Sizes | Fractions, source: str) -> None:
    if len(found) != 2:
        names = ", ".join(sorted(found)) or "none"
        raise CatDogError(
            f"{source}: photographs of two classes are needed, told by a folder for each or by Kaggle's file"
            f" names; there are good ones of {names}"
        )
    label = min(found, key=lambda name: found[name])
    splits = sum(amount > 0 for amount in amounts)
    if found[label] < splits:
        raise CatDogError(
            f"{source}: {found[label]} good photographs of class {label} do not make {splits} splits"
        )


def _check_splits(classes: Mapping[str, Iterable[Photo]], amounts: Sizes | Fractions, source: str) -> None:
    """Small fractions of few photographs may leave a split without a class, which cannot be read."""
    for split, amount in zip(SPLITS, amounts, strict=True):
        for label, members in sorted(classes.items()):
            if amount and all(photo.split != split for photo in members):
                raise CatDogError(
                    f"{source}: no {label} falls into {split}; --sizes gives every split its share"
                )


def position(sha256: str, seed: int) -> float:
    """Return a photograph's position in [0, 1), uniform over contents.

    Args:
        sha256: the hash of the file's bytes, in hexadecimal.
        seed: another seed gives an independent position.
    """
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    # 53 bits are what a float holds exactly, so that no position rounds up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def scaled(sizes: Sizes, available: int) -> Sizes:
    """Return the sizes to use when a class has fewer photographs: the same proportions, rounded.

    The largest remainders are rounded up. No split that was asked for is left empty while another has two
    to give, because a split without photographs of a class cannot be read.

    Args:
        sizes: what was asked for.
        available: photographs of the smallest class.
    """
    total = sum(sizes)
    if available >= total:
        return sizes
    exact = [available * size / total for size in sizes]
    rounded = [int(share) for share in exact]
    by_remainder = sorted(range(3), key=lambda split: rounded[split] - exact[split])
    for split in by_remainder[: available - sum(rounded)]:
        rounded[split] += 1
    for split in range(3):
        if sizes[split] and not rounded[split] and max(rounded) > 1:
            rounded[rounded.index(max(rounded))] -= 1
            rounded[split] = 1
    return Sizes(*rounded)


def preferred(position: float, proportions: Sequence[float]) -> str:
    """Return the split that a position falls into.

    Args:
        position: in [0, 1).
        proportions: of train, validation and test, in any unit.
    """
    total = sum(proportions)
    edges = accumulate(reversed(proportions))
    # From the rare end: the test split is the first slice, so that it does not move with the others.
    for split, edge in zip(reversed(SPLITS), edges, strict=True):
        if position * total < edge:
            return split
    return SPLITS[0]


def split_by_fractions(groups: Sequence[Group], fractions: Fractions) -> list[str | None]:
    """Return a split for every group of one class; the counts come near the fractions."""
    return [group.earlier or preferred(group.position, fractions) for group in groups]


def split_by_sizes(groups: Sequence[Group], sizes: Sizes) -> list[str | None]:
    """Return a split, or None where a group is not needed, for every group of one class.

    Args:
        groups: in any order.
        sizes: of train, validation and test; they are met exactly unless groups are too large to fit.
    """
    splits: list[str | None] = [None] * len(groups)
    room = dict(zip(SPLITS, sizes, strict=True))
    order = sorted(range(len(groups)), key=lambda index: groups[index].position)
    new = [index for index in order if groups[index].earlier is None]
    kept = [(index, split) for index in order if (split := groups[index].earlier)]
    by_position = [(index, preferred(groups[index].position, sizes)) for index in new]
    anywhere = [(index, split) for split in SPLITS for index in new]
    for index, split in (*kept, *by_position, *anywhere):
        if splits[index] is None and groups[index].size <= room[split]:
            splits[index] = split
            room[split] -= groups[index].size
    return splits


def split_class(
    photos: Iterable[Photo], amounts: Sizes | Fractions, seed: int, earlier: Mapping[str, str]
) -> None:
    """Give every usable photograph of one class its split; one that gets none is not needed."""
    families: dict[int | str, list[Photo]] = defaultdict(list)
    for photo in photos:
        families[photo.inspection.sha256 if photo.group is None else photo.group].append(photo)
    members = [_of_one_split(family, earlier) for family in families.values()]
    groups = [_group(family, seed, earlier) for family in members]
    if isinstance(amounts, Sizes):
        splits = split_by_sizes(groups, amounts)
    else:
        splits = split_by_fractions(groups, amounts)
    for family, split in zip(members, splits, strict=True):
        for photo in family:
            photo.split = split
            if split is None:
                photo.judge(Verdict.NOT_NEEDED, "the splits are full")


def _of_one_split(family: list[Photo], earlier: Mapping[str, str]) -> list[Photo]:
    """Return photographs that look alike, without those that an earlier run has put into another split.

    That happens when a new photograph looks like two that did not look like each other. None of them may
    move to another split, and they may not stay in two.
    """
    if len(family) == 1:  # nearly every family is; no counting for them
        return family
    hashes = [photo.inspection.sha256 for photo in family]
    splits = Counter(earlier[sha256] for sha256 in hashes if sha256 in earlier)
    if len(splits) < 2:
        return family
    kept = max(SPLITS, key=lambda split: splits[split])
    for photo in family:
        if earlier.get(photo.inspection.sha256, kept) != kept:
            photo.judge(Verdict.DUPLICATE, f"looks like photographs that are in {kept}")
    return [photo for photo in family if photo.is_usable]


def _group(family: Sequence[Photo], seed: int, earlier: Mapping[str, str]) -> Group:
    """Return a group of the split functions; its position is that of its member with the smallest hash."""
    hashes = [photo.inspection.sha256 for photo in family]
    known = [earlier[sha256] for sha256 in hashes if sha256 in earlier]
    return Group(position(min(hashes), seed), len(family), known[0] if known else None)
