"""The folders of a data set: ``root/{train,validation,test}/<class>/``."""

import shlex
from pathlib import Path
from typing import Literal

from catdog_pl.errors import DatasetError
from catdog_pl.io.files import subfolders
from catdog_pl.process import program

Split = Literal["train", "validation", "test"]

SPLIT_SYNONYMS: dict[Split, tuple[str, ...]] = {
    "train": ("training",),
    "validation": ("val", "valid", "dev", "eval"),
    "test": ("testing",),
}
"""The folders that fit and test read -> what other data sets call them, in lower case."""


def split_folder(root: Path, split: Split) -> Path:
    """Return the folder of a split.

    Raises:
        DatasetError: it is missing; the message names what is there instead, and the command that helps.
    """
    folder = root / split
    if folder.is_dir():
        return folder
    if root.exists() and not root.is_dir():
        raise DatasetError(
            f"{root} is not a folder; give one that holds train, validation and test by --root"
        )
    quoted_root = shlex.quote(str(root))
    try:
        found = subfolders(root) if root.exists() else []
    except OSError as error:
        raise unreadable(error) from error
    synonyms = [name for name in found if name.lower() in (split, *SPLIT_SYNONYMS[split])]
    if synonyms:
        advice = f", but {synonyms[0]}; rename it: {shlex.join(['mv', str(root / synonyms[0]), str(folder)])}"
    elif any(name in found for name in SPLIT_SYNONYMS):
        advice = f", only {', '.join(found)}; move photographs of each class there"
    elif found:
        advice = (
            f", only {', '.join(found)}; split its photographs: "
            f"{program()} prepare {quoted_root} --root {shlex.quote(f'{root}-split')}"
        )
    else:
        advice = f"; make it with {program()} prepare SOURCE --root {quoted_root}, or give another --root"
    missing = f"{root} has no folder {split}" if root.exists() else f"There is no folder {root}"
    raise DatasetError(f"{missing}{advice}")


def unreadable(error: OSError) -> DatasetError:
    """Return the error for a folder that cannot be read."""
    return DatasetError(f"{error.filename} cannot be read ({error.strerror}); check its permissions")
