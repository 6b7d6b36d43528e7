"""What the machine can do at all, and how near we come to it: ``python -m benchmarks.speed.limits FOLDER``.

Prints one round of figures, as ``benchmarks.speed.process.figures`` reads them; ``--prediction`` those of
``predict`` alone.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.speed.contestants import OURS
from benchmarks.speed.records import Figure
from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.data.images import load_pixels, resize_rule
from catdog_pl.data.transforms import AffineRanges, sample_parameters, warp
from catdog_pl.models import VGG16, Basic, Classifier
from catdog_pl.process import keep_memory

BATCH = 50
SIDE = 4096
"""Of the square matrices whose product shows the peak."""


def main() -> None:
    """Measure one round."""
    words = argparse.ArgumentParser()
    words.add_argument("data", type=Path, help="a prepared folder")
    words.add_argument("--prediction", action="store_true")
    options = words.parse_args()
    keep_memory()
    torch.manual_seed(0)
    for figure in prediction(options.data) if options.prediction else training(options.data):
        print(json.dumps(figure), flush=True)


def training(data: Path) -> Iterator[Figure]:
    """The peaks, the networks' share of them, and how fast photographs are decoded and augmented."""
    pixels = torch.randint(0, 256, (BATCH, 3, 150, 150), dtype=torch.uint8)
    for bf16 in (False, True):
        yield from steps(pixels, bf16)
    drawn = sample_parameters(AffineRanges(), 0, 0, BATCH)
    yield f"{OURS}, augmentation of a batch", "ms", 1e3 * fastest(lambda: warp(pixels, drawn))
    yield "memory, copy", "GB/s", copy_rate()
    for name, rate in decoding_rates(data).items():
        yield name, "photographs/s", rate


def kind(bf16: bool) -> str:
    """The dtype's name in the tables."""
    return "bfloat16" if bf16 else "float32"


def steps(pixels: Tensor, bf16: bool) -> Iterator[Figure]:
    """The peak in a dtype, a step of the basic model, its convolutions alone, and VGG16's backbone."""
    dtype = kind(bf16)
    yield f"matrix product, {dtype}", "GFLOP/s", matmul_peak(torch.bfloat16 if bf16 else torch.float32)
    model = Basic()
    seconds = fastest(training_step(model, pixels, bf16))
    yield f"{OURS}, basic training step, {dtype}", "ms", 1e3 * seconds
    yield f"{OURS}, basic training step, {dtype}", "GFLOP/s", BATCH * training_gflop(model) / seconds
    seconds, gflop = convolutions_alone(model, bf16)
    yield f"its convolutions alone, {dtype}", "ms", 1e3 * seconds
    yield f"its convolutions alone, {dtype}", "GFLOP/s", gflop / seconds
    backbone = VGG16(weights="none", bf16_backbone="always" if bf16 else False).eval()
    gflop = BATCH * forward_gflop(backbone.features, pixels[:1])
    yield f"{OURS}, vgg16 backbone, {dtype}", "GFLOP/s", gflop / fastest(lambda: backbone.extract(pixels))


def prediction(data: Path) -> Iterator[Figure]:
    """What ``predict`` cannot be faster than: decoding, the model, and both on the same processors."""
    for name, rate in prediction_rates(Basic(), data).items():
        yield name, "photographs/s", rate


def fastest(work: Callable[[], object], times: int = 7) -> float:
    """Seconds of the fastest of several runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def matmul_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of a product of two large square matrices."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / fastest(lambda: a @ b, 5) / 1e9


def copy_rate() -> float:
    """GB/s read and written by a copy of half a gigabyte."""
    a = torch.ones(2**27)
    b = torch.empty_like(a)
    return 2 * a.nbytes / fastest(lambda: b.copy_(a)) / 1e9


def training_step(model: Classifier, pixels: Tensor, bf16: bool) -> Callable[[], None]:
    """Forward, backward and the optimizer's step on one batch, without Lightning."""
    optimizer: Any = model.configure_optimizers()
    labels = torch.arange(len(pixels), device=pixels.device) % 2

    def step() -> None:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=bf16):
            logits = model(pixels)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def forward_gflop(layers: nn.Module, x: Tensor) -> float:
    """GFLOP of the convolutions and dense layers for one image; a multiplication and an addition are two."""
    flop = 0

    def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal flop
        flop += 2 * layer.weight[0].numel() * output.numel()

    kinds = (nn.Conv2d, nn.Linear)
    hooks = [layer.register_forward_hook(count) for layer in layers.modules() if isinstance(layer, kinds)]
    with torch.no_grad():
        layers(x if isinstance(layers, Classifier) else x.float())
    for hook in hooks:
        hook.remove()
    return flop / 1e9


def training_gflop(model: Basic) -> float:
    """GFLOP of a training step for one image: three forward passes, but the pixels need no gradient."""
    pixels = torch.zeros(1, 3, 150, 150, dtype=torch.uint8)
    first = forward_gflop(nn.Sequential(model.features[0]), pixels)
    return 3 * forward_gflop(model, pixels) - first


def convolutions_alone(model: Basic, bf16: bool) -> tuple[float, float]:
    """Seconds and GFLOP of the convolutions of a training step, with nothing between them."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    seconds = gflop = 0.0
    x = torch.rand(BATCH, 3, 150, 150)
    for layer in model.features:
        with torch.no_grad():
            if isinstance(layer, nn.Conv2d):
                image = x.to(dtype).contiguous(memory_format=torch.channels_last)
                weight, bias = (p.detach().to(dtype) for p in (layer.weight, layer.bias))
                gradient = torch.ones_like(torch.conv2d(image, weight, bias))
                wanted = [layer.in_channels > 3, True, True]
                rest = ([layer.out_channels], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, wanted)
                back = (gradient, image, weight, *rest)
                seconds += fastest(partial(torch.conv2d, image, weight, bias))
                seconds += fastest(partial(torch.ops.aten.convolution_backward, *back))
                passes = 3 if wanted[0] else 2
                gflop += passes * BATCH * forward_gflop(nn.Sequential(layer), x[:1])
            x = layer(x)
    return seconds, gflop


def decoding_rates(data: Path) -> dict[str, float]:
    """Photographs a second: Pillow alone on all processors, and the cache that a fit fills."""
    paths = sorted((data / "train").rglob("*.jpg"))

    def pillow(path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert("RGB").resize((150, 150), Image.Resampling.NEAREST)

    def cache() -> None:
        CachedImageFolder(data / "train", 150).decode()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        alone = fastest(lambda: list(pool.map(pillow, paths)), 2)
    return {
        "Pillow, decoding and NEAREST": len(paths) / alone,
        f"{OURS}, decoding": len(paths) / fastest(cache, 2),
    }


def prediction_rates(model: Classifier, data: Path) -> dict[str, float]:
    """Photographs a second: decoding with LANCZOS on all processors, the model, and one after the other."""
    paths = sorted((data / "train").rglob("*.jpg"))[:400]
    rule = resize_rule("lanczos")
    pixels = torch.randint(0, 256, (32, 3, 150, 150), dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = fastest(lambda: list(pool.map(lambda path: load_pixels(path, 150, rule), paths)), 2)
    with torch.inference_mode():
        answer = fastest(lambda: model(pixels)) / len(pixels)
    return {
        "decoding and LANCZOS": len(paths) / read,
        f"{OURS}, basic model": 1 / answer,
        "both, sharing the processors": 1 / (read / len(paths) + answer),
    }


if __name__ == "__main__":
    main()
