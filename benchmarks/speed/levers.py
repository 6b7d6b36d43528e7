"""What each lever of the CPU gives: the work with it and without it, ``python -m benchmarks.speed.levers``.

Prints one round of figures, as ``benchmarks.speed.process.figures`` reads them. ``--return_memory`` leaves
the allocator as glibc has it, which a process can decide but once.
"""

import argparse
import json
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.speed.limits import BATCH, fastest, kind, training_step
from benchmarks.speed.records import Figure
from catdog_pl.models import VGG16, Basic, convolution
from catdog_pl.process import keep_memory


class Contiguous(Basic):
    """The basic model as PyTorch lays it out by default: channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*self.features)
        self.head[0] = nn.Flatten()
        self.to(memory_format=torch.contiguous_format)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(self.preprocess(pixels).contiguous())).squeeze(1)  # type: ignore[no-any-return]


def main() -> None:
    """Measure one round."""
    words = argparse.ArgumentParser()
    words.add_argument("--return_memory", action="store_true")
    options = words.parse_args()
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 3, 150, 150), dtype=torch.uint8)
    if not options.return_memory:
        keep_memory()
    for bf16 in (False, True):
        for figure in memory_returned(pixels, bf16) if options.return_memory else levers(pixels, bf16):
            print(json.dumps(figure), flush=True)


def levers(pixels: Tensor, bf16: bool) -> Iterator[Figure]:
    """A training step of the basic model and a pass through VGG16's backbone, with levers left out."""
    yield step("ours", Basic(), pixels, bf16)
    yield step("layer by layer", layered(Basic(), relu_first=False), pixels, bf16)
    yield step("layer by layer, ReLU before pooling", layered(Basic(), relu_first=True), pixels, bf16)
    yield step("layer by layer, contiguous", Contiguous(), pixels, bf16)
    backbone = VGG16(weights="none", bf16_backbone="always" if bf16 else False).eval()
    yield f"vgg16 backbone, {kind(bf16)}, ours", "ms", 1e3 * fastest(lambda: backbone.extract(pixels), 3)
    with mock.patch.object(convolution, "fuses", return_value=False):
        seconds = fastest(lambda: backbone.extract(pixels), 3)
    yield f"vgg16 backbone, {kind(bf16)}, ReLU in a pass of its own", "ms", 1e3 * seconds


def memory_returned(pixels: Tensor, bf16: bool) -> Iterator[Figure]:
    """The step where freed memory goes back to the system: ours, and with no lever at all."""
    yield step("ours, memory returned", Basic(), pixels, bf16)
    yield step("no lever", layered(Contiguous(), relu_first=True), pixels, bf16)


def step(name: str, model: Basic, pixels: Tensor, bf16: bool) -> Figure:
    """Milliseconds of a training step."""
    return f"basic step, {kind(bf16)}, {name}", "ms", 1e3 * fastest(training_step(model, pixels, bf16))


def layered(model: Basic, relu_first: bool) -> Basic:
    """The model with its layers called one by one, in Keras' order or in ours."""
    layers = list(model.features)
    if relu_first:
        layers = [
            layer for i in range(0, len(layers), 3) for layer in (layers[i], layers[i + 2], layers[i + 1])
        ]
    model.features = nn.Sequential(*layers)
    return model


if __name__ == "__main__":
    main()
