"""predict: every source gets its answer or its line, in order, whatever the others do."""

import base64
import csv
import http.server
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from catdog_pl.__main__ import main
from catdog_pl.data.images import ResizeRule, decode, resize
from catdog_pl.errors import CatDogError, ImageError, UsageError, one_line
from catdog_pl.io.inputs import expand
from catdog_pl.io.source import WebOptions
from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import load_checkpoint, save_checkpoint, store_temperature
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.spec import DataSpec
from catdog_pl.prediction import formats, predictor
from catdog_pl.prediction.predictor import ModelInput, Prediction, Predictor, TorchEngine, predict

if TYPE_CHECKING:
    from catdog_pl.io.inputs import Input

SIZE = 8
SPEC = DataSpec(image_size=SIZE)


class Redness(nn.Module):
    """A network whose answer can be told by eye: red is a dog, all else is a cat."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1 / 25))
        self.data_spec = SPEC
        self.batches: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        assert pixels.dtype == torch.uint8
        assert pixels.shape[1:] == (3, SIZE, SIZE)
        self.batches.append(len(pixels))
        return (pixels[:, 0].float().mean(dim=(1, 2)) - 127.5) * self.slope


class Constant(nn.Module):
    """A network that gives the same logit to all."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))
        self.data_spec = SPEC

    def forward(self, pixels: Tensor) -> Tensor:
        return self.logit.expand(len(pixels))


def picture(red: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 9), (red, 100, 30)).save(stream, kind)
    return stream.getvalue()


def probability(red: int) -> float:
    return 1 / (1 + math.exp(-(red - 127.5) / 25))


def answers(
    inputs: "Iterable[Input]", model: Callable[[Tensor], Tensor] | None = None, **settings: int
) -> Iterator[Prediction]:
    engine = TorchEngine(model or Redness(), SPEC)
    return Predictor(engine, **cast(Any, settings))(expand(inputs, WebOptions()))


def ask(inputs: "Iterable[Input]", **settings: int) -> list[Prediction]:
    return list(answers(inputs, None, **settings))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures, ever redder, of which every third cannot be read."""
    for index in range(12):
        content = b"" if index % 3 == 2 else picture(20 * index)
        (tmp_path / f"{index:02}.png").write_bytes(content)
    return tmp_path


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> type[nn.Module]:
    """The command line asks ``Redness`` instead of a checkpoint."""
    monkeypatch.setattr(predictor, "load", lambda *_: Redness())
    return Redness


def always(probability: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture gets this probability to the last digit, on every platform."""
    monkeypatch.setattr(predictor, "load", lambda *_: Redness())
    monkeypatch.setattr(
        TorchEngine, "probabilities", lambda _, pixels: np.full(len(pixels), probability, np.float32)
    )


def words(*sources: object) -> list[str]:
    return ["predict", *map(str, sources)]


# The answers


def test_one_picture_gets_the_workshops_two_lines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    always(0.3044719, monkeypatch)
    assert main(words(folder / "00.png")) == 0
    out, err = capsys.readouterr()
    assert out == "Probability: [[0.3044719]]\nClass: cat\n"
    assert err == ""


def test_several_are_answered_under_their_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    always(0.6791787, monkeypatch)
    first, broken, last = (folder / name for name in ("00.png", "02.png", "10.png"))
    assert main(words(first, broken, last)) == 1
    out, err = capsys.readouterr()
    assert out == (
        f"{first}\nProbability: [[0.6791787]]\nClass: dog\n\n"
        f"[ERROR]    Cannot read image from {broken} (it is empty)\n\n"
        f"{last}\nProbability: [[0.6791787]]\nClass: dog\n"
    )
    assert err == ""


@pytest.mark.parametrize(
    ("logit", "label"), [(0.0, "cat"), (1e-6, "dog"), (-1e-6, "cat"), (90.0, "dog"), (-90.0, "cat")]
)
def test_a_half_is_a_cat(logit: float, label: str) -> None:
    (answer,) = answers([picture(0)], Constant(logit))
    assert answer.label == label
    assert answer.probability == np.float32(answer.probability)


def test_an_answer_that_is_no_number() -> None:
    (answer,) = answers([picture(0)], Constant(math.nan))
    assert answer.probability is None
    assert answer.label is None
    assert answer.fault is None
    assert answer.error == "the model's answer is NaN; its training failed, use another one"


def test_probabilities_are_the_models(folder: Path) -> None:
    answers = ask([folder / "00.png", folder / "10.png"])
    assert [answer.probability for answer in answers] == pytest.approx([probability(0), probability(200)])


def test_pictures_are_resized_by_the_checkpoints_rule() -> None:
    seen: list[Tensor] = []

    def model(pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return torch.zeros(len(pixels))

    rng = np.random.default_rng(5)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(stream, "PNG")
    rules: tuple[ResizeRule, ResizeRule] = ("nearest", "lanczos")
    for rule in rules:
        spec = DataSpec(image_size=SIZE, predict_resize=rule)
        list(Predictor(TorchEngine(model, spec))(expand([stream.getvalue()], WebOptions())))
        expected = resize(decode(stream.getvalue(), "x").image, SIZE, rule)
        np.testing.assert_array_equal(seen[-1][0].permute(1, 2, 0), expected)
    assert not torch.equal(seen[0], seen[1])


def test_transparent_pixels_are_white() -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(stream, "PNG")
    assert ask([stream.getvalue()])[0].probability == pytest.approx(probability(255))


def test_a_rule_that_does_not_exist() -> None:
    engine = TorchEngine(Redness(), DataSpec(image_size=SIZE, predict_resize="blurred"))
    with pytest.raises(CatDogError, match="resize rule 'blurred' is unknown"):
        list(Predictor(engine)(expand([picture(0)], WebOptions())))


# Calibrated


@pytest.fixture
def calibrated(folder: Path) -> tuple[Path, Basic]:
    """A checkpoint with a temperature, and its model."""
    torch.manual_seed(1)
    path = folder / "x.ckpt"
    save_checkpoint(Basic(image_size=32, filters=(4, 4), dense_units=8), path)
    store_temperature(path, 2.5)
    return path, cast(Basic, load_checkpoint(path))


@pytest.mark.parametrize("tta", [False, True])
def test_calibrated_probabilities_are_of_the_logits_by_the_temperature(
    tta: bool, calibrated: tuple[Path, Basic], folder: Path
) -> None:
    path, model = calibrated
    plain = list(predict(folder, model, tta=tta))
    warm = list(predict(folder, path, tta=tta, calibrated=True, accelerator="cpu"))
    assert [answer.label for answer in warm] == [answer.label for answer in plain]
    assert [answer.error for answer in warm] == [answer.error for answer in plain]
    pixels = [
        Predictor(TorchEngine(model, model.data_spec)).read(source)
        for source in expand([folder], WebOptions())
    ]
    stack = torch.from_numpy(np.stack([x.pixels for x in pixels if isinstance(x, ModelInput)])).permute(
        0, 3, 1, 2
    )
    logits = (model.tta_logits if tta else model)(stack)
    expected = (logits / 2.5).sigmoid().tolist()
    assert [answer.probability for answer in warm if answer.label] == pytest.approx(expected, abs=1e-6)
    assert expected != pytest.approx(logits.sigmoid().tolist(), abs=1e-4)


@settings(max_examples=300, deadline=None)
@given(
    logit=st.floats(width=32, allow_nan=False) | st.floats(-1e-6, 1e-6),
    temperature=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)
def test_no_temperature_changes_a_label(logit: float, temperature: float) -> None:
    pixels = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    model = Constant(logit)
    plain = TorchEngine(model, SPEC).probabilities(pixels)
    warm = TorchEngine(model, SPEC, temperature=temperature).probabilities(pixels)
    assert warm.dtype == np.float32
    assert 0 <= warm[0] <= 1
    assert (warm > 0.5) == (plain > 0.5)
    if np.abs(logit) > 1e-6:
        expected = torch.tensor(logit, dtype=torch.float64).div(temperature).sigmoid().item()
        assert warm[0] == pytest.approx(expected, abs=2e-7)


def test_an_answer_that_is_no_number_stays_none() -> None:
    engine = TorchEngine(Constant(math.nan), SPEC, temperature=2.0)
    assert np.isnan(engine.probabilities(np.zeros((1, SIZE, SIZE, 3), np.uint8))).all()


def test_the_command_calibrates(
    calibrated: tuple[Path, Basic], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = calibrated
    options = ["--ckpt_path", path, "--accelerator", "cpu", "--format", "json"]
    assert main(words(folder / "10.png", *options, "--calibrated")) == 0
    (warm,) = json.loads(capsys.readouterr().out)
    assert warm["probability"] == next(predict(folder / "10.png", model, calibrated=True)).probability
    save_checkpoint(Basic(image_size=32), path)
    for how in ([], ["--tta"]):
        assert main(words(folder / "10.png", *options, "--calibrated", *how)) == 2
        assert capsys.readouterr() == (
            "",
            "[ERROR]    There is no temperature to calibrate by in this model; have its checkpoint store "
            "one: python -m catdog_pl report --save_temperature\n",
        )


# Many at once


def test_a_bad_picture_costs_no_other_its_answer(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    together = ask(paths, batch_size=5)
    assert [answer.source for answer in together] == [str(path) for path in paths]
    assert [answer.error for answer in together].count("it is empty") == 4
    assert together == [ask([path])[0] for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_equal_single_pictures(batch_size: int) -> None:
    torch.manual_seed(0)
    model = Basic(image_size=64).eval()
    pictures = [picture(red, "JPEG") for red in range(0, 250, 25)]
    alone = [next(predict(content, model=model)).probability for content in pictures]
    together = [answer.probability for answer in predict(pictures, model=model, batch_size=batch_size)]
    assert together == pytest.approx(alone, abs=1e-6)


def test_batches_are_filled() -> None:
    model = Redness()
    list(answers([picture(0)] * 10, model, batch_size=4))
    assert sum(model.batches) == 10
    assert max(model.batches) == 4


def test_reads_no_further_than_a_window_ahead() -> None:
    """Memory is flat because sources are taken up only a little before their answers are given."""
    taken = 0

    def sources(count: int) -> Iterator[bytes]:
        nonlocal taken
        for index in range(count):
            taken += 1
            yield b"" if index % 7 == 0 else content

    content = picture(10)
    ahead = [taken - given for given, _ in enumerate(answers(sources(2000), batch_size=8, workers=2))]
    assert len(ahead) == 2000
    assert max(ahead) <= 8 + 2 * 2 + 8 + 1


RESIDENT = """
import sys
from pathlib import Path
import torch
from catdog_pl.models import Basic
from catdog_pl import predict
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
torch.manual_seed(0)
torch.set_num_threads(1)
model = Basic(image_size=64, filters=(2, 2), dense_units=2)
sizes = []
for count, answer in enumerate(predict([sys.argv[1]] * 10_000, model=model, batch_size=64), 1):
    assert answer.error is None
    if count in (2_000, 10_000):
        sizes.append(resident())
print(count, sizes[1] - sizes[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_over_ten_thousand_pictures(tmp_path: Path) -> None:
    """A model of our own and pictures of 12 kB once decoded: kept, 8,000 of them were 98 MB."""
    (tmp_path / "x.png").write_bytes(picture(50))
    result = python(RESIDENT, str(tmp_path / "x.png"))
    assert result.returncode == 0, result.stderr
    count, growth = map(int, result.stdout.split())
    assert count == 10_000
    assert growth < 20_000_000


class Site(http.server.ThreadingHTTPServer):
    """A red picture at every path; those under /slow/ wait until they may."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.may_answer = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some of these tests want."""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = cast(Site, self.server)
        if self.path.startswith("/slow/"):
            site.may_answer.wait(10)
        self.send_response(404 if self.path.startswith("/gone/") else 200)
        if self.path.startswith("/long/"):
            self.send_header("Content-Length", "999999999999")
        self.end_headers()
        self.wfile.write(picture(255))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.may_answer.set()
        running.shutdown()


def test_slow_sources_do_not_hold_back_those_before(site: Site) -> None:
    predictions = answers([picture(0), f"{site.url}/slow/x", picture(9)])
    assert next(predictions).label == "cat"
    assert not site.may_answer.is_set()
    site.may_answer.set()
    assert [answer.label for answer in predictions] == ["dog", "cat"]


def test_order_is_kept_whatever_finishes_first(site: Site) -> None:
    threading.Timer(0.3, site.may_answer.set).start()
    sources: list[Input] = [
        f"{site.url}/slow/1",
        picture(0),
        f"{site.url}/2",
        picture(1),
        f"{site.url}/slow/3",
    ]
    assert [answer.label for answer in ask(sources)] == ["dog", "cat", "dog", "cat", "dog"]


def test_a_model_without_memory() -> None:
    def model(pixels: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")

    with pytest.raises(CatDogError, match="no memory for 3 images at once; lower --batch_size"):
        list(answers([picture(0)] * 3, model))


# Sources


def test_links_in_circles(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(picture(0))
    try:
        (tmp_path / "real" / "up").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "real" / "self.png").symlink_to(tmp_path / "real" / "self.png")
    except OSError:
        pytest.skip("links need a right here")
    answers = ask([tmp_path])
    assert [Path(answer.source).name for answer in answers] == ["a.png", "self.png"]
    assert answers[0].label == "cat"
    assert "cannot be read" in str(answers[1].error)


def test_empty_folder_and_empty_name(tmp_path: Path) -> None:
    folder, name = ask([tmp_path, ""])
    assert (folder.source, folder.error) == (str(tmp_path), "there are no images in this folder")
    assert (name.source, name.error) == ("", "the name is empty")


def test_folder_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "locked").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    seen, locked = ask([tmp_path])
    assert seen.label == "cat"
    assert locked.error == "the folder cannot be read: Permission denied"


@pytest.mark.parametrize(
    "name", ["a b.png", "ä 猫.png", "-x.png", "--output", "a\nb.png", "'\";$(x).png", "x" * 200]
)
@pytest.mark.usefixtures("use")
def test_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        (tmp_path / name).write_bytes(picture(250))
    except OSError:
        pytest.skip("this system has no such names")
    assert main(["predict", "--format", "json", "--", name]) == 0
    assert json.loads(capsys.readouterr().out)[0]["source"] == name
    assert main(["predict", "--format", "csv", "--", name, "none"]) == 1
    out = capsys.readouterr().out
    assert list(csv.reader(io.StringIO(out)))[1][0] == one_line(name)
    assert len(out.splitlines()) == 3, "one line each, also for a name of two lines"
    assert main(["predict", "--", name, "none"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 5, "one line each, also for a name of two lines"


HOSTILE = "a\rb\nc\x1b[2J\x7f\u202egpj.\u2066\u200b\x85\u2028x"


@pytest.mark.parametrize("form", formats.OUTPUT_FORMATS)
def test_no_name_steers_the_terminal(form: str) -> None:
    """Carriage return, escape, delete and bidirectional letters are seen, in every format alike."""
    file = io.StringIO()
    answers = [
        Prediction(HOSTILE, 0.25, HOSTILE),
        Prediction(HOSTILE, error=ImageError("x", HOSTILE).reason, fault="empty"),
    ]
    assert formats.write(answers, formats.OUTPUT_FORMATS[form], file) == 1
    assert all(letter.isprintable() for letter in file.getvalue().replace("\n", ""))
    if form != "text":
        first, second = read_back(form, file.getvalue())
        assert first["source"] == (one_line(HOSTILE) if form == "csv" else HOSTILE)
        assert second["error"] == one_line(HOSTILE)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.usefixtures("use")
@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_names_that_are_no_text(form: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    Path(os.fsdecode(path)).write_bytes(picture(0))
    file = tmp_path_factory.mktemp("out") / "answers"
    assert main(words(tmp_path, "none", "--format", form, "--output", file)) == 1
    text = file.read_text(encoding="utf-8")
    first = text.splitlines()[0] if form == "text" else str(read_back(form, text)[0]["source"])
    assert first == rf"{tmp_path}{os.sep}caf\udce9.png", "the byte is written as an escape"


@pytest.mark.usefixtures("use")
def test_the_workshops_words_are_for_what_is_not_there(
    folder: Path, tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "text.jpg").write_text("no picture", encoding="utf-8")
    (folder / "empty").mkdir()
    missing = ("none.jpg", "", str(folder / "empty"), str(folder / "text.jpg" / "x"), f"{site.url}/gone/x")
    damaged = (folder / "02.png", folder / "text.jpg", "data:text/html,<html>", f"{site.url}/long/x")
    assert main(words(*missing, *damaged)) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line[:33] for line in lines] == (
        ["[ERROR]    Cannot find image from"] * 5 + ["[ERROR]    Cannot read image from"] * 4
    )
    assert lines[4].endswith("(the server answered 404 Not Found)")


@pytest.mark.usefixtures("use")
def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(picture(255))))
    assert main(["predict", "-"]) == 0
    assert capsys.readouterr().out.endswith("Class: dog\n")
    assert main(["predict", "-"]) == 1
    assert capsys.readouterr().out == "[ERROR]    Cannot read image from - (it is empty)\n"


def test_urls_and_their_secrets(site: Site) -> None:
    data = f"data:image/png;base64,{base64.b64encode(picture(0)).decode()}"
    page = "data:text/html,<html>"
    answers = ask([f"{site.url}/x?key=sesame", data, page, "ftp://host/x"])
    assert [answer.label for answer in answers] == ["dog", "cat", None, None]
    assert answers[0].source == f"{site.url}/x?key=***"
    assert answers[2].error == "its content is an HTML page, not a photograph"
    assert answers[3].error == "ftp: is not supported; valid are http, https and data"


@pytest.mark.usefixtures("use")
def test_public_only(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"{site.url}/x"]) == 0
    capsys.readouterr()
    for option in ("--public-only", "--public_only"):
        assert main(["predict", option, f"{site.url}/x"]) == 1
        assert "127.0.0.1 is not a public address" in capsys.readouterr().out


@pytest.mark.usefixtures("use")
def test_timeout(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--timeout", "0.2", f"{site.url}/slow/x"]) == 1
    assert "the server took longer than 0.2 seconds" in capsys.readouterr().out


# Formats and files


def read_back(form: str, text: str) -> list[dict[str, object]]:
    if form == "json":
        return cast(list[dict[str, object]], json.loads(text))
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    rows = [{key: value or None for key, value in row.items()} for row in csv.DictReader(io.StringIO(text))]
    return [row | {"probability": float(row["probability"]) if row["probability"] else None} for row in rows]


@pytest.mark.usefixtures("use")
@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_formats_read_back(form: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, "--format", form)) == 1
    out, err = capsys.readouterr()
    assert read_back(form, out) == [
        {name: getattr(answer, name) for name in formats.COLUMNS} for answer in ask([folder])
    ]
    assert err.splitlines() == [
        f"[ERROR]    Cannot read image from {folder / f'{index:02}.png'} (it is empty)"
        for index in (2, 5, 8, 11)
    ]


@pytest.mark.usefixtures("use")
def test_output_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path_factory.mktemp("out") / "answers.txt"
    assert main(words(folder, "--output", file)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("[ERROR]") == file.read_text(encoding="utf-8").count("[ERROR]") == 4
    assert file.read_text(encoding="utf-8").count("Probability: [[") == 8


@pytest.mark.usefixtures("use")
@pytest.mark.parametrize(
    ("name", "form"),
    [("o.csv", "csv"), ("o.CSV", "csv"), ("o.json", "json"), ("o.jsonl", "jsonl"), ("o.ndjson", "jsonl")],
)
def test_the_ending_tells_the_format(
    name: str, form: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("out") / name
    assert main(words(folder, "--output", file)) == 1
    assert len(read_back(form, file.read_text(encoding="utf-8"))) == 12
    assert main(words(folder, "--output", file, "--format", "text", "--overwrite")) == 1
    assert file.read_text(encoding="utf-8").count("Probability: [[") == 8


@pytest.mark.usefixtures("use")
def test_parquet(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(formats, "_ROW_GROUP", 5)
    file = tmp_path_factory.mktemp("out") / "o.parquet"
    assert main(words(folder, "--output", file)) == 1
    expected = [{name: getattr(answer, name) for name in formats.COLUMNS} for answer in ask([folder])]
    assert [
        row | {"probability": row["probability"] and float(str(np.float32(row["probability"])))}
        for row in parquet.read_table(file).to_pylist()
    ] == expected
    interrupted = file.with_name("i.parquet")

    def answers() -> Iterator[Prediction]:
        yield Prediction("caf\udce9.jpg", 0.25, "cat")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), interrupted.open("wb") as stream:
        formats.write_parquet(answers(), stream)
    assert parquet.read_table(interrupted).column("source").to_pylist() == [r"caf\udce9.jpg"]


def test_parquet_needs_its_package_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(words("x.jpg", "--output", tmp_path / "o.parquet")) == 2
    assert "Parquet needs pyarrow, which is not installed: pip install 'catdog_pl[parquet]'" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "o.parquet").exists()
    monkeypatch.setitem(sys.modules, "pyarrow", io)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", io)
    assert main(words("x.jpg", "--format", "parquet")) == 2
    assert "--format parquet is not for a terminal; give --output FILE" in capsys.readouterr().err


@pytest.mark.usefixtures("use")
def test_options_may_stand_between_the_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder / "00.png", "--format", "jsonl", folder / "10.png", "--timeout", "3")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.usefixtures("use")
def test_zips_patterns_and_lists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.write(folder / "10.png", "dog/10.png")
    (folder / "names.txt").write_text(f"{folder / '00.png'}\n{folder / 'x.zip'}\n", encoding="utf-8")
    assert main(words(folder / "x.zip", f"{folder}/1*.png", f"@{folder / 'names.txt'}")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder / 'x.zip'}/dog/10.png"
    assert [line for line in lines if line.startswith(("Class", "[ERROR]"))] == [
        "Class: dog",
        "Class: dog",
        f"[ERROR]    Cannot read image from {folder / '11.png'} (it is empty)",
        "Class: cat",
        "Class: dog",
    ]


@pytest.mark.usefixtures("use")
def test_output_is_not_overwritten_silently(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "answers.csv"
    file.write_text("precious", encoding="utf-8")
    assert main(words(folder / "00.png", "--format", "csv", "--output", file)) == 2
    assert f"{file} exists already; give another --output, or --overwrite" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "precious"
    assert main(words(folder / "00.png", "--format", "csv", "--output", file, "--overwrite")) == 0
    assert file.read_text(encoding="utf-8").startswith("source,probability,label,error\n")


@pytest.mark.usefixtures("use")
def test_output_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder / "00.png", "--output", folder / "none" / "x.txt")) == 1
    assert "x.txt cannot be written (" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.usefixtures("use")
@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_full_disk(form: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, "--format", form, "--output", "/dev/full", "--overwrite")) == 1
    assert "/dev/full cannot be written (No space left on device)" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_interrupted_runs_leave_valid_files(form: str) -> None:
    def interrupted() -> Iterator[Prediction]:
        yield Prediction("a\nb.jpg", 0.25, "cat")
        yield Prediction("c.jpg", error="it is empty")
        raise KeyboardInterrupt

    file = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        formats.write(interrupted(), formats.OUTPUT_FORMATS[form], file)
    assert [answer["source"] for answer in read_back(form, file.getvalue())] == [
        one_line("a\nb.jpg") if form == "csv" else "a\nb.jpg",
        "c.jpg",
    ]


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_each_answer_is_written_at_once(form: str, tmp_path: Path) -> None:
    def answers() -> Iterator[Prediction]:
        for index in range(5):
            assert file.read_text(encoding="utf-8").count(".jpg") == index
            yield Prediction(f"{index}.jpg", 0.25, "cat")

    file = tmp_path / "answers"
    with file.open("w", encoding="utf-8") as stream:
        assert formats.write(answers(), formats.OUTPUT_FORMATS[form], stream) == 0


KILLED = """
import sys, time
from catdog_pl import Prediction
from catdog_pl.prediction import formats
def answers():
    for index in range(10**6):
        yield Prediction("x" * (index % 3000), 0.25, "cat")
with open(sys.argv[1], "w", encoding="utf-8", newline="") as file:
    formats.write(answers(), formats.OUTPUT_FORMATS[sys.argv[2]], file)
"""


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_killed_runs_leave_valid_files(form: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(file), form], env=environment()) as process:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (file.exists() and file.stat().st_size > 100_000):
            time.sleep(0.005)
        process.kill()
    text = file.read_text(encoding="utf-8")
    assert len(text) > 100_000
    assert text.endswith("\n")
    assert {answer["label"] for answer in read_back(form, text)} == {"cat"}


# The command


def environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}


def python(code: str, *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--formt", "csv", "x"], ["x", "--ckpt_path", "none.ckpt"], []]
)
def test_help_and_wrong_words_do_not_import_torch(arguments: list[str], tmp_path: Path) -> None:
    code = """
import sys
from catdog_pl.__main__ import main
try:
    status = main(["predict", *sys.argv[1:]])
except SystemExit as stop:  # --help
    status = stop.code
is_usage = status != 1  # a wrong path is answered when the package was loaded, but before torch
heavy = {"torch", *(("numpy", "PIL", "requests") if is_usage else ())} & set(sys.modules)
assert not heavy, heavy
sys.exit(status)
"""
    result = python(code, *arguments, cwd=tmp_path)
    assert "Traceback" not in result.stderr
    expected = {"--help": 0, "x": 1}.get((arguments or ["none"])[0], 2)
    assert result.returncode == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch_size", "0"],
        ["--batch_size", "x"],
        ["--timeout", "nan"],
        ["--format", "xml"],
        ["--acc", "cpu"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "x.jpg", *arguments]) == 2
    assert "; see python -m catdog_pl predict --help\n" in capsys.readouterr().err


@pytest.mark.slow
def test_whole_way_from_a_checkpoint(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a process of its own: the newest run's best is found, and the command line of fit is not loaded."""
    run = tmp_path_factory.mktemp("home") / "checkpoints" / "basic" / "2018-08-01_12-00-00"
    run.mkdir(parents=True)
    torch.manual_seed(1)
    model = Basic(image_size=32).eval()
    save_checkpoint(model, run / "best.ckpt")
    code = """
import sys
from catdog_pl.__main__ import main
status = main(["predict", *sys.argv[1:], "--accelerator", "cpu"])
assert "torch" in sys.modules
assert not {"lightning.pytorch.cli", "catdog_pl.cli"} & set(sys.modules)
sys.exit(status)
"""
    result = python(code, str(folder), "--format", "jsonl", cwd=run.parents[2])
    assert result.returncode == 1, result.stderr
    assert [line[:10] for line in result.stderr.splitlines()] == ["[ERROR]   "] * 4
    found = [json.loads(line) for line in result.stdout.splitlines()]
    expected = list(predict(folder, model=model))
    assert [answer["label"] for answer in found] == [answer.label for answer in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["probability"] == pytest.approx(theirs.probability, abs=1e-6)


@pytest.mark.skipif(os.name != "posix", reason="libtiff is linked otherwise on Windows")
def test_libraries_keep_silent(tmp_path: Path) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "TIFF", compression="tiff_lzw")
    content = bytearray(stream.getvalue())
    content[50:3000] = bytes(2950)  # so much that libtiff runs out of data, whatever the noise
    (tmp_path / "x.tif").write_bytes(content)
    code = """
import sys
from catdog_pl.data.images import decode, silence_pillow
if sys.argv[2] == "silent": silence_pillow()
try: decode(open(sys.argv[1], "rb").read(), "x")
except Exception as error: print(error.kind)
"""
    for how, is_silent in (("silent", True), ("loud", False)):
        result = python(code, str(tmp_path / "x.tif"), how)
        assert result.stdout == "unreadable\n"
        assert (result.stderr == "") is is_silent, "the picture has to make libtiff speak"


SLOW = """
import sys
from types import SimpleNamespace
import numpy as np
from catdog_pl.__main__ import main
from catdog_pl.io.inputs import expand
from catdog_pl.io.source import WebOptions
from catdog_pl.prediction import predictor
class Engine:  # no torch: this is about threads
    spec = SimpleNamespace(class_names=("cat", "dog"), image_size=8, predict_resize="nearest")
    def probabilities(self, pixels):
        return np.full(len(pixels), 0.5, np.float32)
predictor.predict = lambda names, *_, **__: predictor.Predictor(Engine())(expand(names, WebOptions()))
sys.exit(main(["predict", "--format", "csv", *sys.argv[1:]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX's")
def test_ctrl_c_does_not_wait_for_downloads(site: Site, folder: Path) -> None:
    command = [
        sys.executable,
        "-c",
        SLOW,
        str(folder / "00.png"),
        *[f"{site.url}/slow/{i}" for i in range(9)],
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = process.communicate(timeout=20)
    assert lines[1].endswith("00.png,0.5,cat,\n")
    assert (process.returncode, err) == (130, "[ERROR]    interrupted\n")
    assert out == ""
    assert time.monotonic() - started < 4


@pytest.mark.skipif(os.name != "posix", reason="pipes of this kind are POSIX's")
def test_a_reader_that_has_seen_enough() -> None:
    code = """
import sys
from catdog_pl.__main__ import main
from catdog_pl import Prediction
from catdog_pl.prediction import predictor
predictor.predict = lambda *_, **__: (Prediction("x" * 100, 0.25, "cat") for _ in range(10**6))
sys.exit(main(["predict", "a", "b"]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "x" * 100 + "\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


# In Python


def test_inputs_alone_or_together(folder: Path) -> None:
    model = cast(Classifier, Redness())
    path = folder / "00.png"
    one = list(predict(path, model))
    assert one == list(predict(str(path), model)) == list(predict([path], model=model))
    assert next(predict(path.read_bytes(), model)).label == one[0].label
    names = np.array([str(path), str(folder / "10.png")])
    assert list(predict(names, model)) == list(predict(iter(names), model)) == ask(names)


def test_pictures_in_memory(folder: Path, tmp_path: Path) -> None:
    """Whatever form it has, a picture gets the same answer."""
    path = folder / "10.png"
    content = path.read_bytes()
    image = Image.open(path)
    array = np.asarray(image)
    with path.open("rb") as file:
        forms: dict[str, Input] = {
            str(path): path,
            f"<{len(content)} bytes>": content,
            f"<{len(content)} bytes> ": bytearray(content),
            f"<{len(content)} bytes>  ": memoryview(content),
            "<BytesIO>": io.BytesIO(content),
            f"{path} ": file,
            f"{path}  ": Image.open(path),
            "<image 12 x 9>": image.copy(),
            "<array (9, 12, 3)>": array,
            "<array (9, 12, 3)> ": array[::-1, ::-1],
            "<tensor (3, 9, 12)>": torch.from_numpy(array.copy()).permute(2, 0, 1),
            "<image 12 x 9> ": image.convert("RGBA"),
            "<array (9, 12, 4)>": np.asarray(image.convert("RGBA")),
        }
        (expected,) = ask([path])
        model = cast(Classifier, Redness())
        together = list(predict(forms.values(), model))
    assert [answer.source for answer in together] == [name.rstrip() for name in forms]
    assert {answer.probability for answer in together} == {expected.probability}
    for form in (content, bytearray(content), io.BytesIO(content), image, array):
        assert [answer.probability for answer in predict(form, model)] == [expected.probability]


def test_grey_and_transparent_pictures_in_memory() -> None:
    white = np.full((5, 4), 255, np.uint8)
    clear = Image.new("P", (4, 5))
    clear.putpalette([0, 0, 0, 9, 9, 9])
    clear.info["transparency"] = 0
    forms: list[Input] = [
        white,
        white[..., None],
        torch.from_numpy(white)[None],
        Image.fromarray(white),
        clear,
        Image.new("RGBA", (4, 5)),
        np.zeros((5, 4, 4), np.uint8),
        Image.fromarray(np.full((5, 4), 65_535, np.uint16)),
    ]
    found = list(predict(forms, cast(Classifier, Redness())))
    assert [answer.error for answer in found] == [None] * len(forms)
    assert [answer.probability for answer in found] == pytest.approx([probability(255)] * len(forms))


FLOATS = "; multiply what is in 0..1 by 255, and convert to uint8, 0..255"
ARRAY = "; give (H, W, 3) or (H, W), several as a list"
TENSOR = "; give (3, H, W), several as a list"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((9, 9, 3)), f"its values are float64{FLOATS}"),
        (torch.zeros(3, 9, 9), f"its values are float32{FLOATS}"),
        (np.zeros((9, 9, 3), np.int64), "its values are int64; convert to uint8, 0..255"),
        (np.zeros((3, 9, 9), np.uint8), f"its shape is (3, 9, 9){ARRAY}"),
        (np.zeros((2, 9, 9, 3), np.uint8), f"its shape is (2, 9, 9, 3){ARRAY}"),
        (np.zeros((0, 9, 3), np.uint8), f"its shape is (0, 9, 3){ARRAY}"),
        (torch.zeros((9, 9, 3), dtype=torch.uint8), f"its shape is (9, 9, 3){TENSOR}"),
        (torch.zeros((9, 9), dtype=torch.uint8), f"its shape is (9, 9){TENSOR}"),
        (io.StringIO("x"), "it is open as text; open it in binary mode, 'rb'"),
        (io.BytesIO(b""), "it is empty, or was read to its end before; call its seek(0)"),
        (bytearray(b""), "it is empty"),
    ],
)
def test_pictures_in_memory_that_are_none(given: "Input", reason: str) -> None:
    bad, good = predict([given, picture(255)], cast(Classifier, Redness()))
    assert bad.error == reason
    assert bad.fault in ("not an image", "unreadable", "empty")
    assert good.label == "dog"


def test_closed_files_and_damaged_images(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(picture(0)[:60])
    with (tmp_path / "x.png").open("rb") as file:
        pass
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG")
    stream.truncate(1500)
    closed, damaged = ask([file, Image.open(stream)])
    assert closed.error == "it cannot be read: read of closed file"
    assert str(damaged.error).startswith("the image data is damaged: ")


@pytest.mark.parametrize("given", [5, None, object(), [3.5], ["x.jpg", {}]])
def test_what_predict_cannot_read(given: "Input") -> None:
    with pytest.raises(UsageError, match=r"predict cannot read a \w+; give a path, a URL, bytes, "):
        list(predict(given, cast(Classifier, Redness())))


def test_one_image_many_times(folder: Path) -> None:
    """Pillow reads an image from its file at the first use, which may be in several threads at once."""
    image = Image.open(folder / "10.png")
    answers = list(predict([image] * 200, cast(Classifier, Redness())))
    assert {answer.label for answer in answers} == {"dog"}
    assert {answer.error for answer in answers} == {None}


def test_the_model_is_in_evaluation_mode() -> None:
    model = Redness().train()
    list(predict(picture(0), model=cast(Classifier, model)))
    assert not model.training


def test_missing_checkpoint_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(CatDogError, match="there is no such file"):
        predict("x.jpg", tmp_path / "none.ckpt")


def test_a_notebook_shows_the_picture_the_class_and_its_probability(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Basic(image_size=32, filters=(4, 4), dense_units=8)
    pictures: list[Input] = [photos / "test" / "dog" / "dog.0.jpg", "missing<b>.jpg"]
    plain = list(predict(pictures, model))
    assert plain[0].thumbnail is None  # which costs time and memory, and is for who can see it
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    answer, failed = predict(pictures, model)
    assert (answer, failed) == tuple(plain)
    assert answer.probability is not None
    html = answer._repr_html_()
    assert re.fullmatch(
        r'<figure style="display: inline-block"><img style="[^"]+" src="data:image/jpeg;base64,[\w+/=]+">'
        rf"<figcaption><b>{answer.label}</b> [5-9]\d\.\d%<br>.*dog\.0\.jpg</figcaption></figure>",
        html,
    )
    assert failed._repr_html_() == "<p>missing&lt;b&gt;.jpg: there is no such file</p>"
    (explained,) = predict(pictures[:1], model, explain=True)
    assert explained._repr_html_() != html
    assert explained._repr_html_().count("<img ") == 1


def test_no_name_writes_into_a_notebook() -> None:
    html = Prediction(f"<script>{HOSTILE}", 0.25, "<b>")._repr_html_()
    assert "<script>" not in html
    assert "<b><b>" not in html
    assert html.isprintable()
