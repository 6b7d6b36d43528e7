"""One of our models -> a file that ``keras.models.load_model`` or ``load_weights`` opens.

Every exported model takes what the workshop feeds, RGB times 1/255, and is compiled as the workshop's:
binary cross-entropy, RMSprop, accuracy. Where training used RMSprop, its state goes along.
"""

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile, ZipInfo

import h5py

from catdog_pl.errors import CatDogError, UsageError
from catdog_pl.export.keras import Layer, keras_layers
from catdog_pl.io.files import atomic_write
from catdog_pl.keras.config import numbered
from catdog_pl.keras.optimizer import RMSpropState
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.vgg16 import VGG16

KERAS_VERSION = "3.15.1"
"""The version whose files these are; the tests hold them against it."""

Config = dict[str, Any]


def export_file(model: Classifier, state: RMSpropState, target: Path, overwrite: bool = False) -> None:
    """Write a Keras file; its ending decides the kind.

    Args:
        model: on any device.
        state: what the file says of the optimizer.
        target: ``.keras`` or ``.h5`` for a whole model, ``.weights.h5`` for weights alone.
        overwrite: whether a file that is there may be replaced.

    Raises:
        UsageError: the ending is none of these.
        CatDogError: the file is there already, or cannot be written; nothing half-written is left.
    """
    write = writer(target)
    if target.exists() and not overwrite:
        raise CatDogError(f"{target} is there already; give another name, or allow to overwrite it")
    layers = keras_layers(model)
    with atomic_write(target) as part, part.open("wb+") as file:
        write(file, model, layers, state)


Writer = Callable[[BinaryIO, Classifier, Sequence[Layer], RMSpropState], None]


def writer(target: Path) -> Writer:
    """The function that writes the kind of file that a name asks for.

    Raises:
        UsageError: it asks for none.
    """
    endings = {
        ".weights.h5": write_weights,
        ".h5": write_legacy,
        ".hdf5": write_legacy,
        ".keras": write_archive,
    }
    for ending, write in endings.items():
        if target.name.lower().endswith(ending):
            return write
    raise UsageError(f"{target.name}: Keras files end in {', '.join(endings)}; give such a name")


def write_legacy(file: BinaryIO, model: Classifier, layers: Sequence[Layer], state: RMSpropState) -> None:
    """A whole model in HDF5, as Keras 2 and 3 read it."""
    training = compile_config() | {"optimizer_config": state.config}
    with h5py.File(file, "w") as h5:
        h5.attrs["keras_version"] = KERAS_VERSION
        h5.attrs["backend"] = "torch"
        h5.attrs["model_config"] = json.dumps(model_config(model, layers)).encode()
        h5.attrs["training_config"] = json.dumps(training).encode()
        group = h5.create_group("model_weights")
        group.attrs["keras_version"] = KERAS_VERSION
        group.attrs["backend"] = "torch"
        named = [layer for layer in layers if layer.class_name != "InputLayer" or isinstance(model, VGG16)]
        group.attrs["layer_names"] = [layer.name.encode() for layer in named]
        for layer in named:
            paths = [f"{layer.name}/{array}:0" for array in ("kernel", "bias")][: len(layer.arrays)]
            write_named(group.create_group(layer.name), dict(zip(paths, layer.arrays, strict=True)))
        write_named(h5.create_group("optimizer_weights"), state.variables)


def write_named(group: h5py.Group, arrays: dict[str, Any]) -> None:
    """Arrays at their paths below a group, listed in its ``weight_names``."""
    group.attrs["weight_names"] = [path.encode() for path in arrays]
    for path, array in arrays.items():
        group.create_dataset(path, data=array)


def write_weights(file: BinaryIO, model: Classifier, layers: Sequence[Layer], state: RMSpropState) -> None:
    """Weights alone, in the layout of Keras 3."""
    folders = numbered(layer.class_name for layer in layers)
    with h5py.File(file, "w") as h5:
        h5.create_group("vars")  # the model's own, which has none; Keras 2 misses it all the same
        for layer, folder in zip(layers, folders, strict=True):
            if layer.class_name != "InputLayer" or isinstance(model, VGG16):
                write_numbered(h5, f"layers/{folder}", layer.name, layer.arrays)
        write_numbered(h5, "optimizer", "rmsprop", list(state.variables.values()))


def write_numbered(h5: h5py.File, path: str, name: str, arrays: Sequence[Any]) -> None:
    """Arrays as ``path/vars/0``, ``path/vars/1``, ..."""
    group = h5.create_group(f"{path}/vars")
    group.attrs["name"] = name
    for i, array in enumerate(arrays):
        group.create_dataset(str(i), data=array)


def write_archive(file: BinaryIO, model: Classifier, layers: Sequence[Layer], state: RMSpropState) -> None:
    """A whole model as Keras 3 saves it by default: an uncompressed zip archive."""
    weights = BytesIO()
    write_weights(weights, model, layers, state)
    config = model_config(model, layers, keras3=True)
    config["compile_config"] = compile_config() | {"optimizer": with_module(state.config, "keras.optimizers")}
    with ZipFile(file, "w") as archive:
        # ZipInfo's fixed date makes equal models equal files.
        archive.writestr(ZipInfo("metadata.json"), json.dumps({"keras_version": KERAS_VERSION}))
        archive.writestr(ZipInfo("config.json"), json.dumps(config))
        archive.writestr(ZipInfo("model.weights.h5"), weights.getbuffer())


def model_config(model: Classifier, layers: Sequence[Layer], keras3: bool = False) -> Config:
    """The model as Keras describes it: ``basic`` a Sequential, ``vgg16`` a functional model.

    Args:
        model: which of the two.
        layers: its Keras layers.
        keras3: whether classes carry the module they are from, as in ``.keras`` archives.
    """
    entries = [{"class_name": layer.class_name, "config": layer.config} for layer in layers]
    if keras3:
        entries = [with_module(entry, "keras.layers") for entry in entries]
    config: Config = {"name": "sequential_1", "layers": entries}
    if isinstance(model, VGG16):
        first, last = layers[0].name, layers[-1].name
        config = {"name": "model_1", "layers": chained(entries)}
        config |= {"input_layers": [[first, 0, 0]], "output_layers": [[last, 0, 0]]}
    whole = {"class_name": "Model" if isinstance(model, VGG16) else "Sequential", "config": config}
    return with_module(whole, "keras") if keras3 else whole


def chained(entries: Sequence[Config]) -> list[Config]:
    """The entries of a functional model, each applied to the one before."""
    chain: list[Config] = []
    nodes: list[Any] = []
    for entry in entries:
        name = entry["config"]["name"]
        chain.append(entry | {"name": name, "inbound_nodes": nodes})
        nodes = [[[name, 0, 0, {}]]]
    return chain


def with_module(entry: Config, module: str) -> Config:
    """An entry as Keras 3 writes it, with the module of its class."""
    return {"module": module} | entry | {"registered_name": None}


def compile_config() -> Config:
    """What the workshop's models are compiled with, but for the optimizer."""
    return {
        "loss": "binary_crossentropy",
        "loss_weights": None,
        "metrics": ["accuracy"],
        "weighted_metrics": None,
    }
