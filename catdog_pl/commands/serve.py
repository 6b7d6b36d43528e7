"""``serve``: a page and an HTTP API, which tell cats from dogs."""

import argparse
import os
import re
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from catdog_pl.arguments import ArgumentParser, add_options, option, positive
from catdog_pl.devices import ACCELERATORS
from catdog_pl.errors import UsageError
from catdog_pl.io.source import WebOptions
from catdog_pl.prediction import BATCH_SIZE
from catdog_pl.process import gc_paused, keep_memory, leave_out_unused, wait_passively

if TYPE_CHECKING:
    import uvicorn

TOKEN = "CATDOG_TOKEN"

GRACE = 30
"""Seconds that requests have to end after SIGTERM or Ctrl-C."""

EPILOG = f"""\
The page is at /, the API's page at /docs. With a secret in the environment variable {TOKEN}, requests
to the API must bear it: Authorization: Bearer SECRET. No picture, name, URL or address is kept or logged."""


@dataclass(frozen=True)
class ServeOptions:
    """The options of ``serve``."""

    ckpt_path: str = option(
        "best", "best or last of the newest run, a file or folder, or model.onnx", metavar="PATH"
    )
    host: str = option("127.0.0.1", "the address to listen at; 0.0.0.0 is every one of this machine")
    port: int = option(8000, "0 takes a free one", metavar="N")
    accelerator: str = option("auto", "auto is a GPU where there is one", choices=ACCELERATORS)
    batch_size: int = option(
        BATCH_SIZE, "pictures given to the model at once, at most", metavar="N", type=positive(int)
    )
    queue: int = option(
        256, "pictures in work at a time; more are refused with 503", metavar="N", type=positive(int)
    )
    connections: int = option(
        500, "at a time, fewer than `ulimit -n`; more are refused with 503", metavar="N", type=positive(int)
    )
    max_mb: int = option(32, "megabytes (MiB) of the body of a request", metavar="N", type=positive(int))
    timeout: float = option(
        WebOptions().seconds,
        "for a body to arrive, and for a download",
        metavar="SECONDS",
        type=positive(float),
    )
    no_urls: bool = option(False, "fetch no pictures from URLs; else from public addresses only")
    calibrated: bool = option(False, "divide the logits by the checkpoint's temperature; no class changes")
    cors_origin: tuple[str, ...] = option(
        (), "sites whose pages may call the API from a browser, such as https://example.org", metavar="ORIGIN"
    )
    access_log: bool = option(False, "print a line for each request: address, method, path, status")


def parser() -> ArgumentParser:
    """Return the command line."""
    parser = ArgumentParser(
        "serve",
        description="Serve a page and an HTTP API that tell cats from dogs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, ServeOptions)
    return parser


def main(argv: Sequence[str]) -> int:
    """Load the model, listen, and answer until Ctrl-C or SIGTERM."""
    options = parser().parse_args(argv)
    keep_memory(all_threads=True)  # one computes, others decode
    wait_passively()
    leave_out_unused()
    with listen(options.host, options.port) as listener:
        server = create_server(options)
        # uvicorn stops at these signals, and then raises them again; a server that stopped has done its work.
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: None)
        host, port = listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        print(f"Serving on http://{name}:{port} (Ctrl-C stops)", flush=True)
        server.run(sockets=[listener])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; `UsageError` where the address is wrong or taken."""
    if not 0 <= port < 2**16:
        raise UsageError(f"--port {port}: it must lie in 0..65535; 0 takes a free one")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]  # not said twice
        raise UsageError(
            f"--host {host} --port {port}: nothing can listen there ({reason}); give another --port, or 0"
        ) from error


def create_server(options: argparse.Namespace) -> "uvicorn.Server":
    """Return a server with its model loaded and tried once."""
    try:
        with gc_paused():
            import uvicorn

            from catdog_pl.serve.app import Settings, create_app
            from catdog_pl.serve.limits import HEADERS, ImpatientProtocol
    except ModuleNotFoundError as error:
        raise UsageError(
            f"serve needs {error.name}, which is not installed: pip install 'catdog_pl[serve]'"
        ) from error
    from catdog_pl.data.images import silence_pillow
    from catdog_pl.prediction.predictor import open_predictor
    from catdog_pl.runs import find_checkpoint

    token = os.environ.get(TOKEN) or None
    if token and not re.fullmatch("[!-~]+", token):  # what all clients send alike
        raise UsageError(
            f"{TOKEN} has a blank or a letter beyond ASCII; valid is what `openssl rand -hex 16` gives"
        )
    silence_pillow()
    path = find_checkpoint(options.ckpt_path)
    settings = Settings(
        options.queue,
        options.max_mb * 2**20,
        options.timeout,
        None if options.no_urls else WebOptions(public_only=True, seconds=options.timeout),
        token,
        tuple(options.cors_origin),
    )
    predictor = open_predictor(
        path,
        accelerator=options.accelerator,
        batch_size=options.batch_size,
        calibrated=options.calibrated,
    )
    app = create_app(predictor, path.name, settings)
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        headers=list(HEADERS.items()),
        server_header=False,
        log_level="info" if options.access_log else "warning",
        access_log=options.access_log,
        limit_concurrency=options.connections,
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)
