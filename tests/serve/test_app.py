"""The routes, as a client of the API sees them."""

from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import requests
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import catdog_pl
from catdog_pl.__main__ import main
from catdog_pl.io.source import WebOptions
from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import save_checkpoint
from catdog_pl.prediction.predictor import predict
from catdog_pl.serve.app import EXPLAINED_SIDE, Settings
from tests.serve.conftest import Live, run_server


@pytest.fixture(scope="module")
def expected(network: Basic, photo: bytes) -> float:
    (prediction,) = predict(photo, network)
    assert prediction.probability is not None
    return prediction.probability


def test_a_picture_as_the_body_a_form_or_a_url_is_answered_as_by_predict(
    live: Live, network: Basic, photo: bytes, expected: float
) -> None:
    label = network.data_spec.class_names[expected > 0.5]
    answer = {"probability": pytest.approx(expected, abs=1e-6), "label": label, "error": None, "fault": None}
    ask = f"{live.url}/v1/predict"

    body = requests.post(ask, photo, headers={"Content-Type": "image/jpeg"})
    assert body.json() == {"predictions": [{"source": "picture"} | answer]}
    form = requests.post(ask, files=[("file", ("a.jpg", photo)), ("file", ("b.png", photo))])
    assert form.json() == {"predictions": [{"source": name} | answer for name in ("a.jpg", "b.png")]}
    with image_host(photo) as url, run_server(network, Settings(web=WebOptions())) as server:
        linked = requests.post(f"{server.url}/v1/predict", json={"url": [url + "?key=secret"]})
    assert linked.json() == {"predictions": [{"source": url + "?key=***"} | answer]}


def test_a_lone_bad_picture_is_the_requests_error_and_among_others_a_row(live: Live, photo: bytes) -> None:
    ask = f"{live.url}/v1/predict"
    alone = requests.post(ask, files={"file": ("page.jpg", b"<html>")})
    reason = "its content is an HTML page, not a photograph"
    assert alone.status_code == 415
    assert alone.headers["Content-Type"] == "application/problem+json"
    assert alone.json() == {
        "type": "about:blank",
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": f"page.jpg: {reason}",
        "fault": "not an image",
    }
    both = requests.post(ask, files=[("file", ("page.jpg", b"<html>")), ("file", ("a.jpg", photo))])
    assert both.status_code == 200
    assert [one["error"] for one in both.json()["predictions"]] == [reason, None]


def test_an_explanation_is_the_picture_in_other_colours_and_small(live: Live) -> None:
    large = BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).resize((1500, 1000)).save(large, "PNG")
    answer = requests.post(f"{live.url}/v1/explain", files={"file": ("a.png", large.getvalue())})
    assert answer.headers["Content-Type"] == "image/jpeg"
    explained = Image.open(BytesIO(answer.content))
    assert max(explained.size) == EXPLAINED_SIDE
    same = Image.open(large).resize(explained.size)
    assert np.abs(np.asarray(explained, float) - np.asarray(same, float)).mean() > 5
    bad = requests.post(f"{live.url}/v1/explain", files={"file": ("a.png", b"")})
    assert (bad.status_code, bad.json()["detail"]) == (422, "a.png: it is empty")
    two = requests.post(f"{live.url}/v1/explain", files=[("file", b"1"), ("file", b"2")])
    assert (two.status_code, two.json()["detail"]) == (
        422,
        "2 pictures were sent; one is explained at a time",
    )


def test_what_is_loaded_is_told(live: Live) -> None:
    assert requests.get(f"{live.url}/v1/model").json() == {
        "file": "best.ckpt",
        "model": "basic",
        "class_names": ["cat", "dog"],
        "threshold": 0.5,
        "image_size": 32,
        "explains": True,
        "urls": True,
        "max_bytes": 32 * 2**20,
        "max_pictures": 32,
        "version": catdog_pl.__version__,
    }


def test_pictures_of_many_requests_are_computed_together(network: Basic, photo: bytes) -> None:
    with run_server(network, Settings()) as server, ThreadPoolExecutor(16) as pool:
        session = requests.Session()

        def ask(_: int) -> int:
            return session.post(f"{server.url}/v1/predict", files={"file": photo}).status_code

        assert set(pool.map(ask, range(64))) == {200}
        counted = metrics(server)
    assert counted["catdog_pictures_total"] == 64
    assert counted["catdog_batch_size_sum"] == 64
    assert counted["catdog_batch_size_count"] < 64
    assert counted["catdog_pictures_in_work"] == 0
    assert counted["catdog_requests_total"] == 64


def test_more_pictures_than_a_server_takes_are_refused_for_good(network: Basic, photo: bytes) -> None:
    with run_server(network, Settings(capacity=2)) as server:
        answer = requests.post(f"{server.url}/v1/predict", files=[("file", photo)] * 3)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (413, None)
        assert answer.json()["detail"] == "3 pictures at a time; this server takes up to 2"
        assert requests.post(f"{server.url}/v1/predict", files=[("file", photo)] * 2).status_code == 200


def test_with_a_token_only_the_page_and_the_health_are_open(network: Basic, photo: bytes) -> None:
    with run_server(network, Settings(token="geheim")) as server:
        for path in ("/", "/static/page.js", "/docs", "/openapi.json", "/healthz", "/readyz"):
            assert requests.get(server.url + path).status_code == 200, path
        for path in ("/v1/model", "/metrics"):
            refused = requests.get(server.url + path)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert requests.get(server.url + path, headers=bearing("geheim")).status_code == 200
        files = {"file": photo}
        assert requests.post(f"{server.url}/v1/predict", files=files).status_code == 401
        wrong = requests.post(f"{server.url}/v1/predict", files=files, headers=bearing("gehein"))
        assert wrong.status_code == 401
        right = requests.post(f"{server.url}/v1/predict", files=files, headers=bearing("geheim"))
        assert right.status_code == 200


def test_other_sites_may_ask_only_where_they_are_named(live: Live, network: Basic) -> None:
    origin = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    closed = requests.options(f"{live.url}/v1/predict", headers=origin)
    assert "Access-Control-Allow-Origin" not in closed.headers
    with run_server(network, Settings(origins=("https://example.org",))) as server:
        opened = requests.options(f"{server.url}/v1/predict", headers=origin)
        other = requests.options(f"{server.url}/v1/predict", headers=origin | {"Origin": "https://evil.org"})
    assert opened.headers["Access-Control-Allow-Origin"] == "https://example.org"
    assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nothing", "/static/page.js"])
def test_every_answer_bears_the_headers_that_guard_the_page(path: str, live: Live) -> None:
    headers = requests.get(live.url + path).headers
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_an_onnx_file_answers_and_does_not_explain(
    network: Basic, photo: bytes, expected: float, tmp_path: Path
) -> None:
    save_checkpoint(network, tmp_path / "best.ckpt")
    assert main(["export", str(tmp_path / "best.ckpt"), "--output", str(tmp_path / "model.onnx")]) == 0
    with run_server(tmp_path / "model.onnx", Settings()) as server:
        answer = requests.post(f"{server.url}/v1/predict", files={"file": photo}).json()
        refused = requests.post(f"{server.url}/v1/explain", files={"file": photo})
        loaded = requests.get(f"{server.url}/v1/model").json()
    assert answer["predictions"][0]["probability"] == pytest.approx(expected, abs=1e-5)
    assert (refused.status_code, loaded["model"], loaded["explains"]) == (501, None, False)
    assert refused.json()["detail"].startswith("An ONNX file gives answers only")


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def metrics(server: Live) -> dict[str, float]:
    """The sums of what was counted, over labels; requests of /metrics itself are counted afterwards."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(requests.get(f"{server.url}/metrics").text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


class image_host:  # noqa: N801  # reads as a function
    """Serves one picture at a URL of this machine while the block runs."""

    def __init__(self, content: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/cat.jpg"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
