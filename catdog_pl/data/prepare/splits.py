"""Which photograph goes into which split.

A photograph's position in [0, 1) depends on its content and the seed alone, not on what lies beside it.
Fractions use that position as it is: a photograph never changes its split, and the counts are only near the
fractions. Sizes are exact: `split_by_sizes` starts from the same positions, takes what is over from one split
to fill another, and leaves every photograph that an earlier run has placed where it was.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, repeat
from typing import NamedTuple

from catdog_pl.data.prepare.photo import Photo, Verdict
from catdog_pl.data.prepare.photos import IS_USABLE, Photos
from catdog_pl.data.statistics import wilson_interval
from catdog_pl.errors import CatDogError, UsageError

SPLITS = ("train", "validation", "test")

# A test split with fewer photographs is warned of: its interval is wider than 0.12.
_FEW_TESTS = 100


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


class Kept(NamedTuple):
    """The split of the source is kept; ``missing`` is the split that the source lacks."""

    missing: str | None


Amounts = Sizes | Fractions
Plan = Amounts | Kept


@dataclass(frozen=True, slots=True)
class Group:
    """Photographs of one class that must share a split: one alone, or near duplicates together."""

    position: float  # in [0, 1), from `position`
    size: int = 1  # photographs in it
    earlier: str | None = None  # the split in which an earlier run has put it


def assign_splits(
    photos: Photos, amounts: Amounts | None, seed: int, earlier: Iterable[tuple[str, str]], source: str
) -> list[str]:
    """Give every usable photograph its split, those that look alike the same one; return lines to print.

    Without ``amounts`` the split of the source is kept (`Photo.given_split`); where it has none, the
    workshop's sizes are used, or `sensible_sizes` where there are fewer photographs. ``earlier`` has each
    sha256 of an earlier run and its split; errors call the photographs ``source``.

    Raises:
        UsageError: there are amounts, and the source has a split.
        CatDogError: there are not two classes, or too few photographs for each split to have both.
    """
    by_label = f"SELECT label, count(*) FROM photos WHERE {IS_USABLE} GROUP BY label ORDER BY min(number)"
    classes = dict(photos.query(by_label))
    _check_classes(photos, classes, source)
    given = [split for split in SPLITS if photos.count("given_split = ?", split)]
    if given and amounts:
        raise UsageError(
            f"{source} has a split already ({', '.join(given)}), which is kept; --sizes and --fractions need"
            " --resplit, which mixes all photographs and splits anew"
        )
    plan: Plan
    if given:
        missing = next((split for split in SPLITS if split not in given), None)
        fixed = SPLITS[1:] if missing else SPLITS
        earlier = ((sha256, split) for sha256, split in earlier if split in ("train", missing))
        of_source = f"SELECT sha256, given_split FROM photos WHERE given_split IN {fixed} ORDER BY number"
        earlier = chain(earlier, photos.query(of_source))
        plan = Kept(missing)
    else:
        plan = _possible(amounts, classes, source)
    take_splits(photos, earlier)
    for label in classes:
        split_class(photos, label, plan, seed)
    for split in SPLITS:
        is_wanted = given or getattr(plan, split)
        for label in sorted(classes):
            if is_wanted and not photos.count("split = ? AND label = ?", split, label):
                advice = "--resplit splits anew" if given else "--sizes gives every split its share"
                raise CatDogError(f"{source}: no {label} falls into {split}; {advice}")
    return list(_notes(photos, plan, amounts, given))


def _check_classes(photos: Photos, classes: Mapping[str, int], source: str) -> None:
    """Refuse a source that has not good photographs of two classes."""
    for label in sorted(photos.classes() - classes.keys()):
        first = next(photos.select("label = ?", label))
        of_label = (
            "SELECT verdict, count(*) FROM photos WHERE label = ? GROUP BY verdict ORDER BY min(number)"
        )
        reasons = ", ".join(f"{count} {verdict}" for verdict, count in photos.query(of_label, label))
        raise CatDogError(
            f"{source}: none of {photos.count('label = ?', label)} photographs of class {label} can be used"
            f" ({reasons}); {first.name}: {first.inspection.reason}"
        )
    if len(classes) != 2:
        names = ", ".join(sorted(classes)) or "neither"
        raise CatDogError(f"{source}: photographs of two classes are needed; there are some of {names}")


def _possible(amounts: Amounts | None, classes: Mapping[str, int], source: str) -> Amounts:
    """Return the amounts that the smaller class allows."""
    label, available = min(classes.items(), key=lambda item: item[1])
    splits = sum(amount > 0 for amount in amounts or WORKSHOP)
    if available < splits:
        good = f"{available} good photographs of class {label}"
        raise CatDogError(f"{source}: {good} do not make {splits} splits")
    if isinstance(amounts, Fractions):
        return amounts
    if amounts:
        return scaled(amounts, available)
    return WORKSHOP if available >= sum(WORKSHOP) else sensible_sizes(available)


def _notes(photos: Photos, plan: Plan, amounts: Amounts | None, given: list[str]) -> Iterator[str]:
    if isinstance(plan, Kept):
        missing = f"; {plan.missing} is taken from train" if plan.missing else ""
        yield f"Kept the split of the source ({', '.join(given)}){missing}. --resplit mixes and splits anew."
    elif isinstance(plan, Sizes) and plan != (amounts or WORKSHOP):
        sizes, fewer = (" / ".join(map(str, sizes)) for sizes in (amounts or WORKSHOP, plan))
        how = "in the same proportions" if amounts else f"the test has a fifth, {WORKSHOP.test} at most"
        yield f"Fewer photographs than {sizes} of each class: {fewer}, {how}."
    count = photos.count("split = 'test'")
    if 0 < count < _FEW_TESTS:
        right = round(0.9 * count)
        low, high = wilson_interval(right, count)
        yield (
            f"The test split has only {count} photographs: {right} of {count} right would mean an accuracy"
            f" between {low:.2f} and {high:.2f} (95 % interval)."
        )


def position(sha256: str, seed: int) -> float:
    """Return the position in [0, 1) of a photograph with this hash, uniform and independent for each seed."""
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    # 53 bits are what a float holds exactly, so that no position rounds up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def scaled(sizes: Sizes, available: int) -> Sizes:
    """Return the same proportions for a class with fewer photographs; the largest remainders are rounded up.

    No split that is not 0 in ``sizes`` is left empty while another has two to give, because a split without
    photographs of a class cannot be read.
    """
    if available >= sum(sizes):
        return sizes
    exact = [available * size / sum(sizes) for size in sizes]
    rounded = [int(share) for share in exact]
    by_remainder = sorted(range(3), key=lambda split: rounded[split] - exact[split])
    for split in by_remainder[: available - sum(rounded)]:
        rounded[split] += 1
    for split in range(3):
        if sizes[split] and not rounded[split] and max(rounded) > 1:
            rounded[rounded.index(max(rounded))] -= 1
            rounded[split] = 1
    return Sizes(*rounded)


def sensible_sizes(available: int) -> Sizes:
    """Return sizes for a class with fewer photographs than the workshop's sizes need.

    The workshop's proportions would give 3 of 100 to the test, from which nothing can be learned: it gets a
    fifth, 100 at most; train and validation share the rest as there, two to one.
    """
    test = min(WORKSHOP.test, max(1, available // 5))
    validation = max(1, (available - test) // 3)
    return Sizes(available - test - validation, validation, test)


def preferred(position: float, proportions: Sequence[float]) -> str:
    """Return the split that a position in [0, 1) falls into; proportions are of any unit."""
    total = sum(proportions)
    edges = accumulate(reversed(proportions))
    # From the rare end: the test split is the first slice, so that it does not move with the others.
    for split, edge in zip(reversed(SPLITS), edges, strict=True):
        if position * total < edge:
            return split
    return SPLITS[0]


def split_by_sizes(groups: Sequence[Group], sizes: Sizes) -> list[str | None]:
    """Return a split for every group of one class, None where it is not needed.

    The sizes are met exactly, unless groups are too large to fit.
    """
    splits: list[str | None] = [None] * len(groups)
    room = dict(zip(SPLITS, sizes, strict=True))
    order = sorted(range(len(groups)), key=lambda index: groups[index].position)
    new = [index for index in order if groups[index].earlier is None]
    kept = ((index, split) for index in order if (split := groups[index].earlier))
    by_position = ((index, preferred(groups[index].position, sizes)) for index in new)
    anywhere = ((index, split) for split in SPLITS for index in new)
    for index, split in chain(kept, by_position, anywhere):
        if splits[index] is None and groups[index].size <= room[split]:
            splits[index] = split
            room[split] -= groups[index].size
    return splits


def _split_by_source(groups: Sequence[Group], missing: str | None) -> list[str | None]:
    """Return the split of the source, `Group.earlier`; the missing one is taken from train."""
    room = Counter(dict.fromkeys(SPLITS, 0))
    for group in groups:
        room[group.earlier or "train"] += group.size
    pool = room["train"] + (room[missing] if missing else 0)
    if missing:
        room[missing] = max(1, pool // 3 if missing == "validation" else min(WORKSHOP.test, pool // 5))
        room["train"] = pool - room[missing]
    return [split or "train" for split in split_by_sizes(groups, Sizes(**room))]


def take_splits(photos: Photos, earlier: Iterable[tuple[str, str]]) -> None:
    """Give usable photographs the split that is told for their sha256, of several the last one."""
    photos.query("CREATE TABLE earlier (sha256 PRIMARY KEY, split) WITHOUT ROWID")
    photos.query_each("INSERT OR REPLACE INTO earlier VALUES (?, ?)", earlier)
    told = "SELECT earlier.split FROM earlier WHERE earlier.sha256 = photos.sha256"
    photos.query(f"UPDATE photos SET split = ({told}) WHERE {IS_USABLE}")


def split_class(photos: Photos, label: str, plan: Plan, seed: int) -> None:
    """Give every usable photograph of one class its split; one that gets none is not needed.

    The split that it has is that of an earlier run or of the source.
    """
    family = 'coalesce("group", -number)'  # photographs that look alike share a split
    members = photos.select(f"{IS_USABLE} AND label = ?", label, order=f"{family}, number")
    numbers, groups = array("q"), []
    for _, alike in groupby(members, lambda photo: -photo.number if photo.group is None else photo.group):
        kept = _of_one_split(photos, list(alike))
        numbers.extend(photo.number for photo in kept)
        groups.append(_group(kept, seed))
    splits: list[str | None]
    if isinstance(plan, Sizes):
        splits = split_by_sizes(groups, plan)
    elif isinstance(plan, Fractions):
        splits = [group.earlier or preferred(group.position, plan) for group in groups]
    else:
        splits = _split_by_source(groups, plan.missing)
    pairs = zip(splits, groups, strict=True)
    of_each = chain.from_iterable(repeat(split, group.size) for split, group in pairs)
    photos.query_each("UPDATE photos SET split = ? WHERE number = ?", zip(of_each, numbers, strict=True))
    photos.query(
        f"UPDATE photos SET verdict = '{Verdict.NOT_NEEDED}', reason = 'the splits are full'"
        f" WHERE {IS_USABLE} AND label = ? AND split IS NULL",
        label,
    )


def _of_one_split(photos: Photos, family: Sequence[Photo]) -> Sequence[Photo]:
    """Return photographs that look alike, and leave out those that an earlier run has put into another split.

    A new photograph may look like two that did not look like each other; neither of these may move.
    """
    splits = Counter(photo.split for photo in family if photo.split)
    if len(splits) < 2:
        return family
    kept = max(SPLITS, key=lambda split: splits[split])
    for photo in family:
        if photo.split not in (None, kept):
            photo.split = None
            photos.save([photo.judge(Verdict.DUPLICATE, f"looks like photographs that are in {kept}")])
    return [photo for photo in family if photo.is_usable]


def _group(family: Sequence[Photo], seed: int) -> Group:
    """Return a group at the position of its member with the smallest hash."""
    earlier = next((photo.split for photo in family if photo.split), None)
    return Group(position(min(photo.inspection.sha256 for photo in family), seed), len(family), earlier)
