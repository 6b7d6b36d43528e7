"""Which class a photograph belongs to, read from where it lies and never from its pixels.

Three places can say it, and the nearest wins: the class folder it lies in (``PetImages/Cat/0.jpg``,
``dogs/cathy.jpg`` is a dog), its Kaggle file name in a folder that names no class
(``train/cat.0.jpg``), and last the name of the source itself (``cats.zip``).
"""

import re
from collections.abc import Iterable, Sequence

from catdog_pl.data.prepare.names import safe_label

CLASSES = ("cat", "dog")

# "cat", "Cats", "DOG": the spellings of a class folder seen in the public collections.
_FOLDER = re.compile(r"(cat|dog)s?", re.IGNORECASE)
# Kaggle's own form, cat.123.jpg. Not "cathy.jpg", nor "cat-and-dog.jpg".
_KAGGLE = re.compile(r"(cat|dog)\.\d+\.[^.]+", re.IGNORECASE)


def pet_label(name: str, source: str) -> str | None:
    """The class of a cat or dog photograph.

    Args:
        name: its path inside the source, with ``/``.
        source: the source's own name, without folders and archive suffixes.

    Returns:
        ``"cat"``, ``"dog"``, or None where nothing says it.
    """
    *folders, file = name.split("/")
    inner_first = (_FOLDER.fullmatch(folder) for folder in reversed(folders))
    places = (*inner_first, _KAGGLE.fullmatch(file), _FOLDER.fullmatch(source))
    return next((match[1].lower() for match in places if match), None)


def folder_label(name: str, source: str) -> str:
    """The class of a photograph in a collection of any other two things: the folder it lies in.

    Args:
        name: its path inside the source, with ``/``.
        source: the source's own name, which stands in for the folder of a file at the top.
    """
    folders = [folder for folder in name.split("/")[:-1] if folder not in ("", ".")]
    return safe_label(folders[-1] if folders else source)


def labels(names: Iterable[tuple[str, str]]) -> Sequence[str | None]:
    """The class of each photograph of a collection.

    Where any of them is known as a cat or a dog, the collection is one of cats and dogs and a photograph
    that says neither has no class (Kaggle's ``test1/1.jpg``). Otherwise the folders are the classes.

    Args:
        names: for each photograph its path inside the source and the source's name.
    """
    known = list(names)
    pets = [pet_label(name, source) for name, source in known]
    if any(pets):
        return pets
    return [folder_label(name, source) for name, source in known]
