"""Probabilities, and the activations of every layer, with the same weights on the same pictures."""

from collections.abc import Callable, Iterator, Mapping

import keras
import torch
from torch import Tensor, nn

from benchmarks.parity.check import Check, largest
from benchmarks.parity.referee import (
    Array,
    Model,
    basic,
    fed,
    images,
    precision,
    randomise_biases,
    tensor,
    twin,
    vgg16,
)
from catdog_pl.models.classifier import Classifier


def checks() -> Iterator[Check]:
    """Both models in float32 at the workshop's size, and in float64."""
    keras.utils.set_random_seed(0)
    yield from compare("basic, 150 px, float32", basic(), 150, 1e-5)
    yield from compare("vgg16, 150 px, float32", vgg16(), 150, 1e-5)
    with precision("float64"):
        yield from compare("basic, 150 px, float64", basic(), 150, 1e-12)
        yield from compare("vgg16, 64 px, float64", vgg16(64), 64, 1e-12)


def compare(what: str, model: Model, size: int, allowed: float) -> Iterator[Check]:
    """One Keras model and its twin on two pictures."""
    randomise_biases(model)
    ours, pixels = twin(model), images(2, size)
    expected, found = keras_activations(model, pixels), activations(ours, pixels)
    yield Check(f"probabilities, {what}", largest(expected["dense_2"], found["dense_2"]), allowed)
    worst = max(relative_differences(expected, found).values())
    yield Check(f"activations of all {len(expected)} layers, {what}, of the largest", worst, allowed)


def relative_differences(expected: Mapping[str, Array], found: Mapping[str, Tensor]) -> dict[str, float]:
    """For each of Keras' layers the largest difference, relative to its largest activation."""
    return {name: largest(value, found[name]) / float(abs(value).max()) for name, value in expected.items()}


def keras_activations(model: Model, pixels: Array) -> dict[str, Array]:
    """The output of every layer of a Keras model; a float64 model takes pictures rescaled in float64."""
    names = [layer.name for layer in model.layers if "input" not in layer.name]
    probe = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    rescaled = pixels / 255 if model.compute_dtype == "float64" else fed(pixels)
    return dict(zip(names, probe.predict(rescaled, verbose=0), strict=True))


def activations(ours: Classifier, pixels: Array) -> dict[str, Tensor]:
    """Our activations under Keras' names, channels last, as Keras' layers give them: after their ReLU."""
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        if name == "dense_2":
            output = output.sigmoid()
        elif not name.startswith("flatten"):
            output = output.relu()
        # A copy: the ReLU behind a layer works in place.
        found[name] = output.permute(0, 2, 3, 1).clone() if output.ndim == 4 else output.clone()

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: keep(name, output)

    children = [*ours.features.named_children(), *ours.head.named_children()]
    handles = [module.register_forward_hook(hook(name)) for name, module in children]
    try:
        with torch.no_grad():
            ours(tensor(pixels))
    finally:
        for handle in handles:
            handle.remove()
    return found
