"""A Keras model's JSON configuration, of Keras 1.2 to 3, as the list of its layers in order.

The configuration is read as plain data: class names are only compared with the names known here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.hdf5 import printable

Config = Mapping[str, Any]

CONTAINERS = ("Sequential", "Functional", "Model")
"""Classes that hold layers."""

MEAN_BGR = (103.939, 116.779, 123.68)
"""The ImageNet mean on 0..255 that ``keras.applications.vgg16.preprocess_input`` subtracts from BGR."""


@dataclass(frozen=True)
class KerasLayer:
    """One layer that holds no others.

    Attributes:
        class_name: as in the configuration, ``Conv2D``.
        name: its own name.
        config: its arguments.
        top: the position of the layer, or of the nested model it belongs to, at the top level. The legacy
            layout has one group for each position with weights.
        path: where the newer layout has its arrays: ``layers/functional/layers/conv2d_3``.
        training: whether it was called with ``training=True`` and acts as in training for ever.
    """

    class_name: str
    name: str
    config: Config
    top: int = 0
    path: str = ""
    training: bool = False

    def __str__(self) -> str:
        """For messages."""
        return f"layer {self.name[:80]} ({self.class_name[:80]})"


def layers_in_order(model: object) -> list[KerasLayer]:
    """Return a configuration's layers in the order in which they are applied, nested models opened.

    Raises:
        KerasFileError: the configuration is malformed, or the layers are not one chain.
    """
    if not isinstance(model, dict) or model.get("class_name") not in CONTAINERS:
        found = model.get("class_name") if isinstance(model, dict) else type(model).__name__
        raise KerasFileError(f"its model is a {found!r}; a Sequential or functional model can be read")
    return list(opened(model, "layers"))


def opened(model: Config, path: str, top: int | None = None, training: bool = False) -> Iterator[KerasLayer]:
    """Yield the layers of a model, depth first."""
    entries = entries_of(model) if model["class_name"] == "Sequential" else chain(model)
    folders = numbered(entry["class_name"] for entry in entries)
    for i, (entry, folder) in enumerate(zip(entries, folders, strict=True)):
        position, here = (i if top is None else top), f"{path}/{folder}"
        always = training or called_in_training(entry.get("inbound_nodes"))
        if entry["class_name"] in CONTAINERS:
            yield from opened(entry, f"{here}/layers", position, always)
        else:
            yield KerasLayer(class_of(entry), name_of(entry), arguments(entry), position, here, always)


def entries_of(model: Config) -> list[Config]:
    """Return the layers' entries; before Keras 2.2.3 a Sequential's configuration was their list."""
    config = model.get("config")
    entries = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(entries, list) or not entries:
        raise KerasFileError(f"the configuration of the {model['class_name']} lists no layers")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
            raise KerasFileError("the configuration has an entry that is no layer")
    return entries


def arguments(entry: Config) -> Config:
    """Return the arguments of a layer or a nested model."""
    config = entry.get("config")
    return config if isinstance(config, dict) else {}


def name_of(entry: Config) -> str:
    """Return the name of a layer; a nested Sequential of 2018 has none in its configuration."""
    name = entry.get("name", arguments(entry).get("name", entry["class_name"]))
    if not isinstance(name, str):
        raise KerasFileError(f"a layer has the name {name!r}")
    return printable(name)


def class_of(entry: Config) -> str:
    """Return the class of a layer, with its module where that is not Keras' own."""
    module = entry.get("module")
    foreign = isinstance(module, str) and module.partition(".")[0] not in ("keras", "tf_keras")
    return printable(f"{module}.{entry['class_name']}" if foreign else str(entry["class_name"]))


def chain(model: Config) -> list[Config]:
    """Return the entries of a functional model from its input to its output."""
    entries = with_preprocess_input(entries_of(model))
    after: dict[str | None, Config] = {}
    for entry in entries:
        sources = set(inputs(entry.get("inbound_nodes")))
        if len(sources) > 1:
            raise KerasFileError(
                f"layer {name_of(entry)} takes {len(sources)} inputs; the models here are chains"
            )
        source = next(iter(sources), None)
        if source in after:
            raise KerasFileError(f"layer {name_of(entry)} is a branch; the models here are chains")
        after[source] = entry
    ordered, source = [], None
    while source in after:
        ordered.append(after.pop(source))
        source = name_of(ordered[-1])
    if after:
        raise KerasFileError(f"layer {name_of(next(iter(after.values())))} does not follow from the input")
    return ordered


def inputs(node: object) -> Iterator[str]:
    """Yield the names of the layers that ``inbound_nodes`` refers to.

    Keras 3 has them as ``keras_history`` of a ``__keras_tensor__``, older ones as ``[name, node, tensor]``.
    """
    if isinstance(node, dict):
        history = node.get("keras_history")
        yield from inputs(history if history is not None else list(node.values()))
    elif isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            yield node[0]
        else:
            for part in node:
                yield from inputs(part)


def called_in_training(node: object) -> bool:
    """Whether a call in ``inbound_nodes`` has ``training=True``."""
    if isinstance(node, dict):
        return node.get("training") is True or any(map(called_in_training, node.values()))
    return isinstance(node, list) and any(map(called_in_training, node))


def with_preprocess_input(entries: list[Config]) -> list[Config]:
    """Return the entries of a functional model, the operations of ``preprocess_input`` as one Rescaling.

    They turn RGB into BGR, for which our Rescaling has the option ``bgr``, and add the negative mean.
    """
    named = {name_of(entry): entry for entry in entries}
    for shift in entries:
        sources, mean = list(inputs(shift.get("inbound_nodes"))), constants(shift.get("inbound_nodes"))
        if shift["class_name"] not in ("Add", "TFOpLambda") or len(sources) != 1 or len(mean) != 3:
            continue
        source, flip = channel_flip(named.get(sources[0], {}), named)
        if source and all(isclose(-a, b, rel_tol=1e-5) for a, b in zip(MEAN_BGR, mean, strict=True)):
            config = {"scale": 1.0, "offset": [-value for value in MEAN_BGR], "bgr": True}
            node = [[source, 0, 0, {}]]
            whole = {
                "class_name": "Rescaling",
                "name": name_of(shift),
                "config": config,
                "inbound_nodes": node,
            }
            return [whole if entry is shift else entry for entry in entries if entry not in flip]
    return entries


def channel_flip(entry: Config, named: Mapping[str, Config]) -> tuple[str | None, list[Config]]:
    """Return what an entry turns from RGB into BGR, None for nothing, and the entries that take part.

    Keras 3 takes the channels one by one and stacks them; earlier versions take a slice with the step -1.
    """
    stacks = entry.get("class_name") == "Stack" and arguments(entry).get("axis") in (-1, 3)
    nodes = entry.get("inbound_nodes")
    picks = [named.get(name, {}) for name in inputs(nodes)] if stacks else [entry]
    sources = {name for pick in picks for name in inputs(pick.get("inbound_nodes"))}
    order = [constants(pick.get("inbound_nodes")) for pick in picks]
    takes = all(pick.get("class_name") in ("GetItem", "SlicingOpLambda") for pick in picks)
    if not takes or len(sources) != 1 or order != ([[2], [1], [0]] if stacks else [[-1]]):
        return None, []
    return sources.pop(), [entry, *picks]


def constants(node: object) -> list[float]:
    """Return the numbers among the arguments of a call in ``inbound_nodes``."""
    if isinstance(node, dict):
        tensor = node.get("class_name") == "__keras_tensor__"
        return [] if tensor else [n for value in node.values() for n in constants(value)]
    if isinstance(node, list):
        call = len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int)
        return [n for value in (node[3:] if call else node) for n in constants(value)]
    if isinstance(node, int | float) and not isinstance(node, bool) and abs(node) < 1e9:
        return [node]
    return []


def numbered(class_names: Iterable[str]) -> list[str]:
    """Return each layer's folder in the newer layout: its class, numbered from the second of a class on."""
    counts: Counter[str] = Counter()
    folders = []
    for class_name in class_names:
        folder = snake_case(class_name)
        folders.append(f"{folder}_{counts[folder]}" if counts[folder] else folder)
        counts[folder] += 1
    return folders


def input_shape(model: Config, layers: Sequence[KerasLayer]) -> list[object] | None:
    """Return the shape of a model's input, batch axis first, from the first place that has it, or None.

    Keras 3 calls it ``batch_shape``, older ones ``batch_input_shape``; a Sequential that learnt it from
    its first batch keeps it as ``build_input_shape``.
    """
    places = [layer.config.get(key) for layer in layers[:3] for key in ("batch_shape", "batch_input_shape")]
    places.append(arguments(model).get("build_input_shape"))
    build = model.get("build_config")
    places.append(build.get("input_shape") if isinstance(build, dict) else None)
    return next((place for place in places if isinstance(place, list) and place), None)


def snake_case(name: str) -> str:
    """Return ``max_pooling2d`` for ``MaxPooling2D``, as ``keras/src/utils/naming.py`` does it."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
