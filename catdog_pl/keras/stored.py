"""Which arrays of a file belong to which layer of its configuration."""

from collections.abc import Sequence
from itertools import groupby

import h5py

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.weights import StoredLayer, in_vgg16_order, legacy_layers, legacy_root, numbered_layers


def match(layers: Sequence[KerasLayer], file: h5py.File) -> list[StoredLayer]:
    """The arrays of each layer.

    Args:
        layers: the layers with weights, in their order.
        file: in either layout.

    Raises:
        KerasFileError: the file does not hold these layers.
    """
    root = legacy_root(file)
    if root is None:
        return match_paths(layers, {layer.group: layer for layer in numbered_layers(file)})
    return match_groups(layers, legacy_layers(root))


def match_paths(layers: Sequence[KerasLayer], stored: dict[str, StoredLayer]) -> list[StoredLayer]:
    """By the path that Keras gives to a layer of that class and position."""
    for layer in layers:
        if layer.path not in stored:
            raise KerasFileError(f"{layer} has no weights in it (at {layer.path})")
    return [stored[layer.path] for layer in layers]


def match_groups(layers: Sequence[KerasLayer], stored: Sequence[StoredLayer]) -> list[StoredLayer]:
    """By position, as Keras does: a group for each layer, or nested model, that has weights.

    Keras 1 opened nested models before it made groups.
    """
    groups = [list(group) for _, group in groupby(stored, key=lambda layer: layer.group)]
    tops = [list(top) for _, top in groupby(layers, key=lambda layer: layer.top)]
    if len(tops) != len(groups):
        tops = [[layer] for layer in layers]
    if [len(top) for top in tops] != [len(group) for group in groups]:
        raise KerasFileError(
            f"it holds the weights of {len(stored)} layers, its configuration has {len(layers)} with weights"
        )
    return [layer for top, group in zip(tops, groups, strict=True) for layer in arranged(top, group)]


def arranged(layers: Sequence[KerasLayer], group: list[StoredLayer]) -> list[StoredLayer]:
    """The layers of one nested model in their order, which is not that of a partly frozen one's group.

    Raises:
        KerasFileError: the order cannot be told.
    """
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
