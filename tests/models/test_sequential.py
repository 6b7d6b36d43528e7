"""Any plain Keras CNN: made by real Keras, brought here and back by every kind of file, and trained alike."""

import copy
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers
from PIL import Image
from torch import nn

from benchmarks.parity import chains
from benchmarks.parity.referee import Model, images, precision, tensor
from catdog_pl.__main__ import main
from catdog_pl.errors import CatDogError, KerasFileError, UsageError
from catdog_pl.export.keras import export_keras
from catdog_pl.keras import hdf5
from catdog_pl.models import Sequential
from catdog_pl.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from catdog_pl.models.keras_import import import_file
from catdog_pl.models.sequential import luma

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Keras' own; nothing to act on here."""

SIZE = 32


@pytest.fixture(autouse=True)
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that Keras has just written need no survey, which would take most of the time."""
    monkeypatch.setattr(hdf5, "survey", lambda source, name: None)


def network(*inside: Any, channels: int = 3, loss: Any = "binary_crossentropy") -> Model:
    """A compiled chain with random weights."""
    model = keras.Sequential([keras.Input((SIZE, SIZE, channels)), *inside])
    model.compile(loss=loss, optimizer="rmsprop")
    chains.randomise(model, random.Random(1))
    return model


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False))
def test_a_random_chain_through_every_kind_of_file_and_back(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    keras.backend.clear_session()
    for model, difference in chains.differences(chance, tmp_path_factory.mktemp("chain")):
        assert difference <= chains.ALLOWED, model.to_json()


def vgg19() -> list[Any]:
    """The network of that name under a head that trains."""
    base = keras.applications.VGG19(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    base.trainable = False
    return [base, layers.Flatten(), layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(1, "sigmoid")]


def mobilenet() -> list[Any]:
    """The network of that name under global pooling."""
    base = keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), alpha=0.25
    )
    base.trainable = False
    return [base, layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(1, "sigmoid")]


def relu_block(filters: int, kernel: int = 3, **options: Any) -> list[Any]:
    """A convolution, and the pooling behind it."""
    return [layers.Conv2D(filters, kernel, activation="relu", **options), layers.MaxPooling2D()]


WILD: dict[str, tuple[str, Callable[[], list[Any]], int]] = {
    "two units with softmax": (
        "rescale",
        lambda: [*relu_block(4), layers.Flatten(), layers.Dense(8, "relu"), layers.Dense(2, "softmax")],
        3,
    ),
    "one dense layer": ("rescale", lambda: [*relu_block(4), layers.Flatten(), layers.Dense(1, "sigmoid")], 3),
    "three dense layers": (
        "raw",
        lambda: [
            *relu_block(4),
            layers.Flatten(),
            layers.Dense(8, "relu"),
            layers.Dense(6, "relu"),
            layers.Dense(1, "sigmoid"),
        ],
        3,
    ),
    "5x5 and 7x7 kernels, padded": (
        "rescale",
        lambda: [
            *relu_block(4, 7, padding="same", strides=2),
            *relu_block(6, 5, padding="same"),
            layers.Flatten(),
            layers.Dense(1, "sigmoid"),
        ],
        3,
    ),
    "batch normalisation and global pooling": (
        "symmetric",
        lambda: [
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Conv2D(6, 3),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, "softmax"),
        ],
        3,
    ),
    "a package's grey network": (
        "rescale",
        lambda: [
            *relu_block(16),
            *relu_block(32),
            *relu_block(16),
            layers.Flatten(),
            layers.Dense(256, "relu"),
            layers.Dense(1, "sigmoid"),
        ],
        1,
    ),
    "no dense layer": (
        "rescale",
        lambda: [*relu_block(4), layers.Conv2D(2, 1), layers.GlobalAveragePooling2D(), layers.Softmax()],
        3,
    ),
    "VGG19": ("caffe", vgg19, 3),
    "MobileNet": ("symmetric", mobilenet, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
@pytest.mark.parametrize("case", WILD)
def test_a_file_of_each_kind_in_the_wild(tmp_path: Path, case: str, kind: str) -> None:
    preprocessing, build, channels = WILD[case]
    model = network(*build(), channels=channels)
    pixels = images(4, SIZE)
    values = chains.fed(pixels, channels, preprocessing)
    outputs = model.predict(values, verbose=0)[:, -1]
    model.save(tmp_path / f"m{kind}")
    found = import_file(tmp_path / f"m{kind}", preprocessing=preprocessing)
    np.testing.assert_allclose(chains.ours(found, pixels), outputs, atol=1e-5)
    assert found.model.name == ("basic" if case == "two units with softmax" else "sequential")
    export_keras(found.model, {}, tmp_path / "back.h5")
    again = keras.models.load_model(tmp_path / "back.h5")
    np.testing.assert_allclose(again.predict(values, verbose=0)[:, 0], outputs, atol=1e-5)
    frozen = [p.requires_grad for p in found.model.features.parameters()]
    assert not any(frozen) if case in ("VGG19", "MobileNet") else all(frozen)


@pytest.mark.parametrize("units", [1, 2])
def test_a_head_of_logits(tmp_path: Path, units: int) -> None:
    kind = keras.losses.BinaryCrossentropy if units == 1 else keras.losses.SparseCategoricalCrossentropy
    model = network(layers.Flatten(), layers.Dense(units), loss=kind(from_logits=True))
    model.save(tmp_path / "m.keras")
    pixels = images(3, SIZE)
    outputs = model.predict(chains.fed(pixels, 3, "rescale"), verbose=0)
    expected = outputs[:, 0] if units == 1 else outputs[:, 1] - outputs[:, 0]
    found = import_file(tmp_path / "m.keras", preprocessing="rescale")
    with torch.no_grad():
        np.testing.assert_allclose(found.model(tensor(pixels)), expected, atol=1e-5)
    note = "two outputs become one logit, their difference: the same probabilities"
    assert (note in found.notes) == (units == 2)


def test_two_outputs_are_folded_exactly(tmp_path: Path) -> None:
    model = network(layers.Flatten(), layers.Dense(2, "softmax"))
    model.save(tmp_path / "m.keras")
    kernel, bias = (array.astype(np.float64) for array in model.layers[-1].get_weights())
    found, turned = (
        import_file(tmp_path / "m.keras", class_names=names, preprocessing="raw")
        for names in (("cat", "dog"), ("dog", "cat"))
    )
    weight, ours = found.model.head[1].parameters()
    assert np.array_equal(weight.detach().numpy()[0], (kernel[:, 1] - kernel[:, 0]).astype(np.float32))
    assert np.array_equal(ours.detach().numpy(), (bias[1:] - bias[:1]).astype(np.float32))
    with torch.no_grad():
        assert torch.equal(turned.model(tensor(images(2, SIZE))), -found.model(tensor(images(2, SIZE))))


def test_a_model_without_a_loss_is_taken_to_give_logits(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Flatten(), layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    found = import_file(tmp_path / "m.keras", preprocessing="raw")
    assert "its last layer has no activation and the file has no loss: taken to give logits" in found.notes


def test_the_preprocessing_is_asked_for_unless_a_layer_proves_it(tmp_path: Path) -> None:
    rest = (*relu_block(4), layers.Flatten(), layers.Dense(1, "sigmoid"))
    network(*rest).save(tmp_path / "m.keras")
    with pytest.raises(KerasFileError, match=r"does not tell what is done to pixels .* Pass --prepro"):
        import_file(tmp_path / "m.keras")
    learnt = layers.Normalization()
    learnt.adapt(images(4, SIZE).astype(np.float32))
    pixels = images(3, SIZE)
    for front in (
        layers.Rescaling(1 / 127.5, offset=-1),
        learnt,
        layers.Normalization(mean=9.0, variance=99.0),
    ):
        copies = [layer.__class__.from_config(layer.get_config()) for layer in rest]
        model = network(front, *copies) if front is not learnt else keras.Sequential([front, *copies])
        model(pixels.astype(np.float32))
        for kind in (".keras", ".h5"):
            model.save(tmp_path / f"p{kind}")
            found = import_file(tmp_path / f"p{kind}")
            assert found.model.hparams["preprocessing"] == "raw"
            expected = model.predict(pixels.astype(np.float32), verbose=0)[:, 0]
            np.testing.assert_allclose(chains.ours(found, pixels), expected, atol=1e-5)
            with pytest.raises(KerasFileError, match="prepare the pixels themselves; leave out --prep"):
                import_file(tmp_path / f"p{kind}", preprocessing="rescale")


def test_operations_of_preprocess_input_are_layers(tmp_path: Path) -> None:
    entrance = keras.Input((SIZE, SIZE, 3))
    x = keras.applications.mobilenet.preprocess_input(entrance)
    x = layers.Dense(1, "sigmoid")(layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3)(x)))
    model = keras.Model(entrance, x)
    pixels = images(3, SIZE)
    for kind in (".keras", ".h5"):
        model.save(tmp_path / f"m{kind}")
        found = import_file(tmp_path / f"m{kind}")
        expected = model.predict(pixels.astype(np.float32), verbose=0)[:, 0]
        np.testing.assert_allclose(chains.ours(found, pixels), expected, atol=1e-5)


@pytest.mark.parametrize("is_told", [True, False])
def test_channels_first(tmp_path: Path, is_told: bool) -> None:
    first = {"data_format": "channels_first"}
    model = keras.Sequential(
        [
            keras.Input((3, SIZE, SIZE)),
            layers.Conv2D(4, 5, strides=2, padding="same", activation="relu", **first),
            layers.BatchNormalization(axis=1),
            layers.MaxPooling2D(**first),
            layers.ZeroPadding2D(((0, 1), (1, 0)), **first),
            layers.Flatten(**first) if is_told else layers.Flatten(),  # which then flattens channels first
            layers.BatchNormalization(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    chains.randomise(model, random.Random(1))
    model.save(tmp_path / "m.keras")
    found = import_file(tmp_path / "m.keras", preprocessing="rescale")
    pixels = images(3, SIZE)
    expected = model.predict(chains.fed(pixels, 3, "rescale").transpose(0, 3, 1, 2), verbose=0)[:, 0]
    np.testing.assert_allclose(chains.ours(found, pixels), expected, atol=1e-5)
    export_keras(found.model, {}, tmp_path / "back.keras")
    again = keras.models.load_model(tmp_path / "back.keras")
    found = again.predict(chains.fed(pixels, 3, "rescale"), verbose=0)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_grey_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 99, 99, 3), dtype=np.uint8)
    expected = np.array(Image.fromarray(pixels[0]).convert("L"))
    assert np.array_equal(luma(tensor(pixels))[0, 0].numpy(), expected)
    floats = luma(tensor(pixels).float())[0, 0].numpy()
    assert np.abs(floats - expected).max() <= 0.5 + 1e-4


def test_average_pooling_does_not_count_its_padding(tmp_path: Path) -> None:
    # TensorFlow's rule, by hand: Keras' torch backend, the referee here, counts some of it.
    entry = {"class_name": "AveragePooling2D", "name": "a", "pool_size": 3, "strides": 2, "padding": "same"}
    last = {"class_name": "Dense", "name": "b", "units": 1, "activation": "sigmoid"}
    model = Sequential(
        [entry, {"class_name": "Flatten", "name": "f"}, last], image_size=6, preprocessing="raw"
    )
    row = torch.arange(6.0).expand(1, 3, 6, 6)
    assert model.features(row)[0, 0, 0].tolist() == [1.0, 3.0, 4.5]  # means of 0 1 2, 2 3 4, and 4 5


TRAINED: list[Callable[[], list[Any]]] = [
    lambda: [
        layers.Conv2D(4, 5, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.Activation("relu"),
        layers.SeparableConv2D(6, 3, activation="elu"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        layers.LayerNormalization(),
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.PReLU(),
        layers.Flatten(),
        layers.Dense(8, "gelu"),
        layers.BatchNormalization(center=False),
        layers.Dense(1, "sigmoid"),
    ],
    lambda: [
        layers.Conv2D(4, 3, activation="tanh", trainable=False),
        layers.BatchNormalization(trainable=False),
        layers.AveragePooling2D(2),
        layers.Conv2D(4, 3, dilation_rate=2, groups=2),
        layers.ReLU(1.0, negative_slope=0.1, threshold=0.2137),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, "sigmoid"),
    ],
]


@pytest.mark.slow
@pytest.mark.parametrize("build", TRAINED)
def test_one_step_of_training_in_float64(tmp_path: Path, build: Callable[[], list[Any]]) -> None:
    with precision("float64"):
        model = network(*build())
        model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.SGD(0.1))
        model.save(tmp_path / "m.keras")  # as float64, which is read as float32
        ours = import_file(tmp_path / "m.keras", preprocessing="rescale").model.double().train()
        names = {layer.name: layer for layer in model.layers if layer.weights}
        for name, layer in names.items():  # so that both start from the same numbers
            rounded = [array.astype(np.float32).astype(np.float64) for array in layer.get_weights()]
            names[name].set_weights(rounded)
        pixels, labels = images(6, SIZE), np.arange(6) % 2
        loss = model.train_on_batch(pixels.astype(np.float64) * (1 / 255), labels.astype(np.float64)[:, None])
        optimizer = torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], 0.1)
        logits = ours(tensor(pixels))
        found = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).double())
        torch.autograd.backward(found)
        optimizer.step()
        assert abs(found.item() - float(loss)) < 1e-12
        export_keras(ours, {}, tmp_path / "after.keras")
        after = {**dict(ours.features.named_children()), **dict(ours.head.named_children())}
        for name, layer in names.items():
            state = list(after[name].state_dict().values())
            for array, theirs in zip(state, layer.get_weights(), strict=True):
                axes = {4: (2, 3, 1, 0), 3: (1, 2, 0), 2: (1, 0), 1: (0,)}[array.ndim]
                mine = array.permute(axes).numpy().reshape(theirs.shape)
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12, err_msg=f"{name} {theirs.shape}")


def test_weights_alone_with_their_architecture(tmp_path: Path) -> None:
    model = network(*relu_block(4), layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid"))
    model.save_weights(tmp_path / "m.weights.h5")
    text = tmp_path / "m.json"
    text.write_text(model.to_json(), encoding="utf-8")
    pixels = images(2, SIZE)
    expected = model.predict(chains.fed(pixels, 3, "raw"), verbose=0)[:, 0]
    for content in (model.to_json(), json.dumps(model.to_json())):  # some people dump the text once more
        text.write_text(content, encoding="utf-8")
        found = import_file(tmp_path / "m.weights.h5", preprocessing="raw", architecture=text)
        np.testing.assert_allclose(chains.ours(found, pixels), expected, atol=1e-5)
    with pytest.raises(KerasFileError, match="for others pass --architecture with the JSON of model"):
        import_file(tmp_path / "m.weights.h5", preprocessing="raw")
    for content, message in (
        ("[1]", "is a list"),
        ("{", "Expecting"),
        ('{"class_name": 1}', "Sequential or f"),
    ):
        text.write_text(content, encoding="utf-8")
        with pytest.raises(KerasFileError, match=message):
            import_file(tmp_path / "m.weights.h5", preprocessing="raw", architecture=text)
    with pytest.raises(KerasFileError, match=r"--architecture \S+: there is no such file; give the JSON of"):
        import_file(tmp_path / "m.weights.h5", architecture=tmp_path / "none.json")
    model.save(tmp_path / "m.keras")
    with pytest.raises(KerasFileError, match="it holds its architecture itself; leave out --architecture"):
        import_file(tmp_path / "m.keras", architecture=text)


def test_names_that_pytorch_does_not_take(tmp_path: Path) -> None:
    inside = [layers.Conv2D(2, 3, name="train"), layers.Conv2D(2, 3, name="half")]
    nested = keras.Sequential(
        [keras.Input((28, 28, 2)), layers.ReLU(name="a.b"), layers.Flatten(name="half")]
    )
    model = network(*inside[:2], nested, layers.Dense(1, "sigmoid"))
    model.save(tmp_path / "m.keras")
    found = import_file(tmp_path / "m.keras", preprocessing="rescale").model
    names = [layer["name"] for layer in found.hparams["layers"]]
    assert len(set(names)) == len(names)
    save_checkpoint(found, tmp_path / "m.ckpt")
    assert torch.equal(
        load_checkpoint(tmp_path / "m.ckpt")(torch.zeros(1, 3, 32, 32)), found(torch.zeros(1, 3, 32, 32))
    )


def test_a_network_of_any_size_asks_for_it(tmp_path: Path) -> None:
    parts = [layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.Input((None, None, 3)), *parts])
    model.save(tmp_path / "m.keras")
    with pytest.raises(KerasFileError, match="it does not tell its image size: pass --image_size"):
        import_file(tmp_path / "m.keras", preprocessing="raw")
    assert import_file(tmp_path / "m.keras", 40, preprocessing="raw").model.data_spec.image_size == 40


def test_penalties_are_said(tmp_path: Path) -> None:
    model = network(
        layers.Conv2D(2, 3, kernel_regularizer="l2", name="a"), layers.Flatten(), layers.Dense(1, "sigmoid")
    )
    model.save(tmp_path / "m.keras")
    notes = import_file(tmp_path / "m.keras", preprocessing="raw").notes
    assert "a: regularizers are not carried over; fit has optimizer_args weight_decay" in notes


CHAIN: list[dict[str, Any]] = [
    {"class_name": "Conv2D", "name": "a", "filters": 2, "kernel_size": 3},
    {"class_name": "Flatten", "name": "b"},
    {"class_name": "Dense", "name": "c", "units": 1, "activation": "sigmoid"},
]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda chain: chain.clear(), {}, "layers are none; valid are 1 to 1000, which keras import makes"),
        (lambda chain: chain.extend(chain * 400), {}, "layers are 1203; valid are 1 to 1000"),
        (lambda chain: chain[0].update(name="c"), {}, "layers have the name 'c', twice or not possible"),
        (lambda chain: chain[0].update(name="a.b"), {}, "layers have the name 'a.b', twice or not possible"),
        (
            lambda chain: chain[2].update(activation="relu"),
            {},
            "layers end in c; the last one needs the",
        ),
        (lambda chain: chain[2].update(units=2), {}, "layers end in the shape (2,); valid is one unit"),
        (
            lambda chain: chain[0].update(filters="x"),
            {},
            "layer a (Conv2D) has filters 'x'; valid is",
        ),
        (lambda chain: chain[0].update(class_name="Lambda"), {}, "layer a (Lambda) is not supported"),
        (lambda chain: None, {"preprocessing": "x"}, "preprocessing 'x' is unknown; valid are rescale, raw,"),
        (
            lambda chain: None,
            {"preprocessing": "caffe", "grey": True},
            "is unknown for grey; valid are",
        ),
        (
            lambda chain: None,
            {"image_size": 2},
            "does not fit what comes before it, 2 x 2 x 3",
        ),
    ],
)
def test_layers_that_are_no_model_are_named(
    change: Callable[[Any], None], arguments: dict[str, Any], message: str
) -> None:
    chain = copy.deepcopy(CHAIN)
    change(chain)
    with pytest.raises(CatDogError) as caught:
        Sequential(chain, **{"image_size": 9, **arguments})
    assert message in str(caught.value)
    with pytest.raises(UsageError, match="layers are none"):
        Sequential()


def test_a_checkpoint_with_odd_layers_is_refused(tmp_path: Path) -> None:
    model, path = Sequential(CHAIN, image_size=9), tmp_path / "m.ckpt"
    changes: list[dict[str, Any]] = [
        {"filters": 10**9}, {"kernel_size": [[]]}, {"padding": 7}, {"name": "c"}, {"strides": -1},
    ]  # fmt: skip
    for change in changes:
        changed = copy.deepcopy(CHAIN)
        changed[0].update(change)
        save_checkpoint(model, path)
        checkpoint = read_checkpoint(path)
        checkpoint["hyper_parameters"]["layers"] = changed
        torch.save(checkpoint, path)
        with pytest.raises(CatDogError):
            load_checkpoint(path)


def negative_variance(file: h5py.File) -> None:
    file["model_weights/norm"].visititems(
        lambda name, data: data.write_direct(-np.ones(2, np.float32)) if name.endswith("variance") else None
    )


def test_a_negative_variance_is_refused(tmp_path: Path) -> None:
    parts = (layers.Conv2D(2, 3), layers.BatchNormalization(name="norm"), layers.Flatten())
    network(*parts, layers.Dense(1, "sigmoid")).save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        negative_variance(file)
    with pytest.raises(KerasFileError, match="holds a negative variance; use another copy"):
        import_file(tmp_path / "m.h5", preprocessing="raw")


@pytest.mark.slow
def test_it_is_tested_trained_predicted_and_exported_like_any_model(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in (("train", 6), ("validation", 3), ("test", 4)):
        for label, name in enumerate(("cat", "dog")):
            folder = Path("data") / split / name
            folder.mkdir(parents=True)
            for i, picture in enumerate(images(count, 40, seed=label)):
                Image.fromarray(picture).save(folder / f"{i}.png")
    model = network(
        *relu_block(4),
        layers.BatchNormalization(),
        layers.Dropout(0.1),
        *WILD["one dense layer"][1]()[2:],
        channels=1,
    )
    model.save("m.keras")
    words = ["--preprocessing", "rescale", "--resize", "tf_bilinear"]
    assert main(["keras", "import", "m.keras", *words]) == 0
    said = capsys.readouterr().out
    assert re.search(r"Recognised  sequential, from a whole model \(\.keras\) of Keras 3\.", said)
    assert "layers 6, image_size 32, preprocessing rescale, grey True" in said
    (checkpoint,) = Path("checkpoints").glob("sequential/*/best.ckpt")
    note = read_checkpoint(checkpoint)["catdog_pl"]["data"]
    assert (note["image_size"], note["resize"], note["predict_resize"]) == (32, "tf_bilinear", "tf_bilinear")
    common = ["--accelerator", "cpu", "--num_workers", "0"]
    assert main(["test", *common]) == 0
    assert main(["predict", "data/test/dog/1.png"]) == 0
    assert main(["fit", "--ckpt_path", str(checkpoint), "--max_epochs", "1", *common]) == 0
    assert main(["test", "--ckpt_path", "last", *common]) == 0
    assert main(["keras", "export", "last", "--output", "back.h5"]) == 0
    said = capsys.readouterr().out
    assert "Note        the file's model takes one channel, grey, as pixels times 1/255" in said
    (last,) = Path("checkpoints").glob("sequential/*/last.ckpt")
    assert read_checkpoint(last)["catdog_pl"]["data"]["resize"] == "tf_bilinear"
    ours, pixels = load_checkpoint(last), images(2, 32)
    with torch.no_grad():
        expected = ours(tensor(pixels)).sigmoid()
    found = keras.models.load_model("back.h5").predict(chains.fed(pixels, 1, "rescale"), verbose=0)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
