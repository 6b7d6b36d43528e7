"""Every photograph decoded once, on all processors: its bytes hashed, its pixels judged, its faults named.

Memory stays flat: each process holds one decoded photograph, and few are handed out ahead.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import cast

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from catdog_pl.data.images import Decoded, decode, silence_pillow
from catdog_pl.data.prepare.photo import Inspection, Photo, Verdict
from catdog_pl.data.prepare.photos import IS_USABLE, Photos
from catdog_pl.errors import CatDogError, ImageError
from catdog_pl.io.source import ImageSource

HASH_SIDE = 16
"""The perceptual hash has this many bits along each side: 256 in all."""

# Photographs handed to a process at a time: about 0.1 s of work, so that handing over costs nothing.
_CHUNK = 32
# Chunks handed out for each process. The oldest is awaited first; the others keep the processes busy.
_AHEAD = 4
# Starting processes takes half a second, in which one decodes about this many photographs.
_WORTH_PROCESSES = 300
# Channels of a photograph that spread over fewer levels than this hold nothing to see. JPEG alone moves a
# plain surface by 1 to 3.
_PLAIN_LEVELS = 8
# pHash looks at 4 x 4 pixels for each bit. Each of them is the mean of 3 x 3 points of the photograph: half
# the time of a mean over all of its pixels, and a copy at half the size moves fewer bits (14 instead of 24 of
# 256 in 99 of 100 cases), because the points lie at the same places in both.
_PIXELS = 4 * HASH_SIDE
_POINTS = 3

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_EXTENSIONS = {
    "JPEG": _JPEG,
    "MPO": _JPEG,  # what some cameras write: a JPEG with a second one behind it
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "HEIF": (".heic", ".heif"),
}
"""Format -> its file name endings; of the other formats, the name is the ending."""


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mark_too_small(photos: Photos, min_side: int) -> None:
    """Leave out photographs with a side of fewer pixels than ``min_side``."""
    for photo in photos.select(f"{IS_USABLE} AND min(width, height) < ?", min_side):
        width, height = photo.inspection.width, photo.inspection.height
        reason = f"{width} x {height}, with a side of fewer than {min_side} pixels"
        photos.save([photo.judge(Verdict.TOO_SMALL, reason)])


def inspect_photo(source: ImageSource) -> Inspection:
    """Read, hash and decode one photograph; whatever its bytes are, nothing is raised for them."""
    found = Inspection()
    try:
        content = source.read()
        found = Inspection(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        decoded = decode(content, source.name)
    except ImageError as error:
        verdict = Verdict.UNREADABLE if error.kind == "missing" else Verdict(error.kind)
        return found._replace(verdict=verdict, reason=error.reason)
    width, height = decoded.size
    found = found._replace(width=width, height=height, mode=decoded.mode)
    if decoded.is_animated:
        return found._replace(verdict=Verdict.ANIMATED, reason="it holds several pictures")
    return _judge_pixels(decoded, found, os.path.splitext(source.name)[1].lower())


def _judge_pixels(decoded: Decoded, found: Inspection, extension: str) -> Inspection:
    points = decoded.image.resize((_POINTS * _PIXELS, _POINTS * _PIXELS), Image.Resampling.NEAREST)
    small = points.reduce(_POINTS)
    endings = _EXTENSIONS.get(decoded.format, (f".{decoded.format.lower()}",))
    right = extension if extension in endings else endings[0]
    found = found._replace(extension=right, phash=perceptual_hash(small.convert("L")))
    channels = cast(tuple[tuple[int, int], ...], small.getextrema())
    if all(highest - lowest < _PLAIN_LEVELS for lowest, highest in channels):
        return found._replace(verdict=Verdict.ONE_COLOUR, reason="all of it is one colour")
    if right != extension:
        reason = f"its content is {decoded.format}; used under the ending {right}"
        return found._replace(verdict=Verdict.WRONG_EXTENSION, reason=reason)
    return found


def perceptual_hash(small: Image.Image) -> bytes:
    """Return the 32 bytes of a pHash of 64 x 64 grey pixels: which low frequencies are above their median.

    Bit for bit ``imagehash.phash`` with ``hash_size=16``, which is the referee in the tests. That library
    takes three times as long, a tenth of the whole inspection, and loads SciPy.
    """
    low = _COSINES @ np.asarray(small, dtype=np.float64) @ _COSINES.T
    ordered = np.sort(low, axis=None)
    middle = HASH_SIDE**2 // 2
    median = ordered[middle - 1 : middle + 1].sum() / 2  # np.median takes thrice as long
    return np.packbits(low > median).tobytes()


# The rows of the discrete cosine transform (DCT-II) for the 16 lowest of 64 frequencies.
_FREQUENCY, _PIXEL = np.arange(HASH_SIDE)[:, None], np.arange(_PIXELS)[None, :]
_COSINES = np.cos(np.pi * _FREQUENCY * (2 * _PIXEL + 1) / (2 * _PIXELS))

Inspector = Callable[[ImageSource], Inspection]


def inspect_photos(photos: Photos, jobs: int, inspect: Inspector = inspect_photo) -> None:
    """Fill in `Photo.inspection` of every photograph that has no fault yet, in so many processes.

    A photograph on which the process that decodes it dies is named unreadable; the others are inspected.
    Few photographs are inspected in this process; ``inspect`` is a function that others can import.

    Raises:
        CatDogError: the processes die whatever they decode.
    """
    silence_pillow()
    is_new = f"verdict = '{Verdict.OK}' AND sha256 = ''"
    is_parallel = jobs > 1 and photos.count(is_new) >= _WORTH_PROCESSES
    while count := photos.count(is_new):
        new = photos.select(is_new)
        found = _in_parallel(new, jobs, inspect) if is_parallel else _inspected(new, inspect)
        try:
            photos.save(tqdm(found, total=count, desc="checking", unit="photo", disable=None))
        except BrokenProcessPool:
            photos.save(_one_by_one(list(photos.select(is_new, limit=_CHUNK)), inspect))


def _inspected(photos: Iterable[Photo], inspect: Inspector) -> Iterator[Photo]:
    for photo in photos:
        photo.inspection = inspect(photo.source)
        yield photo


def _in_parallel(photos: Iterator[Photo], jobs: int, inspect: Inspector) -> Iterator[Photo]:
    with _pool(jobs) as pool:
        pending: deque[Future[list[Photo]]] = deque()
        while chunk := list(islice(photos, _CHUNK)):
            pending.append(pool.submit(_inspect_chunk, chunk, inspect))
            if len(pending) == _AHEAD * jobs:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _one_by_one(photos: Sequence[Photo], inspect: Inspector) -> Sequence[Photo]:
    """Inspect photographs of which one kills its process: each in a process of its own."""
    died = Inspection(Verdict.UNREADABLE, "the decoder dies on it")
    for photo in photos:
        try:
            with _pool(1) as pool:
                photo.inspection = pool.submit(inspect, photo.source).result()
        except BrokenProcessPool:
            photo.inspection = died
    if len(photos) > 1 and all(photo.inspection == died for photo in photos):
        raise CatDogError(
            f"the processes that decode photographs die, whatever they decode, the first at"
            f" {photos[0].name}. Is there too little memory? --jobs 1 decodes without them"
        )
    return photos


def _pool(jobs: int) -> ProcessPoolExecutor:
    # "spawn" is the way that all systems have, and the only safe one beside the threads of a progress bar.
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_process)


def _start_process() -> None:
    silence_pillow()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent, in one line
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process of a pool waits for work for ever when its parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _inspect_chunk(photos: Sequence[Photo], inspect: Inspector) -> list[Photo]:
    return list(_inspected(photos, inspect))
