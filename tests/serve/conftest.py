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
from catdog_pl.models.basic import Basic
from catdog_pl.prediction.predictor import open_predictor
from catdog_pl.serve.app import Service, Settings, create_app
from catdog_pl.serve.limits import HEADERS, ImpatientProtocol


class Live:
    """A running server: its address and what its routes share."""

    def __init__(self, port: int, service: Service) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.service = service


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
        yield Live(listener.getsockname()[1], app.state.service)
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


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
