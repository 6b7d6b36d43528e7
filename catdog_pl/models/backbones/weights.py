"""Files of pretrained weights: from torch.hub's cache, downloaded into it, or the user's own."""

import re
from collections.abc import Mapping, Set
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, hub, nn

from catdog_pl.errors import DownloadError, WeightsError
from catdog_pl.io.download import Patience, download
from catdog_pl.io.files import file_fault

TORCH_SUFFIXES = (".pth", ".pt")
SAFETENSORS = ".safetensors"

PATIENCE = Patience(waits=(1.0, 2.0))
"""Shorter than for photographs: most failures here are machines without internet."""

URL_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
"""How torchvision's file names end: with the first digits of their SHA-256."""


def cached_file(weights: str, url: str, digest: str | None = None) -> Path:
    """Return a published file in torch.hub's cache, where it is downloaded once and verified.

    The default digest is the SHA-256 whose first digits end the name in the URL.
    """
    target = Path(hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if target.is_file():
        return target
    if digest is None:
        match = URL_DIGEST.search(url)
        assert match, f"{url} has no digest"
        digest = f"sha256:{match[1]}"
    try:
        download(url, target, digest=digest, patience=PATIENCE)
    except DownloadError as error:
        raise WeightsError(
            f"weights {weights} cannot be downloaded ({error.reason}); put the file of {url} at {target}, "
            "or give its path with --model.weights PATH, or train without it: --model.weights none"
        ) from error
    return target


def existing_file(weights: str) -> Path:
    """Return the file of a ``weights`` path."""
    if fault := file_fault(Path(weights)):
        raise WeightsError(f"weights {weights}: {fault}; give the path of a file, or none")
    return Path(weights)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file of PyTorch's or safetensors', of which nothing is executed."""
    is_safetensors = path.suffix.lower() == SAFETENSORS
    try:
        if is_safetensors:
            state = import_module("safetensors.torch").load_file(path)  # timm brings the package
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a broken or hostile file
        kind = "safetensors" if is_safetensors else "PyTorch"
        raise WeightsError(
            f"weights {path}: not a {kind} file, or a damaged one ({type(error).__name__}); give a state dict"
        ) from error
    tensors = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    if not tensors or not all(isinstance(key, str) for key in state):
        raise WeightsError(f"weights {path}: not a state dict of tensors")
    return dict(state)


def fill(network: nn.Module, state: Mapping[str, Tensor], known: Set[str], source: str, name: str) -> None:
    """Copy a state dict into a network.

    Args:
        network: its parameters and buffers are overwritten.
        state: all of them by name, and maybe more.
        known: the names that it may hold beside them, such as a classifier's that the network has lost.
        source: the words for the state dict in an error.
        name: the word for the network in an error.

    Raises:
        WeightsError: it is another network's; the first layer that differs is named.
    """
    ours = network.state_dict()
    # BatchNorm counts its batches since 2018; files from before have no counters, and nothing reads them.
    wanted = {key: ours[key] for key in ours if key in state or not key.endswith("num_batches_tracked")}
    for key, tensor in wanted.items():
        if key not in state:
            raise WeightsError(f"{source}: it has no {key}; give weights of {name}")
        if state[key].shape != tensor.shape:
            raise WeightsError(
                f"{source}: {key} is {tuple(state[key].shape)}, {name} needs {tuple(tensor.shape)}; give "
                f"weights of {name}"
            )
        if tensor.is_meta:
            raise WeightsError(
                "weights cannot be loaded into a model on the meta device; set load_weights false"
            )
    if foreign := [key for key in state if key not in ours and key not in known]:
        raise WeightsError(f"{source}: it has {foreign[0]}, which {name} has not; give weights of {name}")
    with torch.no_grad():
        for key, tensor in wanted.items():
            tensor.copy_(state[key])
