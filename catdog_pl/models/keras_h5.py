"""Weights out of Keras' HDF5 files, read as data only."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from catdog_pl.errors import CatDogError

MAX_ELEMENTS = 50_000_000
"""Largest array read, in elements; VGG16's largest kernel has 2.4 million, a wide dense layer 20 million."""


class KerasFileError(CatDogError):
    """A file is not what Keras writes, or holds what this reader refuses."""


def conv_weights(path: Path) -> list[tuple[Tensor, Tensor]]:
    """The convolutions of a legacy Keras weight file, in the order of its layers.

    Args:
        path: a file as ``save_weights`` wrote it, or a whole model.

    Returns:
        Kernels as PyTorch has them, (out, in, h, w), and biases (out,), float32.

    Raises:
        KerasFileError: the file is damaged, not Keras', or refers to other files.
    """
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = [layer_arrays(root, name) for name in names(root, "layer_names")]
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise KerasFileError(f"{path.name} cannot be read as a Keras weight file ({error})") from error
    convolutions = [arrays for arrays in layers if len(arrays) == 2 and arrays[0].ndim == 4]
    return [
        (torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias))
        for kernel, bias in convolutions
    ]


def names(group: h5py.Group, attribute: str) -> list[str]:
    """A list attribute, which Keras splits into ``layer_names0``, ``layer_names1``, ... when long."""
    if attribute in group.attrs:
        chunks = [group.attrs[attribute]]
    else:
        keys = [f"{attribute}{i}" for i in range(len(group.attrs)) if f"{attribute}{i}" in group.attrs]
        if not keys:
            raise KerasFileError(f"the attribute {attribute} is missing; this is no Keras weight file")
        chunks = [group.attrs[key] for key in keys]
    return [name.decode() if isinstance(name, bytes) else str(name) for chunk in chunks for name in chunk]


def layer_arrays(root: h5py.Group, layer: str) -> list[np.ndarray]:
    """The arrays of one layer, in the order of its ``weight_names``."""
    group = root[layer]
    return [read_array(group, name) for name in names(group, "weight_names")]


def read_array(group: h5py.Group, name: str) -> np.ndarray:
    """One array, float32; the declared size is checked before anything is read.

    Raises:
        KerasFileError: it lies in another file, is no array of numbers, or is too large.
    """
    if isinstance(group.get(name, getlink=True), h5py.ExternalLink | h5py.SoftLink):
        raise KerasFileError(f"{name} is a link; a Keras file holds its own arrays")
    data = group[name]
    if not isinstance(data, h5py.Dataset) or data.dtype.kind != "f":
        raise KerasFileError(f"{name} is not an array of floating-point numbers")
    if data.external or data.is_virtual:
        raise KerasFileError(f"{name} lies in another file; a Keras file holds its own arrays")
    if data.size > MAX_ELEMENTS:
        raise KerasFileError(f"{name} declares {data.size} elements; at most {MAX_ELEMENTS} are read")
    return np.asarray(data[()], dtype=np.float32)
