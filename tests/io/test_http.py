"""Downloads: what a server may do wrong, against a real one on this machine that does it."""

import gzip
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catdog_pl.errors import CatDogError, DownloadError
from catdog_pl.io import http
from catdog_pl.io.files import is_url
from catdog_pl.io.http import is_public, mask
from catdog_pl.io.source import WebOptions

Piece = bytes | float | None  # sent, waited for, or None: the connection is reset


def picture() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 60)).save(stream, "PNG")
    return stream.getvalue()


PNG = picture()


def fetch(url: str, **limits: Any) -> bytes:
    return http.fetch(url, WebOptions(**limits))


def answer(body: bytes = PNG, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    size = f"Content-Length: {len(body) if length is None else length}"
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, size, "Connection: close", "", ""]).encode() + body


def moved(target: str, body: bytes = b"") -> list[Piece]:
    return [answer(body, f"Location: {target}", status="302 Found")]


def drip(head: bytes, seconds: float = 5.0) -> list[Piece]:
    pieces: list[Piece] = [head]
    for _ in range(int(seconds / 0.05)):
        pieces += [b"a", 0.05]
    return pieces


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Piece]] = {}
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what most of these tests want."""


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(4096)
        self.server.requests.append(head.decode("latin-1"))
        path = head.split()[1].decode("latin-1").split("?")[0]
        for piece in self.server.answers[path]:
            if piece is None:
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.request.close()
                return
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                self.request.sendall(piece)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def get(server: Server) -> Callable[..., bytes]:
    def fetch_answer(*pieces: Piece, **limits: Any) -> bytes:
        server.answers["/x"] = list(pieces)
        return fetch(f"{server.url}/x", **{"seconds": 10.0, "max_bytes": 100_000, **limits})

    return fetch_answer


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

GOOD: dict[str, list[Piece]] = {
    "plain": [answer()],
    "no content type, no length": [b"HTTP/1.1 200 OK\r\n\r\n" + PNG],
    "wrong content type": [answer(PNG, "Content-Type: text/html")],
    "chunked": [CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(PNG), PNG)],
    "compressed though not asked for": [answer(gzip.compress(PNG), "Content-Encoding: gzip")],
    "slow, but in time": [answer()[:30], 0.2, answer()[30:]],
    "interim answer first": [b"HTTP/1.1 100 Continue\r\n\r\n" + answer()],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\n\r\n" + PNG],
    "redirect within the host": moved("/y"),
    "redirect with a long body, which is not read": moved("/y", bytes(10_000_000)),
}


@pytest.mark.parametrize("pieces", GOOD.values(), ids=GOOD)
def test_fetches(server: Server, get: Callable[..., bytes], pieces: list[Piece]) -> None:
    server.answers["/y"] = [answer()]
    assert get(*pieces) == PNG


BAD: dict[str, tuple[list[Piece], str]] = {
    "403": ([answer(status="403 No robots")], "the server answered 403 Forbidden"),
    "404": ([answer(status="404 Not Found")], "the server answered 404 Not Found"),
    "unknown status": ([answer(status="599 What")], "the server answered 599"),
    "no content": ([b"HTTP/1.1 204 No Content\r\n\r\n"], "the server answered 204 No Content"),
    "partial content": ([answer(status="206 Partial")], "the server answered 206 Partial Content"),
    "redirect to nowhere": ([answer(b"", status="302 Found")], "the server answered 302 Found"),
    "redirect in a circle": (moved("/x"), "it redirects more than 5 times"),
    "redirect to a file": (
        moved("file:///etc/passwd"),
        "redirects to file:, and only http and https are followed",
    ),
    "redirect to data": (
        moved("data:image/png;base64,AAAA"),
        "redirects to data:, and only http and https are followed",
    ),
    "redirect to ftp": (moved("ftp://127.0.0.1/x.png"), "redirects to ftp:, and only"),
    "redirect to nonsense": (moved("http://[:::1"), "it is not a valid URL"),
    "status drips": (drip(b"HTTP/1.1 200 "), "longer than 0.3 seconds"),
    "headers drip": (drip(b"HTTP/1.1 200 OK\r\nX: "), "longer than 0.3 seconds"),
    "body drips": (drip(b"HTTP/1.1 200 OK\r\n\r\n"), "longer than 0.3 seconds"),
    "body drips, of a length": (drip(answer(b"", length=5000)), "longer than 0.3 seconds"),
    "redirect drips": (drip(b"HTTP/1.1 302 Found\r\nLocation: /"), "longer than 0.3 seconds"),
    "silence": ([5.0], "longer than 0.3 seconds"),
    "silence after the headers": ([answer(b"", length=500), 5.0], "longer than 0.3 seconds"),
    "interim answers without end": (
        [b"HTTP/1.1 100 Continue\r\n\r\n", 0.01] * 400,
        "longer than 0.3 seconds",
    ),
    "length too long": ([answer(length=len(PNG) + 50)], f"the answer breaks off after {len(PNG)} bytes"),
    "length beyond the limit": ([answer(b"", length=10**12)], "it is larger than 100,000 bytes"),
    "body beyond the limit": ([b"HTTP/1.1 200 OK\r\n\r\n" + bytes(200_000)], "larger than 100,000 bytes"),
    "chunk of 4 GB": ([CHUNKED + b"ffffffff\r\n" + bytes(200_000)], "larger than 100,000 bytes"),
    "gzip bomb": (
        [answer(gzip.compress(bytes(20_000_000)), "Content-Encoding: gzip")],
        "larger than 100,000 bytes",
    ),
    "gzip bomb in gzip": (
        [answer(gzip.compress(gzip.compress(bytes(20_000_000))), "Content-Encoding: gzip, gzip")],
        "larger than 100,000 bytes",
    ),
    "not gzip": ([answer(PNG, "Content-Encoding: gzip")], "not valid HTTP"),
    "not chunked": ([CHUNKED + b"no number\r\n"], "not valid HTTP"),
    "two lengths": ([answer(PNG, "Content-Length: 1")], "not valid HTTP"),
    "garbage": ([b"\x00\xff" * 500], "not valid HTTP"),
    "endless header line": ([b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000], "not valid HTTP"),
    "1,000 headers": ([b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n"], "not valid HTTP"),
    "hangs up at once": ([], "the connection failed"),
    "reset at once": ([None], "the connection failed"),
    "reset in the body": ([answer(PNG[:20], length=len(PNG)), 0.05, None], "the connection failed"),
}


@pytest.mark.parametrize(("pieces", "reason"), BAD.values(), ids=BAD)
def test_refuses_in_one_line(get: Callable[..., bytes], pieces: list[Piece], reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        get(*pieces, seconds=0.3 if "longer" in reason else 10.0)
    assert reason in caught.value.reason
    assert time.monotonic() - started < 4.0, "the overall deadline was not kept"


def test_time_counts_over_all_redirects(server: Server) -> None:
    for step in range(5):
        server.answers[f"/{step}"] = [0.15, *moved(f"/{step + 1}")]
    with pytest.raises(DownloadError, match=r"longer than 0\.4 seconds"):
        fetch(f"{server.url}/0", seconds=0.4)
    assert 0 < len(server.requests) < 5


def test_says_who_asks(server: Server, get: Callable[..., bytes]) -> None:
    get(answer())
    assert "User-Agent: catdog_pl/" in server.requests[0]


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match=r"the connection failed: .*refused"):
            fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/x.jpg", seconds=5.0)


def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(8, "nodename nor servname provided")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match="its host name cannot be resolved"):
        fetch("https://cats.invalid/x.jpg")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1",
        "http://a b/",
        "http://.../",
        "http://host:port/",
        "https://%zz@/",
        "http://\ud800/",
    ],
)
def test_invalid_urls(url: str) -> None:
    with pytest.raises(DownloadError):
        fetch(url, seconds=1.0)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x.jpg", "gopher://host", "javascript://x"])
def test_other_schemes(url: str) -> None:
    with pytest.raises(DownloadError, match="is not supported; valid are http, https and data"):
        fetch(url)


# Addresses


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::5db8:d70e", True),
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.178.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("::127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:7f00:1]"]
)
def test_public_only_refuses_every_spelling_of_this_machine(server: Server, host: str) -> None:
    server.answers["/x"] = [answer()]
    with pytest.raises(DownloadError, match=r"is not a public address|cannot be resolved|not a valid URL"):
        fetch(f"http://{host}:{server.server_address[1]}/x", public_only=True, seconds=2.0)
    assert not server.requests


def test_public_only_checks_each_redirect(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def public_once(address: str) -> bool:
        asked.append(address)
        return len(asked) == 1

    monkeypatch.setattr(http, "is_public", public_once)
    server.answers["/x"] = moved("/y")
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 is not a public address"):
        fetch(f"{server.url}/x", public_only=True, seconds=2.0)
    assert len(server.requests) == 1


def test_connects_to_the_address_that_was_checked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a name that is public when it is checked, and this machine when it is asked again."""
    lookups = iter(["203.0.114.1", "127.0.0.1", "127.0.0.1"])
    reached: list[str] = []

    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(lookups), 80))]

    def connect(address: tuple[str, int], *_: object) -> socket.socket:
        reached.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(DownloadError, match="refused"):
        fetch("http://rebind.example/x", public_only=True)
    assert reached == ["203.0.114.1"]


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(DownloadError, match="is not a public address"):
        fetch("http://mixed.example/x", public_only=True)


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return server


def test_proxy_of_the_environment(proxy: Server) -> None:
    proxy.answers["http://photos.example/x.png"] = [answer()]
    assert fetch("http://photos.example/x.png", seconds=2.0) == PNG


def test_a_proxy_that_drips_is_cut(proxy: Server) -> None:
    proxy.answers["http://photos.example/x.png"] = drip(b"HTTP/1.1 200 ")
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"longer than 0\.3 seconds"):
        fetch("http://photos.example/x.png", seconds=0.3)
    assert time.monotonic() - started < 4.0


def test_public_only_uses_no_proxy(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy could lead to any address."""
    nobody = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(http, "is_public", lambda _: True)
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: nobody if "example" in host else real(host, *a, **k)
    )
    proxy.answers["http://photos.example:9/x.png"] = [answer()]
    with pytest.raises(DownloadError, match="the connection failed"):
        fetch("http://photos.example:9/x.png", public_only=True, seconds=2.0)
    assert not proxy.requests


# Data URLs, names and secrets


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,iVBORw0K",
        "DATA:;BASE64,iVBORw0K",
        "data:image/png;base64,iVBO%52w0K",
        "data:,%89PNG%0D%0A",
        "data:image/png;base64,iVBO Rw0K\n",
    ],
)
def test_data_urls(url: str) -> None:
    assert fetch(url) == b"\x89PNG\r\n"


@pytest.mark.parametrize(
    "url", ["data:image/png;base64", "data:;base64,!!!", "data:;base64,A", "data:,aaaaaaaaaaa"]
)
def test_bad_data_urls(url: str) -> None:
    with pytest.raises(DownloadError):
        fetch(url, max_bytes=10)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://host/a/b.jpg", "https://host/a/b.jpg"),
        ("https://me:word@host:8/b.jpg", "https://***@host:8/b.jpg"),
        ("https://me:w@rd@host/b.jpg", "https://***@host/b.jpg"),
        ("https://me:w?rd@host/b.jpg", "https://***@host/b.jpg"),
        ("https://me:w/rd@host/b.jpg", "https://***@host/b.jpg"),
        ("https://host/@me/b.jpg", "https://host/@me/b.jpg"),
        ("https://host:80/@me/b.jpg", "https://host:80/@me/b.jpg"),
        ("https://[::1]:80/@me/b.jpg", "https://[::1]:80/@me/b.jpg"),
        ("https://host/b.jpg?token=abc&size=3#key=7", "https://host/b.jpg?token=***&size=***"),
        ("https://host/?abc", "https://host/?***"),
        ("data:image/png;base64,iVBORw0K", "data:image/png;base64,... (30 characters)"),
    ],
)
def test_masks_secrets(url: str, masked: str) -> None:
    assert mask(url) == masked


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_masks_anything(text: str) -> None:
    assert "sesame" not in mask(f"https://me:sesame@host/{text.replace('sesame', '')}")
    assert "sesame" not in mask(f"https://host/a?{text.replace('sesame', '')}=sesame")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "checkpoint http://me:word@host/a?key=word: no file",
            "checkpoint http://***@host/a?key=***: no file",
        ),
        (
            "'s3://me:wo rd@host/a?word' is none, ftp://b?c=1&d",
            "'s3://***@host/a?***' is none, ftp://b?c=***&***",
        ),
        ("http:/me:word@host/a: as pathlib has it", "http:/***@host/a: as pathlib has it"),
        ("https://host/b.jpg?key=***: masked before", "https://host/b.jpg?key=***: masked before"),
        ("C:/a?b=1 me@home", "C:/a?b=1 me@home"),
    ],
)
def test_errors_mask_the_urls_that_they_tell_of(text: str, shown: str) -> None:
    assert str(CatDogError(text)) == shown


@settings(max_examples=100, deadline=None)
@given(st.text("ab:/?@.&= '", max_size=200))
def test_masking_again_changes_nothing(text: str) -> None:
    once = str(CatDogError(text))
    assert str(CatDogError(once)) == once


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["a", "a.", "ab:/", "ab:/x?y=", "a@"])
def test_masking_long_texts_takes_no_long_time(piece: str) -> None:
    assert str(CatDogError(piece * 50_000))


@pytest.mark.parametrize(
    "pieces", [[answer(status="403 Forbidden")], [], drip(b"HTTP/1.1 200 "), moved("file:///x?k=sesame")]
)
def test_errors_keep_secrets(server: Server, pieces: list[Piece]) -> None:
    server.answers["/x"] = pieces
    url = server.url.replace("//", "//me:sesame@")
    with pytest.raises(DownloadError) as caught:
        fetch(f"{url}/x?token=sesame", seconds=0.3)
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_a_url() -> None:
    assert all(map(is_url, ["http://a", "HTTPS://a", "file:///a", "data:,", "s3://a"]))
    assert not any(map(is_url, ["a.jpg", r"C:\a.jpg", "/a/b", "C:/a.jpg", "-", "a:b.jpg", str(Path("x"))]))
