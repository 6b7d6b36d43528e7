"""The two layouts in which Keras keeps weights in HDF5, and its order of axes beside PyTorch's.

The legacy layout (Keras 1 to 3) lists its layers in the attribute ``layer_names`` and the arrays of each in
``weight_names``. The newer one (``.weights.h5``, and inside a ``.keras`` archive) has the arrays of a layer
in ``layers/<class>[_k]/vars/{0,1}``, numbered within each class.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from catdog_pl.errors import KerasFileError
from catdog_pl.keras import hdf5
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.hdf5 import Array
from catdog_pl.keras.nn import DepthwiseConv2D

TO_KERAS = {4: (2, 3, 1, 0), 3: (1, 2, 0), 2: (1, 0), 1: (0,)}
"""Axes of (out, in, kh, kw) -> (kh, kw, in, out) and (out, in) -> (in, out), by their number."""

FROM_KERAS = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0), 1: (0,)}


def keras_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape that Keras gives to each array of a layer, by its name in the state dict."""
    shapes = {}
    for key, tensor in module.state_dict(keep_vars=True).items():
        shapes[key] = tuple(tensor.shape[axis] for axis in TO_KERAS[tensor.ndim])
        owner = module.get_submodule(key.rpartition(".")[0])
        if isinstance(owner, DepthwiseConv2D) and tensor.ndim == 4:  # the same values in the same order
            shapes[key] = (*shapes[key][:2], owner.in_channels, owner.out_channels // owner.in_channels)
    return shapes


def to_keras(tensor: Tensor, shape: tuple[int, ...]) -> Array:
    """Return a parameter of PyTorch's as Keras stores it in this shape, float32."""
    array = tensor.detach().cpu().float().permute(TO_KERAS[tensor.ndim]).numpy()
    return np.ascontiguousarray(array).reshape(shape)


def from_keras(array: Array, like: Tensor) -> Tensor:
    """Return one of Keras' arrays as PyTorch has it, in the shape of ``like``, contiguous."""
    shape = [like.shape[axis] for axis in TO_KERAS[like.ndim]]
    return torch.from_numpy(array.reshape(shape)).permute(FROM_KERAS[like.ndim]).contiguous()


class StoredLayer(NamedTuple):
    """The arrays of one layer with a kernel and a bias, not yet read."""

    group: str  # the layer's name, or that of the nested model that holds it; in the newer layout the path
    name: str  # what the arrays are called after: the layer itself; the path where the file names none
    kernel: h5py.Dataset  # (kh, kw, in, out) of a convolution, (in, out) of a dense layer
    bias: h5py.Dataset  # (out,)


Group = tuple[str, list[tuple[str, h5py.Dataset]]]
"""A name, or a path, and the arrays there, each with the name of the layer that it is called after."""


def conv_weights(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Return kernel and bias of each convolution of a Keras HDF5 file, as PyTorch has them, in layer order.

    Raises:
        KerasFileError: the file is damaged, not Keras', or refers to other files.
    """
    with hdf5.open_h5(path, str(path)) as file:
        convolutions = [layer for layer in stored_layers(file) if layer.kernel.ndim == 4]
        arrays = [array for layer in convolutions for array in (layer.kernel, layer.bias)]
        tensors = [torch.from_numpy(hdf5.read_array(array, array.shape)) for array in arrays]
        tensors = [tensor.permute(FROM_KERAS[tensor.ndim]).contiguous() for tensor in tensors]
        return list(zip(tensors[::2], tensors[1::2], strict=True))


def stored_layers(file: h5py.File) -> list[StoredLayer]:
    """Return every layer with a kernel and a bias, in the order of the layers as far as the file tells it.

    The newer layout tells it within each class alone: its convolutions come first, then its dense layers.

    Raises:
        KerasFileError: a layer has other weights, or there is none.
    """
    root = legacy_root(file)
    layers = [layer for group in (groups_of(file)) for layer in paired(*group)]
    if not layers:
        raise KerasFileError("it has no layers with a kernel and a bias; give a file that Keras saved")
    if root is not None:
        return in_vgg16_order(layers)
    return sorted(layers, key=lambda layer: (-layer.kernel.ndim, path_order(layer.group)))


def match(layers: Sequence[tuple[KerasLayer, int]], file: h5py.File) -> list[list[h5py.Dataset]]:
    """Return the arrays of each layer with weights of a configuration, of which it has this number.

    Raises:
        KerasFileError: the file has the arrays of other layers.
    """
    groups = groups_of(file)
    if legacy_root(file) is not None:
        return match_groups(layers, [(name, arrays) for name, arrays in groups if arrays])
    stored, found = dict(groups), []
    for layer, count in layers:
        arrays = [data for _, data in stored.get(layer.path, [])]
        if len(arrays) != count:
            held = f"{len(arrays)} arrays" if arrays else "no weights"
            raise KerasFileError(f"{layer} has {held} in the file (at {layer.path}); {count} are expected")
        found.append(arrays)
    return found


def match_groups(
    layers: Sequence[tuple[KerasLayer, int]], groups: Sequence[Group]
) -> list[list[h5py.Dataset]]:
    """Match by position, as Keras does: a group for each layer, or nested model, that has weights.

    Keras 1 opened nested models before it made groups.
    """
    tops = [list(top) for _, top in groupby(layers, key=lambda pair: pair[0].top)]
    if len(tops) != len(groups):
        tops = [[pair] for pair in layers]
    if [sum(count for _, count in top) for top in tops] != [len(arrays) for _, arrays in groups]:
        held = sum(len(arrays) for _, arrays in groups)
        expected = sum(count for _, count in layers)
        raise KerasFileError(
            f"the file holds {held} arrays of {len(groups)} layers; its configuration has {expected} of "
            f"{len(layers)}"
        )
    return [found for top, (_, arrays) in zip(tops, groups, strict=True) for found in arranged(top, arrays)]


def arranged(
    layers: Sequence[tuple[KerasLayer, int]], arrays: list[tuple[str, h5py.Dataset]]
) -> list[list[h5py.Dataset]]:
    """Return the arrays of the layers of one nested model, in which Keras stores trainable ones first."""
    by_name = {layer.name: [data for owner, data in arrays if owner == layer.name] for layer, _ in layers}
    if [len(by_name[layer.name]) for layer, _ in layers] == [count for _, count in layers]:
        return [by_name[layer.name] for layer, _ in layers]
    frozen = {layer.config.get("trainable", True) for layer, _ in layers}
    mixed = len(frozen) > 1 or any(layer.class_name == "BatchNormalization" for layer, _ in layers)
    in_order = [data for _, data in arrays]
    if len(layers) > 1 and mixed:
        pairs = list(paired("", arrays))
        ordered = in_vgg16_order(pairs)
        if ordered is pairs:
            raise KerasFileError(
                f"{layers[0][0]} and those after it are partly frozen under other names than their weights; "
                "save the file with model.save(...) in a fresh session"
            )
        in_order = [data for layer in ordered for data in (layer.kernel, layer.bias)]
    ends = list(accumulate(count for _, count in layers))
    return [in_order[end - count : end] for end, (_, count) in zip(ends, layers, strict=True)]


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


def groups_of(file: h5py.File) -> list[Group]:
    """Return the arrays of floats of each layer, or nested model in the legacy layout, as they are stored.

    Integers are the state of random generators, which layers for augmentation keep, or counts.
    """
    root, groups = legacy_root(file), []
    if root is not None:
        for name in hdf5.names(root, "layer_names"):
            group = hdf5.group_at(root, name)
            paths = hdf5.names(group, "weight_names")
            groups.append((name, [(owner(path) or name, hdf5.array_at(group, path)) for path in paths]))
    else:
        for folder, group in layer_folders(file):
            name = hdf5.printable(hdf5.text(group, "name") or folder)
            keys = sorted(group, key=lambda key: (len(key), key))
            groups.append((folder, [(name, hdf5.array_at(group, key)) for key in keys]))
    return [(name, [pair for pair in arrays if pair[1].dtype.kind == "f"]) for name, arrays in groups]


def owner(weight: str) -> str:
    """Return the layer of an array: conv2d_1 for ``a/conv2d_1/kernel:0`` or ``conv2d_1_W_1:0``."""
    folder, _, last = weight.rpartition("/")
    return folder.rpartition("/")[2] or re.sub(r"_[Wb](_\d+)?(:\d+)?$", "", last)


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
    pairs = list(zip(arrays[::2], arrays[1::2], strict=False))
    plain = all(kernel.ndim in (2, 4) and bias.ndim == 1 for (_, kernel), (_, bias) in pairs)
    if len(arrays) % 2 or not plain:
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
