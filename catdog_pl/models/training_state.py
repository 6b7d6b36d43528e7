"""The part of a checkpoint that Lightning and the optimizer take over, which they believe without a look."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_VERSION = re.compile(r"[2-9]\.\d+\.\d+((a|b|rc|\.dev|\.post)\d+)*(\+\w+)?")

OF_EACH_WEIGHT = {"mean_square", "square_avg", "exp_avg", "exp_avg_sq", "momentum_buffer"}
"""What optimizers keep for each weight; others, such as Adafactor, keep less, and that is their affair."""


def state_fault(checkpoint: dict[str, Any], parameters: Sequence[Tensor]) -> str | None:
    """What in the state is not as ``fit`` writes it, or None.

    Args:
        checkpoint: the contents of a file.
        parameters: the model's trainable ones, in their order; their shapes are what counts.
    """
    if any(not is_stored(tensor) for tensor in tensors(checkpoint)):
        return "a tensor that says it has more elements than the file holds"
    if not _VERSION.fullmatch(str(checkpoint.get("pytorch-lightning_version"))):
        return "no version of Lightning from 2.0"
    for part in ("callbacks", "loops"):
        if not is_table(checkpoint.get(part, {})):
            return f"{part} of another kind"
    rows = checkpoint.get("callbacks", {}).get("History", {}).get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return "a history without rows"
    optimizers = checkpoint.get("optimizer_states", [])
    if not isinstance(optimizers, list) or not all(fits(state, parameters) for state in optimizers):
        return "an optimizer of other weights"
    return None


def tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested containers; one that contains itself is entered once."""
    seen, waiting = set[int](), [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, dict | list | tuple | set) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)


def is_stored(tensor: Tensor) -> bool:
    """Whether each element has bytes of its own: a view may repeat one of them a billion times."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def is_table(value: object) -> bool:
    """Whether it is a mapping from names to mappings."""
    return isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(part, dict) for key, part in value.items()
    )


def fits(optimizer: object, parameters: Sequence[Tensor]) -> bool:
    """Whether an optimizer's state has one group, and what it keeps of each weight that one's shape."""
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("state"), dict):
        return False
    groups = optimizer.get("param_groups")
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict):
        return False
    if groups[0].get("params") != list(range(len(parameters))):
        return False
    return all(
        isinstance(index, int)
        and 0 <= index < len(parameters)
        and isinstance(values, dict)
        and all(same_shape(values[name], parameters[index]) for name in OF_EACH_WEIGHT & values.keys())
        for index, values in optimizer["state"].items()
    )


def same_shape(value: object, parameter: Tensor) -> bool:
    """Whether a value is a tensor like the parameter, or nothing yet."""
    return value is None or (isinstance(value, Tensor) and value.shape == parameter.shape)
