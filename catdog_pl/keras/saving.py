"""Layers -> a file that ``keras.models.load_model`` or ``load_weights`` opens.

The model is compiled as the workshop's: binary cross-entropy, RMSprop, accuracy.
"""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import ZipFile, ZipInfo

import h5py

from catdog_pl.errors import UsageError
from catdog_pl.io.files import atomic_write
from catdog_pl.keras.config import numbered
from catdog_pl.keras.layers import KerasEntry
from catdog_pl.keras.optimizer import RMSpropState

KERAS_VERSION = "3.15.1"  # whose files these are; the tests compare with it

COMPILED = {
    "loss": "binary_crossentropy", "loss_weights": None, "metrics": ["accuracy"], "weighted_metrics": None,
}  # fmt: skip
"""What the workshop's models are compiled with, but for the optimizer."""

Config = dict[str, Any]


class KerasModel(NamedTuple):
    """What is written: the input layer first; a functional model counts it as a layer, a Sequential not."""

    layers: Sequence[KerasEntry]
    optimizer: RMSpropState
    functional: bool

    @property
    def listed(self) -> list[KerasEntry]:
        """The layers that have a group of their own in HDF5."""
        return [layer for layer in self.layers if layer.class_name != "InputLayer" or self.functional]


def write_file(target: Path, model: KerasModel) -> None:
    """Write a whole model (``.keras``, ``.h5``) or weights alone (``.weights.h5``), as the ending says.

    Raises:
        UsageError: the ending is none of these.
        CatDogError: the file cannot be written; nothing half-written is left.
    """
    writers = {
        ".weights.h5": write_weights, ".h5": write_legacy, ".hdf5": write_legacy, ".keras": write_archive,
    }  # fmt: skip
    write = next((writers[ending] for ending in writers if target.name.lower().endswith(ending)), None)
    if write is None:
        valid = ", ".join(writers)
        raise UsageError(f"{target.name} is not the name of a Keras file; give one that ends in {valid}")
    with atomic_write(target) as part, part.open("wb+") as file:
        write(file, model)


def write_legacy(file: BinaryIO, model: KerasModel) -> None:
    """Write a whole model in HDF5, as Keras 2 and 3 read it."""
    training = COMPILED | {"optimizer_config": model.optimizer.config}
    with h5py.File(file, "w") as h5:
        group = h5.create_group("model_weights")
        for place in (h5, group):
            place.attrs["keras_version"] = KERAS_VERSION
            place.attrs["backend"] = "torch"
        h5.attrs["model_config"] = json.dumps(model_config(model)).encode()
        h5.attrs["training_config"] = json.dumps(training).encode()
        group.attrs["layer_names"] = [layer.name.encode() for layer in model.listed]
        for layer in model.listed:
            arrays = {f"{layer.name}/{name}:0": array for name, array in layer.arrays.items()}
            write_named(group.create_group(layer.name), arrays)
        write_named(h5.create_group("optimizer_weights"), model.optimizer.variables)


def write_named(group: h5py.Group, arrays: dict[str, Any]) -> None:
    """Write arrays at their paths below a group, listed in its ``weight_names``."""
    group.attrs["weight_names"] = [path.encode() for path in arrays]
    for path, array in arrays.items():
        group.create_dataset(path, data=array)


def write_weights(file: BinaryIO, model: KerasModel) -> None:
    """Write weights alone, in the layout of Keras 3."""
    with h5py.File(file, "w") as h5:
        h5.create_group("vars")  # the model's own, which has none; Keras 2 misses it all the same
        folders = numbered(layer.class_name for layer in model.listed)
        for layer, folder in zip(model.listed, folders, strict=True):
            write_numbered(h5, f"layers/{folder}", layer.name, list(layer.arrays.values()))
        write_numbered(h5, "optimizer", "rmsprop", list(model.optimizer.variables.values()))


def write_numbered(h5: h5py.File, path: str, name: str, arrays: Sequence[Any]) -> None:
    """Write arrays as ``path/vars/0``, ``path/vars/1``, ..."""
    group = h5.create_group(f"{path}/vars")
    group.attrs["name"] = name
    for i, array in enumerate(arrays):
        group.create_dataset(str(i), data=array)


def write_archive(file: BinaryIO, model: KerasModel) -> None:
    """Write a whole model as Keras 3 saves it by default: an uncompressed zip archive."""
    weights = BytesIO()
    write_weights(weights, model)
    optimizer = with_module(model.optimizer.config, "keras.optimizers")
    config = model_config(model, keras3=True)
    config["compile_config"] = COMPILED | {"optimizer": optimizer}
    with ZipFile(file, "w") as archive:  # ZipInfo has a fixed date: equal models are equal files
        archive.writestr(ZipInfo("metadata.json"), json.dumps({"keras_version": KERAS_VERSION}))
        archive.writestr(ZipInfo("config.json"), json.dumps(config))
        archive.writestr(ZipInfo("model.weights.h5"), weights.getbuffer())


def model_config(model: KerasModel, keras3: bool = False) -> Config:
    """Return the model as Keras describes it."""
    entries = [{"class_name": layer.class_name, "config": layer.config} for layer in model.layers]
    if keras3:
        entries = [with_module(entry, "keras.layers") for entry in entries]
    config: Config = {"name": "sequential_1", "layers": entries}
    if model.functional:
        first, last = model.layers[0].name, model.layers[-1].name
        config = {"name": "model_1", "layers": chained(entries)}
        config |= {"input_layers": [[first, 0, 0]], "output_layers": [[last, 0, 0]]}
    whole = {"class_name": "Model" if model.functional else "Sequential", "config": config}
    return with_module(whole, "keras") if keras3 else whole


def chained(entries: Sequence[Config]) -> list[Config]:
    """Return the entries of a functional model, each applied to the one before."""
    chain: list[Config] = []
    nodes: list[Any] = []
    for entry in entries:
        name = entry["config"]["name"]
        chain.append(entry | {"name": name, "inbound_nodes": nodes})
        nodes = [[[name, 0, 0, {}]]]
    return chain


def with_module(entry: Config, module: str) -> Config:
    """Return an entry as Keras 3 writes it, with the module of its class."""
    return {"module": module} | entry | {"registered_name": None}
