"""The connections of one download: to addresses that were checked, and cut when its time is up.

``requests`` gives neither. Its timeout counts from byte to byte, so a server that drips is followed for
ever, in the headers too; and an address that is looked up and checked before the request may differ
from the one that is looked up again and connected to. So the sockets are opened here.
"""

import socket
from contextlib import suppress
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Lock, Timer
from time import monotonic
from typing import Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits


class AddressError(Exception):
    """The host has an address that is not public, and only public ones are allowed."""


class Download:
    """A ``requests`` session with one end of time for all that it does; used in a ``with`` block, once.

    Looking up a host's name is the one step whose time the operating system bounds instead.

    Args:
        seconds: from now until every connection is cut.
        public_only: refuse hosts on private, loopback and link-local addresses, at each connection.
            Proxies and stored passwords (``.netrc``) of the environment are then not used.

    Attributes:
        session: what to send requests with, each with ``seconds`` as its timeout.
        seconds: as given.
        is_cut: whether the time was up before the block was left. Without a declared length, a body
            that was cut looks like a complete one, so this has to be asked after reading.
    """

    def __init__(self, seconds: float, public_only: bool) -> None:
        self.seconds = seconds
        self.is_cut = False
        self.session = requests.Session()
        self.session.trust_env = not public_only
        for scheme in _POOLS:
            self.session.mount(f"{scheme}://", _Adapter())
        self._public_only = public_only
        self._end = monotonic() + seconds
        self._lock = Lock()
        self._sockets: list[socket.socket] = []
        self._timer = Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._token = _DOWNLOAD.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _DOWNLOAD.reset(self._token)
        self.session.close()
        with self._lock:
            for watched in self._sockets:
                watched.close()

    def connect(self, connection: HTTPConnection) -> socket.socket:
        """A socket to the first address of the connection's host that answers.

        Raises:
            AddressError: the host has an address that is not public, and only those are allowed.
            NewConnectionError: none of its addresses answers.
        """
        failure: OSError = TimeoutError()
        for address in self._addresses(connection.host, connection.port):
            try:
                opened = socket.create_connection((address, connection.port), self._remaining())
            except OSError as error:
                failure = error
            else:
                return self._watch(opened)
        raise NewConnectionError(connection, "no address answers") from failure

    def _addresses(self, host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        if self._public_only and not all(map(is_public, addresses)):
            raise AddressError(f"{host} is not a public address, and only those are allowed here")
        return addresses

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


_DOWNLOAD: ContextVar[Download] = ContextVar("the download of this thread")


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _DOWNLOAD.get().connect(self)


class _SecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _DOWNLOAD.get().connect(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    """Has the running download open each connection, be it direct or to a proxy."""

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **options: object
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: object) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; one that wraps an IPv4 address counts as that."""
    ip = _unwrap(ip_address(address.partition("%")[0]))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _unwrap(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
