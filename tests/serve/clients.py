"""Clients that are as rude as a test wants, and a look at what they leave in the server."""

import json
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from catdog_pl.serve.limits import BodyLimits
from tests.data.test_images import encoded, photo

if TYPE_CHECKING:
    from tests.serve.conftest import Live

SECONDS = 1.0
"""What the server of most tests waits."""

LIMIT = 2**20
"""Bytes that a body may have there."""

GOOD = encoded(photo(), "PNG")
"""A picture."""

TOKEN = "s3same-open"
"""That another server asks for."""

Piece = bytes | float
"""Sent as it is, or seconds to wait."""


class Answer(NamedTuple):
    """What a client sees; status 0: the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str, str | None]:
        """The status, the sentence and the fault of a problem document, which it has to be."""
        assert self.headers["content-type"] == "application/problem+json", self
        found = self.json
        assert found.keys() - {"fault"} == {"type", "title", "status", "detail"}
        assert found["status"] == self.status
        assert found["detail"].isprintable()
        return self.status, found["detail"], found.get("fault")


class Rude(NamedTuple):
    """Clients of a running server, and what they leave in it."""

    live: "Live"

    @property
    def holds(self) -> tuple[int, int, int, int]:
        """Pictures in work, bytes of bodies, running requests, open connections."""
        state, layer = self.live.server.server_state, cast(Any, self.live.server.config.app).middleware_stack
        while not isinstance(layer, BodyLimits):
            layer = layer.app
        return self.live.service.batcher.load, layer.held, len(state.tasks), len(state.connections)

    def is_left_empty(self, seconds: float = 5.0) -> bool:
        end = time.monotonic() + seconds
        while any(self.holds) and time.monotonic() < end:
            time.sleep(0.01)
        return not any(self.holds)

    def ask(
        self, path: str = "/v1/predict", body: bytes | None = None, kind: str = "image/png", **headers: str
    ) -> Answer:
        """What a polite client is answered; underscores in the names of headers are hyphens."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            names["Content-Type"] = kind
        connection = HTTPConnection("127.0.0.1", self.live.port, timeout=30)
        try:
            connection.request("GET" if body is None else "POST", path, body, names)
            return _read(connection.getresponse())
        finally:
            connection.close()

    def ask_url(self, url: str, path: str = "/v1/predict", **headers: str) -> Answer:
        return self.ask(path, json.dumps({"url": url}).encode(), "application/json", **headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.live.port), timeout=20)

    def talk(self, *pieces: Piece, method: str = "POST") -> Answer:
        """What the server answers to any bytes; they go on being sent when it has closed already."""
        with self.connect() as client:
            for piece in pieces:
                if isinstance(piece, float):
                    time.sleep(piece)
                    continue
                try:
                    client.sendall(piece)
                except OSError:
                    break
            response = HTTPResponse(client, method=method)
            try:
                response.begin()
                return _read(response)
            except (OSError, HTTPException):
                return Answer(0, {}, b"")


def _read(response: HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def head(*lines: str, kind: str = "image/png", path: str = "/v1/predict") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", *lines, "", ""]).encode()


def form(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    """A form of parts, each with all that follows ``Content-Disposition: form-data``, and its type."""
    body = b"".join(
        b"--limit\r\nContent-Disposition: form-data" + head.encode("utf-8", "surrogateescape") + b"\r\n\r\n"
        + content + b"\r\n"
        for head, content in parts
    )  # fmt: skip
    return body + b"--limit--\r\n", "multipart/form-data; boundary=limit"


def pictures_form(*pictures: bytes, name: str = "x.png") -> tuple[bytes, str]:
    return form(*((f'; name="file"; filename="{name}"', picture) for picture in pictures))
