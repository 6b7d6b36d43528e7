"""The class of a photograph, and the split of its source, read from where it lies and never from its pixels.

Where its source tells its class, as a CSV, a Parquet file, a WebDataset and a named data set do, this word
counts as its only folder; the numbers 0 and 1 mean the two of ``--classes``, or cat and dog.

A photograph's name is ``SOURCE/folder/.../file``. These rules are tried in order, for the photographs of all
sources together; the first that finds two classes counts:

1. the two folders that ``--classes`` names;
2. folders called cat and dog (Cats, DOGS), where both occur; ``dogs/cathy.jpg`` is a dog;
3. the level of folders at which the tree parts in two, such as ``apples/`` and ``pears/``;
4. Kaggle's file names, ``cat.0.jpg`` and ``dog.0.jpg``, where both occur. Where one of the two folders holds
   both, as ``part1/`` and ``part2/`` do, the names come before the folders;
5. two sources, ``apples.zip`` and ``pears.zip``.

Folders called train, val, test and the like are no classes where ``train`` and another of them occur.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import partial
from itertools import takewhile
from typing import NamedTuple

from catdog_pl.data.layout import SPLIT_SYNONYMS
from catdog_pl.data.prepare.archives import stem
from catdog_pl.data.prepare.photo import Verdict
from catdog_pl.data.prepare.photos import Photos
from catdog_pl.data.prepare.placement import safe_label
from catdog_pl.errors import CatDogError

# "cat", "Cats", "DOG": the spellings of a class folder seen in the public collections.
_PET_FOLDER = re.compile(r"(cat|dog)s?", re.IGNORECASE)
# Kaggle's own form, cat.123.jpg. Not "cathy.jpg", nor "cat-and-dog.jpg".
_PET_FILE = re.compile(r"(cat|dog)\.\d+\.[^.]+", re.IGNORECASE)
_PETS = frozenset({"cat", "dog"})
_SPLITS = {name: split for split, synonyms in SPLIT_SYNONYMS.items() for name in (split, *synonyms)}
# "val", "test1", "training_set", "train2017": the spellings of a split's folder.
_SPLIT_FOLDER = re.compile(rf"({'|'.join(_SPLITS)})([ _-]?(set|data|images))?\d*", re.IGNORECASE)
# Photographs whose names may tell something.
_IS_SAFE = f"verdict NOT IN ('{Verdict.UNSAFE}', '{Verdict.PASSED_BY}')"
# Of the photographs must have a level of folders for it to be that of the classes.
_MOST = 0.9
# Folders named in a message.
_SHOWN = 6


class _Place(NamedTuple):
    """Where a photograph lies."""

    folders: list[str]  # from outer to inner, without those of splits; or the one word that its source tells
    source: str | None  # without the ending of an archive; None where there is only one, or it is a split's
    parent: str  # the folder or source it lies in, of whatever kind; or the word
    split: str | None  # that one of its folders names
    pet_file: str | None  # the class in Kaggle's file name
    is_told: bool = False  # by its source

    def inner_first(self) -> list[str]:
        return [*reversed(self.folders), *([self.source] if self.source else [])]


def label_photos(photos: Photos, classes: Sequence[str] | None, resplit: bool, source: str) -> list[str]:
    """Give each photograph its class, and the split that its source has it in; return lines to print.

    Where a photograph has a class, its source has told it. ``classes`` are two folders, None finds them;
    ``resplit`` ignores the split of the source, which errors call ``source``.

    Raises:
        CatDogError: there are not two classes.
    """
    _name_numbers(photos, classes or ("cat", "dog"))
    places = _places(photos)
    labels = _labels(places, classes, source)

    def found() -> Iterator[tuple[int, str, _Place, str | None]]:
        for (number, name, _), place, label in zip(_rows(photos), places, labels, strict=True):
            yield number, name, place, label

    is_split = not resplit and _is_split({place.split for _, _, place, label in found() if label})
    photos.query_each(
        "UPDATE photos SET label = ?, given_split = ? WHERE number = ?",
        ((label, place.split if label and is_split else None, number) for number, _, place, label in found()),
    )
    photos.query_each(
        f"UPDATE photos SET verdict = '{Verdict.NO_CLASS}', reason = ? WHERE number = ? AND verdict = 'ok'",
        ((_why(place), number) for number, _, place, label in found() if not label),
    )
    notes = []
    if names := [name for _, name, place, label in found() if label and place.pet_file not in (None, label)]:
        example = f"{len(names)}, such as {names[0]}"
        notes.append(f"File names that contradict their folder, which counts: {example}")
    if unlabelled := [place.parent for _, _, place, label in found() if not label]:
        notes.append(f"Left out as of neither class: {_counted(unlabelled)}")
    return notes


def _rows(photos: Photos) -> Iterable[tuple[int, str, str | None]]:
    """Return number, name and class of the photographs whose names may tell something."""
    return photos.query(f"SELECT number, name, label FROM photos WHERE {_IS_SAFE} ORDER BY number")


def _why(place: _Place) -> str:
    if place.is_told:
        return f"{place.parent} is neither of the two classes"
    return f"neither its folder, {place.parent}, nor its name tells its class"


def _name_numbers(photos: Photos, classes: Sequence[str]) -> None:
    """Turn the numbers that sources give for classes into the words they mean, if they are two, 0 and 1."""
    if {label for label in photos.classes(_IS_SAFE) if label.isdecimal()} <= {"0", "1"}:
        for number, word in zip("01", classes, strict=True):
            photos.query(f"UPDATE photos SET label = ? WHERE {_IS_SAFE} AND label = ?", word, number)


def _places(photos: Photos) -> list[_Place]:
    """Return where each photograph lies; those of one folder share what is the same."""
    parents = {name.rpartition("/")[0]: None for _, name, _ in _rows(photos)}
    paths = [[stem(word) for word in parent.split("/")] for parent in parents]
    sources = {path[0] for path in paths}
    inner = [path[1:] for path in paths]
    ends = zip(min(inner, default=[]), max(inner, default=[]), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))  # they tell nothing
    found = [
        next(filter(_split, [*path[1 + shared :], *(path[:1] if len(sources) > 1 else [])]), None)
        for path in paths
    ]
    splits = [_split(word) if word else None for word in found]
    if not _is_split(set(splits)):
        found = splits = [None] * len(paths)
    places = {}
    for parent, path, word, split in zip(parents, paths, found, splits, strict=True):
        folders = [folder for folder in path[1:] if folder not in ("", ".", word)]
        source = path[0] if len(sources) > 1 and path[0] != word else None
        for pet in (None, *_PETS):
            places[parent, pet] = _Place(folders, source, path[-1], split, pet)
    told: dict[tuple[str, str | None], _Place] = {}
    of_photos = []
    for _, name, word in _rows(photos):
        parent, _, file = name.rpartition("/")
        place = places[parent, _match(_PET_FILE, file)]
        if word:
            place = told.setdefault((word, place.split), _Place([word], None, word, place.split, None, True))
        of_photos.append(place)
    return of_photos


def _split(folder: str) -> str | None:
    return _SPLITS.get(_match(_SPLIT_FOLDER, folder) or "")


def _is_split(splits: Set[str | None]) -> bool:
    return "train" in splits and len(splits - {None}) > 1


def _labels(places: Sequence[_Place], classes: Sequence[str] | None, source: str) -> list[str | None]:
    """Return the class of each photograph by the first rule that finds two."""
    if classes:
        named = {safe_label(name) for name in classes}
        labels = [map(safe_label, place.inner_first()) for place in places]
        return [next(filter(named.__contains__, inner_first), None) for inner_first in labels]
    match = partial(_match, _PET_FOLDER)
    folders = [next(filter(None, map(match, place.inner_first())), None) for place in places]
    files = [place.pet_file for place in places]
    pets = [folder or file for folder, file in zip(folders, files, strict=True)]
    if {*folders} >= _PETS:
        return pets
    are_named = 2 * sum(map(bool, files)) >= len(files)
    level = _class_level(places, source)
    if level and not (are_named and _is_mixed(level, files)):
        return level
    sources = [place.source and safe_label(place.source) for place in places]
    if {*pets} >= _PETS and (are_named or not _has_two(sources)):
        return pets
    if _has_two(sources):
        return sources
    raise CatDogError(
        f"{source}: two classes are needed, a folder for each or Kaggle's file names (cat.0.jpg, dog.0.jpg);"
        f" found are {_counted(place.parent for place in places)}. --classes A B names two folders to take"
    )


def _match(form: re.Pattern[str], name: str) -> str | None:
    match = form.fullmatch(name)
    return sys.intern(match[1].lower()) if match else None


def _class_level(places: Sequence[_Place], source: str) -> list[str | None] | None:
    """Return the classes at the level where the tree parts in two; several levels must part it alike."""
    depths = range(max((len(place.folders) for place in places), default=0))
    levels = [level for depth in depths if _has_two(level := _at_level(places, depth))]
    for other in levels[1:]:
        if len({pair for pair in zip(levels[0], other, strict=True) if None not in pair}) > 2:
            first, second = (" and ".join(sorted(filter(None, set(level)))) for level in (levels[0], other))
            raise CatDogError(
                f"{source} parts in two at two levels of folders: {first}; {second}. Name the classes:"
                f" --classes {first.replace(' and ', ' ')}"
            )
    return levels[0] if levels else None


def _at_level(places: Sequence[_Place], depth: int) -> list[str | None]:
    """Return each photograph's folder at a level; where it has none, its source if that is one of them."""
    level = [safe_label(place.folders[depth]) if len(place.folders) > depth else None for place in places]
    names = set(level)
    sources = [safe_label(place.source) if place.source else None for place in places]
    pairs = zip(level, sources, strict=True)
    return [folder or (source if source in names else None) for folder, source in pairs]


def _has_two(level: Sequence[str | None]) -> bool:
    return len(set(level) - {None}) == 2 and sum(map(bool, level)) >= _MOST * len(level)


def _is_mixed(level: Sequence[str | None], files: Sequence[str | None]) -> bool:
    """Return whether one of the folders holds both of Kaggle's names."""
    pairs = {(label, file) for label, file in zip(level, files, strict=True) if file}
    return any({file for other, file in pairs if other == label} >= _PETS for label in set(level))


def _counted(names: Iterable[str]) -> str:
    counts = Counter(names).most_common()
    shown = [f"{name} ({count})" for name, count in counts[:_SHOWN]]
    more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    return ", ".join(shown) + more or "none"
