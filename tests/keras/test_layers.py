"""The table of layers beside real Keras: read, built and written, each gives what Keras gives."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import Tensor, nn

from benchmarks.parity.referee import Model, images
from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.layers import (
    ACTIVATIONS,
    LAYERS,
    Spec,
    build_chain,
    build_layer,
    read_chain,
    read_layer,
    write_layer,
)
from catdog_pl.keras.weights import from_keras

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Keras' own, and PyTorch's on even kernels; nothing to act on here."""

SIZE = 13

CASES: dict[str, tuple[Any, ...]] = {
    "Conv2D": (
        lambda: layers.Conv2D(4, 3, name="a"),
        lambda: layers.Conv2D(4, (3, 5), padding="same", activation="relu", name="a"),
        lambda: layers.Conv2D(4, 4, padding="same", use_bias=False, activation="sigmoid", name="a"),
        lambda: layers.Conv2D(4, 5, strides=2, name="a"),
        lambda: layers.Conv2D(6, 3, dilation_rate=2, groups=3, activation="tanh", name="a"),
        lambda: layers.Conv2D(4, 2, strides=2, padding="same", activation="gelu", name="a"),
        lambda: layers.Conv2D(4, 5, strides=3, padding="same", activation="swish", name="a"),
    ),
    "DepthwiseConv2D": (
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="a"),
        lambda: layers.DepthwiseConv2D(4, strides=3, padding="same", use_bias=False, name="a"),
    ),
    "SeparableConv2D": (
        lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, activation="elu", name="a"),
        lambda: layers.SeparableConv2D(5, (2, 3), strides=2, padding="same", use_bias=False, name="a"),
    ),
    "MaxPooling2D": (
        lambda: layers.MaxPooling2D(name="a"),
        lambda: layers.MaxPooling2D(3, strides=2, name="a"),
        lambda: layers.MaxPooling2D((2, 3), name="a"),
        lambda: layers.MaxPooling2D(4, strides=3, padding="same", name="a"),
    ),
    "AveragePooling2D": (
        lambda: layers.AveragePooling2D(3, strides=1, name="a"),
        lambda: layers.AveragePooling2D(2, padding="same", name="a"),  # the last column is half padding
    ),
    "GlobalAveragePooling2D": (
        lambda: layers.GlobalAveragePooling2D(name="a"),
        lambda: layers.GlobalAveragePooling2D(keepdims=True, name="a"),
    ),
    "GlobalMaxPooling2D": (lambda: layers.GlobalMaxPooling2D(name="a"),),
    "BatchNormalization": (
        lambda: layers.BatchNormalization(momentum=0.9, epsilon=0.01, name="a"),
        lambda: layers.BatchNormalization(scale=False, name="a"),
        lambda: layers.BatchNormalization(center=False, name="a"),
    ),
    "LayerNormalization": (
        lambda: layers.LayerNormalization(name="a"),
        lambda: layers.LayerNormalization(scale=False, epsilon=1e-6, name="a"),
        lambda: layers.LayerNormalization(center=False, name="a"),
    ),
    "Flatten": (lambda: layers.Flatten(name="a"),),
    "Dense": (
        lambda: layers.Dense(5, activation="relu", name="a"),
        lambda: layers.Dense(5, use_bias=False, name="a"),
    ),
    "ReLU": (
        lambda: layers.ReLU(0.5, negative_slope=0.1, threshold=0.2, name="a"),
        lambda: layers.ReLU(6.0, name="a"),
    ),
    "ELU": (lambda: layers.ELU(0.5, name="a"),),
    "PReLU": (lambda: layers.PReLU(name="a"), lambda: layers.PReLU(shared_axes=[1, 2], name="a")),
    "Dropout": (lambda: layers.Dropout(0.25, name="a"),),
    "SpatialDropout2D": (lambda: layers.SpatialDropout2D(0.25, name="a"),),
    "AlphaDropout": (lambda: layers.AlphaDropout(0.25, name="a"),),
    "GaussianDropout": (lambda: layers.GaussianDropout(0.25, name="a"),),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.25, name="a"),),
    "ZeroPadding2D": (
        lambda: layers.ZeroPadding2D(name="a"),
        lambda: layers.ZeroPadding2D(((0, 1), (2, 3)), name="a"),
    ),
    "Cropping2D": (lambda: layers.Cropping2D(((0, 1), (2, 3)), name="a"),),
    "Reshape": (
        lambda: layers.Reshape((-1,), name="a"),
        lambda: layers.Reshape((39, 13, 1), name="a"),
    ),
    "Permute": (lambda: layers.Permute((3, 1, 2), name="a"),),
    "Rescaling": (
        lambda: layers.Rescaling(1 / 127.5, offset=-1.0, name="a"),
        lambda: layers.Rescaling([1.0, 2.0, 3.0], offset=[0.0, -1.0, 5.0], name="a"),
    ),
    "Normalization": (
        lambda: layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 0.0], name="a"),
        lambda: layers.Normalization(axis=None, mean=0.5, variance=2.0, name="a"),
    ),
    "Resizing": (
        lambda: layers.Resizing(7, 29, name="a"),
        lambda: layers.Resizing(29, 7, interpolation="nearest", name="a"),
    ),
    "Activation": (
        *(partial(layers.Activation, name, name="a") for name in ACTIVATIONS),
        lambda: layers.ReLU(name="a"),
        lambda: layers.Softmax(name="a"),
    ),
}


def as_read(layer: Any) -> Spec:
    """The layer as this package reads it from Keras' configuration."""
    return read_layer(KerasLayer(type(layer).__name__, layer.name, layer.get_config()))


def test_every_row_has_a_case() -> None:
    assert CASES.keys() == LAYERS.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "case"), [(kind, i) for kind in CASES for i in range(len(CASES[kind]))])
def test_read_and_built_and_written_a_layer_gives_what_keras_gives(kind: str, case: int) -> None:
    keras.utils.set_random_seed(case)
    pixels = images(2, SIZE).astype(np.float32) / 128 - 1
    x = pixels if kind != "Dense" else pixels.reshape(2, -1)
    theirs = CASES[kind][case]()
    expected = theirs(x).detach().numpy()
    for weight in theirs.weights:
        if "seed" not in weight.path:
            values = np.random.default_rng(case).normal(0, 0.1, weight.shape)
            weight.assign(np.abs(values) + 0.1 if "variance" in weight.path else values)
    expected = theirs(x).detach().numpy()

    spec = as_read(theirs)
    assert spec["class_name"] == kind
    modules = build_layer(spec, x.shape[1:])
    state = modules["a"].state_dict()
    weights = [weight.numpy() for weight in theirs.weights if "seed" not in weight.path]
    for (key, ours), weight in zip(state.items(), weights, strict=True):
        state[key] = from_keras(weight, ours)
    modules["a"].load_state_dict(state)
    with torch.no_grad():
        found = nn.Sequential(*modules.values()).eval()(torch.from_numpy(channels_first(x)))
    np.testing.assert_allclose(channels_last(found), expected, rtol=1e-6, atol=1e-5)

    entry = write_layer(spec, modules["a"])
    assert entry.name == "a"
    again = getattr(layers, entry.class_name).from_config(entry.config)
    again(x)
    if weights:
        again.set_weights(list(entry.arrays.values()))
    assert np.array_equal(again(x).detach().numpy(), expected)
    assert as_read(again) == spec


def channels_first(x: Any) -> Any:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


def channels_last(x: Tensor) -> Any:
    return x.numpy().transpose(0, 2, 3, 1) if x.ndim == 4 else x.numpy()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            KerasLayer(
                "Convolution2D",
                "a",
                {
                    "nb_filter": 4,
                    "nb_row": 3,
                    "nb_col": 5,
                    "subsample": [2, 2],
                    "border_mode": "same",
                    "bias": False,
                    "dim_ordering": "tf",
                },
            ),
            KerasLayer(
                "Conv2D",
                "a",
                {"filters": 4, "kernel_size": [3, 5], "strides": 2, "padding": "same", "use_bias": False},
            ),
        ),
        (
            KerasLayer("MaxPool2D", "a", {"pool_size": [2, 2], "strides": None}),
            KerasLayer("MaxPooling2D", "a", {"pool_size": 2, "strides": [2, 2]}),
        ),
        (
            KerasLayer("Dense", "a", {"output_dim": 3}),
            KerasLayer("Dense", "a", {"units": 3, "activation": None}),
        ),
        (KerasLayer("Dropout", "a", {"p": 0.5}), KerasLayer("Dropout", "a", {"rate": 0.5})),
    ],
)
def test_the_words_of_older_versions(old: KerasLayer, new: KerasLayer) -> None:
    assert read_layer(old) == read_layer(new)


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        ("Conv2D", {"filters": 4}, "layer a (Conv2D) has kernel_size None; valid is a whole number above 0"),
        ("Conv2D", {"filters": True, "kernel_size": 3}, "has filters True; valid is a whole number above 0"),
        (
            "Conv2D",
            {"filters": 4, "kernel_size": [3, 3, 3]},
            "has kernel_size [3, 3, 3]; valid is one number",
        ),
        (
            "Conv2D",
            {"filters": 4, "kernel_size": 3, "padding": "causal"},
            "has padding 'causal'; valid is valid or same",
        ),
        ("Dense", {"units": 3, "use_bias": "no"}, "has use_bias 'no'; valid is true or false"),
        ("Dense", {"units": 3, "activation": [1]}, "has activation [1]; valid is the name of a function"),
        ("Dropout", {"rate": float("nan")}, "has rate nan; valid is a number from 0 to 1"),
        (
            "Rescaling",
            {"scale": [1, 2]},
            "has scale [1, 2]; valid is a number, or one for each of R, G and B",
        ),
        (
            "Lambda",
            {},
            "layer a (Lambda) is not supported; supported are Conv2D, DepthwiseConv2D, SeparableConv2D, Max",
        ),
        ("Dense", {"units": "9" * 9999}, "has units '999999999999...9999999999999'; valid is a whole number"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(
    class_name: str, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(KerasFileError) as caught:
        read_layer(KerasLayer(class_name, "a", config))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        (
            "Conv2D",
            {"activation": "hard_sigmoid"},
            "(Conv2D) has activation hard_sigmoid; valid are relu,",
        ),
        ("Conv2D", {"groups": 2}, "layer a (Conv2D) cannot be built; valid is groups that divide 3 and 4"),
        ("Conv2D", {"filters": 2**30, "kernel_size": 2**30}, "layer a (Conv2D) is larger than any memory"),
        ("Conv2D", {"kernel_size": 10}, "layer a (Conv2D) does not fit what comes before it, 9 x 9 x 3"),
        ("Conv2D", {"filters": 2**24, "kernel_size": 1}, "gives 1358954496 values; valid are 1 to 268435456"),
        ("Resizing", {"height": 2**20, "width": 2**20}, "layer a (Resizing) gives 3298534883328 values"),
        ("ZeroPadding2D", {"padding": 2**30}, "layer a (ZeroPadding2D) does not fit what comes before"),
        ("Cropping2D", {"cropping": 5}, "layer a (Cropping2D) does not fit what comes before it"),
        ("Reshape", {"target_shape": [7]}, "layer a (Reshape) does not fit what comes before it, 9 x 9 x 3"),
        (
            "BatchNormalization",
            {"axis": 1},
            "cannot be built; valid is axis -1 or 3",
        ),
        (
            "Rescaling",
            {"scale": [1, 2, 3], "flat": True},
            "valid is an image with 3 channels",
        ),
        (
            "Normalization",
            {},
            "cannot be built; valid is one with a mean and a variance",
        ),
        ("Normalization", {"mean": 1.0, "variance": -1.0}, "valid is one with a mean and a variance >= 0"),
        ("Normalization", {"mean": [1.0, 2.0], "variance": 1.0}, "valid is as many means as variances"),
    ],
)
def test_what_cannot_be_built_is_named(class_name: str, config: dict[str, Any], message: str) -> None:
    usual = {"filters": 4, "kernel_size": 3} if class_name == "Conv2D" else {}
    spec = read_layer(KerasLayer(class_name, "a", usual | config))
    with pytest.raises(KerasFileError) as caught:
        list(build_chain([spec], (9,) if "flat" in config else (9, 9, 3)))
    assert message in str(caught.value)


def functions(model: Model) -> list[tuple[str, str | None]]:
    """The classes of a model's layers, each with its activation."""
    chain = read_chain(KerasLayer(type(x).__name__, x.name, x.get_config()) for x in model.layers)
    return [(link.spec["class_name"], link.spec.get("activation")) for link in chain]


def test_an_activation_becomes_an_option_of_the_layer_it_follows() -> None:
    after = [layers.Activation("relu")], [layers.MaxPooling2D()]
    for middle in (after[0] + after[1], after[1] + after[0], [layers.Dropout(0.1), *after[0], *after[1]]):
        model = keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(2, 3), *middle])
        found = [pair for pair in functions(model) if pair[0] != "Dropout"]
        assert found == [("Conv2D", "relu"), ("MaxPooling2D", None)]


def test_an_activation_that_must_not_change_places_stays() -> None:
    model = keras.Sequential(
        [keras.Input((9, 9, 3)), layers.Conv2D(2, 3), layers.MaxPooling2D(), layers.Activation("tanh")]
    )
    assert functions(model) == [("Conv2D", "linear"), ("MaxPooling2D", None), ("Activation", "tanh")]
    model = keras.Sequential([keras.Input((9,)), layers.Dense(2, "relu"), layers.Activation("sigmoid")])
    assert functions(model) == [("Dense", "relu"), ("Activation", "sigmoid")]


def test_preprocess_input_is_a_rescaling_of_bgr() -> None:
    pixels = images(2, SIZE).astype(np.float32)
    offset = [-103.939, -116.779, -123.68]
    spec = read_layer(KerasLayer("Rescaling", "a", {"scale": 1.0, "offset": offset, "bgr": True}))
    found = build_layer(spec, (SIZE, SIZE, 3))["a"](torch.from_numpy(channels_first(pixels)))
    expected = keras.applications.vgg16.preprocess_input(pixels.copy())
    np.testing.assert_allclose(channels_last(found), expected, atol=1e-4)
