"""What a Keras file may not be: another network, damaged, foreign or hostile; each is one line."""

import copy
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers

from benchmarks.parity import old_files
from benchmarks.parity.referee import Model, basic, compiled
from catdog_pl.errors import KerasFileError
from catdog_pl.keras import hdf5
from catdog_pl.models.keras_import import import_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Keras' own; nothing to act on here."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same small model in each kind of file, and a chain of every kind of layer."""
    folder = tmp_path_factory.mktemp("files")
    model = basic(30, (4, 5), 6)
    model.fit(np.zeros((2, 30, 30, 3)), np.array([0, 1]), verbose=0)
    for kind in (".keras", ".h5"):
        model.save(folder / f"m{kind}")
    model.save_weights(folder / "m.weights.h5")
    every_kind().save(folder / "mchain.h5")
    return {path.name.removeprefix("m"): path.read_bytes() for path in folder.iterdir()}


def every_kind() -> Model:
    """A chain of many kinds of layers."""
    inside = [
        layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0]), layers.Resizing(12, 12),
        layers.Conv2D(4, 5, strides=2, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.ReLU(6.0), layers.SeparableConv2D(4, 3, activation="gelu"),
        layers.ZeroPadding2D(((0, 1), (1, 0))), layers.DepthwiseConv2D(3), layers.LayerNormalization(),
        layers.PReLU(), layers.AveragePooling2D(2), layers.Permute((2, 1, 3)), layers.Reshape((-1,)),
        layers.GaussianNoise(0.1), layers.Dense(3, "elu"),
    ]  # fmt: skip
    return compiled(keras.Sequential([keras.Input((30, 30, 3)), *inside, layers.Dense(2, "softmax")]))


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For files whose HDF5 is sound; the process that reads them first would take most of the time."""
    monkeypatch.setattr(hdf5, "survey", lambda source, name: None)


def refusal(path: Path, image_size: int | None = None, preprocessing: str | None = "rescale") -> str:
    """The message with which a file is refused, which must be one line that starts with its name."""
    with pytest.raises(KerasFileError) as caught:
        import_file(path, image_size, preprocessing=preprocessing)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(str(path))
    assert len(message) < 2 * len(str(path)) + 600
    return message


def network(*middle: Any, size: tuple[int, ...] = (30, 30, 3), head: tuple[Any, ...] | None = None) -> Model:
    """Some layers between an input and the workshop's head, or another one."""
    usual = (layers.Dense(6, "relu", name="hidden"), layers.Dense(1, "sigmoid", name="out"))
    return compiled(
        keras.Sequential([keras.Input(size), *middle, layers.Flatten(), *(usual if head is None else head)])
    )


def block(**options: Any) -> tuple[Any, ...]:
    """The workshop's block with other options of its convolution."""
    arguments = {"filters": 4, "kernel_size": 3, "activation": "relu", "name": "first"} | options
    return layers.Conv2D(**arguments), layers.MaxPooling2D()


def conv() -> Any:
    """The workshop's convolution."""
    return block()[0]


def hidden(activation: str = "relu") -> Any:
    """The workshop's hidden layer."""
    return layers.Dense(6, activation, name="hidden")


def out(units: int = 1, activation: str | None = "sigmoid") -> Any:
    """The workshop's last layer."""
    return layers.Dense(units, activation, name="out")


UNLIKE: dict[str, tuple[Callable[[], Model], str]] = {
    "two sigmoids": (
        lambda: network(*block(), head=(hidden(), out(2))),
        r"layer out \(Dense\) has 2 outputs with the activation sigmoid; valid are 1 with sigmoid, 2 with",
    ),
    "three classes": (
        lambda: network(*block(), head=(hidden(), out(3, "softmax"))),
        r"layer out \(Dense\) has 3 outputs with the activation softmax; valid are 1 with sigmoid",
    ),
    "one softmax": (
        lambda: network(*block(), head=(hidden(), out(1, "softmax"))),
        r"layer out \(Dense\) has 1 outputs with the activation softmax; valid are",
    ),
    "logits without their loss": (
        lambda: network(*block(), head=(hidden(), out(1, None))),
        r"layer out \(Dense\) has 1 outputs with the activation linear; .* a loss that takes logits \(",
    ),
    "no last layer": (
        lambda: network(*block(), head=(hidden(),)),
        r"layer hidden \(Dense\) has 6 outputs with the activation relu; valid are",
    ),
    "a last layer of another kind": (
        lambda: network(head=(layers.BatchNormalization(name="norm"),)),
        r"it does not end in a Dense layer or a convolution, which would give its answer$",
    ),
    "an activation behind the last weights": (
        lambda: network(head=(out(1, None), layers.ELU(name="more"), layers.Activation("sigmoid"))),
        r"layer more \(ELU\) changes the answer behind the last weights$",
    ),
    "a pooling behind the last weights": (
        lambda: compiled(
            keras.Sequential(
                [
                    keras.Input((30, 30, 3)),
                    layers.Conv2D(2, 3),
                    layers.GlobalMaxPooling2D(name="m"),
                    softmax(),
                ]
            )
        ),
        r"layer m \(GlobalMaxPooling2D\) changes the answer behind the last weights$",
    ),
    "two channels": (
        lambda: network(*block(), size=(30, 30, 2)),
        r"its images have 2 channels; valid are 3 \(RGB\) and 1 \(grey\)$",
    ),
    "not square": (
        lambda: network(*block(), size=(30, 40, 3)),
        r"its images are 30 x 40; the models here take square ones$",
    ),
    "an unknown layer": (
        lambda: network(*block(), layers.UpSampling2D(name="up")),
        r"layer up \(UpSampling2D\) is not supported; supported are Conv2D, DepthwiseConv2D, ",
    ),
    "an unknown activation": (
        lambda: network(*block(activation="hard_sigmoid")),
        r"layer first \(Conv2D\) has activation hard_sigmoid; valid are relu, sigmoid, tanh, elu, selu, ",
    ),
    "an unknown interpolation": (
        lambda: network(layers.Resizing(9, 9, "bicubic", name="small"), conv()),
        r"layer small \(Resizing\) has interpolation 'bicubic'; valid is bilinear or nearest$",
    ),
    "a resizing that crops": (
        lambda: network(layers.Resizing(9, 9, crop_to_aspect_ratio=True, name="small"), conv()),
        r"layer small \(Resizing\) has crop_to_aspect_ratio True; valid is false$",
    ),
    "normalisation over rows": (
        lambda: network(conv(), layers.LayerNormalization(axis=[1, 2, 3], name="norm")),
        r"layer norm \(LayerNormalization\) has axis \[1, 2, 3\]; valid is the axis of the channels$",
    ),
    "a softmax over rows": (
        lambda: network(conv(), layers.Softmax(axis=1, name="rows")),
        r"layer rows \(Softmax\) has axis 1; valid is -1$",
    ),
    "a branch": (lambda: branched(), r"layer \w+ is a branch; the models here are chains"),
}


def softmax() -> Any:
    """Two probabilities."""
    return layers.Activation("softmax")


def branched() -> Model:
    """A functional model that adds a layer to itself."""
    entrance = keras.Input((30, 30, 3))
    first, second = layers.Conv2D(3, 3)(entrance), layers.Conv2D(3, 3)(entrance)
    x = layers.Flatten()(layers.Add(name="sum")([first, second]))
    return compiled(keras.Model(entrance, layers.Dense(1, "sigmoid")(x)))


@pytest.mark.parametrize("case", UNLIKE)
@pytest.mark.usefixtures("in_one_process")
def test_a_layer_that_no_model_has_is_named(tmp_path: Path, case: str) -> None:
    build, message = UNLIKE[case]
    build().save(tmp_path / "m.keras")
    found = refusal(tmp_path / "m.keras")
    assert re.search(message, found), found


def test_a_layer_that_no_model_has_is_named_in_hdf5(tmp_path: Path) -> None:
    network(*block(activation="hard_sigmoid")).save(tmp_path / "m.h5")
    assert "layer first (Conv2D) has activation hard_sigmoid; valid are relu" in refusal(tmp_path / "m.h5")


@keras.saving.register_keras_serializable("tests")
class Custom(layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """A layer of somebody's own that leaves a mark when it is built from its configuration."""

    def __init__(self, mark: str, **options: Any) -> None:
        super().__init__(**options)
        self.mark = mark
        Path(mark).touch()

    def call(self, inputs: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mark": self.mark}


@pytest.mark.slow
def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def touch(inputs: Any, path: str = str(mark)) -> Any:
        Path(path).touch()
        return inputs

    for build in (lambda: layers.Lambda(touch, name="evil"), lambda: Custom(str(mark), name="evil")):
        model = network(build(), *block())
        assert mark.exists()
        for kind in (".keras", ".h5"):
            model.save(tmp_path / f"m{kind}")
            mark.unlink(missing_ok=True)
            assert "layer evil" in refusal(tmp_path / f"m{kind}")
            assert not mark.exists()


def test_what_is_no_keras_file(tmp_path: Path) -> None:
    contents: dict[str, bytes] = {
        "empty.h5": b"",
        "text.keras": b"Keras\n",
        "picture.h5": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "pickle.h5": b"\x80\x04N.",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert "neither HDF5 nor a .keras archive" in refusal(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["measurements"] = np.arange(10.0)
    assert "it has no layers with a kernel and a bias" in refusal(tmp_path / "other.h5")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "config.json is missing in the archive" in refusal(tmp_path / "other.keras")
    assert "there is no such file" in refusal(tmp_path / "none.keras")
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5", ".weights.h5"])
def test_every_truncation_is_refused(files: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    content, path = files[kind], tmp_path / f"m{kind}"
    for length in [0, 8, 100, *np.linspace(200, len(content) - 1, 6).astype(int)]:
        path.write_bytes(content[:length])
        refusal(path, 30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5", ".weights.h5", "chain.h5"])
def test_flipped_bits_are_refused_or_harmless(files: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    chance, path = random.Random(2018), tmp_path / f"m{kind}"
    for _ in range(8):
        content = bytearray(files[kind])
        for _ in range(chance.choice((1, 4, 40))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        with suppress(KerasFileError):  # anything else fails the test
            import_file(path, 30)


def test_a_file_that_hdf5_does_not_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash, loop = tmp_path / "crash.py", tmp_path / "loop.py"
    crash.write_text("import os; os.abort()", encoding="utf-8")
    loop.write_text("while True: pass", encoding="utf-8")
    (tmp_path / "m.h5").write_bytes(hdf5.SIGNATURE)
    monkeypatch.setattr(hdf5, "__file__", str(crash))
    assert "damaged in a way that HDF5 does not survive" in refusal(tmp_path / "m.h5")
    monkeypatch.setattr(hdf5, "__file__", str(loop))
    monkeypatch.setattr(hdf5, "SURVEY_SECONDS", 0.5)
    assert "reading it takes over" in refusal(tmp_path / "m.h5")


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3.5,
    10**30,
    float("nan"),
    "x",
    "",
    "a\nb",
    [],
    [1, 2],
    [[[]]],
    {},
    {"class_name": "X"},
)


def odd_somewhere(node: Any, chance: random.Random) -> Any:
    """A configuration with an odd value in a place that is as likely deep as shallow."""
    if not isinstance(node, dict | list) or not node or chance.random() < 0.1:
        return chance.choice(ODD)
    key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
    changed = copy.copy(node)
    if chance.random() < 0.1:
        del changed[key]
    else:
        changed[key] = odd_somewhere(node[key], chance)
    return changed


@pytest.mark.slow
@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("kind", [".h5", "chain.h5"])
def test_odd_configurations_are_refused_or_harmless(
    files: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    chance, path, refused = random.Random(2018), tmp_path / "m.h5", 0
    path.write_bytes(files[kind])
    with h5py.File(path) as file:
        configs = {name: json.loads(file.attrs[name]) for name in ("model_config", "training_config")}
    for i in range(150):
        with h5py.File(path, "r+") as file:
            for name, config in configs.items():
                file.attrs[name] = json.dumps(odd_somewhere(config, chance) if i % 3 else config)
        try:
            import_file(path, preprocessing="raw" if kind == "chain.h5" else "rescale")
        except KerasFileError as error:
            refused += str(error).isprintable()
    assert 20 < refused < 130


Change = Callable[[h5py.File, Path], None]


def soft_link(file: h5py.File, folder: Path) -> None:
    file.move("model_weights/conv2d_1", "model_weights/elsewhere")
    file["model_weights/conv2d_1"] = h5py.SoftLink("/model_weights/elsewhere")


def external_link(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["a"] = np.zeros((6, 1), np.float32)
    group = file["model_weights/dense_2"]
    name = group.attrs["weight_names"][0]
    del group[name]
    group[name] = h5py.ExternalLink("secret.h5", "a")


def external_group(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        file.copy("model_weights", secret)
    del file["model_weights"]
    file["model_weights"] = h5py.ExternalLink("secret.h5", "model_weights")


def external_storage(file: h5py.File, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(24))
    replace(file, shape=(6, 1), dtype="f4", external=[(str(folder / "secret"), 0, 24)])


def virtual(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["a"] = np.zeros((6, 1), np.float32)
    layout = h5py.VirtualLayout((6, 1), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "a", (6, 1))
    group, name = weight(file)
    del group[name]
    group.create_virtual_dataset(name, layout)


def shape_bomb(file: h5py.File, folder: Path) -> None:
    replace(file, shape=(2**20, 2**7), dtype="f4", chunks=(2**10, 2**7), fillvalue=1.0)


def another_shape(file: h5py.File, folder: Path) -> None:
    replace(file, data=np.zeros((7, 1), np.float32))


def text_for_numbers(file: h5py.File, folder: Path) -> None:
    replace(file, data=["a"] * 6)


def scalars(file: h5py.File, folder: Path) -> None:
    replace(file, data=np.float32(1))


def integers(file: h5py.File, folder: Path) -> None:
    replace(file, data=np.zeros((6, 1), np.int32))


def a_layer_less(file: h5py.File, folder: Path) -> None:
    names = list(file["model_weights"].attrs["layer_names"])
    file["model_weights"].attrs["layer_names"] = names[:-1]


def wide(file: h5py.File, folder: Path) -> None:
    reconfigure(file, lambda config: config["config"]["layers"][6]["config"].update(units=10**12))


def negative(file: h5py.File, folder: Path) -> None:
    reconfigure(file, lambda config: config["config"]["layers"][6]["config"].update(units=-1))


def a_name_with_a_line_break(file: h5py.File, folder: Path) -> None:
    reconfigure(file, lambda config: config["config"]["layers"][1]["config"].update(name="a\nb"))


def an_activation_with_a_line_break(file: h5py.File, folder: Path) -> None:
    reconfigure(file, lambda config: config["config"]["layers"][1]["config"].update(activation="a\x1b[2J"))


def no_layers(file: h5py.File, folder: Path) -> None:
    reconfigure(file, lambda config: config.update(config={}))


def layers_of_numbers(file: h5py.File, folder: Path) -> None:
    reconfigure(file, lambda config: config.update(config={"layers": [1, 2]}))


def deep(file: h5py.File, folder: Path) -> None:
    file.attrs["model_config"] = "[" * 100_000


def no_json(file: h5py.File, folder: Path) -> None:
    file.attrs["model_config"] = "{"


def a_list(file: h5py.File, folder: Path) -> None:
    file.attrs["model_config"] = "[]"


def numbers_for_text(file: h5py.File, folder: Path) -> None:
    file.attrs["model_config"] = np.arange(5)


HOSTILE: dict[Change, str] = {
    soft_link: "is a link",
    external_link: "is a link",
    external_group: "is a link",
    external_storage: "lies in another file",
    virtual: "lies in another file",
    shape_bomb: "of which few are stored",
    another_shape: "has the shape (7, 1), expected is (6, 1)",
    text_for_numbers: "is not an array of numbers",
    scalars: "has the shape (), expected is (6, 1)",
    integers: "the file holds 7 arrays of 4 layers; its configuration has 8 of 4",
    a_layer_less: "the file holds 6 arrays of 3 layers; its configuration has 8 of 4",
    wide: "has units 1000000000000; valid is a whole number above 0",
    negative: "has units -1; valid is a whole number above 0",
    a_name_with_a_line_break: "control characters",
    an_activation_with_a_line_break: "control characters",
    no_layers: "lists no layers",
    layers_of_numbers: "an entry that is not a layer",
    deep: "damaged, or no Keras file",
    no_json: "damaged, or no Keras file",
    a_list: "its configuration is a list",
    numbers_for_text: "an attribute holds ndarray where Keras writes text",
}


def weight(file: h5py.File) -> tuple[h5py.Group, str]:
    """The group of the last dense layer and the name of its kernel."""
    group = file["model_weights/dense_2"]
    return group, group.attrs["weight_names"][0]


def replace(file: h5py.File, **dataset: Any) -> None:
    """Put another data set in the place of the last dense kernel."""
    group, name = weight(file)
    del group[name]
    group.create_dataset(name, **dataset)


def reconfigure(file: h5py.File, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the model's configuration."""
    config = json.loads(file.attrs["model_config"])
    change(config)
    file.attrs["model_config"] = json.dumps(config)


@pytest.mark.slow
@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_hostile_hdf5(files: dict[str, bytes], tmp_path: Path, change: Change) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(files[".h5"])
    with h5py.File(path, "r+") as file:
        change(file, tmp_path)
    message = refusal(path)
    assert any(part in message for part in HOSTILE[change].split("|")), message


def test_scalars_in_the_newer_layout(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    path.write_bytes(files[".weights.h5"])
    with h5py.File(path, "r+") as file:
        for name in ("0", "1"):
            del file[f"layers/dense/vars/{name}"]
            file[f"layers/dense/vars/{name}"] = np.float32(1)
    assert "layer layers/dense has other weights than a kernel and a bias" in refusal(path, 30)


def test_a_layer_that_no_model_has_is_seen_in_weights_alone(tmp_path: Path) -> None:
    model = network(conv(), layers.BatchNormalization(), layers.MaxPooling2D())
    model.save_weights(tmp_path / "m.weights.h5")
    message = refusal(tmp_path / "m.weights.h5", 30)
    assert "layer layers/batch_normalization has other weights than a kernel and a bias" in message


OTHERS: dict[str, tuple[Callable[[], Model], str]] = {
    "average pooling": (
        lambda: network(conv(), layers.AveragePooling2D(2)),
        "its layer average_pooling2d is of a kind that the basic model does not have",
    ),
    "leaky": (
        lambda: network(layers.Conv2D(4, 3), layers.LeakyReLU(), layers.MaxPooling2D()),
        "its layer leaky_re_lu is of a kind",
    ),
    "another range": (
        lambda: network(layers.Rescaling(1 / 127.5, offset=-1.0), *block()),
        "it has a Rescaling layer, whose factor a file of weights only does not hold. If it is 1/255, pass",
    ),
    "two convolutions a block": (
        lambda: network(conv(), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()),
        "its layers are 2 Conv2D, 2 Dense, 1 Flatten, 1 MaxPooling2D; the basic model has 2 Conv2D, 2 Dense, "
        "1 Flatten, 2 MaxPooling2D",
    ),
    "no pooling": (lambda: network(conv()), "its layers are 1 Conv2D, 2 Dense, 1 Flatten; the basic model"),
    "global pooling": (
        lambda: compiled(
            keras.Sequential(
                [keras.Input((30, 30, 3)), *block(), layers.GlobalAveragePooling2D(), hidden(), out()]
            )
        ),
        "its layer global_average_pooling2d is of a kind",
    ),
    "zero padding": (
        lambda: network(layers.ZeroPadding2D(), *block()),
        "its layer zero_padding2d is of a kind",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["numbered", "legacy"])
@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.usefixtures("in_one_process")
def test_weights_only_of_another_network_are_refused_by_its_layers_names(
    tmp_path: Path, case: str, layout: str
) -> None:
    build, message = OTHERS[case]
    keras.backend.clear_session()  # names count from the first of a class
    model = build()
    if layout == "legacy":
        model.save(tmp_path / "whole.h5")
        old_files.weights_alone(tmp_path / "whole.h5", tmp_path / "m.weights.h5")
        message = re.sub(r" is of a kind.*", "", message)  # the number of a name is another
    else:
        model.save_weights(tmp_path / "m.weights.h5")
    for size in (None, 30):
        assert message in refusal(tmp_path / "m.weights.h5", size, None)


@pytest.mark.usefixtures("in_one_process")
def test_layers_in_another_order_are_refused_where_the_names_are_in_order(tmp_path: Path) -> None:
    model = network(
        conv(), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.MaxPooling2D()
    )
    model.save(tmp_path / "whole.h5")
    old_files.weights_alone(tmp_path / "whole.h5", tmp_path / "m.h5")
    assert "the basic model has 2 Conv2D, 2 Dense, 1 Flatten, 2 MaxPooling2D in another order" in refusal(
        tmp_path / "m.h5"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [".keras", ".h5", ".weights.h5"])
@pytest.mark.usefixtures("in_one_process")
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, kind: str, value: float) -> None:
    model = basic(30, (4, 5), 6)
    kernel, bias = model.layers[-1].get_weights()
    kernel[2] = value
    model.layers[-1].set_weights([kernel, bias])
    path = tmp_path / f"m{kind}"
    (model.save_weights if kind == ".weights.h5" else model.save)(path)
    message = refusal(path, 30)
    assert "holds NaN or infinite numbers; use a file saved before they arose" in message
    assert "dense" in message


@pytest.mark.usefixtures("in_one_process")
def test_a_whole_number_beyond_every_float(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    for position, option in (
        (1, "filters"),
        (6, "units"),
        (2, "strides"),
        (0, "batch_shape"),
        (1, "kernel_size"),
    ):
        path.write_bytes(files[".h5"])
        with h5py.File(path, "r+") as file:
            value: Any = [None, 10**400, 10**400, 3] if option == "batch_shape" else 10**400
            config = json.loads(file.attrs["model_config"])
            config["config"]["layers"][position]["config"][option] = value
            file.attrs["model_config"] = json.dumps(config)
        refusal(path)
    network(layers.Rescaling(0.5), *block()).save(path)
    with h5py.File(path, "r+") as file:
        reconfigure(file, lambda config: config["config"]["layers"][1]["config"].update(scale=10**400))
    assert "valid is a number, or one for each of R, G and B" in refusal(path)


def test_formats_of_tensorflow_are_named_with_what_converts_them(tmp_path: Path) -> None:
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").touch()
    for path in (tmp_path / "saved", tmp_path / "saved" / "saved_model.pb"):
        load = f"import tf_keras; model = tf_keras.models.load_model({str(tmp_path / 'saved')!r})"
        assert refusal(path) == (
            f"{path} is a TensorFlow SavedModel; convert it with Keras 2: {load}; model.save('model.h5')"
        )
    for name in ("ckpt.index", "ckpt.data-00000-of-00001"):
        (tmp_path / name).touch()
    for name in ("ckpt", "ckpt.index", "ckpt.data-00000-of-00001"):
        assert refusal(tmp_path / name) == (
            f"{tmp_path / name} is a TensorFlow checkpoint; convert it with Keras 2 and your code that "
            f"builds the model: model = build_model(); model.load_weights({str(tmp_path / 'ckpt')!r}); "
            "model.save('model.h5')"
        )


def test_files_of_other_programs_are_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "m.ckpt")
    assert "it is a checkpoint of PyTorch, no Keras file; keras export writes one" in refusal(
        tmp_path / "m.ckpt"
    )
    contents = {
        b"\x80\x04N.": "a pickle, neither",
        b"\x1c\0\0\0TFL3": "a TensorFlow Lite model, neither",
        b'{"class_name": "Sequential"}': "JSON, which holds no weights, neither",
    }
    for content, message in contents.items():
        (tmp_path / "m").write_bytes(content)
        assert f"is {message} HDF5 nor a .keras archive" in refusal(tmp_path / "m")


def test_a_tree_without_end(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        for name in ("a", "b", "c"):
            group[name] = file["/"]
    assert "it has more than 2000 entries" in refusal(path)


def archive_with(files: dict[str, bytes], path: Path, compression: int, **members: bytes) -> Path:
    """The good archive with some of its members exchanged."""
    with zipfile.ZipFile(io.BytesIO(files[".keras"])) as good:
        contents = {name: good.read(name) for name in good.namelist()}
    names = {"config": "config.json", "metadata": "metadata.json", "weights": "model.weights.h5"}
    contents |= {names[key]: value for key, value in members.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in contents.items():
            archive.writestr(name, value)
    return path


@pytest.mark.slow
def test_hostile_archives(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    archive_with(files, path, zipfile.ZIP_DEFLATED, weights=bytes(200 * 2**20))
    assert "model.weights.h5 unpacks to 209715200 bytes" in refusal(path)
    archive_with(files, path, zipfile.ZIP_DEFLATED, config=bytes(2**24 + 1))
    assert "config.json declares 16777217 bytes" in refusal(path)
    archive_with(files, path, zipfile.ZIP_STORED, weights=b"no HDF5")
    assert "is neither HDF5 nor" in refusal(path)
    archive_with(files, path, zipfile.ZIP_STORED, config=b"{")
    assert "is damaged, or no Keras archive" in refusal(path)
    archive_with(files, path, zipfile.ZIP_STORED, metadata=b'{"keras_version": "3\\n4"}')
    assert "control characters" in refusal(path)


def test_a_compressed_archive_of_an_honest_person_is_read(files: dict[str, bytes], tmp_path: Path) -> None:
    path = archive_with(files, tmp_path / "m.keras", zipfile.ZIP_DEFLATED)
    assert import_file(path).model.name == "basic"


def test_no_member_of_an_archive_reaches_the_disk(files: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "m.keras").write_bytes(files[".keras"])
    with zipfile.ZipFile(folder / "m.keras", "a") as archive:
        archive.writestr("../../escaped", "x")
        archive.writestr("/escaped", "x")
    assert import_file(folder / "m.keras").model.name == "basic"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["m.keras"]
