"""Answers of ONNX files: the checkpoint's, without torch; what is foreign is refused in one line."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from catdog_pl.errors import CatDogError, CheckpointError, UsageError
from catdog_pl.export import export
from catdog_pl.models import Basic, load_checkpoint
from catdog_pl.models.checkpoint import save_checkpoint
from catdog_pl.models.spec import DataSpec
from catdog_pl.prediction.onnx import load_engine
from catdog_pl.prediction.predictor import predict
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]
ABOUT = {"class_names": "cat,dog", "threshold": "0.5", "image_size": "8", "resize": "nearest"}
DIMS = ["N", 8, 8, 3]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    model = Basic(image_size=32, filters=(4, 4), dense_units=8)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(3)  # answers that differ
    save_checkpoint(model, folder / "model.ckpt")
    list(export(folder / "model.ckpt", "onnx", folder / "model.onnx"))
    return folder


def test_the_answers_are_those_of_the_checkpoint(exported: Path, photos: Path) -> None:
    folder = photos / "train"
    ours = list(predict(folder, exported / "model.ckpt", accelerator="cpu"))
    for batch_size in (1, 5, 32):
        theirs = list(predict(folder, exported / "model.onnx", batch_size=batch_size))
        assert [(a.source, a.label) for a in theirs] == [(a.source, a.label) for a in ours]
        np.testing.assert_allclose(
            [a.probability or 0 for a in theirs], [a.probability or 0 for a in ours], atol=2e-6
        )
    assert len({answer.probability for answer in ours}) == len(ours)


@pytest.mark.parametrize("names", [("big, red", 'the "blue"'), (",", '"'), ("a\nb", "c\r\n")])
def test_class_names_of_any_characters_come_back(names: tuple[str, str], photos: Path) -> None:
    model = Basic(image_size=32, filters=(4,), dense_units=4)
    model.data_spec = DataSpec(names, 32)
    save_checkpoint(model, Path("model.ckpt"))
    list(export(Path("model.ckpt"), "onnx", Path("model.onnx")))
    assert load_engine(Path("model.onnx")).spec.class_names == names
    assert {answer.label for answer in predict(photos / "train", "model.onnx")} <= set(names)


def test_the_command_recognises_it_by_its_ending(
    exported: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    Path("broken.jpg").write_bytes(b"no picture")
    picture = next((photos / "test" / "dog").iterdir())
    words = ("predict broken.jpg", picture, "--format", "csv", "--ckpt_path")
    answers = []
    for name in ("model.ckpt", "model.onnx"):
        assert run(*words, exported / name) == 1
        out, err = capsys.readouterr()
        assert err.startswith("[ERROR]    Cannot read image from broken.jpg")
        answers.append(out.splitlines()[2].split(","))
    (_, ours, label, *_), (_, theirs, same, *_) = answers
    assert same == label
    assert float(theirs) == pytest.approx(float(ours), abs=2e-6)


@pytest.mark.slow
def test_neither_torch_nor_lightning_is_imported(exported: Path, photos: Path) -> None:
    picture = next((photos / "test" / "dog").iterdir())
    code = (
        "import sys\nfrom catdog_pl.__main__ import main\n"
        f"assert main(['predict', {str(picture)!r}, '--ckpt_path', {str(exported / 'model.onnx')!r}]) == 0\n"
        "heavy = {'torch', 'lightning', 'torchvision', 'pandas', 'jsonargparse', 'h5py', 'onnx', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Probability: [[0.")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--tta", "--tta"),
        ("--calibrated", "--calibrated"),
        ("--accelerator gpu", "--accelerator gpu"),
        ("--tta --accelerator cuda", "--tta, --accelerator cuda"),
    ],
)
def test_what_needs_the_network_is_refused(
    words: str, named: str, exported: Path, run: Run, capsys: Capture
) -> None:
    assert run(f"predict x.jpg {words} --ckpt_path", exported / "model.onnx") == 2
    path = exported / "model.onnx"
    assert capsys.readouterr().err == f"[ERROR]    {named}: {path} is an ONNX file; this needs a checkpoint\n"
    assert run("predict x.jpg --explain a.png --ckpt_path", path) == 2
    message = "An ONNX file gives answers only; to explain them (Grad-CAM), give a checkpoint"
    assert capsys.readouterr().err == f"[ERROR]    {message}\n"


def test_without_onnx_runtime_one_line_says_what_to_install(
    exported: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = exported / "model.onnx"
    assert run("predict x.jpg --ckpt_path", path) == 2
    assert capsys.readouterr().err == f"[ERROR]    {path} needs ONNX Runtime: pip install onnxruntime\n"
    with pytest.raises(UsageError):
        predict("x.jpg", path)


@pytest.mark.parametrize("line", ["fit", "test", "report", "keras export {} --output x.keras"])
def test_other_commands_say_what_it_is(line: str, exported: Path, run: Run, capsys: Capture) -> None:
    path = exported / "model.onnx"
    assert run(line.format(path) if "{}" in line else f"{line} --ckpt_path {path}") == 1
    reason = "it is an ONNX file, which predict alone takes; give what it was exported from"
    assert capsys.readouterr().err == f"[ERROR]    Checkpoint {path}: {reason}\n"


def test_a_program_of_torch_export_is_called_by_its_name(exported: Path, run: Run, capsys: Capture) -> None:
    list(export(exported / "model.ckpt", "pt2", Path("model.pt2")))
    assert run("predict x.jpg --ckpt_path model.pt2") == 1
    reason = "it is a program of torch.export; give what it was exported from"
    assert capsys.readouterr().err == f"[ERROR]    Checkpoint model.pt2: {reason}\n"
    with pytest.raises(CheckpointError):
        load_checkpoint("model.pt2")


# Foreign and hostile files


def constants(scale: float = 1 / 255, axes: tuple[int, ...] = (1, 2, 3)) -> list[Any]:
    """What the small network computes with."""
    factor = np.array(scale, np.float32)
    return [numpy_helper.from_array(np.array(axes), "axes"), numpy_helper.from_array(factor, "scale")]


def write(
    nodes: list[Any] | None = None,
    about: dict[str, str] | None = None,
    taken: tuple[str, int, list[Any]] = ("pixels", TensorProto.UINT8, DIMS),
    given: tuple[str, int, list[Any]] = ("probability", TensorProto.FLOAT, ["N"]),
    values: list[Any] | None = None,
) -> Callable[[Path], None]:
    """A small network that gives the mean of its pixels, scaled to 0..1, with what is to be changed."""
    nodes = nodes or [
        helper.make_node("Cast", [taken[0]], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], [given[0]]),
    ]
    values = values or constants()

    def make(path: Path) -> None:
        start, end = helper.make_tensor_value_info(*taken), helper.make_tensor_value_info(*given)
        graph = helper.make_graph(nodes, "small", [start], [end], values)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, ABOUT if about is None else about)
        path.write_bytes(model.SerializeToString())

    return make


def external(location: str) -> Callable[[Path], None]:
    """The scale is in another file."""
    scale = TensorProto(name="scale", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        scale.external_data.add(key=key, value=value)
    return write(values=[constants()[0], scale])


def external_link(path: Path) -> None:
    (path.parent / "link.bin").symlink_to("/etc/passwd")
    external("link.bin")(path)


def huge_tensor(path: Path) -> None:
    scale = TensorProto(name="scale", data_type=TensorProto.FLOAT, dims=[2**40], raw_data=b"1234")
    write(values=[constants()[0], scale])(path)


def bytes_of(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write()(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def checkpoint(path: Path) -> None:
    save_checkpoint(Basic(image_size=32, filters=(4,)), path)


def constant(*shape: int) -> list[Any]:
    """A network that asks for a constant of that shape, which an optimizer may compute at once."""
    dims = numpy_helper.from_array(np.array(shape, np.int64))
    return [
        helper.make_node("Constant", [], ["dims"], value=dims),
        helper.make_node("ConstantOfShape", ["dims"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "sum"], ["probability"]),
    ]


REFUSED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "random bytes": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "text": lambda path: path.write_text("model"),
    "cut short": bytes_of(lambda raw: raw[:-60]),
    "a checkpoint": checkpoint,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a gigabyte of nothing": lambda path: path.open("wb").truncate(2**30),
    "an operation whose name is no text": bytes_of(lambda raw: raw.replace(b"ReduceMean", b"\xffeduceMean")),
    "metadata that are no text": bytes_of(lambda raw: raw.replace(b"cat,dog", b"\xffat,dog")),
    "no metadata": write(about={}),
    "three classes": write(about=ABOUT | {"class_names": "a,b,c"}),
    "one class": write(about=ABOUT | {"class_names": "a"}),
    "another threshold": write(about=ABOUT | {"threshold": "0.7"}),
    "an unknown way to resize": write(about=ABOUT | {"resize": "os.system\x1b[31m"}),
    "another size": write(about=ABOUT | {"image_size": "16"}),
    "a size of text": write(
        about=ABOUT | {"image_size": "S"}, taken=("pixels", TensorProto.UINT8, ["N", "S", "S", 3])
    ),
    "a size that is not told": write(
        about=ABOUT | {"image_size": "None"}, taken=("pixels", 2, ["N", None, None, 3])
    ),
    "a huge size": write(
        about=ABOUT | {"image_size": "1000000"}, taken=("pixels", TensorProto.UINT8, ["N", 10**6, 10**6, 3])
    ),
    "an input of another name": write(taken=("image", TensorProto.UINT8, DIMS)),
    "an input of floats": write(taken=("pixels", TensorProto.FLOAT, DIMS)),
    "channels first": write(taken=("pixels", TensorProto.UINT8, ["N", 3, 8, 8])),
    "an output of another name": write(given=("answer", TensorProto.FLOAT, ["N"])),
    "an output of two columns": write(given=("probability", TensorProto.FLOAT, ["N", 2])),
    "an operation that nobody knows": write(nodes=[helper.make_node("Evil", ["pixels"], ["probability"])]),
    "a library's own operation": write(
        nodes=[helper.make_node("PyOp", ["pixels"], ["probability"], domain="evil")]
    ),
    "a tensor larger than its numbers": huge_tensor,
    "numbers of the system": external("/etc/passwd"),
    "numbers of a folder above": external("../../../../../../etc/passwd"),
    "numbers behind a link": external_link,
    "numbers that are missing": external("nothing.bin"),
}

FAILING: dict[str, Callable[[Path], object]] = {
    "answers above 1": write(values=constants(scale=1)),
    "answers of two numbers": write(values=constants(axes=(2, 3))),
    "one answer for all": write(values=constants(axes=(0, 1, 2, 3))),
    "twice as many answers": write(
        nodes=[
            helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "scale"], ["p"]),
            helper.make_node("Concat", ["p", "p"], ["probability"], axis=0),
        ],
    ),
    "an operation that fails": write(
        nodes=[
            helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["x", "shape"], ["probability"]),
        ],
        values=[numpy_helper.from_array(np.array([7]), "shape")],
    ),
    "a constant of 4 TB": write(nodes=constant(2**40)),
    "a constant of more than there is": write(nodes=constant(2**62, 2**62)),
}


@pytest.fixture
def picture() -> Path:
    Image.new("RGB", (9, 9), "red").save("red.png")
    return Path("red.png")


def one_line(path: Path, run: Run, capfd: pytest.CaptureFixture[str]) -> str:
    """Check that the command ends with one line, and ONNX Runtime writes none; return it."""
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    assert run("predict red.png --ckpt_path", path) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert err.startswith("[ERROR]    ")
    assert err.rstrip().isprintable()
    assert time.perf_counter() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 500e3
    return err


def test_the_small_network_itself_is_answered(picture: Path) -> None:
    write()(Path("small.onnx"))
    (answer,) = predict(picture, "small.onnx")
    assert answer.probability == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", REFUSED)
def test_foreign_files_are_refused_in_one_line(
    kind: str, picture: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    REFUSED[kind](Path("x.onnx"))
    assert "x.onnx" in one_line(Path("x.onnx"), run, capfd)
    with pytest.raises(CheckpointError):
        predict(picture, "x.onnx")


@pytest.mark.parametrize("kind", FAILING)
def test_files_that_fail_when_asked_end_in_one_line(
    kind: str, picture: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    FAILING[kind](Path("x.onnx"))
    assert "ONNX file" in one_line(Path("x.onnx"), run, capfd)
    with pytest.raises(CatDogError):
        list(predict([picture, picture], "x.onnx"))


def test_an_answer_that_is_no_number_is_an_error_of_its_picture(
    picture: Path, run: Run, capsys: Capture
) -> None:
    write(values=constants(scale=float("nan")))(Path("x.onnx"))
    assert run("predict red.png --ckpt_path x.onnx") == 1
    assert "the model's answer is NaN" in capsys.readouterr().out


def test_numbers_in_a_file_beside_it_are_read(picture: Path) -> None:
    """As other programs split large models; ``export`` writes one file."""
    Path("scale.bin").write_bytes(np.float32(1 / 255).tobytes())
    external("scale.bin")(Path("x.onnx"))
    (answer,) = predict(picture, "x.onnx")
    assert answer.probability == pytest.approx(1 / 3)


def test_each_refusal_says_what_is_wrong_and_what_to_do(run: Run, capsys: Capture) -> None:
    def message(kind: str) -> str:
        REFUSED[kind](Path("x.onnx"))
        run("predict red.png --ckpt_path x.onnx")
        return capsys.readouterr().err.removeprefix("[ERROR]    ONNX file x.onnx").rstrip()

    assert message("no metadata") == (
        " cannot be used (its metadata name no two classes and a threshold of 0.5); "
        "give one that export has written"
    )
    assert message("an input of floats") == (
        " cannot be used (its network takes [('pixels', 'tensor(float)', '8', '8', '3')] and gives "
        "[('probability', 'tensor(float)', 1)]); give one that export has written"
    )
    Path("x.onnx").unlink()
    assert message("a folder") == ": it is a folder; give one that export has written"


def test_onnx_is_the_referee_of_the_files_here() -> None:
    write()(Path("small.onnx"))
    onnx.checker.check_model("small.onnx")
