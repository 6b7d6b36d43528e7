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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from catdog_pl.data.images import silence_pillow
from catdog_pl.data.prepare.contents import Content
from catdog_pl.data.prepare.inspection import look
from catdog_pl.data.prepare.photo import Look, Photo, Verdict, stamp
from catdog_pl.errors import CatDogError

OneLook = Callable[[Content], Look]

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
    """Look at every photograph, and note in it what was seen.

    Args:
        photos: those with a fault already are passed by.
        jobs: processes to use.
        journal: a file in which every look is written down at once. What it holds of files that have not
            changed since is used instead of another look.
    """
    silence_pillow()
    readable = [(photo, photo.content) for photo in photos if photo.verdict is Verdict.OK and photo.content]
    bar: tqdm[Any] = tqdm(total=len(readable), desc="checking", unit="photo", disable=None)
    with bar:
        if journal is None:
            seen = looks([content for _, content in readable], jobs)
            for (photo, _), one in zip(readable, seen, strict=True):
                photo.note(one)
                bar.update()
        else:
            _with_journal(readable, jobs, journal, bar)


def looks(contents: Sequence[Content], jobs: int, one_look: OneLook = look) -> Iterator[Look]:
    """The look at each photograph, in order.

    A photograph on which the process that decodes it dies is named unreadable, and the others are looked at.

    Args:
        contents: of the photographs.
        jobs: processes to use; few files are looked at in this one.
        one_look: looks at one photograph; a function that other processes can import.

    Raises:
        CatDogError: the processes die whatever they look at.
    """
    if jobs == 1 or len(contents) < _WORTH_PROCESSES:
        yield from map(one_look, contents)
        return
    done = 0
    while done < len(contents):
        try:
            for chunk in _in_parallel(contents[done:], jobs, one_look):
                yield from chunk
                done += len(chunk)
        except BrokenProcessPool:
            chunk = _one_by_one(contents[done : done + _CHUNK], one_look)
            yield from chunk
            done += len(chunk)


def _in_parallel(contents: Sequence[Content], jobs: int, one_look: OneLook) -> Iterator[list[Look]]:
    with _pool(jobs) as pool:
        pending: deque[Future[list[Look]]] = deque()
        for start in range(0, len(contents), _CHUNK):
            pending.append(pool.submit(_chunk, contents[start : start + _CHUNK], one_look))
            if len(pending) == _AHEAD * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _one_by_one(contents: Sequence[Content], one_look: OneLook) -> list[Look]:
    """Looks among which one kills its process: each in a process of its own."""
    died = Look(Verdict.UNREADABLE, "the decoder dies on it")
    chunk = []
    for content in contents:
        with _pool(1) as pool:
            try:
                chunk.append(pool.submit(one_look, content).result())
            except BrokenProcessPool:
                chunk.append(died)
    if len(chunk) > 1 and all(seen == died for seen in chunk):
        raise CatDogError(
            f"the processes that decode photographs die, whatever they decode, the first at"
            f" {contents[0].path}. Is there too little memory? --jobs 1 decodes without them"
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


def _chunk(contents: Sequence[Content], one_look: OneLook) -> list[Look]:
    return [one_look(content) for content in contents]


def _with_journal(
    photos: Sequence[tuple[Photo, Content]], jobs: int, journal: Path, bar: "tqdm[Any]"
) -> None:
    known = _read_journal(journal)
    stamps = {path: stamp(path) for path in {content.path for _, content in photos}}
    new = []
    for photo, content in photos:
        seen = known.get(_key(content, stamps))
        if seen:
            photo.note(seen)
            bar.update()
        else:
            new.append((photo, content))
    with journal.open("a", encoding="utf-8") as lines:
        lines.write("\n")  # ends a line that a killed run has left half written
        seen_now = looks([content for _, content in new], jobs)
        for (photo, content), seen in zip(new, seen_now, strict=True):
            photo.note(seen)
            lines.write(json.dumps([*_key(content, stamps), *seen[:-1], seen.likeness.hex()]) + "\n")
            bar.update()


_Key = tuple[str, str, int]


def _key(content: Content, stamps: Mapping[str, str]) -> _Key:
    """What names these bytes in the journal: file, its stamp, place in it."""
    return content.path, stamps[content.path], content.packed.offset if content.packed else 0


def _read_journal(journal: Path) -> dict[_Key, Look]:
    """What earlier runs have seen; lines that were cut short are passed by."""
    known = {}
    if journal.exists():
        with journal.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    path, when, offset, verdict, *seen, likeness = json.loads(line)
                    values = Verdict(verdict), *seen, bytes.fromhex(likeness)
                    known[path, when, offset] = Look._make(values)
                except (ValueError, TypeError):
                    continue
    return known
