"""Keras' RMSprop as ours, and the mean squares it keeps, so that training goes on where it stopped.

Of Keras' optimizers only RMSprop without momentum is carried over: it is the workshop's, and both of its
rules exist here. Adam and the others place epsilon differently from PyTorch's.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.arrays import from_keras, keras_shape, to_keras
from catdog_pl.keras.config import Config
from catdog_pl.keras.hdf5 import read_array
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.keras.weights import optimizer_arrays
from catdog_pl.models.classifier import Classifier

UNUSUAL = (
    "centered",
    "clipnorm",
    "clipvalue",
    "decay",
    "global_clipnorm",
    "gradient_accumulation_steps",
    "momentum",
    "use_ema",
    "weight_decay",
)
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
    """The RMSprop that a model was compiled with; None for none, another optimizer or unusual options."""
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
    """A finite number of a configuration; Keras writes 0.001 as 0.0010000000474974513, its float32."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return None
    single = np.float32(value)
    return float(str(single)) if float(single) == value else float(value)


def read_mean_squares(file: h5py.File, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """RMSprop's mean squares of these parameters; empty where the file has others, or none.

    Args:
        file: in either layout.
        parameters: the trainable ones, in the order of their layers.
    """
    try:
        arrays = [data for data in optimizer_arrays(file) if data.ndim]  # scalars count and hold the rate
    except KerasFileError:
        return []  # an optimizer with other variables, which is not needed to use the model
    shapes = [keras_shape(parameter) for parameter in parameters]
    if [data.shape for data in arrays] != shapes:
        return []
    return [from_keras(read_array(data, shape)) for data, shape in zip(arrays, shapes, strict=True)]


class RMSpropState(NamedTuple):
    """RMSprop as a Keras file keeps it.

    Attributes:
        config: class and arguments.
        variables: by name, in Keras' order: iteration, learning rate, then the mean squares.
    """

    config: dict[str, Any]
    variables: dict[str, npt.NDArray[Any]]


def rmsprop_state(model: Classifier, checkpoint: dict[str, Any]) -> RMSpropState:
    """The optimizer of a checkpoint as Keras' RMSprop; a fresh one where training used another.

    Args:
        model: the checkpoint's.
        checkpoint: as ``read_checkpoint`` returns it.
    """
    args = model.optimizer_args
    arguments = {
        "learning_rate": model.learning_rate,
        "rho": args.get("rho", args.get("alpha", 0.9)),
        "epsilon": args.get("epsilon", args.get("eps", 1e-7)),
    }
    means, steps = mean_squares(model, checkpoint), checkpoint.get("global_step")
    counted = means and isinstance(steps, int) and 0 <= steps < 2**31
    variables: dict[str, npt.NDArray[Any]] = {
        "rmsprop/iteration": np.array(steps if counted else 0, np.int32),
        "rmsprop/learning_rate": np.array(model.learning_rate, np.float32),
    }
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for i, (name, parameter) in enumerate(named):
        mean = means[i] if means else torch.zeros_like(parameter)
        variables[f"rmsprop/{name}_velocity"] = to_keras(mean)
    return RMSpropState({"class_name": "RMSprop", "config": arguments}, variables)


def mean_squares(model: Classifier, checkpoint: dict[str, Any]) -> list[Tensor]:
    """The mean squares in a checkpoint, one for each trainable parameter; empty where it has none."""
    states = checkpoint.get("optimizer_states")
    first = states[0] if isinstance(states, list) and states else None
    kept = first.get("state") if isinstance(first, dict) else None
    if not isinstance(kept, dict):
        return []
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    means = []
    for i, parameter in enumerate(parameters):
        entry = kept.get(i)
        mean = entry.get("mean_square", entry.get("square_avg")) if isinstance(entry, dict) else None
        if not isinstance(mean, Tensor) or mean.shape != parameter.shape:
            return []
        means.append(mean)
    return means


def optimizer_with(model: Classifier, means: Sequence[Tensor]) -> Optimizer:
    """The model's own optimizer as it stands when these are its mean squares.

    Args:
        model: with one of the two kinds of RMSprop.
        means: one for each trainable parameter, in PyTorch's shapes.
    """
    optimizer = model.configure_optimizers()
    key = "mean_square" if isinstance(optimizer, KerasRMSprop) else "square_avg"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, mean in zip(parameters, means, strict=True):
        optimizer.state[parameter][key] = mean
        if not isinstance(optimizer, KerasRMSprop):
            optimizer.state[parameter]["step"] = torch.tensor(0.0)  # torch counts; its rule does not use it
    return optimizer
