"""VGG16's pretrained weights: from which files they come, and which are refused."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import vgg16 as torchvision_vgg16

from catdog_pl.errors import CatDogError, WeightsError
from catdog_pl.io.download import Patience
from catdog_pl.models import VGG16
from catdog_pl.models.backbones import vgg16, weights


def keras_notop_file(path: Path, kernels: list[np.ndarray], biases: list[np.ndarray]) -> Path:
    """A weight file in the layout of Keras' own: groups by layer, names as attributes."""
    names = [f"block{b}_conv{c}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in (*names, "block5_pool")]
        file.create_group("block5_pool").attrs["weight_names"] = np.array([], dtype="S1")
        for name, kernel, bias in zip(names, kernels, biases, strict=True):
            group = file.create_group(name)
            weight_names = [f"{name}_W_1:0", f"{name}_b_1:0"]
            group.attrs["weight_names"] = [weight.encode() for weight in weight_names]
            group[weight_names[0]], group[weight_names[1]] = kernel, bias
    return path


@pytest.fixture(scope="module")
def reference_vgg() -> nn.Module:
    with torch.device("cpu"):
        torch.manual_seed(0)
        features: nn.Module = torchvision_vgg16(weights=None).features.eval()
        return features


@pytest.fixture
def keras_file(tmp_path: Path, reference_vgg: nn.Module) -> Path:
    layers = [layer for layer in reference_vgg if isinstance(layer, nn.Conv2d)]  # type: ignore[attr-defined]
    kernels = [layer.weight.detach().permute(2, 3, 1, 0).numpy() for layer in layers]
    biases = [layer.bias.detach().numpy() for layer in layers if layer.bias is not None]
    return keras_notop_file(tmp_path / "notop.h5", kernels, biases)


@pytest.mark.slow
def test_keras_and_torchvision_files_give_the_same_backbone(
    keras_file: Path, reference_vgg: nn.Module
) -> None:
    torch.save({f"features.{k}": v for k, v in reference_vgg.state_dict().items()}, "vgg16.pth")
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    expected = reference_vgg((pixels * (1 / 255)).float())
    for file in (str(keras_file), "vgg16.pth"):
        model = VGG16(image_size=64, weights=file)
        torch.testing.assert_close(model.extract(pixels), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_imagenet_preprocessing_is_what_the_weights_were_trained_with(keras_file: Path) -> None:
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    keras = VGG16(image_size=32, weights=str(keras_file), preprocessing="imagenet").preprocess(pixels)
    mean = torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)  # B, G, R
    torch.testing.assert_close(keras, pixels.flip(1).float() - mean)
    model = VGG16(image_size=32, weights="IMAGENET1K_V1", preprocessing="imagenet", load_weights=False)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(model.preprocess(pixels), (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a local server that gives the files of the test's folder."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(tmp_path))

        def log_message(self, *words: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PATIENCE", Patience(waits=()))


@pytest.mark.slow
def test_keras_weights_come_from_the_cache_once_verified(
    keras_file: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras_file = keras_file.rename(vgg16.KERAS_FILE)
    monkeypatch.setattr(vgg16, "KERAS_URL", f"{server}/{vgg16.KERAS_FILE}")
    with pytest.raises(WeightsError, match=r"its MD5 is \w+, not 6d6bbae1"):
        VGG16(image_size=32)
    cache = tmp_path / "torch_home" / "hub" / "checkpoints"
    assert list(cache.iterdir()) == []
    digest = f"md5:{hashlib.md5(keras_file.read_bytes()).hexdigest()}"
    monkeypatch.setattr(vgg16, "KERAS_DIGEST", digest)
    VGG16(image_size=32)
    assert [path.name for path in cache.iterdir()] == [vgg16.KERAS_FILE]
    keras_file.unlink()
    VGG16(image_size=32)


def test_torchvisions_files_are_verified_by_the_digits_in_their_name(server: str, tmp_path: Path) -> None:
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    for name in (f"net-{digits}.pth", "net-00000000.pth"):
        (tmp_path / name).write_bytes(b"weights")
    path = weights.cached_file("V1", f"{server}/net-{digits}.pth")
    assert path.read_bytes() == b"weights"
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        weights.cached_file("V1", f"{server}/net-00000000.pth")


def test_offline_says_which_file_to_put_where(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server}/nowhere/{vgg16.KERAS_FILE}"
    monkeypatch.setattr(vgg16, "KERAS_URL", url)
    with pytest.raises(WeightsError) as error:
        VGG16()
    target = tmp_path / "torch_home" / "hub" / "checkpoints" / vgg16.KERAS_FILE
    assert str(error.value) == (
        f"weights keras cannot be downloaded (the server answered 404 File not found); put the file of {url} "
        f"at {target}, or give its path with --model.weights PATH, or train without it: --model.weights none"
    )


def broken_files(folder: Path) -> dict[str, str]:
    """Files that are not VGG16 weights -> what the message must say."""
    (folder / "text.h5").write_text("no HDF5")
    (folder / "folder.h5").mkdir()
    (folder / "text.pth").write_text("no zip")
    torch.save(
        {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)},
        folder / "one.pth",
    )
    torch.save([1, 2], folder / "list.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, folder / "nobias.pth")
    torch.save({"features.stem.weight": torch.zeros(1)}, folder / "named.pth")
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["data"] = np.zeros(3)
    with h5py.File(folder / "link.h5", "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"w"]
        file["a"]["w"] = h5py.ExternalLink("text.h5", "/")
    return {
        "text.h5": "damaged",
        "text.pth": "not a PyTorch file",
        "one.pth": "1 convolutions, VGG16 has 13",
        "list.pth": "not a state dict",
        "nobias.pth": "features.0.bias",
        "named.pth": "0 convolutions, VGG16 has 13",
        "foreign.h5": "no layers with a kernel",
        "link.h5": "link",
        "missing.h5": "no such file",
        "folder.h5": "it is a folder",
        "weights.txt": "is unknown; valid are keras",
    }


@pytest.mark.slow
def test_files_that_are_no_vgg16_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(CatDogError, match=reason) as error:
            VGG16(image_size=32, weights=name)
        assert "\n" not in str(error.value), name


def test_wrong_kernel_shapes_are_named(tmp_path: Path) -> None:
    kernels, biases = [np.zeros((3, 3, 3, 8), np.float32)] * 13, [np.zeros(8, np.float32)] * 13
    file = keras_notop_file(tmp_path / "small.h5", kernels, biases)
    with pytest.raises(WeightsError, match=r"\(8, 3, 3, 3\) where VGG16 has \(64, 3, 3, 3\)"):
        VGG16(image_size=32, weights=str(file))
