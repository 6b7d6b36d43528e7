"""Keras' RMSprop as ours, and the mean squares it keeps, so that training goes on where it stopped.

Of Keras' optimizers only RMSprop without momentum is carried over: it is the workshop's, and both of its
rules exist here. Adam and the others place epsilon differently from PyTorch's.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import nan
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import Config
from catdog_pl.keras.hdf5 import Array, read_array
from catdog_pl.keras.weights import from_keras, keras_shapes, optimizer_arrays

UNUSUAL = (
    "centered", "clipnorm", "clipvalue", "decay", "global_clipnorm", "gradient_accumulation_steps",
    "momentum", "use_ema", "weight_decay",
)  # fmt: skip
"""Arguments that change the rule unless they are zero or none."""


def rmsprop_arguments(training: Config) -> dict[str, Any]:
    """Return a compiled model's RMSprop as hyper-parameters of ours; empty for another or unusual options.

    The optimizer is ``keras_rmsprop`` with epsilon inside the root, as Keras has it since 2.11, or
    ``RMSprop`` with epsilon outside, as it was before.
    """
    found = training.get("optimizer_config") or training.get("optimizer")
    if found == "rmsprop":  # Keras' defaults, which it stored by this name in .keras files of version 2
        found = {"class_name": "RMSprop", "config": {}}
    if not isinstance(found, dict) or str(found.get("class_name")).rpartition(">")[2] != "RMSprop":
        return {}
    config = found.get("config")
    if not isinstance(config, dict) or any(config.get(key) for key in UNUSUAL):
        return {}
    learning_rate = number(config.get("learning_rate", config.get("lr", 1e-3)))
    rho, epsilon = number(config.get("rho", 0.9)), number(config.get("epsilon") or 1e-7)
    if not (learning_rate > 0 and 0 <= rho < 1 and epsilon > 0):
        return {}
    # Keras' optimizers had a decay of the learning rate as long as they had epsilon outside the root.
    if "decay" in config:
        name, args = "RMSprop", {"alpha": rho, "eps": epsilon}
    else:
        changed = {"rho": (rho, 0.9), "epsilon": (epsilon, 1e-7)}
        name, args = (
            "keras_rmsprop",
            {key: value for key, (value, usual) in changed.items() if value != usual},
        )
    return {"learning_rate": learning_rate, "optimizer": name, "optimizer_args": args or None}


def number(value: object) -> float:
    """Return a number, NaN for anything else; Keras writes 0.001 as 0.0010000000474974513, its float32."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return nan
    single = np.float32(value)
    return float(str(single)) if float(single) == value else float(value)


def read_mean_squares(file: h5py.File, layers: Iterable[nn.Module]) -> list[Tensor]:
    """Return RMSprop's mean squares of the layers' trainable parameters; none where the file has others."""
    trainable = [(parameter, shape) for parameter, shape in parameters(layers) if parameter.requires_grad]
    shapes = [shape for _, shape in trainable]
    try:
        arrays = [data for data in optimizer_arrays(file) if data.ndim]  # scalars count and hold the rate
        if [data.shape for data in arrays] != shapes:
            return []
        means = [
            from_keras(read_array(data, shape), parameter)
            for data, (parameter, shape) in zip(arrays, trainable, strict=True)
        ]
    except KerasFileError:
        return []  # an optimizer with other variables, or NaN; it is not needed to use the model
    return means if all(bool((mean >= 0).all()) for mean in means) else []


def parameters(layers: Iterable[nn.Module]) -> Iterator[tuple[nn.Parameter, tuple[int, ...]]]:
    """Yield the layers' parameters, each with the shape that Keras gives to it."""
    for layer in layers:
        shapes = keras_shapes(layer)
        yield from ((parameter, shapes[key]) for key, parameter in layer.named_parameters())


class RMSpropState(NamedTuple):
    """RMSprop as a Keras file keeps it: iteration, learning rate, then the mean squares."""

    config: dict[str, Any]
    variables: dict[str, npt.NDArray[Any]]


def rmsprop_state(
    learning_rate: float, arguments: Mapping[str, Any], steps: int, mean_squares: Mapping[str, Array]
) -> RMSpropState:
    """Return an RMSprop as Keras keeps it, from PyTorch's arguments and Keras' mean squares by parameter."""
    config = {
        "learning_rate": learning_rate,
        "rho": arguments.get("rho", arguments.get("alpha", 0.9)),
        "epsilon": arguments.get("epsilon", arguments.get("eps", 1e-7)),
    }
    variables: dict[str, npt.NDArray[Any]] = {
        "rmsprop/iteration": np.array(steps, np.int32),
        "rmsprop/learning_rate": np.array(learning_rate, np.float32),
    }
    variables |= {f"rmsprop/{name}_velocity": mean for name, mean in mean_squares.items()}
    return RMSpropState({"class_name": "RMSprop", "config": config}, variables)
