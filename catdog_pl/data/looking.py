"""Every photograph looked at, on all processors, with a journal from which a killed run goes on.

Memory stays flat: each process holds one decoded photograph, and only so many files are handed out as keep
the processes busy.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from catdog_pl.data.checks import Look, look
from catdog_pl.data.images import silence_pillow
from catdog_pl.data.photo import Photo, Verdict, stamp
from catdog_pl.errors import CatDogError

LookAt = Callable[[str], Look]

# Files handed to a process at a time: about 0.1 s of work, so that handing over costs nothing.
_CHUNK = 32
# Chunks handed out for each process. The oldest is awaited first; the others keep the processes busy.
_AHEAD = 4
# Starting processes takes half a second, in which one decodes about this many photographs.
_WORTH_PROCESSES = 300


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def look_at(photos: Sequence[Photo], jobs: int, journal: Path | None = None) -> None:
    """Look at every photograph that has a file, and note in it what was seen.

    Args:
        photos: those with a fault already are passed by.
        jobs: processes to use.
        journal: a file in which every look is written down at once. What it holds of files that have not
            changed since is used instead of another look.
    """
    silence_pillow()
    readable = [photo for photo in photos if photo.verdict is Verdict.OK]
    bar: tqdm[Any] = tqdm(total=len(readable), desc="checking", unit="photo", disable=None)
    with bar:
        if journal is None:
            for index, seen in enumerate(looks([photo.path for photo in readable], jobs)):
                _note(readable[index], seen)
                bar.update()
        else:
            _with_journal(readable, jobs, journal, bar)


def looks(paths: Sequence[str], jobs: int, look_at: LookAt = look) -> Iterator[Look]:
    """The look at each file, in order.

    A file on which the process that decodes it dies is named unreadable, and the others are looked at.

    Args:
        paths: of the files.
        jobs: processes to use; few files are looked at in this one.
        look_at: looks at one file; a function that other processes can import.

    Raises:
        CatDogError: the processes die whatever they look at.
    """
    if jobs == 1 or len(paths) < _WORTH_PROCESSES:
        yield from map(look_at, paths)
        return
    done = 0
    while done < len(paths):
        try:
            for chunk in _in_parallel(paths[done:], jobs, look_at):
                yield from chunk
                done += len(chunk)
        except BrokenProcessPool:
            chunk = _one_by_one(paths[done : done + _CHUNK], look_at)
            yield from chunk
            done += len(chunk)


def _in_parallel(paths: Sequence[str], jobs: int, look_at: LookAt) -> Iterator[list[Look]]:
    with _pool(jobs) as pool:
        pending: deque[Future[list[Look]]] = deque()
        for start in range(0, len(paths), _CHUNK):
            pending.append(pool.submit(_chunk, paths[start : start + _CHUNK], look_at))
            if len(pending) == _AHEAD * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _one_by_one(paths: Sequence[str], look_at: LookAt) -> list[Look]:
    """Looks among which one kills its process: each in a process of its own."""
    died = Look(Verdict.UNREADABLE, "the decoder dies on it")
    chunk = []
    for path in paths:
        with _pool(1) as pool:
            try:
                chunk.append(pool.submit(look_at, path).result())
            except BrokenProcessPool:
                chunk.append(died)
    if len(chunk) > 1 and all(seen == died for seen in chunk):
        raise CatDogError(
            f"the processes that decode photographs die, whatever they decode; the first is {paths[0]}."
            " Is there too little memory? --jobs 1 decodes without them"
        )
    return chunk


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


def _chunk(paths: Sequence[str], look_at: LookAt) -> list[Look]:
    return [look_at(path) for path in paths]


def _note(photo: Photo, seen: Look) -> None:
    photo.verdict, photo.reason = Verdict(seen.verdict), seen.reason
    photo.sha256, photo.size = seen.sha256, seen.size
    photo.width, photo.height, photo.mode = seen.width, seen.height, seen.mode
    photo.extension, photo.likeness = seen.extension, bytes.fromhex(seen.likeness)


def _with_journal(photos: Sequence[Photo], jobs: int, journal: Path, bar: "tqdm[Any]") -> None:
    known = _read_journal(journal)
    stamps = [stamp(photo.path) for photo in photos]
    new = []
    for index, photo in enumerate(photos):
        seen = known.get((photo.path, stamps[index]))
        if seen:
            _note(photo, seen)
            bar.update()
        else:
            new.append(index)
    with journal.open("a", encoding="utf-8") as lines:
        lines.write("\n")  # ends a line that a killed run has left half written
        for index, seen in zip(new, looks([photos[index].path for index in new], jobs), strict=True):
            _note(photos[index], seen)
            lines.write(json.dumps([photos[index].path, stamps[index], *seen]) + "\n")
            bar.update()


def _read_journal(journal: Path) -> dict[tuple[str, str], Look]:
    """What earlier runs have seen, by path and stamp; lines that were cut short are passed by."""
    known = {}
    if journal.exists():
        with journal.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    path, stamp, *seen = json.loads(line)
                    known[path, stamp] = Look(*seen)
                except (ValueError, TypeError):
                    continue
    return known
