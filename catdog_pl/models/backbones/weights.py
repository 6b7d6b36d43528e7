"""Where VGG16's pretrained weights come from: Keras' file, torchvision's, or a file of the user's."""

import hashlib
from pathlib import Path
from typing import NamedTuple
from zipfile import is_zipfile

import torch
from torch import Tensor, hub, nn
from torchvision.models import VGG16_Weights

from catdog_pl.errors import KerasFileError, WeightsError
from catdog_pl.io.files import atomic_write
from catdog_pl.keras.weights import conv_weights

KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
"""The original Caffe weights of Simonyan and Zisserman as Keras publishes them, kernels for BGR."""

KERAS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{KERAS_FILE}"
KERAS_MD5 = "6d6bbae143d832006294945121d1f1fc"
"""As listed in ``keras/src/applications/vgg16.py``; md5 is what Keras publishes."""

KERAS_MEAN_RGB = (123.68, 116.779, 103.939)
"""The ImageNet mean on 0..255 that ``keras.applications.vgg16.preprocess_input`` subtracts."""

TORCHVISION_NAMES = tuple(VGG16_Weights.__members__)
KERAS_SUFFIXES = (".h5", ".hdf5")
TORCH_SUFFIXES = (".pth", ".pt")


class Normalization(NamedTuple):
    """``(pixels - mean) / std`` per channel, on 0..255, then RGB or BGR.

    Attributes:
        mean: of R, G and B, in 0..255.
        std: of R, G and B, in 0..255.
        bgr: whether the channels are handed on in BGR order.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool

    def __call__(self, pixels: Tensor) -> Tensor:
        """Float pixels (N, 3, S, S) in 0..255, RGB -> normalised, the same shape."""
        mean = pixels.new_tensor(self.mean).view(3, 1, 1)
        std = pixels.new_tensor(self.std).view(3, 1, 1)
        normalised = (pixels - mean) / std
        return normalised.flip(1) if self.bgr else normalised


def is_keras(weights: str) -> bool:
    """Whether a value of ``weights`` names weights in Keras' form.

    Raises:
        WeightsError: it names nothing known.
    """
    suffix = Path(weights).suffix.lower()
    if weights == "keras" or suffix in KERAS_SUFFIXES:
        return True
    if weights in TORCHVISION_NAMES or suffix in TORCH_SUFFIXES:
        return False
    raise WeightsError(
        f"weights {weights!r} is unknown; valid are keras, {', '.join(TORCHVISION_NAMES)}, none, "
        f"or the path of a {', '.join(KERAS_SUFFIXES + TORCH_SUFFIXES)} file"
    )


def normalization(weights: str) -> Normalization:
    """What the weights were trained with; a .pth or .pt file counts as torchvision's IMAGENET1K_V1."""
    if is_keras(weights):
        return Normalization(KERAS_MEAN_RGB, (1.0, 1.0, 1.0), bgr=True)
    name = weights if weights in TORCHVISION_NAMES else "IMAGENET1K_V1"
    preset = VGG16_Weights[name].transforms()
    r, g, b = (255 * value for value in preset.mean)
    sr, sg, sb = (255 * value for value in preset.std)
    return Normalization((r, g, b), (sr, sg, sb), bgr=False)


def load_backbone(features: nn.Sequential, weights: str) -> None:
    """Copy pretrained weights into VGG16's 13 convolutions, in place.

    Args:
        features: the convolutions, poolings and ReLUs, in VGG16's order.
        weights: ``keras``, a name of torchvision's, or the path of a file of either kind.

    Raises:
        WeightsError: the weights cannot be had; the message says which file to put where.
    """
    if features[0].weight.is_meta:
        raise WeightsError("weights cannot be loaded into a model on the meta device; set load_weights false")
    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    pairs = keras_pairs(weights) if is_keras(weights) else torchvision_pairs(weights)
    if len(pairs) != len(convolutions):
        raise WeightsError(f"weights {weights}: {len(pairs)} convolutions, VGG16 has {len(convolutions)}")
    for layer, (kernel, bias) in zip(convolutions, pairs, strict=True):
        assert layer.bias is not None
        if kernel.shape != layer.weight.shape or bias.shape != layer.bias.shape:
            raise WeightsError(
                f"weights {weights}: a kernel of shape {tuple(kernel.shape)} where VGG16 has "
                f"{tuple(layer.weight.shape)}; this is not a VGG16 file"
            )
        with torch.no_grad():
            layer.weight.copy_(kernel)
            layer.bias.copy_(bias)


def keras_pairs(weights: str) -> list[tuple[Tensor, Tensor]]:
    """Kernels (out, in, 3, 3) and biases (out,) of a Keras file, in layer order."""
    path = keras_file() if weights == "keras" else existing(weights)
    try:
        return conv_weights(path)
    except KerasFileError as error:
        raise WeightsError(f"weights {weights}: {error}") from error


def torchvision_pairs(weights: str) -> list[tuple[Tensor, Tensor]]:
    """Kernels (out, in, 3, 3) and biases (out,) of ``features.*`` in torchvision's state dict."""
    state = published_state(weights) if weights in TORCHVISION_NAMES else torch_file(existing(weights))
    kernels = [key for key in state if key.startswith("features.") and key.endswith(".weight")]
    kernels.sort(key=lambda key: int(key.split(".")[1]))
    try:
        return [(state[key], state[key.removesuffix("weight") + "bias"]) for key in kernels]
    except KeyError as error:
        raise WeightsError(f"weights {weights}: {error} is missing; this is not a VGG16 file") from error


def torch_file(path: Path) -> dict[str, Tensor]:
    """A state dict from a file, read without executing anything in it."""
    if not is_zipfile(path):
        raise WeightsError(f"weights {path}: not a PyTorch file; give a state dict saved by torch.save")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a broken or hostile file
        raise WeightsError(f"weights {path}: cannot be read ({type(error).__name__})") from error
    tensors = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    if not tensors or not all(isinstance(key, str) for key in state):
        raise WeightsError(f"weights {path}: not a state dict of tensors")
    return dict(state)


def existing(weights: str) -> Path:
    """The file of a ``weights`` path.

    Raises:
        WeightsError: there is none.
    """
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(f"weights {weights}: there is no such file; give its path, keras or none")
    return path


def published_state(name: str) -> dict[str, Tensor]:
    """Torchvision's published state dict, from torch.hub's cache or downloaded with a progress bar."""
    weights = VGG16_Weights[name]
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        target = Path(hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise offline(name, weights.url, target, error) from error


def keras_file() -> Path:
    """Keras' weight file, from torch.hub's cache or downloaded with a progress bar and verified.

    Raises:
        WeightsError: it cannot be downloaded, or its checksum is not the published one.
    """
    target = Path(hub.get_dir()) / "checkpoints" / KERAS_FILE
    if not target.is_file():
        download(KERAS_URL, target)
    return target


def download(url: str, target: Path) -> None:
    """Download and verify; ``target`` appears when it is complete.

    Raises:
        WeightsError: no connection, the server refuses, or the bytes are not the published ones.
    """
    with atomic_write(target) as part:
        try:
            hub.download_url_to_file(url, str(part), progress=True)
        except OSError as error:
            raise offline("keras", url, target, error) from error
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != KERAS_MD5:
            raise WeightsError(f"{url}: the checksum is {found}, published is {KERAS_MD5}; try again later")


def offline(weights: str, url: str, target: Path, error: Exception) -> WeightsError:
    """The message for a machine that cannot download."""
    return WeightsError(
        f"weights {weights} cannot be downloaded ({error}); put the file of {url} at {target}, "
        "or give its path with --model.weights PATH, or train without it: --model.weights none"
    )
