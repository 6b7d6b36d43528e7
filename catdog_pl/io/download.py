"""A file from the web onto the disk: resumed, retried, verified, complete or not there.

The bytes gather beside the target in ``TARGET.part``, and which version of the file they are from in
``TARGET.part.json``. A new attempt, in this run or a later one, asks for the rest of that version; where the
server has another by now, or cannot give a part, it starts again.
"""

import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import requests
from filelock import FileLock
from tqdm.auto import tqdm
from urllib3.exceptions import HTTPError, IncompleteRead

from catdog_pl.errors import DownloadError, one_line
from catdog_pl.io.files import write_error
from catdog_pl.io.http import HEADERS, TRANSIENT, mask, reason, root_cause

_CHUNK = 2**18
_LEAST_BYTES = 2**12  # that a server must give in each stretch of `Patience.stall_seconds`
_PROGRESS_BYTES = 2**20  # so much more than ever before, and the attempts are counted from the start again
_LONGEST_WAIT = 60.0
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class Patience(NamedTuple):
    """How long to try."""

    waits: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)  # before each further attempt without progress
    stall_seconds: float = 30.0  # silence after which an attempt is given up


PATIENCE = Patience()


def download(
    url: str,
    target: Path,
    *,
    free_bytes: int | None = None,
    digest: str | None = None,
    patience: Patience = PATIENCE,
) -> None:
    """Download a file; it appears under its name, in a folder made when missing, when it is complete.

    Several processes may ask for the same file: one downloads, the others wait and take what it got.

    Args:
        url: http or https.
        target: where to put it.
        free_bytes: what the disk may be filled with; by default what it has free.
        digest: of the whole file, as `digest_fault` takes it; None trusts what comes.
        patience: for the server.

    Raises:
        DownloadError: there is no such file; what has come is kept for the next run, unless wrong.
        CatDogError: it cannot be written.
    """
    was_there = target.exists()
    lock = target.with_name(f"{target.name}.part.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            try:
                if not target.exists() or was_there:
                    free = shutil.disk_usage(target.parent).free if free_bytes is None else free_bytes
                    _Download(url, target, free, digest, patience).run()
            finally:  # while it is held: a process that has just got it would lose it
                with suppress(OSError):
                    lock.unlink()
    except OSError as error:
        raise write_error(target, error, "make room, or choose another place") from error


def digest_fault(file: Path, digest: str) -> str | None:
    """Return how a file differs from its digest, in words; None where it does not.

    A digest is ``sha256:HEX`` or ``md5:HEX``, of which 8 digits suffice, as torchvision publishes them.
    """
    algorithm, _, expected = digest.lower().partition(":")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False))
    actual = found.hexdigest()
    name = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
    is_right = len(expected) >= 8 and actual.startswith(expected)
    return None if is_right else f"its {name} is {actual}, not {expected}"


@dataclass
class _Download:
    """One download; the fields are the arguments of `download`."""

    url: str
    target: Path
    free_bytes: int
    digest: str | None
    patience: Patience

    def __post_init__(self) -> None:
        self.name = mask(self.url)
        self.path = self.target.with_name(f"{self.target.name}.part")
        self.note = self.target.with_name(f"{self.target.name}.part.json")
        self.retry_after = 0.0  # seconds that the server asked to wait for in the last attempt

    @property
    def size(self) -> int:
        """How many bytes are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def run(self) -> None:
        """Try until the file is here, or nothing more comes."""
        most, waits = self.size, iter(self.patience.waits)
        while failure := self._failure():
            if self.size >= most + _PROGRESS_BYTES:
                most, waits = self.size, iter(self.patience.waits)
            wait = next(waits, None)
            if wait is None:
                kept = f"; {self.size:,} bytes are kept, run the same command to resume" if self.size else ""
                tries = len(self.patience.waits) + 1
                raise self._transient(f"{failure.reason}, {tries} times without progress{kept}")
            wait = max(wait, min(self.retry_after, _LONGEST_WAIT))
            print(f"{self.name}: {failure.reason}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)
        if self.digest and (fault := digest_fault(self.path, self.digest)):
            self._remove()
            raise DownloadError(self.name, f"{fault}; it was not kept")
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)

    def _failure(self) -> DownloadError | None:
        """Make one attempt; return why another is needed, or None when the file is complete."""
        self.retry_after = 0.0
        try:
            self._attempt()
        except requests.TooManyRedirects as error:
            raise DownloadError(self.name, "it redirects without end") from error
        except ValueError as error:  # what requests raises for an address that is not valid
            raise DownloadError(self.name, "it is, or redirects to, no valid address") from error
        except (requests.RequestException, HTTPError) as error:
            is_cut = isinstance(root_cause(error), IncompleteRead)  # which counts from this attempt's start
            return self._transient("the answer breaks off" if is_cut else reason(error))
        except DownloadError as error:
            if not error.transient:
                raise
            return error
        return None

    def _attempt(self) -> None:
        """Ask for what is missing and write it."""
        headers = HEADERS | {"Accept": "*/*"}
        if self.size and (version := self._version()):
            headers |= {"Range": f"bytes={self.size}-", "If-Range": version}
        timeout = self.patience.stall_seconds
        with requests.get(self.url, headers=headers, stream=True, timeout=timeout) as response:
            is_downgraded = self.url.lower().startswith("https:") and response.url.lower().startswith("http:")
            if is_downgraded and not self.digest:
                raise DownloadError(self.name, "it redirects to an address without encryption; give --sha256")
            if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not self.size:
                self._receive(response, self._begin(response))
            elif _content_range(response)[1] != str(self.size):  # else nothing is missing
                raise self._restart("the file has changed on the server")

    def _begin(self, response: requests.Response) -> int:
        """Get ready for the bytes that come; return the size of the whole file, 0 where it is not told."""
        code = response.status_code
        if code == HTTPStatus.OK:
            self.path.write_bytes(b"")
            self.note.write_text(json.dumps(_version_of(response)), encoding="utf-8")
            size = response.headers.get("Content-Length", "")
        elif code == HTTPStatus.PARTIAL_CONTENT:
            start, size = _content_range(response)
            if start != str(self.size):
                raise self._restart("the server answered with other bytes than those asked for")
        else:
            after = response.headers.get("Retry-After", "")
            self.retry_after = float(after) if after.isdecimal() else 0.0
            answer = one_line(f"the server answered {code} {response.reason or ''}".strip())
            raise DownloadError(self.name, answer, code in TRANSIENT)
        total = int(size) if size.isdecimal() else 0
        if total - self.size > self.free_bytes:
            raise DownloadError(self.name, f"{total:,} bytes are more than the disk has free")
        return total

    def _receive(self, response: requests.Response, total: int) -> None:
        free_bytes = self.free_bytes
        # disable=None: the bar is for terminals and notebooks only
        bar = tqdm(
            None, "downloading", total or None, initial=self.size, unit="B", unit_scale=True, disable=None
        )
        with bar, self.path.open("ab") as file:
            for chunk in self._chunks(response):
                if file.tell() == 0 and chunk[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                    page = "the server answered with a web page, not with the file"
                    raise DownloadError(
                        self.name, f"{page}; copy a folder of the web first, as by wget -r -np"
                    )
                free_bytes -= len(chunk)
                if free_bytes < 0:
                    raise DownloadError(self.name, "the disk is full")
                file.write(chunk)
                bar.update(len(chunk))
        if self.size < total:
            raise self._transient(f"the answer breaks off after {self.size:,} of {total:,} bytes")

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body as it is on the wire: a file's own compression is not the connection's.

        ``read1`` hands over what has come. Reading whole chunks would wait for a server that drips, because
        the time limit of a socket starts again with every byte.
        """
        since, received = time.monotonic(), 0
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            yield chunk
            received += len(chunk)
            if time.monotonic() - since > self.patience.stall_seconds:
                if received < _LEAST_BYTES:
                    seconds = f"{self.patience.stall_seconds:g} seconds"
                    raise self._transient(f"the server gave {received} bytes in {seconds}")
                since, received = time.monotonic(), 0

    def _transient(self, why: str) -> DownloadError:
        return DownloadError(self.name, why, transient=True)

    def _restart(self, why: str) -> DownloadError:
        self._remove()
        return self._transient(why)

    def _version(self) -> str:
        """Return the ETag or date to ask for the rest of, or the empty string."""
        try:
            return str(json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return ""

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _content_range(response: requests.Response) -> tuple[str, str]:
    """Return the first byte and the file's size that a partial answer names; empty where it does not."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return (match[1] or "", match[2]) if match else ("", "")


def _version_of(response: requests.Response) -> str:
    """Return what names this version of the file in If-Range; a weak ETag may not (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
