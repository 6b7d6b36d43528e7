"""A model's JSON configuration, of Keras 1.2 to 3, read as plain data: its layers in order."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.hdf5 import printable

Config = Mapping[str, Any]

CONTAINERS = ("Sequential", "Functional", "Model")  # classes that hold layers

MEAN_BGR = (103.939, 116.779, 123.68)
"""The ImageNet mean on 0..255 that ``keras.applications.vgg16.preprocess_input`` subtracts from BGR."""


@dataclass(frozen=True)
class KerasLayer:
    """One layer that holds no others."""

    class_name: str
    name: str
    config: Config
    top: int = 0  # position at the top level, where the legacy layout has a group, of it or its nested model
    path: str = ""  # of its arrays in the newer layout: ``layers/functional/layers/conv2d_3``
    training: bool = False  # called with ``training=True``: it always acts as in training

    def __str__(self) -> str:
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
    entries = entries_of(model)
    if model["class_name"] != "Sequential":
        entries = chain(map(as_rescaling, with_preprocess_input(entries)))
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
            raise KerasFileError("the configuration has an entry that is not a layer")
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


def chain(entries: Iterable[Config]) -> list[Config]:
    """Return the entries of a functional model from its input to its output."""
    after: dict[str | None, Config] = {}
    for entry in entries:
        name, sources = name_of(entry), set(inputs(entry))
        if len(sources) > 1:
            raise KerasFileError(f"layer {name} takes {len(sources)} inputs; the models here are chains")
        source = next(iter(sources), None)
        if source in after:
            raise KerasFileError(f"layer {name} is a branch; the models here are chains")
        after[source] = entry
    ordered, source = [], None
    while source in after:
        ordered.append(after.pop(source))
        source = name_of(ordered[-1])
    if after:
        raise KerasFileError(f"layer {name_of(next(iter(after.values())))} does not follow from the input")
    return ordered


def inputs(entry: Config) -> list[str]:
    """Return the names of the layers that a layer is applied to."""
    return [value for value in call(entry.get("inbound_nodes")) if isinstance(value, str)]


def constants(entry: Config) -> list[float]:
    """Return the numbers among the arguments of a layer's call."""
    return [value for value in call(entry.get("inbound_nodes")) if not isinstance(value, str)]


def call(node: object) -> Iterator[str | float]:
    """Yield the names of the layers that ``inbound_nodes`` refers to, and the numbers among its arguments.

    Keras 3 has names in the ``keras_history`` of tensors, older ones in ``[name, node, tensor, arguments]``.
    """
    if isinstance(node, dict):
        history = node.get("keras_history")
        node = list(node.values()) if history is None else [history]
    if isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            yield node[0]
            node = node[3:]
        for value in node:
            yield from call(value)
    elif isinstance(node, int | float) and not isinstance(node, bool) and abs(node) < 1e9:
        yield node


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
        sources, mean = inputs(shift), constants(shift)
        if shift["class_name"] not in ("Add", "TFOpLambda") or len(sources) != 1 or len(mean) != 3:
            continue
        source, flip = channel_flip(named.get(sources[0], {}), named)
        if source and all(isclose(-a, b, rel_tol=1e-5) for a, b in zip(MEAN_BGR, mean, strict=True)):
            name, node = name_of(shift), [[source, 0, 0]]
            config = {"scale": 1.0, "offset": [-value for value in MEAN_BGR], "bgr": True}
            whole = {"class_name": "Rescaling", "name": name, "config": config, "inbound_nodes": node}
            return [whole if entry is shift else entry for entry in entries if entry not in flip]
    return entries


ARITHMETIC: dict[str, Callable[[float], tuple[float, float]]] = {
    "add": lambda value: (1.0, value),
    "subtract": lambda value: (1.0, -value),
    "multiply": lambda value: (value, 0.0),
    "truedivide": lambda value: (1 / value, 0.0),
    "truediv": lambda value: (1 / value, 0.0),
    "divide": lambda value: (1 / value, 0.0),
}
"""What an operation with a number multiplies by and adds, by its name in Keras 3 and in TensorFlow."""


def as_rescaling(entry: Config) -> Config:
    """Return an entry for ``x / 127.5``, ``x - 1`` and the like as a Rescaling layer; others as they are."""
    is_lambda = entry["class_name"] == "TFOpLambda"
    function = str(arguments(entry).get("function") if is_lambda else entry["class_name"]).lower()
    rule, sources, values = ARITHMETIC.get(function.rpartition(".")[2]), inputs(entry), constants(entry)
    if not rule or len(sources) != 1 or len(values) != 1 or not values[0] or not takes_tensor_first(entry):
        return entry
    scale, offset = rule(values[0])
    config, node = {"scale": scale, "offset": offset}, [[sources[0], 0, 0]]
    return {"class_name": "Rescaling", "name": name_of(entry), "config": config, "inbound_nodes": node}


def takes_tensor_first(entry: Config) -> bool:
    """Whether an operation is ``x - 1`` and not ``1 - x``; Keras 2 writes both of them differently."""
    nodes = entry["inbound_nodes"]
    arguments_ = nodes[0].get("args") if isinstance(nodes[0], dict) else [{}]
    return isinstance(arguments_, list) and bool(arguments_) and isinstance(arguments_[0], dict)


def channel_flip(entry: Config, named: Mapping[str, Config]) -> tuple[str | None, list[Config]]:
    """Return what an entry turns from RGB into BGR, None for nothing, and the entries that take part.

    Keras 3 takes the channels one by one and stacks them; earlier versions take a slice with the step -1.
    """
    stacks = entry.get("class_name") == "Stack" and arguments(entry).get("axis") in (-1, 3)
    picks = [named.get(name, {}) for name in inputs(entry)] if stacks else [entry]
    sources = {name for pick in picks for name in inputs(pick)}
    order = [constants(pick) for pick in picks]
    takes = all(pick.get("class_name") in ("GetItem", "SlicingOpLambda") for pick in picks)
    if not takes or len(sources) != 1 or order != ([[2], [1], [0]] if stacks else [[-1]]):
        return None, []
    return sources.pop(), [entry, *picks]


def numbered(class_names: Iterable[str]) -> Iterator[str]:
    """Yield each layer's folder in the newer layout: its class, numbered from the second of a class on."""
    counts: Counter[str] = Counter()
    for class_name in class_names:
        folder = snake_case(class_name)
        yield f"{folder}_{counts[folder]}" if counts[folder] else folder
        counts[folder] += 1


def input_shape(model: Config, layers: Sequence[KerasLayer]) -> list[object] | None:
    """Return the shape of a model's input, batch axis first, from the first place that has it, or None."""
    # Keras 3 has batch_shape, older ones batch_input_shape; a Sequential learns it from its first batch.
    places = [layer.config.get(key) for layer in layers[:3] for key in ("batch_shape", "batch_input_shape")]
    places.append(arguments(model).get("build_input_shape"))
    build = model.get("build_config")
    places.append(build.get("input_shape") if isinstance(build, dict) else None)
    return next((place for place in places if isinstance(place, list) and place), None)


def snake_case(name: str) -> str:
    """Return ``max_pooling2d`` for ``MaxPooling2D``, as ``keras/src/utils/naming.py`` does it."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
