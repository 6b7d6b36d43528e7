"""The two layouts in which Keras keeps weights in HDF5.

The legacy one (Keras 1 to 3) lists its layers in the attribute ``layer_names`` and the arrays of each in
``weight_names``. The newer one (``.weights.h5``, and inside a ``.keras`` archive) has the arrays of a layer
in ``layers/<class>[_k]/vars/{0,1}``, numbered within each class.
"""

import re
from pathlib import Path
from typing import NamedTuple

import h5py
import torch
from torch import Tensor

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.hdf5 import (
    array_at,
    group_at,
    groups,
    has_names,
    names,
    open_h5,
    printable,
    read_array,
    text,
)


class StoredLayer(NamedTuple):
    """The arrays of one layer with weights.

    Attributes:
        group: in the legacy layout the group, which is called after the layer, or after the nested model
            that holds it; in the newer layout the path, ``layers/conv2d_1``.
        name: what the arrays are called after: the layer itself; the path where the file names none.
        kernel: (kh, kw, in, out) of a convolution, (in, out) of a dense layer, not yet read.
        bias: (out,), not yet read.
    """

    group: str
    name: str
    kernel: h5py.Dataset
    bias: h5py.Dataset


def conv_weights(path: Path) -> list[tuple[Tensor, Tensor]]:
    """The convolutions of a Keras HDF5 file, in the order of its layers.

    Args:
        path: weights alone or a whole model, in either layout.

    Returns:
        Kernels as PyTorch has them, (out, in, h, w), and biases (out,), float32.

    Raises:
        KerasFileError: the file is damaged, not Keras', or refers to other files.
    """
    with open_h5(path, str(path)) as file:
        convolutions = [layer for layer in stored_layers(file) if layer.kernel.ndim == 4]
        return [(conv_kernel(layer.kernel), conv_bias(layer.bias)) for layer in convolutions]


def conv_kernel(data: h5py.Dataset) -> Tensor:
    """A kernel (kh, kw, in, out) as PyTorch has it, (out, in, kh, kw)."""
    return torch.from_numpy(read_array(data, data.shape)).permute(3, 2, 0, 1).contiguous()


def conv_bias(data: h5py.Dataset) -> Tensor:
    """A bias (out,)."""
    return torch.from_numpy(read_array(data, data.shape))


def stored_layers(file: h5py.File) -> list[StoredLayer]:
    """Every layer with a kernel and a bias, in the order of the layers as far as the file tells it.

    The newer layout tells it within each class alone: its convolutions come first, then its dense layers.

    Raises:
        KerasFileError: the file is in neither layout, or refers to other files.
    """
    root = legacy_root(file)
    if root is not None:
        return in_vgg16_order(legacy_layers(root))
    return sorted(numbered_layers(file), key=lambda layer: (-layer.kernel.ndim, path_order(layer.group)))


def legacy_root(file: h5py.File) -> h5py.Group | None:
    """The group of the legacy layout that lists the layers; None for a file in the newer layout."""
    if "model_weights" in file:
        return group_at(file, "model_weights")
    return file if has_names(file, "layer_names") else None


def legacy_layers(root: h5py.Group) -> list[StoredLayer]:
    """The layers of the legacy layout as they are stored: those of a nested model trainable ones first.

    Raises:
        KerasFileError: a layer has other weights than a kernel and a bias.
    """
    return [layer for name in names(root, "layer_names") for layer in layers_of(root, name)]


def in_vgg16_order(layers: list[StoredLayer]) -> list[StoredLayer]:
    """Layers with VGG16's own names in VGG16's order, which a partly frozen VGG16 is not stored in."""
    convolutions = [layer for layer in layers if layer.kernel.ndim == 4]
    places = [re.match(r"block([1-5])_conv([1-3])(?!\d)", layer.name) for layer in convolutions]
    numbers = [(int(place[1]), int(place[2])) for place in places if place]
    if not numbers or len(numbers) < len(convolutions):
        return layers
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    return [convolutions[i] for i in order] + [layer for layer in layers if layer.kernel.ndim == 2]


def layers_of(root: h5py.Group, name: str) -> list[StoredLayer]:
    """The layers in one group of the legacy layout: none, one, or those of a nested model.

    Raises:
        KerasFileError: a layer has other weights than a kernel and a bias.
    """
    group = group_at(root, name)
    weights = names(group, "weight_names")
    return paired(name, [(owner(weight) or name, array_at(group, weight)) for weight in weights])


def paired(group: str, arrays: list[tuple[str, h5py.Dataset]]) -> list[StoredLayer]:
    """Kernels and biases in turn, as layers.

    Args:
        group: what the layers' group is called.
        arrays: each with the name of its layer; integers among them are the state of random generators,
            which layers for augmentation keep.

    Raises:
        KerasFileError: a layer has other weights than a kernel and a bias.
    """
    floats = [(name, data) for name, data in arrays if data.dtype.kind == "f"]
    pairs = list(zip(floats[::2], floats[1::2], strict=False))
    if len(floats) % 2 or not all(is_layer(kernel, bias) for (_, kernel), (_, bias) in pairs):
        raise KerasFileError(
            f"layer {group} has other weights than a kernel and a bias; no model here has such"
        )
    return [StoredLayer(group, name, kernel, bias) for (name, kernel), (_, bias) in pairs]


def is_layer(kernel: h5py.Dataset, bias: h5py.Dataset) -> bool:
    """Whether two arrays can be a convolution or a dense layer."""
    return kernel.ndim in (2, 4) and bias.ndim == 1


def owner(weight: str) -> str:
    """The layer that an array is named after: conv2d_1 for ``a/conv2d_1/kernel:0`` or ``conv2d_1_W_1:0``."""
    folder, _, last = weight.rpartition("/")
    return folder.rpartition("/")[2] or re.sub(r"_[Wb](_\d+)?(:\d+)?$", "", last)


def numbered_layers(file: h5py.File) -> list[StoredLayer]:
    """The layers of the newer layout, in no particular order.

    Keras 2.12 wrote ``_layer_checkpoint_dependencies`` for ``layers``, and on Windows backslashes.

    Raises:
        KerasFileError: the file is not in this layout.
    """
    layers = []
    for path, group in groups(file):
        *folders, last = (
            path.replace("\\", "/").replace("_layer_checkpoint_dependencies", "layers").split("/")
        )
        if last == "vars" and folders[:1] == ["layers"]:
            where = "/".join(folders)
            name = printable(text(group, "name") or where)
            layers += paired(where, [(name, array_at(group, key)) for key in sorted(group)])
    if not layers:
        raise KerasFileError("it has no layers with a kernel and a bias; give a file that Keras saved")
    return layers


def has_rescaling(file: h5py.File) -> bool:
    """Whether a file without a configuration has a Rescaling layer, going by the names that Keras gives."""
    root = legacy_root(file)
    found = [path for path, _ in groups(file)] if root is None else names(root, "layer_names")
    return any(name.rpartition("/")[2].startswith("rescaling") for name in found)


def path_order(path: str) -> list[tuple[str, int]]:
    """A key that puts ``conv2d``, ``conv2d_2``, ``conv2d_10`` in the order of their numbers."""
    parts = [re.fullmatch(r"(.*?)(?:_(\d{1,6}))?", part) for part in path.split("/")]
    return [(part[1], int(part[2] or 0)) for part in parts if part]


def optimizer_arrays(file: h5py.File) -> list[h5py.Dataset]:
    """What the file keeps of its optimizer, in Keras' order; empty where it keeps nothing."""
    if "optimizer_weights" in file:
        group = group_at(file, "optimizer_weights")
        return [array_at(group, name) for name in names(group, "weight_names")]
    if legacy_root(file) is None and "optimizer" in file and "vars" in group_at(file, "optimizer"):
        group = group_at(file, "optimizer/vars")
        return [array_at(group, str(i)) for i in range(len(group))]
    return []
