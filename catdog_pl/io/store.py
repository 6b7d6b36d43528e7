"""Pictures and archives in object stores and on hubs, by fsspec: ``s3://``, ``gs://``, ``az://``, ``hf://``."""

import importlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
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

for _name in ("gcsfs", "azure"):  # they log what they raise as well, some of it with a traceback
    logging.getLogger(_name).addHandler(logging.NullHandler())

_BLOCK = 2**25  # asked for at once
_CHUNK = 2**20  # and written


def is_store(name: str) -> bool:
    """Return whether a name is a URL of a store."""
    scheme, mark, _ = name.partition("://")
    return bool(mark) and scheme.lower() in STORES


def open_store(url: str) -> tuple[Any, str]:
    """Return the file system of a store's URL, and the path in it; nothing is asked of the store yet.

    Raises:
        CatDogError: what its package needs to know, such as the account, is missing or wrong.
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
    try:
        return fsspec.filesystem(scheme.lower()), path.rstrip("/")
    except Exception as error:  # each store has exceptions of its own
        raise CatDogError(_unread(url, error)) from error


def _unread(url: str, error: Exception) -> str:
    is_missing = isinstance(error, FileNotFoundError)
    reason = "there is no such file or folder, or these credentials may not see it" if is_missing else None
    return f"{url} cannot be read: {reason or first_line(error)}"


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


def picture_names(store: Any, path: str, is_wanted: Callable[[str], bool] = is_image_name) -> Iterator[str]:
    """Yield the names of the images below a folder of a store, or of others, as ``walk`` does on a disk."""
    for parent, folders, files in store.walk(path, detail=False, on_error="raise"):
        # walk descends into what is left of the list
        folders[:] = sorted(name for name in folders if is_visible_folder(name))
        for name in sorted(filter(is_wanted, files)):
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
        raise CatDogError(_unread(url, error)) from error


def archive_urls(url: str, is_archive: Callable[[str], bool]) -> list[str]:
    """Return the URL itself if it is of a file; of a folder without images, the archives below it.

    Raises:
        CatDogError: the store cannot be read.
        UsageError: the package that reads it is not installed.
    """
    store, path = open_store(url)
    try:
        if store.isfile(path):
            return [url]
        if next(picture_names(store, path), None):
            return []
        scheme = url.partition("://")[0]
        return [f"{scheme}://{name}" for name in picture_names(store, path, is_archive)]
    except Exception as error:  # each store has exceptions of its own
        raise CatDogError(_unread(url, error)) from error


def download_file(url: str, target: Path, *, free_bytes: int, digest: str | None) -> None:
    """Copy a file of a store, as `io.download.download` does one of the web.

    What has come stays in ``TARGET.part``, and a later call goes on there if the file in the store still has
    the version in ``TARGET.part.json``.

    Raises:
        CatDogError: it cannot be read, or is not what the digest says; only what may be right is kept.
        UsageError: the package that reads it is not installed.
    """
    from tqdm.auto import tqdm  # which no --help needs

    store, path = open_store(url)
    part, note = (target.with_name(f"{target.name}.{ending}") for ending in ("part", "part.json"))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        size, version = _version(store, path)
        if not note.exists() or note.read_text(encoding="utf-8") != version:
            part.unlink(missing_ok=True)
            note.write_text(version, encoding="utf-8")
        with store.open(path, "rb", block_size=_BLOCK) as source, part.open("ab") as file:
            if size - file.tell() > free_bytes:
                raise CatDogError(f"{url}: {size:,} bytes are more than the disk has free")
            source.seek(file.tell())
            # disable=None: the bar is for terminals and notebooks only
            with tqdm(
                None, "copying", size, initial=file.tell(), unit="B", unit_scale=True, disable=None
            ) as bar:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
        fault = None
        if _version(store, path) != (part.stat().st_size, version):
            fault = "it has changed while it was read; run the same command again"
        elif digest:
            from catdog_pl.io.download import digest_fault  # requests takes 0.1 s to import

            fault = digest_fault(part, digest)
    except CatDogError:
        raise
    except Exception as error:  # each store has exceptions of its own
        kept = part.stat().st_size if part.exists() else 0
        resume = f"; {kept:,} bytes are kept, run the same command to resume" if kept else ""
        raise CatDogError(f"{_unread(url, error)}{resume}") from error
    note.unlink()
    if fault:
        part.unlink()
        raise CatDogError(f"{url}: {fault}")
    part.replace(target)


def _version(store: Any, path: str) -> tuple[int, str]:
    """Return the size of a file, and what is another one when it changes."""
    store.invalidate_cache()  # a listing tells other things than the question for one file
    return store.size(path), store.ukey(path)
