import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from catdog_pl.errors import UsageError
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.models import VGG16, Basic, convolution
from catdog_pl.models.basic import blocks as basic_blocks
from catdog_pl.models.convolution import ConvBlocks, ConvReLU, TrainingBlock


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


def layers_and_gradients(blocks: nn.Sequential, pixels: torch.Tensor) -> list[torch.Tensor]:
    """The output of blocks, and the gradients of their input and parameters under uneven weights."""
    pixels = pixels.clone().requires_grad_()
    output = blocks(pixels)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), [pixels, *blocks.parameters()])]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """On one thread, rounding decides otherwise in pieces which of equal numbers a pooling takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
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
    assert len(convolution.chunks(pixels, blocks[0].weight)) == 3  # type: ignore[arg-type]
    found = layers_and_gradients(blocks, pixels)
    expected = layers_and_gradients(nn.Sequential(*blocks), pixels)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert found[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
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
