"""The two layouts in which Keras keeps weights in HDF5, and its order of axes beside PyTorch's.

The legacy layout (Keras 1 to 3) lists its layers in the attribute ``layer_names`` and the arrays of each in
``weight_names``. The newer one (``.weights.h5``, and inside a ``.keras`` archive) has the arrays of a layer
in ``layers/<class>[_k]/vars/{0,1}``, numbered within each class.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from catdog_pl.errors import KerasFileError
from catdog_pl.keras import hdf5
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.hdf5 import Array

TO_KERAS = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
"""Axes of (out, in, kh, kw) -> (kh, kw, in, out) and (out, in) -> (in, out), by their number."""

FROM_KERAS = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}


def keras_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape that Keras gives to a parameter of PyTorch's."""
    return tuple(tensor.permute(TO_KERAS[tensor.ndim]).shape)


def to_keras(tensor: Tensor) -> Array:
    """Return a parameter of PyTorch's as Keras stores it, float32."""
    array = tensor.detach().cpu().float().permute(TO_KERAS[tensor.ndim]).numpy()
    return np.ascontiguousarray(array)


def from_keras(array: Array) -> Tensor:
    """Return one of Keras' arrays as PyTorch has it, contiguous."""
    return torch.from_numpy(array).permute(FROM_KERAS[array.ndim]).contiguous()


class StoredLayer(NamedTuple):
    """The arrays of one layer with weights, not yet read."""

    group: str  # the layer's name, or that of the nested model that holds it; in the newer layout the path
    name: str  # what the arrays are called after: the layer itself; the path where the file names none
    kernel: h5py.Dataset  # (kh, kw, in, out) of a convolution, (in, out) of a dense layer
    bias: h5py.Dataset  # (out,)


def conv_weights(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Return kernel and bias of each convolution of a Keras HDF5 file, as PyTorch has them, in layer order.

    Raises:
        KerasFileError: the file is damaged, not Keras', or refers to other files.
    """
    with hdf5.open_h5(path, str(path)) as file:
        convolutions = [layer for layer in stored_layers(file) if layer.kernel.ndim == 4]
        arrays = [array for layer in convolutions for array in (layer.kernel, layer.bias)]
        tensors = [from_keras(hdf5.read_array(array, array.shape)) for array in arrays]
        return list(zip(tensors[::2], tensors[1::2], strict=True))


def stored_layers(file: h5py.File) -> list[StoredLayer]:
    """Return every layer with a kernel and a bias, in the order of the layers as far as the file tells it.

    The newer layout tells it within each class alone: its convolutions come first, then its dense layers.
    """
    root = legacy_root(file)
    if root is not None:
        return in_vgg16_order(legacy_layers(root))
    return sorted(numbered_layers(file), key=lambda layer: (-layer.kernel.ndim, path_order(layer.group)))


def match(layers: Sequence[KerasLayer], file: h5py.File) -> list[StoredLayer]:
    """Return the arrays of each layer with weights of a configuration."""
    root = legacy_root(file)
    if root is not None:
        return match_groups(layers, legacy_layers(root))
    stored = {layer.group: layer for layer in numbered_layers(file)}
    for layer in layers:
        if layer.path not in stored:
            raise KerasFileError(f"{layer} has no weights in the file (at {layer.path})")
    return [stored[layer.path] for layer in layers]


def match_groups(layers: Sequence[KerasLayer], stored: Sequence[StoredLayer]) -> list[StoredLayer]:
    """Match by position, as Keras does: a group for each layer, or nested model, that has weights.

    Keras 1 opened nested models before it made groups.
    """
    groups = [list(group) for _, group in groupby(stored, key=lambda layer: layer.group)]
    tops = [list(top) for _, top in groupby(layers, key=lambda layer: layer.top)]
    if len(tops) != len(groups):
        tops = [[layer] for layer in layers]
    if [len(top) for top in tops] != [len(group) for group in groups]:
        expected = f"its configuration has {len(layers)} layers with weights"
        raise KerasFileError(f"the file holds the weights of {len(stored)} layers; {expected}")
    return [layer for top, group in zip(tops, groups, strict=True) for layer in arranged(top, group)]


def arranged(layers: Sequence[KerasLayer], group: list[StoredLayer]) -> list[StoredLayer]:
    """Return the layers of one nested model in their order; a partly frozen one is stored in another."""
    by_name = {stored.name: stored for stored in group}
    if by_name.keys() == {layer.name for layer in layers}:
        return [by_name[layer.name] for layer in layers]
    ordered = in_vgg16_order(group)
    frozen = {layer.config.get("trainable", True) for layer in layers}
    if len(frozen) > 1 and ordered is group:
        raise KerasFileError(
            f"{layers[0]} and those after it are partly frozen under other names than their weights; "
            "save the file with model.save(...) in a fresh session"
        )
    return ordered


def in_vgg16_order(layers: list[StoredLayer]) -> list[StoredLayer]:
    """Return layers with VGG16's own names in VGG16's order; others as they are."""
    convolutions = [layer for layer in layers if layer.kernel.ndim == 4]
    places = [re.match(r"block([1-5])_conv([1-3])(?!\d)", layer.name) for layer in convolutions]
    numbers = [(int(place[1]), int(place[2])) for place in places if place]
    if not numbers or len(numbers) < len(convolutions):
        return layers
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    return [convolutions[i] for i in order] + [layer for layer in layers if layer.kernel.ndim == 2]


def legacy_root(file: h5py.File) -> h5py.Group | None:
    """Return the group of the legacy layout that lists the layers; None for a file in the newer layout."""
    if "model_weights" in file:
        return hdf5.group_at(file, "model_weights")
    return file if hdf5.has_names(file, "layer_names") else None


def legacy_layers(root: h5py.Group) -> list[StoredLayer]:
    """Return the layers of the legacy layout as they are stored: of a nested model trainable ones first."""
    layers = []
    for name in hdf5.names(root, "layer_names"):
        group = hdf5.group_at(root, name)
        paths = hdf5.names(group, "weight_names")
        layers += paired(name, [(owner(path) or name, hdf5.array_at(group, path)) for path in paths])
    return layers


def owner(weight: str) -> str:
    """Return the layer of an array: conv2d_1 for ``a/conv2d_1/kernel:0`` or ``conv2d_1_W_1:0``."""
    folder, _, last = weight.rpartition("/")
    return folder.rpartition("/")[2] or re.sub(r"_[Wb](_\d+)?(:\d+)?$", "", last)


def numbered_layers(file: h5py.File) -> list[StoredLayer]:
    """Return the layers of the newer layout, in no particular order."""
    layers = []
    for folder, group in layer_folders(file):
        name = hdf5.printable(hdf5.text(group, "name") or folder)
        layers += paired(folder, [(name, hdf5.array_at(group, key)) for key in sorted(group)])
    if not layers:
        raise KerasFileError("it has no layers with a kernel and a bias; give a file that Keras saved")
    return layers


def layer_folders(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    """Yield the path of each layer as Keras 3 writes it, and the group of its arrays.

    Keras 2.12 wrote ``_layer_checkpoint_dependencies`` for ``layers``, and on Windows backslashes.
    """
    for path, group in hdf5.groups(file):
        plain = path.replace("\\", "/").replace("_layer_checkpoint_dependencies", "layers")
        folder, _, last = plain.rpartition("/")
        if last == "vars" and folder.startswith("layers/"):
            yield folder, group


def paired(group: str, arrays: list[tuple[str, h5py.Dataset]]) -> list[StoredLayer]:
    """Return kernels and biases in turn as layers."""
    # Integers are the state of random generators, which layers for augmentation keep.
    floats = [(name, data) for name, data in arrays if data.dtype.kind == "f"]
    pairs = list(zip(floats[::2], floats[1::2], strict=False))
    plain = all(kernel.ndim in (2, 4) and bias.ndim == 1 for (_, kernel), (_, bias) in pairs)
    if len(floats) % 2 or not plain:
        raise KerasFileError(f"layer {group} has other weights than a kernel and a bias; it is not supported")
    return [StoredLayer(group, name, kernel, bias) for (name, kernel), (_, bias) in pairs]


def layer_names(file: h5py.File) -> tuple[list[str], bool]:
    """Return the names of the layers, with weights or without, and whether they are their own, in order.

    The newer layout has their classes instead, ``re_lu_2``, in no particular order.
    """
    root = legacy_root(file)
    if root is not None:
        return hdf5.names(root, "layer_names"), True
    return [folder.rpartition("/")[2] for folder, _ in layer_folders(file)], False


def path_order(path: str) -> list[tuple[str, int]]:
    """Return a key that puts ``conv2d``, ``conv2d_2``, ``conv2d_10`` in the order of their numbers."""
    parts = [re.fullmatch(r"(.*?)(?:_(\d{1,6}))?", part) for part in path.split("/")]
    return [(part[1], int(part[2] or 0)) for part in parts if part]


def optimizer_arrays(file: h5py.File) -> list[h5py.Dataset]:
    """Return what the file keeps of its optimizer, in Keras' order; nothing where it keeps nothing."""
    if "optimizer_weights" in file:
        group = hdf5.group_at(file, "optimizer_weights")
        return [hdf5.array_at(group, name) for name in hdf5.names(group, "weight_names")]
    if legacy_root(file) is None and "optimizer" in file and "vars" in hdf5.group_at(file, "optimizer"):
        group = hdf5.group_at(file, "optimizer/vars")
        return [hdf5.array_at(group, str(i)) for i in range(len(group))]
    return []
