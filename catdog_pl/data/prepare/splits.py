"""Which photograph goes into which split.

A photograph's place is drawn from its content and the seed alone (`draw`): the same on every machine, in
whatever order the files were listed and whatever else lies beside them. Fractions use that place as it
is, so that a photograph never changes its split; the counts are then near the fractions, not equal to
them. Sizes are exact, which no rule without a memory can combine with that promise: `split_by_sizes`
starts from the same places, takes what is over from one split to fill another, and keeps every
photograph that an earlier run has placed (`Group.earlier`) where it was.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from catdog_pl.data.prepare.photo import Photo, Verdict

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
        place: where the group stands in [0, 1), from `draw`.
        size: how many photographs it holds.
        earlier: the split in which an earlier run has put it.
    """

    place: float
    size: int = 1
    earlier: str | None = None


def draw(sha256: str, seed: int) -> float:
    """A photograph's place in [0, 1), uniform over contents.

    Args:
        sha256: the hash of the file's bytes, in hexadecimal.
        seed: another seed gives an independent place.
    """
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    # 53 bits are what a float holds exactly, so that no place rounds up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def scaled(wanted: Sizes, available: int) -> Sizes:
    """The sizes to use when a class has fewer photographs than wanted: the same proportions, rounded.

    The largest remainders are rounded up. No split that was wanted is left empty while another has two
    to give, because a split without photographs of a class cannot be read.

    Args:
        wanted: what the user asked for.
        available: photographs of the smallest class.
    """
    total = sum(wanted)
    if available >= total:
        return wanted
    exact = [available * size / total for size in wanted]
    sizes = [int(share) for share in exact]
    by_remainder = sorted(range(3), key=lambda split: sizes[split] - exact[split])
    for split in by_remainder[: available - sum(sizes)]:
        sizes[split] += 1
    for split in range(3):
        if wanted[split] and not sizes[split] and max(sizes) > 1:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[split] = 1
    return Sizes(*sizes)


def preferred(place: float, proportions: Sequence[float]) -> str:
    """The split that a place falls into.

    Args:
        place: in [0, 1), from `draw`.
        proportions: of train, validation and test, in any unit.
    """
    total = sum(proportions)
    edges = accumulate(reversed(proportions))
    # From the rare end: the test split is the first slice, so that it does not move with the others.
    for split, edge in zip(reversed(SPLITS), edges, strict=True):
        if place * total < edge:
            return split
    return SPLITS[0]


def split_by_fractions(groups: Sequence[Group], fractions: Fractions) -> list[str | None]:
    """A split for every group of one class, by fractions.

    Args:
        groups: in any order.
        fractions: of train, validation and test; the counts come near them.
    """
    return [group.earlier or preferred(group.place, fractions) for group in groups]


def split_by_sizes(groups: Sequence[Group], sizes: Sizes) -> list[str | None]:
    """A split, or None where a group is not needed, for every group of one class, by exact sizes.

    Args:
        groups: in any order.
        sizes: of train, validation and test; they are met exactly unless groups are too large to fit.
    """
    splits: list[str | None] = [None] * len(groups)
    room = dict(zip(SPLITS, sizes, strict=True))
    order = sorted(range(len(groups)), key=lambda index: groups[index].place)
    new = [index for index in order if groups[index].earlier is None]
    kept = [(index, split) for index in order if (split := groups[index].earlier)]
    drawn = [(index, preferred(groups[index].place, sizes)) for index in new]
    anywhere = [(index, split) for split in SPLITS for index in new]
    for index, split in (*kept, *drawn, *anywhere):
        if splits[index] is None and groups[index].size <= room[split]:
            splits[index] = split
            room[split] -= groups[index].size
    return splits


def assign_splits(
    photos: Sequence[Photo], amounts: Sizes | Fractions, seed: int, earlier: Mapping[str, str]
) -> None:
    """Give every usable photograph of one class its split, photographs that look alike the same one.

    Args:
        photos: all usable photographs of one class.
        amounts: sizes that this class can fill, or fractions.
        seed: of the draw.
        earlier: the split of a photograph in an earlier run, by the hash of its bytes.
    """
    families: dict[int | str, list[Photo]] = defaultdict(list)
    for photo in photos:
        families[photo.seen.sha256 if photo.group is None else photo.group].append(photo)
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
                photo.leave_out(Verdict.NOT_NEEDED, "the splits are full")


def _of_one_split(family: list[Photo], earlier: Mapping[str, str]) -> list[Photo]:
    """Photographs that look alike, without those that an earlier run has put into another split.

    That happens when a new photograph looks like two that did not look like each other. None of them may
    move to another split, and they may not stay in two.
    """
    if len(family) == 1:  # nearly every family is; no counting for them
        return family
    splits = Counter(earlier[photo.seen.sha256] for photo in family if photo.seen.sha256 in earlier)
    if len(splits) < 2:
        return family
    kept = max(SPLITS, key=lambda split: splits[split])
    for photo in family:
        if earlier.get(photo.seen.sha256, kept) != kept:
            photo.leave_out(Verdict.DUPLICATE, f"looks like photographs that are in {kept}")
    return [photo for photo in family if photo.usable]


def _group(family: Sequence[Photo], seed: int, earlier: Mapping[str, str]) -> Group:
    """A group of the split functions: its place is that of its member with the smallest hash."""
    known = [earlier[photo.seen.sha256] for photo in family if photo.seen.sha256 in earlier]
    smallest = min(photo.seen.sha256 for photo in family)
    return Group(draw(smallest, seed), len(family), known[0] if known else None)
