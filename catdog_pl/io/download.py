"""One archive from the web onto the disk: resumed, retried, verified, complete or not there.

The bytes gather in a `Part`. A new attempt, in this run or a later one, asks for the rest of its version;
where the server has another by now, or cannot give a part, it starts again.
"""

import hashlib
import re
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError, IncompleteRead

from catdog_pl.errors import DownloadError, one_line
from catdog_pl.io.http import HEADERS, mask
from catdog_pl.io.part import Part

_CHUNK = 2**18
# A server that drips must give this much in each stretch of `Patience.stall_seconds`.
_LEAST_BYTES = 2**12
# So much more than ever before, and the attempts are counted from the start again.
_PROGRESS_BYTES = 2**20
_LONGEST_WAIT = 60.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class Patience(NamedTuple):
    """How long to try.

    Attributes:
        waits: seconds before each further attempt without progress.
        stall_seconds: silence after which an attempt is given up.
    """

    waits: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    stall_seconds: float = 30.0


class _AttemptError(Exception):
    """Another attempt may succeed.

    Args:
        reason: in words.
        wait: seconds that the server asks for.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = min(wait, _LONGEST_WAIT)


def download(
    url: str, target: Path, free_bytes: int, sha256: str | None = None, patience: Patience | None = None
) -> None:
    """Download a file; it appears under its name when it is complete.

    Args:
        url: http or https.
        target: where to put it.
        free_bytes: what the disk may be filled with.
        sha256: of the whole file, in hexadecimal; None trusts what comes.
        patience: how long to try.

    Raises:
        DownloadError: it cannot be had; what has come stays beside the target for the next run, unless it
            is wrong.
    """
    part = Part(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _attempts(url, part, free_bytes, patience or Patience(), bool(sha256))
    if sha256:
        _verify(url, part, sha256)
    part.complete()


def _attempts(url: str, part: Part, free_bytes: int, patience: Patience, verified: bool) -> None:
    """Try until the file is here, or nothing more comes."""
    most, waits = part.size, iter(patience.waits)
    while failure := _failure(url, part, free_bytes, patience.stall_seconds, verified):
        if part.size >= most + _PROGRESS_BYTES:
            most, waits = part.size, iter(patience.waits)
        wait = next(waits, None)
        if wait is None:
            kept = f"; the same command goes on after the {part.size:,} bytes that came" if part.size else ""
            tries = len(patience.waits) + 1
            raise DownloadError(mask(url), f"{failure}, {tries} times without progress{kept}")
        wait = max(wait, failure.wait)
        print(f"{mask(url)}: {failure}; trying again in {wait:g} s", file=sys.stderr)
        time.sleep(wait)


def _failure(
    url: str, part: Part, free_bytes: int, stall_seconds: float, verified: bool
) -> _AttemptError | None:
    """One attempt; why another is needed, or None when the file is complete."""
    try:
        _attempt(url, part, free_bytes, stall_seconds, verified)
    except requests.TooManyRedirects as error:
        raise DownloadError(mask(url), "it redirects without end") from error
    except ValueError as error:  # requests' word for an address that is none
        raise DownloadError(mask(url), "it is, or redirects to, no valid address") from error
    except (requests.RequestException, HTTPError) as error:
        return _AttemptError(_reason(error))
    except _AttemptError as error:
        return error
    return None


def _attempt(url: str, part: Part, free_bytes: int, stall_seconds: float, verified: bool) -> None:
    """Ask for what is missing and write it."""
    headers = HEADERS | {"Accept": "*/*"}
    if part.size and part.version:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.version}
    with requests.get(url, headers=headers, stream=True, timeout=stall_seconds) as response:
        if (
            url.lower().startswith("https:")
            and not response.url.lower().startswith("https:")
            and not verified
        ):
            raise DownloadError(mask(url), "it redirects to an address without encryption; give --sha256")
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.size:
            return _beyond_the_end(response, part)
        _check_status(response, url)
        total = _begin(response, part)
        if total - part.size > free_bytes:
            raise DownloadError(mask(url), f"{total:,} bytes are more than the disk has free")
        _receive(response, part, total, free_bytes, stall_seconds, mask(url))


def _check_status(response: requests.Response, url: str) -> None:
    code = response.status_code
    if code in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return
    answer = one_line(f"the server answered {code} {response.reason or ''}".strip())
    if code not in _TRANSIENT:
        raise DownloadError(mask(url), f"{answer}")
    after = response.headers.get("Retry-After", "")
    raise _AttemptError(answer, float(after) if after.isdecimal() else 0.0)


def _beyond_the_end(response: requests.Response, part: Part) -> None:
    """The server has nothing after the bytes that are here: they are all, or of another file."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match or match[2] != str(part.size):
        part.remove()
        raise _AttemptError("the file has changed on the server")


def _begin(response: requests.Response, part: Part) -> int:
    """Make the part ready for the bytes that come; the size of the whole file, 0 where it is not told."""
    length = response.headers.get("Content-Length", "")
    if response.status_code == HTTPStatus.OK:
        part.start(_version(response))
        return int(length) if length.isdecimal() else 0
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match or match[1] != str(part.size):
        part.remove()
        raise _AttemptError("the server answered with another part of the file than the one asked for")
    return int(match[2]) if match[2].isdecimal() else 0


def _version(response: requests.Response) -> str:
    """What names this version of the file in If-Range; a weak ETag may not (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag


def _receive(
    response: requests.Response, part: Part, total: int, free_bytes: int, stall_seconds: float, name: str
) -> None:
    bar = tqdm(
        total=total or None, initial=part.size, desc="downloading", unit="B", unit_scale=True, disable=None
    )
    with bar, part.path.open("ab") as file:
        for chunk in _chunks(response, stall_seconds):
            if file.tell() == 0 and chunk[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise DownloadError(name, "the server answered with a web page, not with an archive")
            free_bytes -= len(chunk)
            if free_bytes < 0:
                raise DownloadError(name, "the disk is full")
            file.write(chunk)
            bar.update(len(chunk))
    if part.size < total:
        raise _AttemptError(f"the answer breaks off after {part.size:,} of {total:,} bytes")


def _chunks(response: requests.Response, stall_seconds: float) -> Iterator[bytes]:
    """The body as it is on the wire: an archive's own compression is not the connection's.

    ``read1`` hands over what has come. Reading whole chunks would wait for a server that drips, because the
    time limit of a socket starts again with every byte.
    """
    since, received = time.monotonic(), 0
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        yield chunk
        received += len(chunk)
        if time.monotonic() - since > stall_seconds:
            if received < _LEAST_BYTES:
                raise _AttemptError(f"the server gave {received} bytes in {stall_seconds:g} seconds")
            since, received = time.monotonic(), 0


def _verify(url: str, part: Part, sha256: str) -> None:
    with part.path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256.lower():
        part.remove()
        raise DownloadError(mask(url), f"its SHA-256 is {actual}, not {sha256.lower()}; it was not kept")


def _reason(error: Exception) -> str:
    """Why an attempt failed, without the URL that the libraries put into their messages."""
    root: BaseException = error
    while inner := root.__cause__ or root.__context__:
        root = inner
    if isinstance(root, IncompleteRead):
        return "the answer breaks off"
    if isinstance(root, TimeoutError):
        return "the server does not answer"
    if isinstance(root, OSError) and root.strerror:
        return f"the connection failed ({root.strerror})"
    return f"the connection failed ({type(root).__name__})"
