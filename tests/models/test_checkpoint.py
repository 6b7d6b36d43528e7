"""What a checkpoint holds, and that no file that looks like one does harm."""

import copy
import io
import json
import os
import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from catdog_pl import predict
from catdog_pl.callbacks.checkpoint import AtomicCheckpointIO
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.devices import hardware
from catdog_pl.errors import CatDogError, CheckpointError
from catdog_pl.models import VGG16, Basic, load_checkpoint
from catdog_pl.models.checkpoint import read_checkpoint, save_checkpoint, store_temperature, trained_on
from catdog_pl.models.classifier import NOTE, Classifier
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = {"image_size": 32, "filters": (4, 4), "dense_units": 8}


def save(model: Classifier, path: Path) -> dict[str, Any]:
    """Write the model as the Trainer does; returns what the file holds."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


@pytest.mark.parametrize(
    "model",
    [Basic(**SMALL), VGG16(image_size=32, weights="none", dense_units=8, dropout=0.3)],  # type: ignore[arg-type]
    ids=["basic", "vgg16"],
)
def test_a_round_trip_gives_the_same_model(model: Classifier, tmp_path: Path) -> None:
    save(model, tmp_path / "x.ckpt")
    loaded = load_checkpoint(tmp_path / "x.ckpt")
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert dict(loaded.hparams) == dict(model.hparams)
    assert torch.equal(loaded(pixels), model.eval()(pixels))
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]


def test_a_checkpoint_notes_what_prediction_needs(tmp_path: Path) -> None:
    note = save(Basic(**SMALL), tmp_path / "x.ckpt")[NOTE]  # type: ignore[arg-type]
    assert note["model"] == "basic"
    assert note["data"] == {
        "class_names": ["cat", "dog"],
        "image_size": 32,
        "resize": "nearest",
        "predict_resize": "lanczos",
    }
    assert set(note["versions"]) == {"catdog_pl", "lightning", "PIL", "torch", "torchvision"}
    assert note["hardware"] == hardware()


def test_what_a_model_was_trained_on_is_told_by_what_trained_it(tmp_path: Path) -> None:
    checkpoint = save(Basic(**SMALL), tmp_path / "x.ckpt")  # type: ignore[arg-type]
    assert trained_on(checkpoint) == {}  # no step was trained
    assert trained_on(checkpoint | {"global_step": 1}) == hardware()
    assert trained_on(read_checkpoint(FIXTURES / "format-1.ckpt")) == {}


@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {1: "x"}, {"cores": 1.5}, {"gpu": {"a": "b"}}, {"x": [[]]}]
)
def test_a_foreign_note_of_the_hardware_counts_as_none(value: Any, tmp_path: Path) -> None:
    checkpoint = save(Basic(**SMALL), tmp_path / "x.ckpt")  # type: ignore[arg-type]
    changed(checkpoint, tmp_path / "x.ckpt", lambda c: c[NOTE].update(hardware=value))
    assert trained_on(read_checkpoint(tmp_path / "x.ckpt") | {"global_step": 1}) == {}


class Payload:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, ("open('executed', 'w').close()",)


def changed(checkpoint: dict[str, Any], path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    change(checkpoint)
    torch.save(checkpoint, path)


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def deflate(path: Path) -> None:
    with zipfile.ZipFile(path) as source:
        entries = [(entry.filename, source.read(entry)) for entry in source.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in entries:
            target.writestr(name, content)


def hyper(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda checkpoint: checkpoint["hyper_parameters"].update(values)


def weight(value: object) -> Callable[[dict[str, Any]], None]:
    return lambda checkpoint: checkpoint["state_dict"].update({"head.dense_2.bias": value})


def optimizer(mean_square: torch.Tensor) -> Callable[[dict[str, Any]], None]:
    """The state of an optimizer as ``Basic``'s, but for the first weight's."""
    groups = [{"lr": 0.001, "rho": 0.9, "epsilon": 1e-7, "params": list(range(8))}]
    state = {"state": {0: {"mean_square": mean_square}}, "param_groups": groups}
    return lambda checkpoint: checkpoint.update(optimizer_states=[state])


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "pickled code": lambda c: c.update(extra=Payload()),
    "no note": lambda c: c.pop(NOTE),
    "note of another kind": lambda c: c.update({NOTE: "basic"}),
    "format of the future": lambda c: c[NOTE].update(format=99),
    "foreign model": lambda c: c[NOTE].update(model="os.system"),
    "a list for a model": lambda c: c[NOTE].update(model=["basic"]),
    "no classes": lambda c: c[NOTE]["data"].pop("class_names"),
    "three classes": lambda c: c[NOTE]["data"].update(class_names=["a", "b", "c"]),
    "two image sizes": lambda c: c[NOTE]["data"].update(image_size=10**6),
    "unknown data field": lambda c: c[NOTE]["data"].update(path="/etc"),
    "instantiator": hyper(_instantiator="os.system"),
    "class path": hyper(_class_path="os.system"),
    "huge layer": hyper(dense_units=10**12),
    "endless layers": hyper(filters=tuple([8] * 100_000)),
    "layer of text": hyper(dense_units="many"),
    "temperature of 0": lambda c: c[NOTE].update(temperature=0.0),
    "temperature below 0": lambda c: c[NOTE].update(temperature=-1.5),
    "temperature of NaN": lambda c: c[NOTE].update(temperature=float("nan")),
    "temperature without end": lambda c: c[NOTE].update(temperature=float("inf")),
    "temperature of text": lambda c: c[NOTE].update(temperature="hot\x1b[31m"),
    "temperature of a truth": lambda c: c[NOTE].update(temperature=True),
    "temperature of a tensor": lambda c: c[NOTE].update(temperature=torch.ones(1)),
    "temperature beyond all floats": lambda c: c[NOTE].update(temperature=10**400),
    "missing layer": lambda c: c["state_dict"].pop("head.dense_2.bias"),
    "additional layer": lambda c: c["state_dict"].update(extra=torch.zeros(1)),
    "wrong shape": weight(torch.zeros(2)),
    "sparse weight": weight(torch.zeros(1).to_sparse()),
    "text for a weight": weight("zero"),
    "no state": lambda c: c.pop("state_dict"),
    "complex weight": weight(torch.zeros(1, dtype=torch.complex64)),
    "a billion elements in four bytes": weight(torch.zeros(1).expand(10**9)),
    "a repeated weight": lambda c: c["state_dict"].update(
        {"head.dense_1.weight": torch.zeros(1).expand(c["state_dict"]["head.dense_1.weight"].shape)}
    ),
    "a weight that is not there": weight(torch.zeros(1, device="meta")),
    "a weight of eight bits": weight(torch.zeros(1).to(torch.float8_e5m2)),
    "an integer weight": weight(torch.zeros(1, dtype=torch.int64)),
    "a NaN weight": weight(torch.tensor([float("nan")])),
    "an infinite weight": weight(torch.tensor([float("-inf")])),
    "learning rate of text": hyper(learning_rate="fast\x1b[31m"),
    "learning rate of a list": hyper(learning_rate=[0.1]),
    "learning rate of a mapping": hyper(learning_rate={"a": 1}),
    "learning rate of a tensor": hyper(learning_rate=torch.zeros(2)),
    "learning rate of nothing": hyper(learning_rate=None),
    "learning rate of NaN": hyper(learning_rate=float("nan")),
    "learning rate beyond all floats": hyper(learning_rate=10**400),
    "optimizer of a number": hyper(optimizer=3),
    "optimizer arguments of a list": hyper(optimizer_args=[1]),
    "filters of text": hyper(filters="32"),
    "filters of truths": hyper(filters=(True, 4)),
    "hyper-parameters of text": lambda c: c.update(hyper_parameters="image_size"),
    "no hyper-parameters": lambda c: c.pop("hyper_parameters"),
    "a resize rule of a list": lambda c: c[NOTE]["data"].update(resize=["nearest"]),
    "a class of a number": lambda c: c[NOTE]["data"].update(class_names=["cat", 1]),
    "classes of text": lambda c: c[NOTE]["data"].update(class_names="ab"),
    "data of text": lambda c: c[NOTE].update(data="cat"),
    "version of Lightning": lambda c: c.update({"pytorch-lightning_version": "x"}),
    "no version of Lightning": lambda c: c.pop("pytorch-lightning_version"),
    "callbacks of another kind": lambda c: c.update(callbacks=[1]),
    "loops of another kind": lambda c: c.update(loops="x"),
    "history of another kind": lambda c: c.update(callbacks={"History": {"rows": "abc"}}),
    "optimizer of another kind": lambda c: c.update(optimizer_states=["x"]),
    "optimizer without groups": lambda c: c.update(optimizer_states=[{"state": {}, "param_groups": []}]),
    "optimizer of other shapes": optimizer(torch.zeros(2)),
    "optimizer of a billion elements": optimizer(torch.zeros(1, dtype=torch.float64).expand(10**9)),
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> dict[str, Any]:
    return save(Basic(**SMALL), tmp_path / "x.ckpt")  # type: ignore[arg-type]


def refused_everywhere(file: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that takes a checkpoint, and the Python function, refuses this one in one line."""
    for line in (
        f"fit --ckpt_path {file}",
        f"validate --ckpt_path {file}",
        f"test --ckpt_path {file}",
        f"predict x.jpg --ckpt_path {file}",
        f"keras export {file} --output x.keras",
    ):
        assert run(line) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), line
        assert err.startswith("[ERROR]    Checkpoint ")
    with pytest.raises(CatDogError):
        predict("x.jpg", file)
    assert not Path("x.keras").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_checkpoints_are_refused_in_one_line(
    kind: str, checkpoint: dict[str, Any], tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.ckpt"
    changed(checkpoint, file, HOSTILE[kind])
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(file)
    assert "\n" not in str(error.value)
    assert "x.ckpt" in str(error.value)
    refused_everywhere(file, run, capsys)
    assert not Path("executed").exists()


def test_optimizers_that_keep_other_things_are_taken_over(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    first = checkpoint["state_dict"]["features.conv2d_1.weight"]
    changed(checkpoint, file, optimizer(torch.zeros_like(first)))
    read_checkpoint(file)
    model = Basic(**SMALL)  # type: ignore[arg-type]
    adafactor = torch.optim.Adafactor(model.parameters())
    model(torch.zeros(1, 3, 32, 32)).sum().backward()
    adafactor.step()  # type: ignore[no-untyped-call]
    changed(checkpoint, file, lambda c: c.update(optimizer_states=[adafactor.state_dict()]))
    read_checkpoint(file)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def repickle(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the pickle in a checkpoint, and keep its checksums right."""
    with zipfile.ZipFile(path) as source:
        entries = [(entry.filename, source.read(entry)) for entry in source.infolist()]
    with zipfile.ZipFile(path, "w") as target:
        for name, content in entries:
            target.writestr(name, change(content) if name.endswith("data.pkl") else content)


def rename_member(path: Path) -> None:
    """Give a member a name that says it is UTF-8 and is not."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("\xe9", b"")
    path.write_bytes(path.read_bytes().replace("\xe9".encode(), b"\xdf\xdf"))


DAMAGED: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "random bytes": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "one bit flipped": flip_bit,
    "compressed": deflate,
    "bare pickle": lambda path: path.write_bytes(pickle.dumps(Payload())),
    "control characters": lambda path: repickle(path, lambda data: data.replace(b"torch", b"to\x1b\nh")),
    "a name that is no text": rename_member,
    "a list": lambda path: torch.save([1, 2], path),
    "a folder": make_folder,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_checkpoints_are_refused_in_one_line(
    kind: str, checkpoint: object, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.ckpt"
    DAMAGED[kind](file)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(file)
    assert str(error.value).isprintable()
    refused_everywhere(file, run, capsys)
    assert not Path("executed").exists()


def test_each_refusal_says_what_is_wrong_and_what_to_do(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    def message(change: Callable[[dict[str, Any]], object]) -> str:
        changed(copy.deepcopy(checkpoint), tmp_path / "x.ckpt", change)
        with pytest.raises(CheckpointError) as error:
            load_checkpoint("x.ckpt")
        return str(error.value)

    assert message(HOSTILE["pickled code"]) == (
        "Checkpoint x.ckpt: it holds more than plain values and tensors, and loading that could run foreign "
        "code; give a file written by fit"
    )
    assert message(HOSTILE["a NaN weight"]) == (
        "Checkpoint x.ckpt: head.dense_2.bias is NaN or infinite, because the training diverged; use a "
        "checkpoint of an earlier epoch, or fit again with a smaller --learning_rate"
    )
    assert message(HOSTILE["learning rate of text"]) == (
        r"Checkpoint x.ckpt: its hyper_parameters hold 'learning_rate': 'fast\x1b[31m', which is not valid; "
        "use another copy"
    )
    assert message(HOSTILE["temperature of text"]) == (
        r"Checkpoint x.ckpt: its temperature is 'hot\x1b[31m'; it must be a number above 0"
    )
    assert message(HOSTILE["optimizer of other shapes"]) == (
        "Checkpoint x.ckpt: its training state is not as fit writes it (an optimizer of other weights); use "
        "another copy"
    )


def test_what_is_no_checkpoint_is_called_by_its_name(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    with h5py.File("my model.h5", "w") as file:
        file["x"] = 1
    with zipfile.ZipFile("model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    advice = "run fit first, or give the path of a file such as best.ckpt"
    keras = "it is a Keras file; make a checkpoint of it by: python -m catdog_pl keras import"
    for path, reason in {
        "folder": f"it is a folder; {advice}",
        "pipe": f"it is not a regular file; {advice}",
        "model.keras": f"{keras} model.keras",
        "my model.h5": f"{keras} 'my model.h5'",
    }.items():
        for command in ("fit", "test", "predict x.jpg"):
            assert run(command, "--ckpt_path", path) == 1
            assert capsys.readouterr().err == f"[ERROR]    Checkpoint {path}: {reason}\n"
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


@pytest.mark.slow
def test_layers_that_were_unfrozen_in_python_do_not_keep_a_checkpoint_from_loading() -> None:
    model = VGG16(image_size=32, weights="none", dense_units=4)
    model.features.stages()[-1].requires_grad_(True)
    pixels = torch.zeros(1, 3, 32, 32)
    model(pixels).sum().backward()
    optimizer = model.configure_optimizers()
    optimizer.step()
    save_checkpoint(model, Path("x.ckpt"), optimizer)
    assert torch.equal(load_checkpoint("x.ckpt")(pixels), model.eval()(pixels))


def test_an_odd_pickle_that_harms_nobody_is_read_without_a_word(checkpoint: object, tmp_path: Path) -> None:
    repickle(tmp_path / "x.ckpt", lambda data: b"\x80\x3a" + data[2:])  # protocol 58
    with warnings.catch_warnings(action="error"):
        load_checkpoint(tmp_path / "x.ckpt")


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 10)
    lying = content.getvalue().replace(struct.pack("<I", 10), struct.pack("<I", 2**31))
    (tmp_path / "x.ckpt").write_bytes(lying)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x.ckpt")


def test_checkpoints_of_every_released_format_keep_loading() -> None:
    model = load_checkpoint(FIXTURES / "format-1.ckpt")
    logit = model(torch.full((1, 3, 16, 16), 128, dtype=torch.uint8))
    assert logit.item() == pytest.approx(0.166577, rel=1e-4)
    assert model.data_spec.class_names == ("cat", "dog")


def test_a_run_of_version_0_1_0_gives_the_same_logits() -> None:
    model = load_checkpoint(FIXTURES / "run" / "best.ckpt")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    # As version 0.1.0 computed them, on another processor perhaps.
    expected = [0.0068163787946105, 0.02012266404926777, -0.008387269452214241, 0.011595550924539566]
    assert model(torch.from_numpy(pixels)).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("cls", [Basic, VGG16])
def test_the_names_of_the_weights_stay(cls: type[Classifier]) -> None:
    shapes = {key: list(value.shape) for key, value in cls.skeleton().state_dict().items()}
    assert shapes == json.loads((FIXTURES / f"keys_{cls.name}.json").read_text(encoding="utf-8"))


def test_a_failed_write_leaves_the_old_checkpoint_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, file)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CatDogError, match=r"last.ckpt cannot be written .*No space left"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, file)
    assert torch.load(file) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ""] == ["last.ckpt"]


# Temperature


def equal(a: Any, b: Any) -> bool:
    """Whether two nests of plain values and tensors are the same, to the bit."""
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("value", [1.75, 2, np.float64(0.3), torch.tensor(1.5), 1e-300])
def test_a_temperature_is_stored_and_nothing_else_changes(photos: Path, run: Run, value: Any) -> None:
    words = f"fit --model.filters [4] --image_size 32 --batch_size 8 --max_epochs 1 --data.root {photos}"
    assert run(f"{words} --accelerator cpu") == 0
    path = find_checkpoint("last")
    before = torch.load(path, weights_only=True)
    assert before["optimizer_states"][0]["state"]
    assert load_checkpoint(path).temperature is None
    store_temperature(path, value)
    after = torch.load(path, weights_only=True)
    assert load_checkpoint(path).temperature == after[NOTE].pop("temperature") == float(value)
    assert equal(after, before)
    assert equal(vars(after["state_dict"]), vars(before["state_dict"]))


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_not_stored(checkpoint: object, tmp_path: Path, value: float) -> None:
    content = (tmp_path / "x.ckpt").read_bytes()
    with pytest.raises(CheckpointError, match=r"its temperature is .*; it must be a number above 0"):
        store_temperature("x.ckpt", value)
    assert (tmp_path / "x.ckpt").read_bytes() == content


def test_a_temperature_stays_with_its_weights(photos: Path, tmp_path: Path) -> None:
    model = Basic(**SMALL)  # type: ignore[arg-type]
    model.temperature = 1.5
    save_checkpoint(model, Path("a.ckpt"))
    loaded = load_checkpoint("a.ckpt")
    assert save(loaded, Path("b.ckpt"))[NOTE]["temperature"] == 1.5
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=1, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    datamodule = CatDogDataModule(photos, image_size=32, batch_size=4)
    trainer.test(loaded, datamodule=datamodule, verbose=False)
    assert loaded.temperature == 1.5
    trainer.fit(loaded, datamodule=datamodule)
    assert loaded.temperature is None
    trainer.save_checkpoint("c.ckpt")
    assert "temperature" not in read_checkpoint("c.ckpt")[NOTE]


def test_a_resume_from_a_checkpoint_with_a_temperature_is_the_same(photos: Path, run: Run) -> None:
    words = f"fit --model.filters [4] --image_size 32 --batch_size 8 --data.root {photos} --accelerator cpu"
    assert run(f"{words} --max_epochs 1") == 0
    first = find_checkpoint("last")
    states = []
    for name, temperature in (("plain", None), ("tempered", 3.0)):
        shutil.copytree(first.parent, Path("runs", "basic", name))
        if temperature:
            store_temperature(Path("runs", "basic", name, first.name), temperature)
        assert run(f"fit --max_epochs 2 --ckpt_path runs/basic/{name}/last.ckpt") == 0
        states.append(read_checkpoint(f"runs/basic/{name}/last.ckpt"))
    plain, tempered = states
    assert "temperature" not in tempered[NOTE]
    for key in ("state_dict", "optimizer_states", "epoch", "global_step", "hyper_parameters"):
        assert equal(plain[key], tempered[key]), key
