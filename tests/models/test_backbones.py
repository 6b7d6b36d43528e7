"""Backbones: equal to their libraries' networks, and which files of weights they take and refuse."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models import vgg16 as torchvision_vgg16

from catdog_pl.errors import CatDogError, UsageError, WeightsError
from catdog_pl.io.download import Patience
from catdog_pl.models import VGG16
from catdog_pl.models.backbones import Backbone, create_backbone, vgg16, weights


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
    (folder / "text.safetensors").write_text("no tensors")
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
        "text.pth": "not a PyTorch file, or a damaged one \\(UnpicklingError\\); give a state dict",
        "text.safetensors": "is unknown; valid are keras",
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


NAMES = models.list_models(module=models)
LIKE_THEIR_OWN = (
    "resnet18", "densenet121", "convnext_tiny", "swin_t", "vit_b_32", "googlenet", "inception_v3", "maxvit_t",
    "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v2", "efficientnet_b0", "regnet_x_400mf",
)  # fmt: skip
"""One of each family whose last layer takes what the backbone gives."""


def skeleton(name: str, weights: str = "DEFAULT") -> Backbone:
    with torch.device("meta"):
        return create_backbone(name, weights, load_weights=False).eval()


def check_stages(backbone: Backbone) -> None:
    """Together they hold each parameter once, and each of them holds some."""
    stages = [[id(parameter) for parameter in stage.parameters()] for stage in backbone.stages()]
    assert all(stages)
    assert sorted(chain.from_iterable(stages)) == sorted(id(parameter) for parameter in backbone.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_network_of_torchvision_is_a_backbone(name: str) -> None:
    backbone = skeleton(name)
    size = backbone.image_size
    maps = backbone.forward_features(torch.empty(2, 3, size, size, device="meta"))
    n_features = backbone.n_features(size)
    assert backbone.pool(maps).shape == (2, n_features)
    assert maps.shape[1] == n_features or maps.shape == (2, maps.shape[1], n_features)
    assert all(key.startswith("net.") for key in backbone.state_dict())
    assert {key.removeprefix("net.") for key in backbone.state_dict()} < backbone.published_keys  # type: ignore[operator]
    check_stages(backbone)


def without_last_layer(network: nn.Module) -> nn.Module:
    name, last = list(network.named_children())[-1]
    if isinstance(last, nn.Sequential):
        last[-1] = nn.Identity()
    else:
        setattr(network, name, nn.Identity())
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKE_THEIR_OWN)
def test_features_are_what_the_last_layer_of_torchvision_takes(name: str) -> None:
    options = {"init_weights": True, "transform_input": True} if name in ("googlenet", "inception_v3") else {}
    theirs = models.get_model(name, **options)
    backbone = skeleton(name)
    held = theirs.state_dict(prefix="net.")
    for key in held.keys() - backbone.state_dict().keys():
        del held[key]
    backbone.load_state_dict(held, assign=True)
    assert backbone.normalization is not None
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    size = 224 if name in ("vit_b_32", "maxvit_t") else 96
    pixels = torch.rand(2, 3, size, size) * 255
    with torch.inference_mode():
        given = (pixels / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        expected, found = without_last_layer(theirs)(given), backbone(backbone.normalization(pixels))
    assert found.shape == expected.shape
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_preprocessing_is_that_of_the_weights() -> None:
    def facts(name: str, weights: str) -> tuple[int, str, Any]:
        backbone = skeleton(name, weights)
        return backbone.image_size, backbone.resize, backbone.normalization

    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    for name, source, size, rule in (
        ("mobilenet_v3_small", "DEFAULT", 224, "bilinear"),
        ("efficientnet_b2", "none", 288, "bicubic"),
        ("efficientnet_b1", "IMAGENET1K_V1", 240, "bicubic"),
        ("efficientnet_b1", "IMAGENET1K_V2", 240, "bilinear"),
        ("efficientnet_b1", "file.pth", 240, "bilinear"),
        ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", 384, "bicubic"),
        ("timm/test_resnet", "file.safetensors", 160, "bilinear"),
    ):
        found = facts(name, source)
        assert found[:2] == (size, rule), name
        if not name.startswith("timm/"):
            assert found[2].mean == pytest.approx(mean)
            assert found[2].std == pytest.approx(std)
    assert facts("efficientnet_v2_l", "DEFAULT")[2] == ((127.5,) * 3, (127.5,) * 3, False)
    assert skeleton("vit_b_16", "IMAGENET1K_SWAG_E2E_V1").n_features(384) == 768


def squeezenet_state() -> dict[str, Tensor]:
    return dict(models.squeezenet1_1().state_dict())


def test_files_of_any_age_are_read() -> None:
    state = squeezenet_state()
    torch.save(state, "old.pth", _use_new_zipfile_serialization=False)  # as most of torchvision's are
    backbone = create_backbone("squeezenet1_1", "old.pth")
    assert torch.equal(backbone.state_dict()["net.features.0.weight"], state["features.0.weight"])
    theirs = models.mobilenet_v3_small().state_dict()
    torch.save({k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}, "2017.pth")
    create_backbone("mobilenet_v3_small", "2017.pth")


@pytest.mark.slow
def test_the_layer_names_of_old_densenets_are_read() -> None:
    theirs = models.densenet121().state_dict()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): theirs[key] for key in theirs}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, "old.pth")
    state = create_backbone("densenet121", "old.pth").state_dict()
    assert all(torch.equal(state[key], theirs[key.removeprefix("net.")]) for key in state)


def test_published_weights_come_from_the_cache_of_torch_hub(tmp_path: Path) -> None:
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    cache = tmp_path / "torch_home" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(squeezenet_state(), cache / url.rpartition("/")[2])
    for name in ("DEFAULT", "IMAGENET1K_V1"):
        create_backbone("squeezenet1_1", name)


def test_all_of_torchvisions_files_have_a_digest_in_their_name() -> None:
    urls = [weight.url for name in NAMES for weight in models.get_model_weights(name)]
    assert len(urls) > 100
    assert [url for url in urls if not weights.URL_DIGEST.search(url)] == []


def changed(change: str) -> str:
    """A state dict that squeezenet1_1 cannot take, in a file."""
    state = squeezenet_state()
    if change == "missing":
        del state["features.3.squeeze.bias"]
    elif change == "shape":
        state["features.0.weight"] = torch.zeros(96, 3, 7, 7)
    elif change == "foreign":
        state["features.13.weight"] = torch.zeros(1)
    torch.save(dict(models.resnet18().state_dict()) if change == "network" else state, "net.pth")
    return "net.pth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "it has no features.3.squeeze.bias; give weights of squeezenet1_1"),
        (
            "shape",
            "features.0.weight is (96, 3, 7, 7), squeezenet1_1 needs (64, 3, 3, 3); give weights of "
            "squeezenet1_1",
        ),
        (
            "foreign",
            "it has features.13.weight, which squeezenet1_1 has not; give weights of squeezenet1_1",
        ),
        ("network", "it has no features.0.weight; give weights of squeezenet1_1"),
    ],
)
def test_weights_of_another_network_name_the_first_layer_that_differs(change: str, message: str) -> None:
    with pytest.raises(WeightsError) as error:
        create_backbone("squeezenet1_1", changed(change))
    assert str(error.value) == f"weights net.pth: {message}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "resnet-50",
            "Backbone 'resnet-50' is unknown (did you mean resnet50?); valid are the classification networks "
            "of torchvision, such as resnet50, and timm/NAME",
        ),
        ("nothing/resnet50", "Backbone 'nothing/resnet50' is unknown; before the slash may stand timm"),
        (
            "timm/tset_resnet",
            "Backbone 'timm/tset_resnet' is unknown (did you mean timm/test_resnet?); valid are the names of "
            "timm.list_models()",
        ),
        (
            "timm/hf-hub:timm",
            "Backbone 'timm/hf-hub:timm' is unknown; valid are the names of timm.list_models()",
        ),
    ],
)
def test_an_unknown_backbone_proposes_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        create_backbone(name, "none")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "efficientnet_b1",
            "weights 'IMAGENET' is unknown for efficientnet_b1; valid are IMAGENET1K_V1, IMAGENET1K_V2, "
            "DEFAULT, none, or the path of a .pth or .pt file",
        ),
        (
            "timm/test_vit",
            "weights 'IMAGENET' is unknown for timm/test_vit; valid are DEFAULT, none, or the path of a "
            ".pth, .pt, .safetensors file; other published weights have a name of their own, such as "
            "timm/resnet50.a1_in1k",
        ),
    ],
)
def test_unknown_weights_list_the_valid_ones(name: str, message: str) -> None:
    with pytest.raises(WeightsError) as error:
        create_backbone(name, "IMAGENET")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("name", "size"), [("squeezenet1_1", 16), ("vit_b_16", 160), ("timm/vit_tiny_patch16_224", 64)]
)
def test_an_image_size_that_does_not_fit_is_one_line(name: str, size: int) -> None:
    backbone = skeleton(name)
    with pytest.raises(UsageError) as error:
        backbone.n_features(size)
    assert str(error.value) == f"image_size {size} does not fit the backbone; its weights were made for 224"


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_features_are_those_of_timm(name: str) -> None:
    theirs = timm.create_model(name).eval()
    torch.save(theirs.state_dict(), "net.pth")
    save_file(theirs.state_dict(), "net.safetensors")
    theirs.reset_classifier(0)  # type: ignore[operator]
    x = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        expected = theirs(x)
        for file in ("net.pth", "net.safetensors"):
            backbone = create_backbone(f"timm/{name}", file).eval()
            assert torch.equal(backbone(x), expected)
    assert backbone.n_features(160) == expected.shape[1]
    check_stages(backbone)
    assert len(backbone.stages()) > 2


def test_without_timm_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError) as error:
        create_backbone("timm/test_vit", "none")
    assert str(error.value) == (
        "--backbone timm/test_vit needs timm, which is not installed: pip install 'catdog_pl[timm]'"
    )


def test_what_timm_publishes_is_loaded_or_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    published = timm.create_model("test_vit")
    build = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained=False: published if pretrained else build(name)
    )
    state = create_backbone("timm/test_vit", "DEFAULT").state_dict()
    assert torch.equal(state["net.cls_token"], published.state_dict()["cls_token"])

    def fail(name: str, pretrained: bool = False) -> nn.Module:
        if pretrained:
            raise OSError("No connection.\nTry again.")
        return build(name)

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError) as error:
        create_backbone("timm/test_vit", "DEFAULT")
    assert str(error.value) == (
        "weights DEFAULT of timm/test_vit cannot be downloaded (No connection.); give a file of them with "
        "--model.weights PATH, or train without: --model.weights none"
    )
