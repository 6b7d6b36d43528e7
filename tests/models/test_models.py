import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import vgg16 as torchvision_vgg16

from catdog_pl.errors import CatDogError, UsageError, WeightsError
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.models import VGG16, Basic, convolution
from catdog_pl.models.backbones import weights as vgg16_weights
from catdog_pl.models.basic import blocks as basic_blocks
from catdog_pl.models.convolution import ConvBlocks, ConvReLU, TrainingBlock
from catdog_pl.models.feature_cache import FeatureCache


def test_kernels_start_glorot_uniform_and_biases_zero() -> None:
    limits = [0.138013, 0.083333, 0.072169, 0.017888, 0.152795]  # sqrt(6 / (fan_in + fan_out))
    model = Basic()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer, limit in zip(layers, limits, strict=True):
        assert layer.weight.abs().max().item() <= limit * (1 + 1e-5)
        assert layer.weight.abs().max().item() > 0.95 * limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.1)
        assert layer.bias is not None
        assert not layer.bias.any()


def test_pixels_are_rescaled_by_a_float32_factor() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = np.arange(256, dtype=np.float32) * np.float32(1 / 255)
    rescaled = Basic(image_size=16, filters=(2,)).rescale(pixels)
    np.testing.assert_array_equal(rescaled.flatten().numpy(), expected)
    assert (expected != np.arange(256, dtype=np.float32) / 255).sum() == 126


def test_pooling_before_relu_changes_no_number() -> None:
    model = Basic(image_size=32)
    x = torch.randn(2, 3, 32, 32)
    ours = model.features(x)
    for layer in model.features:
        x = torch.relu(layer(x)) if isinstance(layer, nn.Conv2d) else layer(x)
    assert torch.equal(ours, x)


def test_uint8_and_float_pixels_give_the_same_logits() -> None:
    model = Basic(image_size=32).eval()
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(model(pixels), model(pixels.float()))
    assert model(pixels).shape == (3,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rmsprop_is_keras_rule(dtype: torch.dtype) -> None:
    start = torch.linspace(-1, 1, 5, dtype=dtype)
    parameter = nn.Parameter(start.clone())
    optimizer = KerasRMSprop([parameter], lr=0.01, rho=0.9, epsilon=1e-7)
    p, v = start.numpy().astype(np.float64), np.zeros(5)
    for step in range(1, 6):
        gradient = np.cos(p * step) * 10.0**-step
        parameter.grad = torch.from_numpy(gradient).to(dtype)
        optimizer.step()
        v = 0.9 * v + 0.1 * gradient**2
        p = p - 0.01 * gradient / np.sqrt(v + 1e-7)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-15
    np.testing.assert_allclose(parameter.detach().double().numpy(), p, rtol=0, atol=tolerance)


@pytest.mark.parametrize("arguments", [{"lr": 0.0}, {"rho": 1.0}, {"epsilon": -1e-9}])
def test_rmsprop_refuses_values_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        KerasRMSprop([nn.Parameter(torch.zeros(1))], **arguments)


def test_the_optimizer_holds_trainable_parameters_only() -> None:
    model = VGG16(image_size=32, weights="none")
    (group,) = model.configure_optimizers().param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in model.head.parameters()}


def test_the_optimizer_of_2018_is_one_argument_away() -> None:
    model = Basic(image_size=32, optimizer="RMSprop", optimizer_args={"alpha": 0.9, "eps": 1e-7})
    optimizer = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert (optimizer.defaults["alpha"], optimizer.defaults["eps"], optimizer.defaults["lr"]) == (
        0.9,
        1e-7,
        1e-3,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "Adamm"}, "'Adamm' is unknown; valid are keras_rmsprop, .*Adam,"),
        ({"image_size": 10}, "image_size 10 with 3 convolution blocks"),
        ({"filters": ()}, "0 convolution blocks"),
    ],
)
def test_basic_refuses_what_cannot_be(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Basic(**arguments)  # type: ignore[arg-type]


def test_the_frozen_backbone_stays_in_evaluation_mode_and_has_no_gradient() -> None:
    model = VGG16(image_size=32, weights="none").train()
    assert model.head.training
    assert not any(layer.training for layer in model.features.modules())
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is None for p in model.features.parameters())
    assert all(p.grad is not None for p in model.head.parameters())


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


def test_keras_and_torchvision_files_give_the_same_backbone(
    keras_file: Path, reference_vgg: nn.Module
) -> None:
    torch.save({f"features.{k}": v for k, v in reference_vgg.state_dict().items()}, "vgg16.pth")
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    expected = reference_vgg((pixels * (1 / 255)).float())
    for weights in (str(keras_file), "vgg16.pth"):
        model = VGG16(image_size=64, weights=weights)
        torch.testing.assert_close(model.backbone(pixels), expected, rtol=1e-5, atol=1e-6)


def test_imagenet_preprocessing_is_what_the_weights_were_trained_with(keras_file: Path) -> None:
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    keras = VGG16(image_size=32, weights=str(keras_file), preprocessing="imagenet").preprocess(pixels)
    mean = torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)  # B, G, R
    torch.testing.assert_close(keras, pixels.flip(1).float() - mean)
    model = VGG16(image_size=32, weights="IMAGENET1K_V1", preprocessing="imagenet", load_weights=False)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(model.preprocess(pixels), (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)


def test_keras_weights_come_from_the_cache_once_verified(
    keras_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.setattr(vgg16_weights, "KERAS_URL", keras_file.as_uri())
    with pytest.raises(WeightsError, match=r"the checksum is .* published is 6d6bbae1"):
        VGG16(image_size=32)
    cache = tmp_path / "torch_home" / "hub" / "checkpoints"
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(vgg16_weights, "KERAS_MD5", hashlib.md5(keras_file.read_bytes()).hexdigest())
    VGG16(image_size=32)
    assert [path.name for path in cache.iterdir()] == [vgg16_weights.KERAS_FILE]
    keras_file.unlink()
    VGG16(image_size=32)


def test_offline_says_which_file_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg16_weights, "KERAS_URL", (tmp_path / "nowhere.h5").as_uri())
    with pytest.raises(WeightsError) as error:
        VGG16()
    message = str(error.value)
    assert "\n" not in message
    for part in (
        "nowhere.h5",
        str(tmp_path / "torch_home"),
        vgg16_weights.KERAS_FILE,
        "--model.weights none",
    ):
        assert part in message


def broken_files(folder: Path) -> dict[str, str]:
    """Files that are not VGG16 weights -> what the message must say."""
    (folder / "text.h5").write_text("no HDF5")
    (folder / "text.pth").write_text("no zip")
    torch.save(
        {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)},
        folder / "one.pth",
    )
    torch.save([1, 2], folder / "list.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, folder / "nobias.pth")
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
        "foreign.h5": "no layers with a kernel",
        "link.h5": "link",
        "missing.h5": "no such file",
        "weights.txt": "is unknown; valid are keras",
    }


def test_files_that_are_no_vgg16_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(CatDogError, match=reason) as error:
            VGG16(image_size=32, weights=name)
        assert "\n" not in str(error.value), name


def test_wrong_kernel_shapes_are_named(tmp_path: Path) -> None:
    kernels, biases = [np.zeros((3, 3, 3, 8), np.float32)] * 13, [np.zeros(8, np.float32)] * 13
    file = keras_notop_file(tmp_path / "small.h5", kernels, biases)
    with pytest.raises(WeightsError, match=r"\(8, 3, 3, 3\) where VGG16 has \(64, 3, 3, 3\)"):
        VGG16(image_size=32, weights=str(file))


def test_validation_passes_the_backbone_once_and_gives_the_same_logits() -> None:
    model = VGG16(image_size=32, weights="none").eval()
    batch = (torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.zeros(2), torch.arange(2))
    expected = model(batch[0])
    first = model.batch_logits(batch, 0, "val")
    next(model.features.parameters()).data.zero_()  # a backbone that changed would show
    assert torch.equal(model.batch_logits(batch, 0, "val"), first)
    assert torch.equal(first, expected)
    assert not torch.equal(model.batch_logits(batch, 0, "train"), expected)
    assert not torch.equal(model.batch_logits(batch, 1, "val"), expected)


def test_the_feature_cache_keeps_to_its_limit() -> None:
    cache = FeatureCache(limit=100)
    counts = [0, 0]

    def answer(i: int) -> torch.Tensor:
        counts[i] += 1
        return torch.zeros(20)

    for _ in range(3):
        cache.batch(0, lambda: answer(0))
        cache.batch(1, lambda: answer(1))
    assert counts == [1, 3]
    cache.clear()
    cache.batch(1, lambda: answer(1))
    cache.batch(1, lambda: answer(1))
    assert counts == [1, 4]


def test_the_feature_cache_knows_samples_in_any_batch() -> None:
    cache = FeatureCache(limit=4 * 8)  # four samples of two float32
    computed: list[list[int]] = []

    def ask(keys: list[int]) -> torch.Tensor:
        def compute() -> torch.Tensor:
            computed.append(keys)
            return torch.tensor([[key, -key] for key in keys], dtype=torch.float32)

        return cache.samples(keys, compute)

    for keys in ([1, 2], [3, 4], [4, 1], [2, 5], [3, 2]):
        assert ask(keys).tolist() == [[key, -key] for key in keys]
    assert computed == [[1, 2], [3, 4], [2, 5]]  # the fifth sample does not fit


def layers_and_gradients(blocks: nn.Sequential, pixels: torch.Tensor) -> list[torch.Tensor]:
    """The output of blocks, and the gradients of their input and parameters under uneven weights."""
    pixels = pixels.clone().requires_grad_()
    output = blocks(pixels)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), [pixels, *blocks.parameters()])]


@pytest.mark.parametrize("size", [(32, 32), (35, 30)])
@pytest.mark.parametrize("kind", ["noise", "one colour"])
def test_a_block_in_pieces_gives_the_numbers_of_its_layers(
    kind: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "CACHE_BYTES", 0)  # two images for each thread
    torch.manual_seed(0)
    blocks = ConvBlocks(basic_blocks((8, 4)))
    images = 4 * torch.get_num_threads() + 1
    noise = (
        torch.rand(images, 3, *size) if kind == "noise" else torch.rand(images, 3, 1, 1).expand(-1, -1, *size)
    )
    pixels = noise.contiguous(memory_format=torch.channels_last)
    assert len(convolution.parts(pixels, blocks[0].weight)) == 3  # type: ignore[arg-type]
    found = layers_and_gradients(blocks, pixels)
    expected = layers_and_gradients(nn.Sequential(*blocks), pixels)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def test_the_gradients_of_a_block_are_those_of_its_numbers() -> None:
    torch.manual_seed(0)
    pixels, weight = torch.rand(5, 2, 7, 8).double(), torch.randn(3, 2, 3, 3).double()
    inputs = [tensor.requires_grad_() for tensor in (pixels, weight, torch.randn(3).double())]
    assert torch.autograd.gradcheck(TrainingBlock.apply, inputs)


def test_a_block_trains_where_only_deterministic_algorithms_are_allowed() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        Basic(image_size=32)(torch.zeros(1, 3, 32, 32)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_hooks_on_the_layers_of_a_block_are_called_in_evaluation() -> None:
    model = Basic(image_size=32)
    called = []
    model.features[3].register_forward_hook(lambda *call: called.append(call))
    pixels = torch.zeros(1, 3, 32, 32)
    model(pixels)
    assert not called
    model.eval()(pixels)
    assert len(called) == 1


def test_a_block_obeys_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = Basic(image_size=32).features(torch.rand(1, 3, 32, 32))
    assert output.dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_convolution_with_its_relu_gives_the_numbers_of_both(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    fused = ConvReLU(3, 8, kernel_size=3, padding=1).to(dtype)
    plain = torch.nn.Conv2d(3, 8, kernel_size=3, padding=1).to(dtype)
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(2, 3, 16, 16, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(fused(x), plain(x).relu())
    assert torch.equal(fused(x), plain(x).relu())  # with gradients, the usual way
    fused(x).sum().backward()
    assert fused.weight.grad is not None


def test_a_convolution_with_its_relu_obeys_autocast() -> None:
    layer = ConvReLU(3, 8, kernel_size=3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.rand(1, 3, 8, 8)).dtype is torch.bfloat16


def test_a_bf16_backbone_is_near_the_exact_one_and_the_head_is_in_float32() -> None:
    torch.manual_seed(0)
    exact = VGG16(image_size=32, weights="none").eval()
    coarse = VGG16(image_size=32, weights="none", bf16_backbone=True).eval()
    coarse.load_state_dict(exact.state_dict())
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected, found = exact.backbone(pixels), coarse.backbone(pixels)
    assert found.dtype is torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).norm() < 0.02 * expected.norm()
    assert all(parameter.dtype is torch.float32 for parameter in coarse.parameters())
