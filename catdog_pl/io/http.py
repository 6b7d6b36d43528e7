"""One URL becomes bytes: http, https and data, within limits of size, time, redirects and addresses.

``requests`` gives no limit of time and checks no address. Its timeout counts from byte to byte, so a server
that drips is followed for ever, in the headers too; and an address that is looked up and checked before the
request may differ from the one that is looked up again and connected to. So the sockets are opened here.
"""

import base64
import re
import socket
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from http.client import responses
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Lock, Timer
from time import monotonic
from typing import Self
from urllib.parse import unquote_to_bytes, urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, IncompleteRead, NewConnectionError

from catdog_pl import __version__
from catdog_pl.errors import DownloadError, ImageFault
from catdog_pl.io.source import WebOptions

MAX_REDIRECTS = 5
"""Image hosts use one or two; browsers give up at 20."""

HEADERS = {
    # Many hosts answer 403 to the bare name of a library.
    "User-Agent": f"catdog_pl/{__version__} (tells cats from dogs; {requests.utils.default_user_agent()})",
    "Accept": "image/*, */*;q=0.5",
    "Accept-Encoding": "identity",  # photographs are compressed already; what comes anyway is decoded
}

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Codes of answers after which another attempt may succeed."""

_CHUNK = 2**16
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits


def fetch(url: str, web: WebOptions) -> bytes:
    """Return the body of an answer with status 200, or the content of a data URL.

    Raises:
        DownloadError: there is no such body within the limits; secrets in the URL are masked.
    """
    name = mask(url)
    if _is_data(url):
        return _decode_data(url, name, web.max_bytes)
    too_slow = DownloadError(name, f"the server took longer than {web.seconds:g} seconds", transient=True)
    with _Session(name, web) as session:
        try:
            body = _follow(session, url)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            root = root_cause(error)
            if session.is_cut or isinstance(root, TimeoutError):
                raise too_slow from error
            kind: ImageFault = "truncated" if isinstance(root, IncompleteRead) else "missing"
            raise DownloadError(name, reason(error), True, kind) from error
        if session.is_cut:  # without a declared length, a body that was cut looks like a complete one
            raise too_slow
    return body


def mask(url: str) -> str:
    """Return the URL as it may be printed and stored: user, password and query values hidden, data cut."""
    if _is_data(url):
        return f"{url.partition(',')[0][:40]},... ({len(url)} characters)"
    # First of all, because a password may hold any character: what has no port behind its colon is one, too.
    url = re.sub(r"(?<=//)([^/]*|[^/\[:]*:(?!\d*(/|$)).*)@", "***@", url, flags=re.DOTALL)
    address, mark, query = url.partition("#")[0].partition("?")
    parts = (part.partition("=") for part in query.split("&"))
    hidden = "&".join(f"{key}=***" if equals else "***" for key, equals, _ in parts)
    return f"{address}?{hidden}" if mark else address


def reason(error: BaseException) -> str:
    """Return why a request failed, without the URL that the libraries put into their messages."""
    root = root_cause(error)
    if isinstance(root, socket.gaierror):
        return "its host name cannot be resolved"
    if isinstance(root, TimeoutError):
        return "the server does not answer"
    if isinstance(root, IncompleteRead):
        return f"the answer breaks off after {root.partial:,} bytes"
    if isinstance(root, OSError) and not isinstance(root, requests.RequestException):
        return f"the connection failed: {root.strerror or type(root).__name__}"
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):
        return "it is not a valid URL"
    return f"the server's answer is not valid HTTP: {type(root).__name__}"


def root_cause(error: BaseException) -> BaseException:
    """Return the error at the bottom, which tells more than those that three libraries wrap around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def is_public(address: str) -> bool:
    """Return whether an IP address is public; one that wraps an IPv4 address counts as that."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        ip = IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _decode_data(url: str, name: str, max_bytes: int) -> bytes:
    """Return the bytes in a data URL (RFC 2397); as in browsers, blanks and missing padding are forgiven."""
    header, comma, payload = url[5:].partition(",")
    if not comma:
        raise DownloadError(name, "a data URL needs a comma before its data", kind="unreadable")
    content = unquote_to_bytes(payload)
    if header.lower().endswith(";base64"):
        letters = b"".join(content.split()).rstrip(b"=")
        try:
            content = base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
        except ValueError as error:
            raise DownloadError(name, "its data are not base64", kind="unreadable") from error
    _check_length(len(content), name, max_bytes)
    return content


def _follow(session: "_Session", url: str) -> bytes:
    """Return the body at the end of the redirects; the bodies of the redirects themselves are not read."""
    words = "{}: is not supported; valid are http, https and data"
    for _ in range(MAX_REDIRECTS + 1):
        if not url.lower().startswith(("http://", "https://")):
            raise DownloadError(session.name, words.format(url.partition(":")[0]))
        with session.get(url, stream=True, allow_redirects=False, timeout=session.web.seconds) as response:
            target = session.get_redirect_target(response)
            if not target:
                return _body(response, session.name, session.web.max_bytes)
            url = urljoin(url, target)
            words = "it redirects to {}:, and only http and https are followed"
    raise DownloadError(session.name, f"it redirects more than {MAX_REDIRECTS} times")


def _body(response: requests.Response, name: str, max_bytes: int) -> bytes:
    if response.status_code != HTTPStatus.OK:
        status = f"{response.status_code} {responses.get(response.status_code, '')}".strip()
        raise DownloadError(name, f"the server answered {status}", response.status_code in TRANSIENT)
    declared = response.headers.get("Content-Length", "")
    _check_length(int(declared) if declared.isdecimal() else 0, name, max_bytes)
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        _check_length(len(body), name, max_bytes)
    return bytes(body)


def _check_length(length: int, name: str, max_bytes: int) -> None:
    if length > max_bytes:
        raise DownloadError(name, f"it is larger than {max_bytes:,} bytes, the limit", kind="too large")


class _Session(requests.Session):
    """A session whose connections go to checked addresses and are cut when its time is up; used once.

    Looking up a host's name is the one step whose time the operating system bounds instead.
    """

    def __init__(self, name: str, web: WebOptions) -> None:
        super().__init__()
        self.name = name
        self.web = web
        self.is_cut = False  # the time was up
        self.headers.update(HEADERS)
        self.trust_env = not web.public_only
        for scheme in _POOLS:
            self.mount(f"{scheme}://", _Adapter())
        self._end = monotonic() + web.seconds
        self._lock = Lock()
        self._sockets: list[socket.socket] = []
        self._timer = Timer(web.seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._token = _SESSION.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _SESSION.reset(self._token)
        self.close()
        with self._lock:
            for watched in self._sockets:
                watched.close()

    def connect(self, connection: HTTPConnection) -> socket.socket:
        """Open a socket to the first address of the connection's host that answers."""
        host, port = connection.host, connection.port
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        if self.web.public_only and not all(map(is_public, addresses)):
            raise DownloadError(self.name, f"{host} is not a public address, and only those are allowed here")
        failure: OSError = TimeoutError()
        for address in addresses:
            try:
                opened = socket.create_connection((address, port), self._remaining())
            except OSError as error:
                failure = error
            else:
                return self._watch(opened)
        raise NewConnectionError(connection, "no address answers") from failure

    def _remaining(self) -> float:
        return max(0.001, self._end - monotonic())

    def _watch(self, opened: socket.socket) -> socket.socket:
        opened.settimeout(self._remaining())
        with self._lock:
            self._sockets.append(opened.dup())  # TLS takes the original over and closes it
        if self.is_cut:
            self._cut()
        return opened

    def _cut(self) -> None:
        self.is_cut = True
        with self._lock:
            for watched in self._sockets:
                with suppress(OSError):  # the other side has closed it already
                    watched.shutdown(socket.SHUT_RDWR)


_SESSION: ContextVar[_Session] = ContextVar("the session of this thread")


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _SESSION.get().connect(self)


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    """Has the running session open each connection, be it direct or to a proxy."""

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **options: object
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: object) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager
