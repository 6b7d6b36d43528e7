"""Folders in the Hub's layout: what is read back, and that no folder that looks like one does harm."""

import json
import os
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from catdog_pl.errors import CheckpointError
from catdog_pl.export import export
from catdog_pl.models import VGG16, Basic, Classifier, Sequential, Transfer, load_checkpoint
from catdog_pl.models.checkpoint import read_checkpoint, save_checkpoint, store_temperature
from catdog_pl.models.hub import CONFIG, SUM
from tests.conftest import Run
from tests.export.test_portable import CHAIN

Capture = pytest.CaptureFixture[str]

MODELS: dict[str, Callable[[], Classifier]] = {
    "basic": lambda: Basic(image_size=32, filters=(4, 8), optimizer_args={"rho": 0.8}, dropout=0.5),
    "basic, imagenet": lambda: Basic(image_size=32, preprocessing="imagenet", optimizer="Adam"),
    "sequential": lambda: Sequential(CHAIN, image_size=32, grey=True, preprocessing="symmetric"),
    "vgg16": lambda: VGG16(image_size=32, preprocessing="imagenet", load_weights=False),
    "vgg16, bfloat16": lambda: VGG16(image_size=32, weights="none", bf16_backbone="always"),
    "torchvision": lambda: Transfer("squeezenet1_1", "none", image_size=64),
    "torchvision, BatchNorm": lambda: Transfer("mobilenet_v3_small", "none", image_size=64, head="mlp"),
    "timm": lambda: Transfer("timm/resnet10t", "none", image_size=64),
    "half precision": lambda: Basic(image_size=32).half(),
    "bfloat16": lambda: Basic(image_size=32).bfloat16(),
    "double precision": lambda: Basic(image_size=32).double(),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Classifier:
    torch.manual_seed(0)
    return MODELS[request.param]()


def test_every_model_comes_back_to_the_bit(model: Classifier) -> None:
    model.temperature = 1.25
    save_checkpoint(model, Path("a.ckpt"))
    list(export(Path("a.ckpt"), "safetensors", Path("hub")))
    ours, theirs = load_checkpoint("a.ckpt"), load_checkpoint("hub")
    size = model.data_spec.image_size
    pixels = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(theirs(pixels), ours(pixels))
    assert type(theirs) is type(ours)
    assert (theirs.data_spec, theirs.temperature) == (ours.data_spec, 1.25)
    assert json.dumps(dict(theirs.hparams)) == json.dumps(dict(ours.hparams))
    for (key, a), b in zip(theirs.state_dict().items(), ours.state_dict().values(), strict=True):
        assert (a.dtype, a.stride()) == (b.dtype, b.stride()), key
    os.truncate("hub/model.safetensors", 10)  # the model does not stand on the file
    with torch.inference_mode():
        assert torch.equal(theirs(pixels), ours(pixels))


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(Basic(image_size=32, filters=(4, 4), dense_units=8), tmp_path / "a.ckpt")
    list(export(tmp_path / "a.ckpt", "safetensors", tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_folder_and_the_weights_in_it_are_the_same_checkpoint(hub: Path) -> None:
    first, second = read_checkpoint(hub), read_checkpoint(hub / "model.safetensors")
    assert first["hyper_parameters"] == second["hyper_parameters"]
    assert first["state_dict"].keys() == second["state_dict"].keys()


def test_links_are_followed_as_in_the_cache_of_the_hub(hub: Path) -> None:
    Path("snapshot").mkdir()
    for name in (CONFIG, "model.safetensors"):
        os.symlink(hub / name, Path("snapshot", name))
    assert load_checkpoint("snapshot").name == "basic"


def test_a_temperature_is_stored_beside_the_weights(hub: Path) -> None:
    before = (hub / "model.safetensors").read_bytes()
    store_temperature(hub, 2)
    assert load_checkpoint(hub).temperature == 2.0
    assert (hub / "model.safetensors").read_bytes() == before
    with pytest.raises(CheckpointError, match="its temperature is"):
        store_temperature(hub, -1)
    assert load_checkpoint(hub).temperature == 2.0


# Commands


def test_predict_test_fit_and_report_take_a_folder(
    hub: Path, photos: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = next((photos / "test" / "dog").iterdir())
    answers = []
    for path in (hub, "a.ckpt"):
        assert run("predict", picture, "--ckpt_path", path) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]

    assert run("test --accelerator cpu --ckpt_path hub", "--root", photos) == 0
    assert "Predictions written to hub/test.csv" in capsys.readouterr().out
    assert run("test --accelerator cpu --ckpt_path a.ckpt", "--root", photos) == 0
    assert Path("hub/test.csv").read_bytes() == Path("test.csv").read_bytes()

    assert run("fit --accelerator cpu --max_epochs 1 --batch_size 8 --ckpt_path hub", "--root", photos) == 0
    out = capsys.readouterr().out
    assert "From the checkpoint hub/model.safetensors: model basic, not trained here yet" in out
    (last,) = Path("checkpoints").glob("basic/*/last.ckpt")
    assert read_checkpoint(last)["epoch"] == 0  # a new training
    before, after = read_checkpoint(hub)["state_dict"], read_checkpoint(last)["state_dict"]
    distance = (before["head.dense_1.weight"] - after["head.dense_1.weight"]).abs().max()
    assert 0 < distance < 0.02  # from these weights, one step on

    assert run("keras export hub --output m.keras") == 0
    asked = []
    monkeypatch.setattr("catdog_pl.report.build.report", lambda subject, _: asked.append(subject.checkpoint))
    monkeypatch.setattr("catdog_pl.report.build.known_answers", lambda _: None)
    monkeypatch.setattr("catdog_pl.report.build.publish", lambda _, path: asked.append(path))
    assert run("report hub") == 0
    assert asked == [Path("hub/model.safetensors"), Path("hub/report.html")]


def test_other_classes_are_refused_as_with_a_file(hub: Path, photos: Path, run: Run, capsys: Capture) -> None:
    edit(hub, data={"class_names": ["ant", "bee"], "image_size": 32})
    assert run("test --accelerator cpu --ckpt_path hub", "--root", photos) == 1
    assert "was trained on the classes ant, bee, the data folder has cat, dog" in capsys.readouterr().err


# Hostile folders


def edit(folder: Path, **values: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def without(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        del values[key]
        (folder / CONFIG).write_text(json.dumps(values), encoding="utf-8")

    return change


def value(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, **values)


def hyper(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        old = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["hyper_parameters"]
        edit(folder, hyper_parameters=old | values)

    return change


def data(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        edit(folder, data=json.loads((folder / CONFIG).read_text(encoding="utf-8"))["data"] | values)

    return change


def content(text: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / CONFIG).write_bytes(text)

    return change


def literal(old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / CONFIG).read_bytes()
        assert old in text
        (folder / CONFIG).write_bytes(text.replace(old, new))

    return change


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / CONFIG).unlink()
        make(folder / CONFIG)

    return change


def large_sizes(folder: Path) -> None:
    hyper(image_size=10**9)(folder)
    data(image_size=10**9)(folder)


CONFIGS: dict[str, Callable[[Path], None]] = {
    "missing": replaced(lambda path: None),
    "a pipe": replaced(os.mkfifo),
    "a folder": replaced(Path.mkdir),
    "a link to nothing": replaced(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replaced(lambda path: path.symlink_to(path)),
    "a device without end": replaced(lambda path: path.symlink_to("/dev/zero")),
    "empty": content(b""),
    "a terabyte": lambda folder: os.truncate(folder / CONFIG, 2**40),
    "over a megabyte": content(b" " * 2**20 + b"{}"),
    "no JSON": content(b"model: basic"),
    "cut short": content(b'{"hyper_parameters": {'),
    "no UTF-8": content(b'{"model": "b\xe4sic"}'),
    "UTF-16": content('{"hyper_parameters": {}}'.encode("utf-16")),
    "a list": content(b"[1, 2]"),
    "a number": content(b"1e400"),
    "deep lists": content(b"[" * 10**6),
    "deep mappings": content(b'{"hyper_parameters":' * 40_000),
    "that of another library": content(b'{"architectures": ["BertModel"], "model_type": "bert"}'),
    "NaN": literal(b'"learning_rate": 0.001', b'"learning_rate": NaN'),
    "Infinity": literal(b'"learning_rate": 0.001', b'"learning_rate": -Infinity'),
    "a number beyond all floats": literal(b'"learning_rate": 0.001', b'"learning_rate": 1e999'),
    "a number of 10,000 digits": literal(b'"dense_units": 8', b'"dense_units": ' + b"8" * 10_000),
    "no hyper-parameters": without("hyper_parameters"),
    "hyper-parameters in a list": value(hyper_parameters=[1]),
    "null for hyper-parameters": value(hyper_parameters=None),
    "a class path": hyper(_class_path="os.system"),
    "a huge layer": hyper(dense_units=10**12),
    "a negative layer": hyper(dense_units=-1),
    "a hundred thousand layers": hyper(filters=[8] * 100_000),
    "a layer of text": hyper(dense_units="many\x1b[31m"),
    "a layer of a truth": hyper(dense_units=True),
    "a layer of half a unit": hyper(dense_units=7.5),
    "filters in a mapping": hyper(filters={"a": 1}),
    "an unknown optimizer": hyper(optimizer="os.system"),
    "no model": without("model"),
    "an unknown model": value(model="os.system"),
    "a model in a list": value(model=["basic"]),
    "another model": value(model="vgg16"),
    "no format": without("format"),
    "a format of the future": value(format=99),
    "a format of text": value(format="1"),
    "no data": without("data"),
    "data of text": value(data="cat"),
    "three classes": data(class_names=["a", "b", "c"]),
    "classes of text": data(class_names="ab"),
    "a class of a number": data(class_names=["cat", 1]),
    "two image sizes": data(image_size=64),
    "a huge image size": large_sizes,
    "an image size below 0": data(image_size=-32),
    "an unknown field": data(path="/etc"),
    "a temperature of 0": value(temperature=0),
    "a temperature of text": value(temperature="hot\x1b[31m"),
    "another threshold": value(threshold=0.7),
    "an epoch of text": value(epoch="one"),
    "no step": without("global_step"),
    "no sum of the weights": without(SUM),
    "a sum of other weights": value(**{SUM: "0" * 64}),
    "a sum of a number": value(**{SUM: 7}),
}


def header(folder: Path) -> dict[str, Any]:
    raw = (folder / "model.safetensors").read_bytes()
    found: dict[str, Any] = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    return found


def write(folder: Path, text: bytes, length: int | None = None) -> None:
    """Replace the header, and keep the numbers behind it."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    numbers = raw[8 + struct.unpack("<Q", raw[:8])[0] :]
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + numbers)


def entry(**values: Any) -> Callable[[Path], None]:
    """Change what the header says about a kernel of shape (8, 144)."""

    def change(folder: Path) -> None:
        found = header(folder)
        found["head.dense_1.weight"] |= values
        write(folder, json.dumps(found).encode())

    return change


def tensors(**values: Any) -> Callable[[Path], None]:
    """Write other weights; None leaves one out."""

    def change(folder: Path) -> None:
        state = {**load_file(folder / "model.safetensors"), **values}
        save_file(
            {key: tensor for key, tensor in state.items() if tensor is not None}, folder / "model.safetensors"
        )

    return change


def bias(value: Any) -> Callable[[Path], None]:
    return tensors(**{"head.dense_2.bias": value})


def flip_bit(folder: Path) -> None:
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-100] ^= 1  # of a number's smallest digits
    (folder / "model.safetensors").write_bytes(raw)


def raw(text: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(text)

    return change


def resized(change: int) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors"
        os.truncate(path, path.stat().st_size + change)

    return apply


def huge_header(folder: Path) -> None:
    raw(struct.pack("<Q", 90_000_000) + b"{")(folder)
    os.truncate(folder / "model.safetensors", 100_000_000)


def terabyte(folder: Path) -> None:
    """A file without blocks on the disk, which is as long as it says."""
    found = {"head.dense_1.weight": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}
    text = json.dumps(found).encode()
    raw(struct.pack("<Q", len(text)) + text)(folder)
    os.truncate(folder / "model.safetensors", 8 + len(text) + 2**40)


def twice(folder: Path) -> None:
    text = json.dumps(header(folder))
    first = json.dumps({"head.dense_2.bias": header(folder)["head.dense_2.bias"]})
    write(folder, (first[:-1] + ", " + text[1:].replace("F32", "I32")).encode())


def gone(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        make(folder / "model.safetensors")

    return change


def pickled(folder: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, ("open('executed', 'w').close()",)

    torch.save({"state_dict": Payload()}, folder / "model.safetensors")


WEIGHTS: dict[str, Callable[[Path], None]] = {
    "empty": raw(b""),
    "three bytes": raw(b"abc"),
    "random bytes": raw(bytes(range(256)) * 40),
    "a pickle with code": pickled,
    "a header of 8 EiB": lambda folder: write(folder, b"{}", 2**63),
    "a header longer than the file": lambda folder: write(folder, b"{}", 10**6),
    "a header of 90 MB": huge_header,
    "a header of no bytes": lambda folder: write(folder, b""),
    "a header that is no JSON": lambda folder: write(folder, b"\x80\x02" * 8),
    "a header of a list": lambda folder: write(folder, b"[1, 2]"),
    "a deep header": lambda folder: write(folder, b'{"a":' * 10**5),
    "a deep list in the header": lambda folder: write(folder, b"[" * 10**5),
    "a tensor twice": twice,
    "numbers behind the file's end": entry(data_offsets=[10**9, 10**9 + 4_608]),
    "numbers before their beginning": entry(data_offsets=[4_608, 0]),
    "negative offsets": entry(data_offsets=[-4_608, 0]),
    "offsets beyond 64 bits": entry(data_offsets=[2**64, 2**64 + 4_608]),
    "another tensor's numbers": entry(data_offsets=[0, 4_608]),
    "no numbers": entry(data_offsets=[0, 0]),
    "a shape of more numbers": entry(shape=[8, 10**6]),
    "a shape of too many numbers": entry(shape=[2**63, 2**63]),
    "a negative shape": entry(shape=[-8, -144]),
    "a shape of text": entry(shape="8"),
    "the shape transposed": entry(shape=[144, 8]),
    "a flat shape": entry(shape=[1_152]),
    "an unknown kind of numbers": entry(dtype="F33"),
    "numbers of eight bits": entry(dtype="F8_E4M3", shape=[32, 144]),
    "whole numbers": entry(dtype="I32"),
    "complex numbers": entry(dtype="C64", shape=[4, 144]),
    "truths": entry(dtype="BOOL", shape=[32, 144]),
    "a terabyte": terabyte,
    "cut short": resized(-100),
    "longer than it says": resized(100),
    "one bit flipped": flip_bit,
    "a missing tensor": bias(None),
    "an additional tensor": tensors(extra=torch.zeros(1)),
    "another shape": bias(torch.zeros(2)),
    "a whole number": bias(torch.zeros(1, dtype=torch.int64)),
    "NaN": bias(torch.tensor([float("nan")])),
    "infinity": bias(torch.tensor([float("-inf")])),
    "other weights of the same shapes": bias(torch.ones(1)),
    "missing": gone(lambda path: None),
    "a pipe": gone(os.mkfifo),
    "a device": gone(lambda path: path.symlink_to("/dev/zero")),
}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refused(path: Path, run: Run, capsys: Capture) -> str:
    """Check that a checkpoint is refused in one line, at once and without memory; return the line."""
    memory, start = peak_bytes(), time.perf_counter()
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert str(error.value).isprintable()
    assert run("predict x.jpg --ckpt_path", path) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("[ERROR]    Checkpoint ")
    assert time.perf_counter() - start < 10
    assert peak_bytes() - memory < 200e6
    assert not Path("executed").exists()
    return err


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_hostile_config_is_refused_in_one_line(kind: str, hub: Path, run: Run, capsys: Capture) -> None:
    CONFIGS[kind](hub)
    assert "hub" in refused(hub, run, capsys)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_hostile_weights_are_refused_in_one_line(kind: str, hub: Path, run: Run, capsys: Capture) -> None:
    WEIGHTS[kind](hub)
    assert "hub" in refused(hub, run, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["fit", "validate", "test", "keras export hub --output x.keras", "report"])
def test_every_command_refuses_alike(line: str, hub: Path, run: Run, capsys: Capture) -> None:
    flip_bit(hub)
    assert run(line if "hub" in line else f"{line} --ckpt_path hub") == 1
    reason = "it is damaged, or config.json belongs to other weights; use another copy"
    assert capsys.readouterr().err == f"[ERROR]    Checkpoint hub/model.safetensors: {reason}\n"


def test_each_refusal_says_what_is_wrong_and_what_to_do(hub: Path, run: Run, capsys: Capture) -> None:
    def message(change: Callable[[Path], None]) -> str:
        before = {path: path.read_bytes() for path in hub.iterdir()}
        change(hub)
        run("predict x.jpg --ckpt_path hub")
        for path, text in before.items():
            path.unlink(missing_ok=True)
            path.write_bytes(text)
        return capsys.readouterr().err.removeprefix("[ERROR]    Checkpoint hub/model.safetensors: ").rstrip()

    assert message(CONFIGS["missing"]) == (
        "config.json belongs beside it, but there is no such file; give a folder that export has written"
    )
    assert message(CONFIGS["that of another library"]) == (
        "its config.json was not written by catdog_pl; give a folder that export has written"
    )
    assert message(CONFIGS["NaN"]) == (
        "its config.json is not JSON (NaN is no number of JSON); give a folder that export has written"
    )
    assert message(CONFIGS["another threshold"]) == (
        "its config.json asks for another threshold; answers here are by 0.5"
    )
    assert message(CONFIGS["a huge image size"]) == "its image_size is 1000000000; valid are 1 to 4096"
    assert message(WEIGHTS["a header of 90 MB"]) == (
        "it is not a safetensors file, or damaged (its header has 90,000,000 bytes, the limit is 8,388,608)"
    )
    assert message(WEIGHTS["another shape"]) == "head.dense_2.bias is (2,), its model needs (1,)"


def test_a_lone_file_of_weights_is_refused(hub: Path, run: Run, capsys: Capture) -> None:
    (hub / "model.safetensors").rename("lone.safetensors")
    assert "lone.safetensors: config.json belongs beside it" in refused(Path("lone.safetensors"), run, capsys)


def test_without_the_library_one_line_says_what_to_install(
    hub: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    assert refused(hub, run, capsys).endswith("reading it needs safetensors: pip install safetensors\n")
