"""One of our models -> the layers of the Keras model that equals it, under the workshop's names.

The arguments are the few that matter; Keras takes its defaults for the others. The exported model takes
what the workshop feeds, RGB times 1/255, shape (N, S, S, 3).
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from catdog_pl.errors import CatDogError
from catdog_pl.keras.arrays import to_keras
from catdog_pl.keras.hdf5 import Array
from catdog_pl.keras.preprocessing import imagenet
from catdog_pl.models.basic import Basic
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.vgg16 import VGG16


class Layer(NamedTuple):
    """One layer of the Keras model.

    Attributes:
        class_name: Keras' class.
        config: its arguments, its name among them.
        arrays: its kernel and bias; none for a layer without weights.
    """

    class_name: str
    config: dict[str, Any]
    arrays: tuple[Array, ...] = ()

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.config["name"])


def keras_layers(model: Classifier) -> list[Layer]:
    """The layers of the equal Keras model, the input layer first.

    Raises:
        CatDogError: the model is none that Keras layers can express.
    """
    shape = [None, model.data_spec.image_size, model.data_spec.image_size, 3]
    if isinstance(model, VGG16):
        front = [input_layer("input_1", shape), *imagenet_layers(model)]
        return [*front, *network(model, "same"), *head(model)]
    if isinstance(model, Basic):
        return [input_layer("conv2d_1_input", shape), *network(model, "valid"), *head(model)]
    raise CatDogError(f"a model {model.name} cannot be exported to Keras; basic and vgg16 can")


def input_layer(name: str, shape: list[int | None]) -> Layer:
    """The layer that tells the input's shape, under the argument that Keras 2 and 3 both read."""
    return Layer("InputLayer", {"name": name, "batch_input_shape": shape, "dtype": "float32"})


def imagenet_layers(model: VGG16) -> list[Layer]:
    """What takes pixels times 1/255 to what the backbone was trained with; nothing for the workshop's."""
    if model.normalization is None:
        return []
    scale, offset = imagenet(str(model.hparams["weights"]))
    return [Layer("Rescaling", {"name": "rescaling_1", "scale": list(scale), "offset": list(offset)})]


def network(model: Classifier, padding: str) -> list[Layer]:
    """The convolutions, each with its ReLU, and the poolings.

    A first kernel that takes BGR is turned to take RGB.
    """
    layers: list[Layer] = []
    for name, layer in model.features.named_children():
        if isinstance(layer, nn.Conv2d):
            kernel, bias = to_keras(layer.weight), to_keras(bias_of(layer))
            if not layers and isinstance(model, VGG16) and model.normalization and model.normalization.bgr:
                kernel = kernel[:, :, ::-1]
            config = {"name": name, "trainable": layer.weight.requires_grad, "filters": layer.out_channels}
            config |= {"kernel_size": [3, 3], "padding": padding, "activation": "relu"}
            layers.append(Layer("Conv2D", config, (kernel, bias)))
        elif isinstance(layer, nn.MaxPool2d):
            layers.append(Layer("MaxPooling2D", {"name": name, "pool_size": [2, 2], "strides": [2, 2]}))
    return layers


def head(model: Classifier) -> list[Layer]:
    """The flattening, the dense layers with their activations, and the dropout."""
    layers = []
    for name, layer in model.head.named_children():
        if isinstance(layer, nn.Linear):
            activation = "sigmoid" if layer.out_features == 1 and name == "dense_2" else "relu"
            config = {"name": name, "units": layer.out_features, "activation": activation}
            layers.append(Layer("Dense", config, (to_keras(layer.weight), to_keras(bias_of(layer)))))
        elif isinstance(layer, nn.Dropout):
            layers.append(Layer("Dropout", {"name": name, "rate": layer.p}))
        elif not isinstance(layer, nn.ReLU):
            layers.append(Layer("Flatten", {"name": name}))
    return layers


def bias_of(layer: "nn.Conv2d | nn.Linear") -> Tensor:
    """The bias, which every layer of our models has."""
    assert layer.bias is not None
    return layer.bias
