"""One URL becomes bytes: http, https and data, within limits of size, time, redirects and addresses."""

import base64
import re
import socket
from http import HTTPStatus
from urllib.parse import unquote_to_bytes, urljoin

import requests
from urllib3.exceptions import HTTPError, IncompleteRead

from catdog_pl import __version__
from catdog_pl.errors import ImageError
from catdog_pl.io.connections import AddressError, Download

SECONDS = 30.0
"""Time for one download as a whole."""

MAX_BYTES = 64 * 2**20
"""A download's size, after decompression: twice the largest photographs of today's cameras."""

MAX_REDIRECTS = 5
"""Image hosts use one or two; browsers give up at 20."""

HEADERS = {
    # Many hosts answer 403 to the bare name of a library.
    "User-Agent": f"catdog_pl/{__version__} (tells cats from dogs; {requests.utils.default_user_agent()})",
    "Accept": "image/*, */*;q=0.5",
    "Accept-Encoding": "identity",  # photographs are compressed already; what comes anyway is decoded
}

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.IGNORECASE)
_CHUNK = 2**16


def is_url(source: str) -> bool:
    """Whether a source is meant as a URL, of any scheme, and not as a path."""
    return _URL.match(source) is not None


def mask(url: str) -> str:
    """The URL as it may be printed and stored: user, password and values of the query hidden, data cut."""
    if _is_data(url):
        return f"{url.partition(',')[0][:40]},... ({len(url)} characters)"
    # First of all, because a password may hold any character: what has no port behind its colon is one, too.
    url = re.sub(r"(?<=//)([^/]*|[^/\[:]*:(?!\d*(/|$)).*)@", "***@", url, flags=re.DOTALL)
    address, mark, query = url.partition("#")[0].partition("?")
    parts = (part.partition("=") for part in query.split("&"))
    hidden = "&".join(f"{key}=***" if equals else "***" for key, equals, _ in parts)
    return f"{address}?{hidden}" if mark else address


def fetch(
    url: str, *, public_only: bool = False, seconds: float = SECONDS, max_bytes: int = MAX_BYTES
) -> bytes:
    """Download one image.

    Args:
        url: http, https or data.
        public_only: refuse hosts on private, loopback and link-local addresses, at the first request
            and after each redirect; for URLs that come from somebody else. Proxies and stored passwords
            (``.netrc``) of the environment are then not used.
        seconds: for the whole, from the first connection to the last byte.
        max_bytes: of the body, after decompression.

    Returns:
        The body of an answer with status 200; whether it is an image shows when it is decoded.

    Raises:
        ImageError: no such body could be had within the limits; secrets in the URL are masked.
    """
    name = mask(url)
    if _is_data(url):
        return _decode_data(url, name, max_bytes)
    too_slow = ImageError(name, f"the server took longer than {seconds:g} seconds")
    with Download(seconds, public_only) as download:
        download.session.headers.update(HEADERS)
        try:
            body = _follow(download, url, name, max_bytes)
        except (requests.RequestException, HTTPError, OSError, ValueError, AddressError) as error:
            root = _root(error)
            late = download.is_cut or isinstance(root, TimeoutError)
            raise (too_slow if late else ImageError(name, _reason(error, root))) from error
        if download.is_cut:
            raise too_slow
    return body


def _follow(download: Download, url: str, name: str, max_bytes: int) -> bytes:
    """The body at the end of the redirects; the bodies of the redirects themselves are not read."""
    session = download.session
    for _ in range(MAX_REDIRECTS + 1):
        if not url.lower().startswith(("http://", "https://")):
            raise ImageError(name, f"{url.partition(':')[0]}: is not read, only http, https and data")
        with session.get(url, stream=True, allow_redirects=False, timeout=download.seconds) as response:
            target = session.get_redirect_target(response)
            if not target:
                return _body(response, name, max_bytes)
            url = urljoin(url, target)
    raise ImageError(name, f"it redirects more than {MAX_REDIRECTS} times")


def _body(response: requests.Response, name: str, max_bytes: int) -> bytes:
    if response.status_code != HTTPStatus.OK:
        phrases = {status.value: status.phrase for status in HTTPStatus}
        status = f"{response.status_code} {phrases.get(response.status_code, '')}".strip()
        raise ImageError(name, f"the server answered {status}")
    declared = response.headers.get("Content-Length", "")
    _check_length(int(declared) if declared.isdecimal() else 0, name, max_bytes)
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        _check_length(len(body), name, max_bytes)
    return bytes(body)


def _check_length(length: int, name: str, max_bytes: int) -> None:
    if length > max_bytes:
        raise ImageError(name, f"it is larger than {max_bytes:,} bytes, the limit")


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _decode_data(url: str, name: str, max_bytes: int) -> bytes:
    """The bytes in a data URL (RFC 2397); as in browsers, blanks and missing padding are forgiven."""
    header, comma, payload = url[5:].partition(",")
    if not comma:
        raise ImageError(name, "a data URL needs a comma before its data")
    content = unquote_to_bytes(payload)
    if header.lower().endswith(";base64"):
        letters = b"".join(content.split()).rstrip(b"=")
        try:
            content = base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
        except ValueError as error:
            raise ImageError(name, "its data are not base64") from error
    _check_length(len(content), name, max_bytes)
    return content


def _root(error: BaseException) -> BaseException:
    """The error at the bottom, which tells more than those that three libraries wrap around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _reason(error: Exception, root: BaseException) -> str:
    """Why a request failed, without the URL that the libraries put into their messages."""
    if isinstance(root, AddressError):
        return str(root)
    if isinstance(root, socket.gaierror):
        return "its host name cannot be resolved"
    if isinstance(root, IncompleteRead):
        return f"the answer breaks off after {root.partial:,} bytes"
    if isinstance(root, OSError) and not isinstance(root, requests.RequestException):
        return f"the connection failed: {root.strerror or type(root).__name__}"
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):
        return "it is not a valid URL"
    return f"the server's answer is not valid HTTP: {type(root).__name__}"
