"""Files as older versions of Keras wrote them, rewritten with h5py from a file of Keras 3.

The layouts are those of ``keras/models.py`` and ``keras/engine/topology.py`` in Keras 2.1.6 and 1.2.2. The
weights stay bit for bit what Keras 3 wrote.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

Config = dict[str, Any]

RMSPROP_2018 = {"lr": 0.0010000000474974513, "rho": 0.8999999761581421, "decay": 0.0, "epsilon": 1e-7}
"""What ``get_config`` of RMSprop gave in Keras 2.1.6: float32 values as Python prints them."""


def as_2018(source: Path, target: Path) -> None:
    """A whole Sequential model as Keras 2.1.6 saved it: its configuration is a list of layers."""
    rewrite(source, target, "2.1.6", layer_2018, "{layer}/{array}:0", ("kernel", "bias"))


def as_2016(source: Path, target: Path) -> None:
    """A whole Sequential model as Keras 1.2.2 saved it: other classes, arguments and weight names."""
    rewrite(source, target, "1.2.2", layer_2016, "{layer}_{array}:0", ("W", "b"))


def weights_alone(source: Path, target: Path) -> None:
    """The legacy layout as ``save_weights`` wrote it before Keras 3: the same groups at the root."""
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        group = old["model_weights"]
        for name, value in group.attrs.items():
            new.attrs[name] = value
        for name in group:
            group.copy(name, new)


def in_chunks(path: Path, count: int = 3) -> None:
    """Split ``layer_names`` into ``layer_names0``, ``layer_names1``, ..., as Keras does when it is long."""
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        names = group.attrs["layer_names"]
        del group.attrs["layer_names"]
        for i in range(count):
            group.attrs[f"layer_names{i}"] = names[i * len(names) // count : (i + 1) * len(names) // count]


def rewrite(
    source: Path,
    target: Path,
    version: str,
    layer: Callable[[Config], Config],
    path: str,
    arrays: tuple[str, str],
) -> None:
    """Write a whole model anew, in the words of an older version."""
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        config = json.loads(old.attrs["model_config"])
        first, *entries = config["config"]["layers"]
        layers = [layer(entry) for entry in entries]
        layers[0]["config"]["batch_input_shape"] = first["config"]["batch_shape"]
        optimizer = {"class_name": "RMSprop", "config": RMSPROP_2018}
        training = {"optimizer_config": optimizer, "loss": "binary_crossentropy", "metrics": ["acc"]}
        new.attrs["keras_version"] = version.encode()
        new.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers}).encode()
        new.attrs["training_config"] = json.dumps(training).encode()
        group = new.create_group("model_weights")
        names = [entry["config"]["name"] for entry in layers]
        group.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            stored = old["model_weights"][name]
            values = [stored[weight][()] for weight in stored.attrs["weight_names"]]
            listed(group.create_group(name), [path.format(layer=name, array=a) for a in arrays], values)
        stored = old["optimizer_weights"]
        means = [stored[weight][()] for weight in stored.attrs["weight_names"] if stored[weight].shape]
        listed(
            new.create_group("optimizer_weights"),
            [f"training/RMSprop/Variable_{i}:0" for i in range(99)],
            means,
        )


def listed(group: h5py.Group, names: list[str], values: list[Any]) -> None:
    """Arrays and the attribute that lists them."""
    group.attrs["weight_names"] = [name.encode() for name in names[: len(values)]]
    for name, value in zip(names, values, strict=False):
        group[name] = value


def layer_2018(entry: Config) -> Config:
    """A layer in the words of Keras 2: a data type is a string."""
    config = {key: value for key, value in entry["config"].items() if key != "groups"}
    config["dtype"] = "float32"
    return {"class_name": entry["class_name"], "config": config}


def layer_2016(entry: Config) -> Config:
    """A layer in the words of Keras 1."""
    config = entry["config"]
    words: Config = {"name": config["name"], "trainable": True}
    if entry["class_name"] == "Conv2D":
        words |= {"nb_filter": config["filters"], "nb_row": 3, "nb_col": 3, "subsample": [1, 1], "bias": True}
        words |= {"border_mode": "valid", "dim_ordering": "tf", "activation": config["activation"]}
    elif entry["class_name"] == "MaxPooling2D":
        words |= {"pool_size": [2, 2], "strides": [2, 2], "border_mode": "valid", "dim_ordering": "tf"}
    elif entry["class_name"] == "Dense":
        words |= {"output_dim": config["units"], "activation": config["activation"], "bias": True}
    elif entry["class_name"] == "Dropout":
        words["p"] = config["rate"]
    names = {"Conv2D": "Convolution2D"}
    return {"class_name": names.get(entry["class_name"], entry["class_name"]), "config": words}
