"""The same photograph twice: byte for byte, or to the eye.

Near duplicates have perceptual hashes of 256 bits that differ in at most `NEAR_BITS`. Measured on 6,200
photographs of cats and dogs: re-encoding at quality 40, halving, squeezing to 150 x 150 pixels and changes of
brightness, contrast or to grey move at most 28 bits in 99 of 100 cases; of 19 million pairs of different
photographs none is nearer than 78. Crops, frames and mirror images are other photographs to this hash.

A million photographs are too many to compare each with each. Only those are compared that agree in a whole
row or column of the hash, 16 bits each: every pair up to 15 bits apart does, by the pigeonhole principle, and
of the copies above that were 16 to 31 bits apart 771 of 771 did.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catdog_pl.data.prepare.inspection import HASH_SIDE, inspect_photos, processors
from catdog_pl.data.prepare.photo import Photo, Verdict
from catdog_pl.data.prepare.photos import IS_USABLE, Photos, photo_table
from catdog_pl.errors import one_line

NEAR_BITS = 32
"""Of 256; the largest distance between near duplicates."""

Hashes = npt.NDArray[np.uint8]
"""Perceptual hashes, shape (N, 32)."""

# Compared at a time: half a kilobyte each, which a processor's cache holds. 2**16 take half as long again.
_BLOCK = 2**13
# A band in which more photographs agree tells nothing of them, such as that of a black frame; their
# neighbours in it are still compared, and so are the other bands.
_CROWD = 2_000


def mark_duplicates(photos: Photos) -> None:
    """Leave out what is there twice, and tie together what looks alike.

    - The same file again, in the same class: the first of ``photos`` stays, the others are left out.
    - The same file or picture in both classes: all of them are left out; nothing tells which class is wrong.
    - The same picture in one class: all stay, in one `Photo.group`.
    """
    # A file that lies in both classes stands for its class here, to find pictures that look like it.
    first = f"SELECT min(number), phash FROM photos WHERE {IS_USABLE} GROUP BY sha256 ORDER BY 1"
    distinct = np.fromiter(photos.query(first), np.dtype([("number", np.int64), ("phash", "S32")]))
    numbers, content = distinct["number"].copy(), distinct["phash"].copy()
    del distinct  # the memory of a million counts
    repeated = f"SELECT sha256 FROM photos WHERE {IS_USABLE} GROUP BY sha256 HAVING count(*) > 1"
    same = photos.select(f"{IS_USABLE} AND sha256 IN ({repeated})", order="sha256, number")
    for _, copies in groupby(same, lambda photo: photo.inspection.sha256):
        photos.save(_marked_same(*copies))
    for number, members in enumerate(alike(content)):
        rows = [next(photos.select("number = ?", int(numbers[index]))) for index in members]
        photos.save(_marked_alike(rows, number))


def alike(content: npt.NDArray[np.bytes_]) -> list[list[int]]:
    """Return the indices of perceptual hashes that look alike, in groups; one like no other is in none."""
    parent: dict[int, int] = {}

    def find(index: int) -> int:
        while parent.setdefault(index, index) != index:
            parent[index] = index = parent[parent[index]]
        return index

    for one, other in near_pairs(content.view(np.uint8).reshape(-1, 32)):
        low, high = sorted((find(one), find(other)))
        parent[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for index in sorted(parent):
        groups[find(index)].append(index)
    return list(groups.values())


def near_duplicates(splits: Mapping[str, Sequence[Path]]) -> list[list[tuple[str, Path]]]:
    """Return groups of photographs that look alike and lie in more than one split, by split and path.

    All of them are decoded, on all processors; what `prepare` would leave out, such as a damaged file or a
    plain surface, is in no group.
    """
    with photo_table() as photos:
        for split, paths in splits.items():
            photos.add(
                Photo(one_line(str(path)), str(path), label=path.parent.name, split=split) for path in paths
            )
        inspect_photos(photos, processors())
        usable = list(photos.select(IS_USABLE))
    groups = alike(np.array([photo.inspection.phash for photo in usable], "S32"))
    return [
        [(str(usable[index].split), Path(usable[index].path)) for index in group]
        for group in groups
        if len({usable[index].split for index in group}) > 1
    ]


def near_pairs(hashes: Hashes) -> Iterator[tuple[int, int]]:
    """Yield pairs of hashes at most `NEAR_BITS` apart; a pair may come several times."""
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for bands in (hashes, _transposed(hashes)):
        for band in np.ascontiguousarray(bands).view(np.uint16).T:
            order = np.argsort(band, kind="stable")
            for start in range(0, len(order), _BLOCK):
                yield from _near_in_band(words, band, order, start)


def _transposed(hashes: Hashes) -> Hashes:
    """Return hashes with rows and columns exchanged."""
    exchanged = np.empty_like(hashes)
    for start in range(0, len(hashes), _BLOCK):
        bits = np.unpackbits(hashes[start : start + _BLOCK], axis=1).reshape(-1, HASH_SIDE, HASH_SIDE)
        exchanged[start : start + _BLOCK] = np.packbits(bits.transpose(0, 2, 1)).reshape(-1, 32)
    return exchanged


def _near_in_band(
    words: npt.NDArray[np.uint64], band: npt.NDArray[np.uint16], order: npt.NDArray[np.intp], start: int
) -> Iterator[tuple[int, int]]:
    """Yield near pairs of which the first is in one block of the order by a band's value."""
    here = np.arange(start, min(start + _BLOCK, len(order)))
    for step in range(1, _CROWD):
        here = here[here + step < len(order)]
        one, other = order[here], order[here + step]
        agree = band[one] == band[other]
        here, one, other = here[agree], one[agree], other[agree]
        if not len(here):
            return
        near = np.bitwise_count(words[one] ^ words[other]).sum(axis=1) <= NEAR_BITS
        yield from zip(one[near].tolist(), other[near].tolist(), strict=True)


def _marked_same(first: Photo, *copies: Photo) -> Iterable[Photo]:
    if all(photo.label == first.label for photo in copies):
        return [photo.judge(Verdict.DUPLICATE, f"the same file as {first.name}") for photo in copies]
    return _marked_two_classes([first, *copies], "the same file as")


def _marked_alike(members: Sequence[Photo], number: int) -> Iterable[Photo]:
    labels = {photo.label for photo in members}
    if len(labels) > 1 or any(photo.verdict is Verdict.TWO_CLASSES for photo in members):
        return _marked_two_classes(members, "looks like")
    for photo in members:
        other = members[1] if photo is members[0] else members[0]
        photo.group = number
        photo.remark(Verdict.NEAR_DUPLICATE, f"looks like {other.name}: kept in one split")
    return members


def _marked_two_classes(members: Sequence[Photo], how: str) -> Iterator[Photo]:
    """Leave out photographs of which one class is wrong; one that is left out already keeps its reason."""
    in_both = next((photo for photo in members if photo.verdict is Verdict.TWO_CLASSES), None)
    for photo in members:
        if photo.verdict is Verdict.TWO_CLASSES:
            continue
        if in_both:
            where = f"{in_both.name}, which lies in both classes"
        else:
            other = next(other for other in members if other.label != photo.label)
            where = f"{other.name}, which lies in class {other.label}"
        yield photo.judge(Verdict.TWO_CLASSES, f"{how} {where}")
