"""A server of its own for each module, with a tiny network, on a free port."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image

from catdog_pl.commands.serve import listen
from catdog_pl.io.source import WebOptions
from catdog_pl.models.basic import Basic
from catdog_pl.prediction.predictor import open_predictor
from catdog_pl.serve.app import Service, Settings, create_app
from catdog_pl.serve.limits import HEADERS, ImpatientProtocol
from tests.serve.clients import GOOD, LIMIT, SECONDS, TOKEN, Rude


class Live:
    """A running server: its address and what its routes share."""

    def __init__(self, port: int, service: Service, server: uvicorn.Server) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.service = service
        self.server = server


Serve = Callable[..., AbstractContextManager[Live]]


@contextmanager
def run_server(model: Basic | Path, settings: Settings, **config: object) -> Iterator[Live]:
    """Serve a model while the block runs."""
    app = create_app(open_predictor(model), "best.ckpt", settings)
    words = {"http": ImpatientProtocol, "ws": "none", "headers": list(HEADERS.items())} | config
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **words))  # type: ignore[arg-type]
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
        yield Live(listener.getsockname()[1], app.state.service, server)
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def rude(
    model: Basic, settings: Settings, patience: float = SECONDS, most: int | None = None
) -> Iterator[Rude]:
    """Serve a model with little patience while the block runs; what it logs is there to be looked at."""
    protocol = type("Protocol", (ImpatientProtocol,), {"patience": patience, "read_patience": patience})
    words = {"http": protocol, "log_config": None, "access_log": False, "limit_concurrency": most}
    with run_server(model, settings, **words) as live:
        yield Rude(live)


@pytest.fixture(scope="package")
def network() -> Basic:
    torch.manual_seed(0)
    return Basic(image_size=32).eval()


@pytest.fixture(scope="module")
def live(network: Basic) -> Iterator[Live]:
    with run_server(network, Settings()) as server:
        yield server


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG of noise."""
    content = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(content, "JPEG", quality=95)
    return content.getvalue()


@pytest.fixture(scope="package")
def served(network: Basic) -> Iterator[Rude]:
    """For the hostile tests."""
    web = WebOptions(public_only=True, seconds=SECONDS)
    with rude(network, Settings(max_bytes=LIMIT, seconds=SECONDS, web=web)) as found:
        yield found


@pytest.fixture(scope="package")
def closed(network: Basic) -> Iterator[Rude]:
    """Asks for a token, and fetches no URLs."""
    with rude(network, Settings(token=TOKEN, web=None)) as found:
        yield found


@pytest.fixture
def unharmed(served: Rude, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After the test the server holds nothing, answers the next client, and has logged no traceback."""
    yield
    for _ in range(2):
        assert served.is_left_empty(), f"pictures, bytes, requests, connections: {served.holds}"
        assert served.ask("/healthz").body == b"ok"
        assert served.ask(body=GOOD).status == 200
    assert tracebacks(caplog) == []


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for when in ("setup", "call", "teardown") for record in caplog.get_records(when)]
    return [record.getMessage() for record in records if record.exc_info]
