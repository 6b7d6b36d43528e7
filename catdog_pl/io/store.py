"""Pictures in object stores and on hubs, by fsspec: ``s3://``, ``gs://``, ``az://`` and ``hf://``."""

import importlib
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from catdog_pl.errors import CatDogError, ImageError, UsageError, first_line
from catdog_pl.io.files import is_image_name, is_visible_folder
from catdog_pl.io.source import MAX_BYTES, ImageSource, check_length, refused_source

STORES = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gs"),
    "az": ("adlfs", "az"),
    "hf": ("huggingface_hub", "hf"),
}
"""Scheme of a URL -> the package that reads it, and our extra that installs it."""


def is_store(name: str) -> bool:
    """Return whether a name is a URL of a store."""
    scheme, mark, _ = name.partition("://")
    return bool(mark) and scheme.lower() in STORES


def open_store(url: str) -> tuple[Any, str]:
    """Return the file system of a store's URL, and the path in it; nothing is asked of the store yet.

    Raises:
        UsageError: the package that reads it is not installed.
    """
    scheme, _, path = url.partition("://")
    package, extra = STORES[scheme.lower()]
    try:
        importlib.import_module(package)
        import fsspec
    except ImportError as error:
        raise UsageError(
            f"{url}: {scheme} needs {package}, which is not installed: pip install 'catdog_pl[{extra}]'"
        ) from error
    return fsspec.filesystem(scheme.lower()), path.rstrip("/")


def store_sources(url: str) -> Iterator[ImageSource]:
    """Yield the picture of a URL, or those below a folder, in plain string order of each folder's names.

    Raises:
        UsageError: the package that reads it is not installed.
    """
    store, path = open_store(url)
    scheme = url.partition("://")[0].lower()
    is_empty = True
    try:
        names = iter([path]) if store.isfile(path) else picture_names(store, path)
        for name in names:
            is_empty = False
            yield ImageSource(f"{scheme}://{name}", partial(read_store, store, name))
    except FileNotFoundError:
        pass
    except Exception as error:  # each store has exceptions of its own
        yield refused_source(url, f"the store cannot be read: {first_line(error)}")
        return
    if is_empty:
        yield refused_source(url, "there are no images in this folder", "missing")


def picture_names(store: Any, path: str) -> Iterator[str]:
    """Yield the names of the images below a folder of a store, as ``walk`` finds them on a disk."""
    for parent, folders, files in store.walk(path, detail=False, on_error="raise"):
        # walk descends into what is left of the list
        folders[:] = sorted(name for name in folders if is_visible_folder(name))
        for name in sorted(filter(is_image_name, files)):
            yield f"{parent}/{name}"


def read_store(store: Any, name: str, limit: int = MAX_BYTES) -> bytes:
    """Return the content of one picture.

    Raises:
        ImageError: it is missing, empty, larger than the limit in bytes, or cannot be read.
    """
    try:
        with store.open(name, "rb") as file:
            content: bytes = file.read(limit + 1)
    except FileNotFoundError as error:
        raise ImageError(name, "there is no such file", "missing") from error
    except Exception as error:  # each store has exceptions of its own
        raise ImageError(name, f"it cannot be read: {first_line(error)}") from error
    check_length(len(content), name, limit)
    return content


def download_pictures(url: str, target: Any) -> None:
    """Copy the images below a store's URL into a folder, several at a time; their folders stay.

    Raises:
        CatDogError: the store cannot be read, or a name in it leads out of its folder.
        UsageError: the package that reads it is not installed.
    """
    store, path = open_store(url)
    try:
        names = list(picture_names(store, path))
        places = [PurePosixPath(name.removeprefix(path).lstrip("/")) for name in names]
        if any(".." in place.parts or place.is_absolute() for place in places):
            raise CatDogError(f"{url}: a name in it leads out of its folder; rename it")
        if names:
            store.get(names, [str(target / place) for place in places])
    except CatDogError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise CatDogError(f"{url} cannot be read: {first_line(error)}") from error
