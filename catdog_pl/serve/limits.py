"""What guards the server: bounds on bodies and connections, and the headers that guard the page."""

import asyncio
from typing import Any

import h11
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from catdog_pl.serve.problems import ProblemError, document

HEADERS = {
    # The page shows the picture behind a URL that its user gives, and the pictures that they choose.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data: https: http:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Of every answer."""


class BodyLimits:
    """Bounds the body of each request in bytes and time, and the bytes of all bodies together.

    Counted is what arrives, whatever the request declares. A body counts until its request is answered.

    Args:
        app: what takes the requests.
        max_bytes: of one body.
        max_total: of all bodies.
        seconds: from the first byte of a body to its last.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_total: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_total = max_total
        self.seconds = seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its body raises a `ProblemError` where it is read beyond a limit."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        declared = Headers(scope=scope).get("Content-Length", "")
        too_large = ProblemError(413, f"the body is larger than {self.max_bytes:,} bytes, the limit")
        end = asyncio.get_running_loop().time() + self.seconds
        mine, is_over = 0, False

        async def limited() -> Message:
            nonlocal mine, is_over
            if is_over:  # what follows is that the client goes away, perhaps long after
                return await receive()
            if declared.isdecimal() and int(declared) > self.max_bytes:
                raise too_large
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                if is_over:
                    return await receive()
                raise ProblemError(408, f"the body took longer than {self.seconds:g} seconds") from None
            is_over = is_over or not message.get("more_body", False)
            size = len(message.get("body", b""))
            mine += size
            self.held += size
            if mine > self.max_bytes:
                raise too_large
            if self.held > self.max_total:
                raise ProblemError(503, "the server holds too many pictures; try again", retry_after=1)
            return message

        async def watched(message: Message) -> None:
            nonlocal is_over
            is_over = True  # files are sent while the client is watched for going away
            await send(message)

        try:
            await self.app(scope, limited, watched)
        finally:
            self.held -= mine


FULL = document(None, ProblemError(503, "the server has too many connections; try again", retry_after=1))


class ImpatientProtocol(H11Protocol):
    """uvicorn's HTTP, which also closes a connection whose client does not send or read in time.

    uvicorn itself waits for ever for the first request, for the rest of one that has begun, and for a client
    that does not read its answer. Of connections above its ``limit_concurrency`` it would keep the silent
    ones, and refuse the others' requests as well; here they are answered 503 and closed at once.
    """

    patience = 10.0
    """Seconds for the line and the headers of a request, and for what is left of a body that was refused."""

    read_patience = 60.0
    """Seconds for a client to read what was written: 64 KiB of a file, or the whole of another answer."""

    _closing: asyncio.TimerHandle | None = None
    _aborting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # each unread byte counts: closing waits for all of them
        limit, self.limit_concurrency = self.limit_concurrency, None
        if limit and len(self.connections) > limit:
            headers = (*self.server_state.default_headers, *FULL.raw_headers, (b"connection", b"close"))
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\n%b\r\n%b" % (lines, bytes(FULL.body)))
            transport.close()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop waiting while a request is answered."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop_waiting()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._aborting = self.loop.call_later(self.read_patience, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting for it."""
        super().resume_writing()
        if self._aborting is not None:
            self._aborting.cancel()
            self._aborting = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; where an answer has begun already, only close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        self.transport.close()

    def _wait(self) -> None:
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop_waiting()
        elif self._closing is None:
            self._closing = self.loop.call_later(self.patience, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
