"""Kernels and biases between Keras' order of axes and PyTorch's.

Both of our networks flatten in Keras' order, so dense kernels need no more than a transposition.
"""

import numpy as np
import torch
from torch import Tensor

from catdog_pl.keras.hdf5 import Array

TO_KERAS = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
"""Axes of (out, in, kh, kw) -> (kh, kw, in, out) and (out, in) -> (in, out), by their number."""

FROM_KERAS = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}


def keras_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape that Keras gives to one of our parameters."""
    return tuple(tensor.permute(TO_KERAS[tensor.ndim]).shape)


def to_keras(tensor: Tensor) -> Array:
    """One of our parameters as Keras stores it, float32."""
    array = tensor.detach().cpu().float().permute(TO_KERAS[tensor.ndim]).numpy()
    return np.ascontiguousarray(array)


def from_keras(array: Array) -> Tensor:
    """One of Keras' arrays as PyTorch has it, contiguous."""
    return torch.from_numpy(array).permute(FROM_KERAS[array.ndim]).contiguous()
