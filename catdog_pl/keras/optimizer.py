"""Keras' RMSprop as ours, and the mean squares it keeps, so that training goes on where it stopped.

Of Keras' optimizers only RMSprop without momentum is carried over: it is the workshop's, and both of its
rules exist here. Adam and the others place epsilon differently from PyTorch's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import Config
from catdog_pl.keras.hdf5 import read_array
from catdog_pl.keras.weights import from_keras, keras_shape, optimizer_arrays, to_keras

UNUSUAL = (
    "centered", "clipnorm", "clipvalue", "decay", "global_clipnorm", "gradient_accumulation_steps",
    "momentum", "use_ema", "weight_decay",
)  # fmt: skip
"""Arguments that change the rule unless they are zero or none."""


class RMSpropArguments(NamedTuple):
    """An RMSprop of Keras as hyper-parameters of our models.

    Attributes:
        learning_rate: its step size.
        optimizer: ``keras_rmsprop`` with epsilon inside the root, as Keras has it since 2.11; ``RMSprop``
            with epsilon outside, as it was before.
        optimizer_args: rho and epsilon where they are not the defaults.
    """

    learning_rate: float
    optimizer: str
    optimizer_args: dict[str, Any] | None


def rmsprop_arguments(training: Config) -> RMSpropArguments | None:
    """Return the RMSprop of a compiled model; None for none, another optimizer or unusual options."""
    found = training.get("optimizer_config") or training.get("optimizer")
    if found == "rmsprop":  # Keras' defaults, which it stored by this name in .keras files of version 2
        found = {"class_name": "RMSprop", "config": {}}
    if not isinstance(found, dict) or str(found.get("class_name")).rpartition(">")[2] != "RMSprop":
        return None
    config = found.get("config")
    if not isinstance(config, dict) or any(config.get(key) for key in UNUSUAL):
        return None
    learning_rate = number(config.get("learning_rate", config.get("lr", 1e-3)))
    rho, epsilon = number(config.get("rho", 0.9)), number(config.get("epsilon") or 1e-7)
    if learning_rate is None or rho is None or epsilon is None:
        return None
    if not (learning_rate > 0 and 0 <= rho < 1 and epsilon > 0):
        return None
    # Keras' optimizers had a decay of the learning rate as long as they had epsilon outside the root.
    if "decay" in config:
        return RMSpropArguments(learning_rate, "RMSprop", {"alpha": rho, "eps": epsilon})
    changed = {"rho": (rho, 0.9), "epsilon": (epsilon, 1e-7)}
    args = {key: value for key, (value, default) in changed.items() if value != default}
    return RMSpropArguments(learning_rate, "keras_rmsprop", args or None)


def number(value: object) -> float | None:
    """Return a finite number; Keras writes 0.001 as 0.0010000000474974513, its float32."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return None
    single = np.float32(value)
    return float(str(single)) if float(single) == value else float(value)


def read_mean_squares(file: h5py.File, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return RMSprop's mean squares of these parameters; nothing where the file has others, or none.

    Args:
        file: in either layout.
        parameters: the trainable ones, in the order of their layers.
    """
    shapes = [keras_shape(parameter) for parameter in parameters]
    try:
        arrays = [data for data in optimizer_arrays(file) if data.ndim]  # scalars count and hold the rate
        if [data.shape for data in arrays] != shapes:
            return []
        means = [from_keras(read_array(data, shape)) for data, shape in zip(arrays, shapes, strict=True)]
    except KerasFileError:
        return []  # an optimizer with other variables, or NaN; it is not needed to use the model
    return means if all(bool((mean >= 0).all()) for mean in means) else []


class RMSpropState(NamedTuple):
    """RMSprop as a Keras file keeps it.

    Attributes:
        config: class and arguments.
        variables: by name, in Keras' order: iteration, learning rate, then the mean squares.
    """

    config: dict[str, Any]
    variables: dict[str, npt.NDArray[Any]]


def rmsprop_state(
    learning_rate: float, arguments: Mapping[str, Any], steps: int, mean_squares: Mapping[str, Tensor]
) -> RMSpropState:
    """Return an RMSprop as Keras keeps it.

    Args:
        learning_rate: its step size.
        arguments: ``rho`` and ``epsilon``, which PyTorch calls ``alpha`` and ``eps``.
        steps: how many it has taken.
        mean_squares: one for each trainable parameter, by its name, in PyTorch's axes.
    """
    config = {
        "learning_rate": learning_rate,
        "rho": arguments.get("rho", arguments.get("alpha", 0.9)),
        "epsilon": arguments.get("epsilon", arguments.get("eps", 1e-7)),
    }
    variables: dict[str, npt.NDArray[Any]] = {
        "rmsprop/iteration": np.array(steps, np.int32),
        "rmsprop/learning_rate": np.array(learning_rate, np.float32),
    }
    variables |= {f"rmsprop/{name}_velocity": to_keras(mean) for name, mean in mean_squares.items()}
    return RMSpropState({"class_name": "RMSprop", "config": config}, variables)
