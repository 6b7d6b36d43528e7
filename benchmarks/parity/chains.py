"""Random chains of layers in real Keras, through every kind of file and back.

python -m benchmarks.parity.chains 300     # draws so many and prints the largest difference of each layer
python -m benchmarks.parity.chains 50 --tf_keras     # and opens what is exported with Keras 2, too
"""

import argparse
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from PIL import Image

from benchmarks.parity.referee import Array, Model, images, tensor
from catdog_pl.export.keras import export_keras
from catdog_pl.models.keras_import import Imported, import_file
from catdog_pl.models.sequential import PIXELS

KINDS = (".keras", ".h5", ".weights.h5")
ALLOWED = 1e-5  # of a probability
FUNCTIONS = ("relu", "sigmoid", "tanh", "elu", "selu", "swish", "gelu", "softplus", "softsign", "relu6",
             "leaky_relu", "mish", "softmax", "linear")  # fmt: skip
CLASSIFIES = {"binary_crossentropy": (1, "sigmoid"), "categorical_crossentropy": (2, "softmax")}


def some(chance: random.Random, **options: Sequence[Any]) -> dict[str, Any]:
    """One value of each option."""
    return {name: chance.choice(list(values)) for name, values in options.items()}


def convolution(chance: random.Random) -> dict[str, Any]:
    """Options that Conv2D, DepthwiseConv2D and SeparableConv2D share; TensorFlow dilates without strides."""
    dilation = chance.choice((1, 1, 2))
    return some(
        chance,
        kernel_size=(1, 2, 3, (3, 2), 5),
        strides=(1,) if dilation > 1 else (1, 1, 2, 3),
        padding=("valid", "same"),
        use_bias=(True, False),
        activation=FUNCTIONS,
    ) | {"dilation_rate": dilation}


def pooling(chance: random.Random) -> dict[str, Any]:
    """Options of both poolings."""
    return some(chance, pool_size=(1, 2, 3, (2, 3)), strides=(None, 1, 2), padding=("valid", "same"))


def mean_pooling(chance: random.Random) -> dict[str, Any]:
    """Options of average pooling; Keras' torch backend counts other padding, which TensorFlow does not."""
    return chance.choice((pooling(chance) | {"padding": "valid"}, {"pool_size": 2, "padding": "same"}))


def margins(chance: random.Random) -> Any:
    """Padding by all sides, by axis, or by side."""
    sides = [chance.randrange(3) for _ in range(4)]
    return chance.choice((sides[0], sides[:2], (sides[:2], sides[2:])))


Make = Callable[[random.Random], Any]

ON_IMAGES: tuple[Make, ...] = (
    lambda c: layers.Conv2D(filters=c.choice((2, 4, 6)), groups=1, **convolution(c)),
    lambda c: layers.Conv2D(filters=c.choice((2, 4, 6)), groups=1, **convolution(c)),
    lambda c: layers.DepthwiseConv2D(depth_multiplier=c.choice((1, 2)), **convolution(c)),
    lambda c: layers.SeparableConv2D(
        filters=c.choice((2, 4)), depth_multiplier=c.choice((1, 2)), **convolution(c)
    ),
    lambda c: layers.MaxPooling2D(**pooling(c)),
    lambda c: layers.AveragePooling2D(**mean_pooling(c)),
    lambda c: layers.BatchNormalization(
        **some(c, momentum=(0.99, 0.9), epsilon=(1e-3, 1e-5), center=(True, False), scale=(True, False))
    ),
    lambda c: layers.ZeroPadding2D(margins(c)),
    lambda c: layers.SpatialDropout2D(c.random()),
    lambda c: layers.Resizing(c.randrange(6, 14), c.randrange(6, 14), c.choice(("bilinear", "nearest"))),
    lambda c: layers.PReLU(shared_axes=c.choice((None, [1, 2]))),
)
ANYWHERE: tuple[Make, ...] = (
    lambda c: layers.Activation(c.choice(FUNCTIONS)),
    lambda c: layers.ReLU(
        **some(c, max_value=(None, 6.0, 1.0), negative_slope=(0.0, 0.1), threshold=(0, 0.2137))
    ),
    lambda c: layers.LeakyReLU(c.choice((0.3, 0.01))),
    lambda c: layers.ELU(c.choice((1.0, 0.5))),
    lambda c: layers.Softmax(),
    lambda c: layers.LayerNormalization(
        **some(c, epsilon=(1e-3, 1e-6), center=(True, False), scale=(True, False))
    ),
    lambda c: layers.Dropout(c.random()),
    lambda c: layers.AlphaDropout(c.random() / 2),
    lambda c: layers.GaussianDropout(c.random() / 2),
    lambda c: layers.GaussianNoise(c.random()),
    lambda c: layers.Dense(c.choice((2, 5)), **some(c, activation=FUNCTIONS, use_bias=(True, False))),
)
ON_VALUES: tuple[Make, ...] = (
    lambda c: layers.BatchNormalization(),
    lambda c: layers.Dense(c.choice((2, 5)), **some(c, activation=FUNCTIONS, use_bias=(True, False))),
    lambda c: layers.PReLU(),
)
FLATTENS: tuple[Make, ...] = (
    lambda c: layers.Flatten(),
    lambda c: layers.GlobalAveragePooling2D(),
    lambda c: layers.GlobalMaxPooling2D(),
)
FRONTS: tuple[Make, ...] = (
    lambda c: layers.Rescaling(1 / 127.5, offset=-1.0),
    lambda c: layers.Rescaling(1 / 255),
    lambda c: layers.Normalization(mean=100.0, variance=2000.0),
)


def draw(chance: random.Random, size: int, channels: int) -> tuple[Model, str | None]:
    """A chain with random weights, and what is done to its pixels; None where its first layer does it."""
    front = [chance.choice(FRONTS)(chance)] if chance.random() < 0.3 else []
    loss, (units, function) = chance.choice(list(CLASSIFIES.items()))
    if logits := chance.random() < 0.3:
        loss, function = f"{loss[:-12]}_crossentropy", "linear"
    shape, body = (None, size, size, channels), [*front]
    for _ in range(chance.randrange(1, 7)):
        layer = chance.choice((*ON_IMAGES, *ANYWHERE))(chance)
        try:
            shape = layer.compute_output_shape(shape)
        except ValueError:  # nothing is left of the image
            break
        body.append(layer)
    if body and chance.random() < 0.3:
        body = [keras.Sequential(body, name="base")]
    model = keras.Sequential([keras.Input((size, size, channels)), *body, chance.choice(FLATTENS)(chance)])
    for _ in range(chance.randrange(3)):
        model.add(chance.choice((*ON_VALUES, *ANYWHERE))(chance))
    model.add(layers.Dense(units, activation=function))
    kinds = {1: keras.losses.BinaryCrossentropy, 2: keras.losses.CategoricalCrossentropy}
    model.compile(loss=kinds[units](from_logits=logits), optimizer="rmsprop")
    randomise(model, chance)
    preprocessing = None if front else chance.choice(PIXELS[: 3 if channels == 1 else 4])
    tell_apart(model, fed(images(8, size), channels, preprocessing))
    return model, preprocessing


def randomise(model: Model, chance: random.Random) -> None:
    """Random weights, for which layers give values of the size of what they get."""
    numbers = np.random.default_rng(chance.randrange(2**32))
    for weight in model.weights:
        name = weight.path.rpartition("/")[2]
        if "seed" in name or "count" in name:
            continue
        values = numbers.normal(0, 1 / max(1, np.prod(weight.shape[:-1])) ** 0.5, weight.shape)
        values = {"gamma": 1 + values / 3, "moving_variance": 0.5 + values**2}.get(name, values)
        weight.assign(values)


def tell_apart(model: Model, values: Array) -> None:
    """Scale the last layer, so that its probabilities are not all alike and not all 0 or 1."""
    *others, last = model.layers
    features = keras.Sequential(others).predict(values, verbose=0)
    kernel = last.kernel.numpy()
    outputs = features @ kernel
    scale = 1 / max(outputs.std(), 0.1 * np.abs(outputs).max(), 1e-6)
    last.kernel.assign(kernel * scale)
    if last.use_bias:
        last.bias.assign(-outputs.mean(0) * scale)


def fed(pixels: Array, channels: int, preprocessing: str | None) -> Array:
    """What Keras is given: Pillow's grey, and what ``preprocessing`` says, computed by Keras."""
    if channels == 1:
        pixels = np.stack([np.array(Image.fromarray(image).convert("L")) for image in pixels])[..., None]
    values = pixels.astype(np.float32)
    if preprocessing == "caffe":
        return np.asarray(keras.applications.vgg16.preprocess_input(values))
    if preprocessing == "symmetric":
        return np.asarray(keras.applications.mobilenet.preprocess_input(values))
    return values / 255 if preprocessing == "rescale" else values


def probabilities(model: Model, values: Array) -> Array:
    """P(second class) as Keras gives it, from any of the four heads."""
    outputs: Array = model.predict(values, verbose=0).astype(np.float64)
    if model.layers[-1].activation.__name__ == "linear":
        logits = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        return np.asarray(1 / (1 + np.exp(-logits)))
    return outputs[:, -1]


def ours(found: Imported, pixels: Array) -> Array:
    """P(second class) as our model gives it."""
    with torch.no_grad():
        return np.asarray(found.model(tensor(pixels)).double().sigmoid())


def saved(model: Model, path: Path) -> tuple[Path, Path | None]:
    """The model in a file of the kind that the name asks for, and its JSON beside weights alone."""
    if not path.name.endswith(".weights.h5"):
        model.save(path)
        return path, None
    model.save_weights(path)
    architecture = path.with_suffix(".json")
    architecture.write_text(model.to_json(), encoding="utf-8")
    return path, architecture


def parameters(model: Model) -> int:
    """The number of values in the weights that our model has too: one logit for two outputs."""
    kept = [w for w in model.weights if not any(word in w.path for word in ("seed", "count"))]
    total = sum(int(np.prod(weight.shape)) for weight in kept)
    last = model.layers[-1]
    return total - (sum(int(np.prod(w.shape)) for w in last.weights) // 2 if last.units == 2 else 0)


def differences(
    chance: random.Random, folder: Path, open_exported: Callable[[Path], Model] = keras.models.load_model
) -> Iterator[tuple[Model, float]]:
    """A random chain, and how far our probabilities are from Keras', into each file and back."""
    size, channels = chance.randrange(12, 20), chance.choice((3, 3, 1))
    model, preprocessing = draw(chance, size, channels)
    pixels = images(3, size, seed=chance.randrange(2**32))
    values = fed(pixels, channels, preprocessing)
    expected = probabilities(model, values)
    for kind in KINDS:
        path, architecture = saved(model, folder / f"m{kind}")
        found = import_file(path, size, preprocessing=preprocessing, architecture=architecture)
        assert parameters(model) == sum(v.numel() for v in found.model.state_dict().values()), "parameters"
        yield model, float(np.abs(ours(found, pixels) - expected).max())
        if kind == KINDS[-1]:  # which takes no other way back
            break
        back = folder / f"back{kind}"
        export_keras(found.model, {}, back)
        opened = keras.models.load_model(back) if kind == ".keras" else open_exported(back)
        is_basic = found.model.name == "basic" and not preprocessing  # its Rescaling layer is left out
        outputs = opened.predict(fed(pixels, channels, "rescale") if is_basic else values, verbose=0)
        yield model, float(np.abs(outputs[:, 0] - expected).max())


def main() -> None:
    """Draw chains and print the largest difference of each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tf_keras", action="store_true", help="open exported .h5 files in Keras 2")
    options = parser.parse_args()
    opener = keras.models.load_model
    if options.tf_keras:
        opener = import_module("tf_keras").models.load_model
    largest: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    with TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        for seed in range(options.seed, options.seed + options.count):
            keras.backend.clear_session()
            try:
                found = list(differences(random.Random(seed), Path(folder), opener))
            except Exception as error:
                counts["refused or failed"] += 1
                print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
                continue
            worst = max(difference for _, difference in found)
            if worst > ALLOWED:
                print(f"seed {seed}: {worst:.1e}", flush=True)
            for kind in {"all", *(type(layer).__name__ for layer in flat(found[0][0]))}:
                counts[kind] += 1
                largest[kind] = max(largest[kind], worst)
    for kind in sorted(counts):
        print(f"| {kind} | {counts[kind]} | {largest[kind]:.1e} |")


def flat(model: Model) -> list[Any]:
    """All layers, those of nested models too."""
    return [
        inner for layer in model.layers for inner in (flat(layer) if hasattr(layer, "layers") else [layer])
    ]


if __name__ == "__main__":
    main()
