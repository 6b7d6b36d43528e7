"""Real Keras 3 on its torch backend, and the workshop's two models in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import torch
from keras import layers
from keras.src.backend.common import dtypes
from torch import nn

from catdog_pl.models import VGG16, Basic
from catdog_pl.models.classifier import Classifier

assert keras.backend.backend() == "torch", "Keras was imported before this package chose its backend"

Array = npt.NDArray[Any]
Model = Any  # Keras has no type information


def basic(size: int = 150, filters: tuple[int, ...] = (32, 64, 64), units: int = 256) -> Model:
    """The workshop's basic model, compiled as there."""
    model = keras.Sequential([keras.Input((size, size, 3))])
    for i, n in enumerate(filters, start=1):
        model.add(layers.Conv2D(n, (3, 3), activation="relu", name=f"conv2d_{i}"))
        model.add(layers.MaxPooling2D((2, 2), name=f"max_pooling2d_{i}"))
    for layer in (
        layers.Flatten(name="flatten_1"),
        layers.Dense(units, activation="relu", name="dense_1"),
        layers.Dense(1, activation="sigmoid", name="dense_2"),
    ):
        model.add(layer)
    return compiled(model)


def vgg16(size: int = 150, units: int = 256, dropout: float = 0.4) -> Model:
    """The workshop's advanced model with random weights, compiled as there."""
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(size, size, 3))
    base.trainable = False
    x = layers.Flatten(name="flatten_1")(base.output)
    x = layers.Dense(units, activation="relu", name="dense_1")(x)
    x = layers.Dropout(dropout, name="dropout_1")(x)
    return compiled(keras.Model(base.input, layers.Dense(1, activation="sigmoid", name="dense_2")(x)))


def compiled(model: Model) -> Model:
    """The model with the workshop's loss, optimizer and metric."""
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    return model


def randomise_biases(model: Model, seed: int = 0) -> None:
    """Give every layer biases that are not zero, so that one forgotten or misplaced is seen."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.weights:
            layer.bias.assign(random.normal(0, 0.05, layer.bias.shape))


def twin(model: Model) -> Classifier:
    """Our model with the weights of a Keras model, by plain transposition and in its precision."""
    size = model.input_shape[1]
    weighted = [layer.get_weights() for layer in model.layers if layer.weights]
    units = weighted[-2][0].shape[1]
    if len(weighted) == 15:
        ours: Classifier = VGG16(size, weights="none", dense_units=units)
    else:
        ours = Basic(size, tuple(kernel.shape[3] for kernel, _ in weighted[:-2]), units)
    ours = ours.to(torch.float64 if weighted[0][0].dtype == np.float64 else torch.float32)
    modules = [module for module in ours.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for module, (kernel, bias) in zip(modules, weighted, strict=True):
            axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            module.weight.copy_(torch.from_numpy(kernel.transpose(axes).copy()))
            assert module.bias is not None
            module.bias.copy_(torch.from_numpy(bias))
    return ours.eval()


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Build and run Keras models in ``float32`` or ``float64``.

    Outside TensorFlow, Keras rounds the results of float64 operations to float32
    (``keras/src/backend/common/dtypes.py``). A referee to 12 digits needs TensorFlow's entry of that table.
    """
    rounded = dtypes.BIT64_TO_BIT32_DTYPE["float64"]
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = rounded
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: on a busy machine, small layers wait for several longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def images(count: int, size: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Pictures with structure at every scale, (count, size, size, 3) in 0..255."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 5, 5, 3)).repeat(size // 5 + 1, 1).repeat(size // 5 + 1, 2)
    noise = random.integers(-40, 41, (count, size, size, 3))
    return (coarse[:, :size, :size] + noise).clip(0, 255).astype(np.uint8)


def fed(pixels: Array) -> Array:
    """What the workshop's generator hands to Keras: float32, times 1/255."""
    return pixels.astype(np.float32) * np.float32(1 / 255)


def tensor(pixels: Array) -> torch.Tensor:
    """What our models take: (N, 3, S, S)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
