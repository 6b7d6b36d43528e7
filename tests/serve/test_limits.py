"""Slow, false, large and many requests are refused or closed, and others answered meanwhile."""

import re
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catdog_pl.models.basic import Basic
from catdog_pl.serve import app
from catdog_pl.serve.app import Settings
from tests.serve.clients import GOOD, LIMIT, SECONDS, Answer, Piece, Rude, form, head, wait_for
from tests.serve.conftest import rude

pytestmark = pytest.mark.usefixtures("unharmed")


def drops(piece: bytes) -> list[Piece]:
    return [piece, 0.1] * 30


CHUNKED = head("Transfer-Encoding: chunked")
INVALID = (400, "Invalid HTTP request received.")
NOT_ALLOWED = (405, "Method Not Allowed")
LATE = (408, "the body took longer than 1 seconds")
CLOSED = (0, "")
SLOW: dict[str, tuple[list[Piece], tuple[int, str]]] = {
    "a byte in a while": ([head("Content-Length: 1000"), *drops(b"a")], LATE),
    "a body that never comes": ([head("Content-Length: 1000")], LATE),
    "half a body": ([head("Content-Length: 1000"), bytes(500)], LATE),
    "a length that is too long": ([head(f"Content-Length: {len(GOOD) + 1}"), GOOD], LATE),
    "chunks without end": ([CHUNKED, *drops(b"1\r\na\r\n")], LATE),
    "a chunk that never comes": ([CHUNKED, b"ff\r\n"], LATE),
    "no last chunk": ([CHUNKED, b"%x\r\n%b\r\n" % (len(GOOD), GOOD)], LATE),
    "a body that waits to be asked for": ([head("Content-Length: 9", "Expect: 100-continue")], LATE),
    "a form without end": (
        [head("Content-Length: 999", kind=form()[1]), form(('; name="file"; filename="x"', GOOD))[0][:-9]],
        LATE,
    ),
    "a URL without end": ([head("Content-Length: 10000", kind="application/json"), b'{"url": "'], LATE),
    "a body nobody asked for": ([head("Content-Length: 99", path="/healthz")], NOT_ALLOWED),
    "lies after the refusal": ([head("Transfer-Encoding: chunked", path="/"), 0.5, b"many\r\n"], NOT_ALLOWED),
    "a body beside a file": ([head("Content-Length: 9", path="/static/page.js"), 2.0, bytes(9)], NOT_ALLOWED),
    "nothing": ([], CLOSED),
    "half a line": ([b"POST /v1/pred"], CLOSED),
    "a line in drops": ([b"POST /", *drops(b"a")], CLOSED),
    "half the headers": ([head()[:-2]], CLOSED),
    "headers in drops": ([head()[:-2], *drops(b"X: a\r\n")], CLOSED),
    "empty lines in drops": (drops(b"\r\n"), INVALID),
}  # fmt: skip


def told(answer: Answer) -> tuple[int, str]:
    """The status and the sentence; of what is no HTTP the text, as uvicorn answers before any application."""
    if answer.status == 0 or (answer.status, answer.body.decode()) == INVALID:
        return answer.status, answer.body.decode()
    return answer.problem[:2]


@pytest.fixture(scope="module")
def slow_answers(served: Rude) -> dict[str, tuple[Answer, float]]:
    """All at once, so that they take little longer than one; the time is from the last byte sent."""

    def timed(pieces: list[Piece]) -> tuple[Answer, float]:
        started = time.monotonic()
        return served.talk(*pieces), time.monotonic() - started

    with ThreadPoolExecutor(len(SLOW)) as pool:
        answers = pool.map(timed, [pieces for pieces, _ in SLOW.values()])
        assert served.ask(body=GOOD).status == 200
        return dict(zip(SLOW, answers, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_slow_clients_are_answered_or_closed_in_time(
    name: str, slow_answers: dict[str, tuple[Answer, float]]
) -> None:
    answer, seconds = slow_answers[name]
    assert told(answer) == SLOW[name][1]
    assert seconds < 5


TOO_LARGE = (413, "the body is larger than 1,048,576 bytes, the limit")
FALSE: dict[str, tuple[bytes, tuple[int, str]]] = {
    "negative length": (head("Content-Length: -1"), INVALID),
    "length that is no number": (head("Content-Length: many"), INVALID),
    "length with a sign": (head("Content-Length: +5") + b"hello", INVALID),
    "length in hexadecimals": (head("Content-Length: 0x5") + b"hello", INVALID),
    "length of other digits": (head("Content-Length: \u0665") + b"hello", INVALID),
    "length of 5,000 digits": (head("Content-Length: " + 5000 * "9"), INVALID),
    "length of 20 digits": (head("Content-Length: " + 20 * "9"), TOO_LARGE),
    "two lengths": (head("Content-Length: 5", "Content-Length: 6") + b"hello!", INVALID),
    "two lengths in one": (head("Content-Length: 5, 6") + b"hello!", INVALID),
    "length above the limit": (head(f"Content-Length: {LIMIT + 1}"), TOO_LARGE),
    "large body to be asked for": (head("Content-Length: 99999999", "Expect: 100-continue"), TOO_LARGE),
    "body above the limit": (head(f"Content-Length: {4 * LIMIT}") + bytes(4 * LIMIT), TOO_LARGE),
    "chunk above the limit": (CHUNKED + b"%x\r\n" % (2 * LIMIT) + bytes(2 * LIMIT), TOO_LARGE),
    "chunks above the limit": (CHUNKED + (b"ffff\r\n" + bytes(0xFFFF) + b"\r\n") * 20, TOO_LARGE),
    "chunk of 10^20 bytes": (CHUNKED + b"f" * 17 + b"\r\n" + bytes(2 * LIMIT), TOO_LARGE),
    "chunk of 10^30 bytes": (CHUNKED + b"f" * 25 + b"\r\n" + bytes(2 * LIMIT), INVALID),
    "chunk size that is no number": (CHUNKED + b"many\r\n", INVALID),
    "chunk size with a sign": (CHUNKED + b"-1\r\n", INVALID),
    "chunk longer than its size": (CHUNKED + b"5\r\nhello, world\r\n0\r\n\r\n", INVALID),
    "chunk with 1 MB beside its size": (CHUNKED + b"5;" + b"a" * LIMIT + b"\r\nhello\r\n0\r\n\r\n", INVALID),
    "trailers of 1 MB": (CHUNKED + b"0\r\n" + b"X: a\r\n" * 170_000 + b"\r\n", INVALID),
    "other transfer encoding": (head("Transfer-Encoding: gzip"), INVALID),
    "two transfer encodings": (head("Transfer-Encoding: gzip, chunked"), INVALID),
    "transfer encoding twice": (head("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), INVALID),
    "blank before the colon": (head("Transfer-Encoding : chunked", "Content-Length: 5") + b"hello", INVALID),
    "folded header": (head("Transfer-Encoding:", " gzip"), INVALID),
    "NUL in a header": (head("X: a\0b"), INVALID),
    "header without a name": (head(": a"), INVALID),
    "carriage return in a header": (head("X: a\rContent-Length: 5"), INVALID),
    "two hosts": (head("Host: y"), INVALID),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", INVALID),
    "no HTTP": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500), INVALID),
    "HTTP 0.9": (b"GET /\r\n\r\n", INVALID),
    "blank in the path": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", INVALID),
    "path that is not ASCII": (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", INVALID),
    "method that is none": (b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n", INVALID),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), FALSE.values(), ids=FALSE)
def test_false_requests_are_refused_readably(sent: bytes, expected: tuple[int, str], served: Rude) -> None:
    assert told(served.talk(sent)) == expected


@pytest.mark.parametrize(
    "sent", [head("X: " + "a" * LIMIT), head(*["X: a"] * 100_000), head(path="/" + "a" * LIMIT)],
    ids=["header of 1 MB", "100,000 headers", "URL of 1 MB"],
)  # fmt: skip
def test_endless_heads_are_closed(sent: bytes, served: Rude) -> None:
    """With what is left of them unread, so that TCP may lose the answer."""
    assert told(served.talk(sent)) in (INVALID, CLOSED)


def test_a_body_that_is_too_large_is_not_asked_for(served: Rude) -> None:
    with served.connect() as client:
        client.sendall(head("Content-Length: 99999999", "Expect: 100-continue"))
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_short_length_leaves_no_second_request(served: Rude) -> None:
    """What is sent beyond the length is the next request, which is none: the connection is closed."""
    with served.connect() as client:
        client.sendall(head("Content-Length: 10") + GOOD)
        text = b"".join(iter(lambda: client.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", text) == [b"422", b"400"]


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 30\r\n\r\n",
    ],
)
def test_nothing_is_smuggled(lines: str, served: Rude) -> None:
    """Of both framings the chunks count (RFC 9112, 6.3), so that what follows is one request or refused."""
    with served.connect() as client:
        client.sendall(
            f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n{lines}"
            "GET /v1/model HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        text = b"".join(iter(lambda: client.recv(65_536), b""))
    statuses = re.findall(rb"HTTP/1.1 (\d+)", text)
    chunked = "chunked\r\n" in lines and "xchunked" not in lines and "Transfer-encoding" not in lines
    assert statuses == ([b"422", b"200"] if chunked else [b"400"])


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET /", head()[:-2]], ids=["silent", "half a line", "no last line"])
def test_300_open_connections_are_closed(sent: bytes, served: Rude) -> None:
    clients = [served.connect() for _ in range(300)]
    try:
        for client in clients:
            client.sendall(sent)
        assert served.ask("/healthz").status == served.ask(body=GOOD).status == 200
        assert served.holds[3] >= 300
        assert served.is_left_empty(SECONDS + 3)
        assert {client.recv(1) for client in clients} == {b""}
    finally:
        for client in clients:
            client.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        b"GET /static/swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
        b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 2000,
    ],
    ids=["20 large files", "2,000 small answers"],
)
def test_clients_that_do_not_read_are_closed(sent: bytes, served: Rude) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.live.port))
        client.sendall(sent[:100_000])
        wait_for(lambda: served.holds[3] == 1)
        assert served.is_left_empty(SECONDS + 4), served.holds


def test_connections_above_the_limit_are_answered_and_closed(network: Basic) -> None:
    with rude(network, Settings(), patience=20, most=3) as few:
        silent = [few.connect() for _ in range(3)]
        wait_for(lambda: few.holds[3] == 3)
        answer = few.ask("/healthz")
        assert answer.problem[:2] == (503, "the server has too many connections; try again")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        refused = [few.connect() for _ in range(20)]
        assert all(client.recv(9) == b"HTTP/1.1 " for client in refused)  # without a word of theirs
        wait_for(lambda: few.holds[3] == 3)
        silent[0].sendall(head(f"Content-Length: {len(GOOD)}") + GOOD)  # whoever is there is answered
        assert silent[0].recv(12) == b"HTTP/1.1 200"
        for client in silent + refused:
            client.close()
        wait_for(lambda: few.holds[3] == 0)
        assert few.ask("/healthz").status == 200


@pytest.mark.parametrize("owed", ["", "Content-Length: 9\r\n"])
def test_a_slow_download_outlasts_the_time_of_a_body(
    owed: str, network: Basic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the client owes a body that nobody needs."""
    (tmp_path / "large").write_bytes(bytes(2**24))  # more than the buffers between take
    monkeypatch.setattr(app, "STATIC", tmp_path)
    with rude(network, Settings(seconds=0.2), patience=20) as patient, patient.connect() as client:
        client.sendall(f"GET /static/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{owed}\r\n".encode())
        time.sleep(0.6)
        received = sum(map(len, iter(lambda: client.recv(2**20), b"")))
    assert received > 2**24


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_50_clients_go_away(path: str, share: float, served: Rude) -> None:
    """With a reset, before the body, in the middle of it, or after it."""
    sent = head(f"Content-Length: {len(GOOD)}", path=path) + GOOD[: int(share * len(GOOD))]
    for _ in range(50):
        with served.connect() as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert served.ask(body=GOOD).status == 200


# HTTP


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "GET", "CATS"])
def test_other_methods(method: str, served: Rude) -> None:
    answer = served.talk(f"{method} /v1/predict HTTP/1.1\r\nHost: x\r\n\r\n".encode(), method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert method == "HEAD" or answer.problem == (405, "Method Not Allowed", None)


TARGETS: dict[str, tuple[bytes, int]] = {
    "HTTP 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    "HTTP 9.9": (b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 200),
    "HTTP 1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    "absolute form": (b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "tunnel": (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "WebSocket": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", 200,
    ),
    "HTTP 2 by upgrade": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 200,
    ),
    "strange host": (b"GET /healthz HTTP/1.1\r\nHost: evil.example/../x:y@z\r\n\r\n", 200),
    "slash at the end": (b"GET /healthz/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 404),
    "two slashes": (b"GET //evil.example/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "other headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: evil.example\r\n"
        b"X-Original-URL: /metrics\r\nX-HTTP-Method-Override: DELETE\r\n\r\n", 200),
    "query": (b"GET /healthz?%00=%ff&a[b]=c HTTP/1.1\r\nHost: x\r\n\r\n", 200),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), TARGETS.values(), ids=TARGETS)
def test_other_requests(sent: bytes, status: int, served: Rude) -> None:
    answer = served.talk(sent, method="GET")
    assert (answer.status, b"evil" in answer.body, "location" in answer.headers) == (status, False, False)


def test_pipelined_requests_are_answered_in_order(served: Rude) -> None:
    picture = head(f"Content-Length: {len(GOOD)}") + GOOD
    with served.connect() as client:
        client.sendall(picture + b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n" + picture + b"GET /docs HTTP/1.1\r\n"
            b"Host: x\r\nConnection: close\r\n\r\n")  # fmt: skip
        text = b"".join(iter(lambda: client.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", text) == [b"200", b"404", b"200", b"200"]
