"""Any picture, token and load, and a model that fails: a problem document, and the next client its answer."""

import hmac
import logging
import math
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catdog_pl.errors import CatDogError
from catdog_pl.models.basic import Basic
from catdog_pl.prediction.predictor import TorchEngine, predict
from catdog_pl.serve import app as serve_app
from catdog_pl.serve.app import Settings
from catdog_pl.serve.problems import STATUS
from tests.conftest import Run
from tests.data import test_images
from tests.data.test_images import encoded, icon, in_mode, photo, png_chunk
from tests.serve.clients import GOOD, TOKEN, Answer, Rude, head, pictures_form, wait_for
from tests.serve.conftest import rude, tracebacks

pytestmark = pytest.mark.usefixtures("unharmed")

Pixels = npt.NDArray[np.generic]
# Pictures

LOSSLESS = cast("dict[str, dict[str, Any]]", test_images.LOSSLESS)
PICTURES: dict[str, bytes] = {
    **{f"{fault} {index}": content for index, (content, fault, _) in enumerate(test_images.REFUSED)},
    **test_images.SEEDS,
    **{f"half a {kind}": content[: len(content) // 2] for kind, content in test_images.SEEDS.items()},
    **{f"{kind} from {cut}": content[cut:] for kind, content in test_images.SEEDS.items() for cut in (1, 8)},
    **{kind: encoded(photo(), kind, **options) for kind, options in LOSSLESS.items()},
    **{f"mode {mode}": in_mode(mode) for mode in [*test_images.MODES, *test_images.MARKED]},
    **{f"bomb in an icon {index}": icon(bomb) for index, bomb in enumerate(test_images.ICON_BOMBS)},
    **{f"foreign {kind}": encoded(photo(), kind) for kind in ("SGI", "PCX", "TGA", "DDS", "PDF", "EPS")},
    "icon of an icon": icon(icon(GOOD)),
    "icon without end": icon(GOOD)[:20],
    "icon of 65,535 pictures": b"\0\0\1\0\xff\xff" + bytes(100),
    "text bomb": GOOD[:33] + png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000))) + GOOD[33:],
    "thin": encoded(photo(1, 20_000), "PNG"),
    "HEIC": b"\0\0\0\x20ftypheic" + bytes(40),
    "HEIC that calls itself AVIF": b"\0\0\0\x20ftypheicavif" + bytes(40),
    "TIFF in a circle": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "TIFF of NaN": encoded(photo().convert("F").point(lambda value: value * math.nan), "TIFF"),
    "WebP of 16,383 x 16,383": b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f\xfe\xbf\xff\x0f" + bytes(13),
    "animated": encoded(photo(), "GIF", save_all=True, append_images=[photo().rotate(90)] * 20),
}  # fmt: skip


def check_as_predicted(network: Basic, content: bytes, answer: Answer, name: str) -> None:
    """What is answered over HTTP is what ``predict`` says, word for word."""
    expected = next(iter(predict([content], network)))
    if expected.error is None:
        (found,) = answer.json["predictions"]
        assert (answer.status, found["source"], found["label"]) == (200, name, expected.label)
        assert found["probability"] == pytest.approx(expected.probability, abs=1e-6)
    else:
        assert expected.fault is not None
        assert answer.problem == (
            STATUS.get(expected.fault, 422),
            f"{name}: {expected.error}",
            expected.fault,
        )


@pytest.mark.parametrize("content", PICTURES.values(), ids=PICTURES)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_pictures_are_answered_as_predict_does(
    content: bytes, served: Rude, network: Basic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    check_as_predicted(network, content, served.ask(body=content), "picture")
    body, kind = pictures_form(content)
    check_as_predicted(network, content, served.ask(body=body, kind=kind), "x.png")
    explained = served.ask("/v1/explain", content)
    if explained.status == 200:
        assert (explained.headers["content-type"], explained.body[:2]) == ("image/jpeg", b"\xff\xd8")
    else:
        check_as_predicted(network, content, explained, "picture")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(content=st.binary(max_size=300) | st.builds(bytes.__add__, test_images.MAGIC, st.binary(max_size=300)))
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_any_bytes_are_answered_as_predict_does(served: Rude, network: Basic, content: bytes) -> None:
    check_as_predicted(network, content, served.ask(body=content), "picture")


def test_a_bad_picture_costs_no_other_its_answer(served: Rude) -> None:
    body, kind = pictures_form(*[b"no picture", GOOD] * 16)
    answer = served.ask(body=body, kind=kind)
    assert answer.status == 200
    assert [found["error"] is None for found in answer.json["predictions"]] == [False, True] * 16


# Too much at once, and a model that fails


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds the model until it is set."""
    found = threading.Event()

    def probabilities(_: object, pixels: Pixels) -> Pixels:
        assert found.wait(20)
        return np.full(len(pixels), 0.75, np.float32)

    monkeypatch.setattr(TorchEngine, "probabilities", probabilities)
    yield found
    found.set()


def test_a_full_queue(gate: threading.Event, network: Basic) -> None:
    with rude(network, Settings(capacity=3)) as full, ThreadPoolExecutor(8) as pool:
        held = [pool.submit(full.ask, body=GOOD) for _ in range(3)]
        wait_for(lambda: full.live.service.batcher.load == 3)
        for path, body in (("/v1/predict", GOOD), ("/v1/explain", GOOD), ("/readyz", None)):
            answer = full.ask(path, body)
            assert answer.problem[:2] == (503, "too many pictures are waiting; try again in a second")
            assert answer.headers["retry-after"] == "1"
        assert full.ask("/healthz").status == 200
        gate.set()
        assert [answer.result().status for answer in held] == [200] * 3
        assert full.ask("/readyz").status == full.ask(body=GOOD).status == 200
        body, kind = pictures_form(*[GOOD] * 4)
        assert full.ask(body=body, kind=kind).status == 413, "more than there is ever room for"
        assert full.is_left_empty()


def test_explanations_wait_in_the_same_queue(gate: threading.Event, network: Basic) -> None:
    with rude(network, Settings(capacity=3)) as full, ThreadPoolExecutor(8) as pool:
        held = [pool.submit(full.ask, "/v1/explain", GOOD) for _ in range(3)]
        wait_for(lambda: full.live.service.batcher.load == 3)
        assert full.ask("/v1/explain", GOOD).status == full.ask(body=GOOD).status == 503
        gate.set()
        assert [answer.result().status for answer in held] == [200] * 3
        assert full.is_left_empty()


def test_a_model_that_takes_too_long(gate: threading.Event, network: Basic) -> None:
    with rude(network, Settings(seconds=0.2)) as late:
        for path in ("/v1/predict", "/v1/explain"):
            answer = late.ask(path, GOOD)
            assert answer.problem[:2] == (503, "the answer takes too long; try again")
            assert answer.headers["retry-after"] == "5"
        gate.set()
        assert late.is_left_empty()
        assert late.ask(body=GOOD).status == 200


def test_explanations_and_answers_do_not_disturb_each_other(served: Rude) -> None:
    alone = served.ask(body=GOOD).json, served.ask("/v1/explain", GOOD).body
    with ThreadPoolExecutor(8) as pool:
        paths = ["/v1/predict", "/v1/explain", "/v1/predict"] * 10
        for path, answer in zip(paths, pool.map(lambda path: served.ask(path, GOOD), paths), strict=True):
            if path == "/v1/explain":
                assert answer.body == alone[1]
            else:
                assert answer.json["predictions"][0]["probability"] == pytest.approx(
                    alone[0]["predictions"][0]["probability"], abs=1e-6
                )


def test_what_is_in_work_is_answered_before_the_end(gate: threading.Event, network: Basic) -> None:
    with ThreadPoolExecutor(2) as pool:
        with rude(network, Settings()) as ending:
            held: Future[Answer] = pool.submit(ending.ask, body=GOOD)
            wait_for(lambda: ending.live.service.batcher.load == 1)
            ending.live.server.should_exit = True
            wait_for(lambda: not ending.live.server.servers[0].is_serving())
            gate.set()
        assert held.result().status == 200


FAILURES: dict[str, tuple[BaseException | float, str]] = {
    "an error": (RuntimeError("secret"), "the server failed; its log says where"),
    "no memory": (MemoryError("secret"), "the server failed; its log says where"),
    "no memory on the GPU": (CatDogError("cuda has no memory for 1"), "cuda has no memory for 1"),
    "NaN": (math.nan, "picture: the model's answer is NaN; its training failed, use another one"),
    "infinity": (math.inf, "picture: the model's answer is NaN; its training failed, use another one"),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
@pytest.mark.parametrize(("failure", "sentence"), FAILURES.values(), ids=FAILURES)
def test_a_model_that_fails(
    failure: BaseException | float, sentence: str, path: str, served: Rude,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def probabilities(_: object, pixels: Pixels) -> Pixels:
        if isinstance(failure, BaseException):
            raise failure
        return np.full(len(pixels), failure, np.float32)

    with monkeypatch.context() as patched:
        patched.setattr(TorchEngine, "probabilities", probabilities)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: served.ask(path, GOOD), range(8)))
    assert {answer.problem for answer in answers} == {(500, sentence, None)}
    wait_for(lambda: len(tracebacks(caplog)) == 8 * ("log" in sentence))
    caplog.clear()


# Rights

WRONG_TOKENS = [
    "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN,
    f"Token {TOKEN}", f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN} x", "Bearer \xff\xfe",
    f"Bearer {'a' * 10_000}", f"Bearer Bearer {TOKEN}", f'Bearer "{TOKEN}"', f"Bearer\t{TOKEN}",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v1/model", "/metrics"])
def test_a_wrong_token_is_refused(path: str, closed: Rude) -> None:
    body = None if path in ("/v1/model", "/metrics") else GOOD
    for header in [{}, *({"Authorization": token} for token in WRONG_TOKENS)]:
        answer = closed.ask(path, body, **header)
        assert answer.problem[:2] == (
            401, "this needs the header Authorization: Bearer TOKEN, with the server's token",
        )  # fmt: skip
        assert answer.headers["www-authenticate"] == "Bearer"
    right = closed.ask(path, body, Authorization=f"Bearer {TOKEN}")
    assert right.status == closed.ask(path, body, Authorization=f"bearer {TOKEN}").status == 200


def test_a_wrong_token_is_refused_before_the_body_is_read(closed: Rude) -> None:
    answer = closed.talk(head("Content-Length: 1000000", "Expect: 100-continue"))
    assert answer.status == 401


def test_tokens_are_compared_in_constant_time(closed: Rude, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, right: bytes) -> bool:
        compared.extend((given, right))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert closed.ask("/v1/model", Authorization="Bearer x").status == 401
    assert compared == [b"x", TOKEN.encode()]


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/readyz", "/openapi.json", "/static/page.js"])
def test_the_page_and_the_health_need_no_token(path: str, closed: Rude) -> None:
    assert closed.ask(path).status == 200


def test_no_urls(closed: Rude) -> None:
    for url in ("http://127.0.0.1/", "data:,"):
        answer = closed.ask_url(url, Authorization=f"Bearer {TOKEN}")
        assert answer.problem == (403, "this server fetches no URLs; send the picture itself", None)


@pytest.mark.parametrize("token", ["ge\u00f6ffnet", "two words", "line\n", "\ufeffx"])
def test_a_token_that_clients_send_differently(
    token: str, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CATDOG_TOKEN", token)
    assert run("serve --port 0") == 2
    assert capsys.readouterr().err == (
        "[ERROR]    CATDOG_TOKEN has a blank or a letter beyond ASCII; "
        "valid is what `openssl rand -hex 16` gives\n"
    )


# Files and logs


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/%2e%2e%2fapp.py",
     "/static/..%5capp.py", "/static/....//app.py", "/static//etc/passwd", "/static/%2fetc%2fpasswd",
     "/static/swagger/../../app.py", "/static/swagger/..%2f..%2fapp.py", "/static/", "/static", "/static/.",
     "/static/page.js%00.png", "/static/%ff", "/static/link", "/static/folder/passwd",
     "/static/" + "a" * 5000, "/static/" + "a/" * 2000],
)  # fmt: skip
def test_no_path_leads_out_of_the_static_files(path: str, linked: Rude) -> None:
    answer = linked.talk(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), method="GET")
    assert answer.problem[0] in (404, 405)


@pytest.fixture(scope="module")
def linked(network: Basic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rude]:
    """Has links to the outside among its static files, and beside them the server's code."""
    root = tmp_path_factory.mktemp("serve")
    (root / "static").mkdir()
    (root / "app.py").write_text("secret")
    (root / "static" / "page.js").write_text("// cats")
    (root / "static" / "link").symlink_to("/etc/passwd")
    (root / "static" / "folder").symlink_to("/etc")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(serve_app, "STATIC", root / "static")
        with rude(network, Settings()) as found:
            assert found.ask("/static/page.js").status == 200
            yield found


def test_other_sites_may_not_call(served: Rude) -> None:
    answer = served.ask(body=GOOD, Origin="https://evil.example")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_listed_sites_may_call(network: Basic) -> None:
    with rude(network, Settings(origins=("https://good.example",))) as opened:
        for origin, status in (("https://good.example", 200), ("https://evil.example", 400)):
            asked = (
                f"OPTIONS /v1/predict HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n"
                "Access-Control-Request-Method: POST\r\n"
                "Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
            )
            assert opened.talk(asked.encode(), method="OPTIONS").status == status


def test_nothing_is_logged_of_what_is_sent(served: Rude, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body, kind = pictures_form(b"secret", name="secret")
    served.ask("/v1/predict?secret", body, kind, Authorization="Bearer secret")
    served.ask_url("http://me:secret@127.0.0.1/secret")
    assert "secret" not in caplog.text
