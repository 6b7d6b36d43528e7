"""Our models in Keras' layers, for reading Keras files and for writing them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from catdog_pl.errors import CatDogError
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.layers import Spec, read_layer
from catdog_pl.models.backbones.vgg16 import BLOCKS, normalization
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.sequential import read_layers


def keras_chain(model: str, arguments: Mapping[str, Any]) -> list[Spec]:
    """Return a model of ours as Keras layers, without what prepares its pixels.

    The names are the workshop's, or those that the Keras file had.
    """
    convolution = partial(layer, "Conv2D", kernel_size=3, activation="relu")
    chain = []
    if model == "sequential":
        return read_layers(arguments["layers"])
    if model == "basic":
        for i, width in enumerate(arguments["filters"], start=1):
            chain.append(convolution(f"conv2d_{i}", filters=width, padding="valid"))
            chain.append(layer("MaxPooling2D", f"max_pooling2d_{i}", pool_size=2))
    elif model == "vgg16":
        for b, widths in enumerate(BLOCKS, start=1):
            for c, width in enumerate(widths, start=1):
                chain.append(convolution(f"block{b}_conv{c}", filters=width, padding="same"))
            chain.append(layer("MaxPooling2D", f"block{b}_pool", pool_size=2))
    else:
        raise CatDogError(f"model {model} cannot be exchanged with Keras; basic, vgg16 and sequential can")
    chain.append(layer("Flatten", "flatten_1"))
    dropout = partial(layer, "Dropout", rate=arguments.get("dropout", 0.0))
    drops_inputs = model == "basic" and dropout.keywords["rate"]
    chain += [dropout("dropout_1")] if drops_inputs else []
    chain.append(layer("Dense", "dense_1", units=arguments["dense_units"], activation="relu"))
    if model == "vgg16" or drops_inputs:
        chain.append(dropout("dropout_2" if drops_inputs else "dropout_1"))
    return [*chain, layer("Dense", "dense_2", units=1, activation="sigmoid")]


def layer(class_name: str, name: str, **config: Any) -> Spec:
    """Return a Keras layer as plain values, from the arguments that differ from Keras' defaults."""
    return read_layer(KerasLayer(class_name, name, config))


def weighted_layers(model: Classifier) -> dict[str, nn.Module]:
    """Return the layers with weights, by their names, in their order."""
    parts = {"features": model.features, "head": model.head}
    return {
        f"{part}.{name}": layer
        for part, layers in parts.items()
        for name, layer in layers.named_children()
        if layer.state_dict(keep_vars=True)
    }


def imagenet_rescaling(weights: str) -> tuple[list[float], list[float]]:
    """Return scale and offset of R, G and B from 0..1 to what VGG16's published weights take."""
    mean, std, _ = normalization(weights)
    return [255 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
