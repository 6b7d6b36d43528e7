"""How fast a frozen backbone passes photographs on the CPU: ``python -m benchmarks.backbones``.

The contestants take turns, and each one's fastest round counts. Compared is processor time, which other
programs on the machine disturb least, if there is one thread: more of them wait for each other.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy

import torch
from torch import Tensor, nn

from benchmarks.machine import machine, versions
from benchmarks.speed.limits import SIDE, forward_gflop
from catdog_pl.devices import bfloat16_is_fast
from catdog_pl.models.backbones import Backbone, create_backbone
from catdog_pl.models.backbones.vgg16 import VGG16Backbone
from catdog_pl.models.convolution import fold_batch_norm
from catdog_pl.process import keep_memory

BACKBONES = ("squeezenet1_1", "resnet50", "mobilenet_v3_large", "efficientnet_b0", "vgg16 of Keras")
Pass = Callable[[], object]


def main(argv: list[str] | None = None) -> None:
    """Print a table of all backbones."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--backbones", nargs="+", default=BACKBONES)
    words.add_argument("--images", type=int, default=32, help="in a batch, default 32")
    words.add_argument("--size", type=int, help="side of the images, default that of the weights")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--threads", type=int, default=torch.get_num_threads())
    words.add_argument("--compile", action="store_true", help="torch.compile as well: a minute each")
    options = words.parse_args(argv)
    keep_memory()
    torch.set_num_threads(options.threads)
    print(machine(), versions(), f"{options.threads} threads", sep="\n")
    print("\n| backbone | pass | ms a photograph | processor ms | times faster | of the matrix peak |")
    print("|---|---|---|---|---|---|")
    peaks = {torch.float32: peak(torch.float32)}
    if bfloat16_is_fast(torch.device("cpu")):
        peaks[torch.bfloat16] = peak(torch.bfloat16)
    for name in options.backbones:
        print_rows(name, peaks, options)


def print_rows(name: str, peaks: dict[torch.dtype, float], options: argparse.Namespace) -> None:
    """Print a backbone's rows, in each of the dtypes."""
    torch.manual_seed(0)
    is_keras = name == "vgg16 of Keras"
    network: Backbone = VGG16Backbone("none") if is_keras else create_backbone(name, "none")
    network.eval().to(memory_format=torch.channels_last)
    size = options.size or (150 if is_keras else network.image_size)
    x = torch.randn(options.images, 3, size, size).contiguous(memory_format=torch.channels_last)
    gflop = options.images * forward_gflop(network, x[:1])
    for dtype, most in peaks.items():
        times = fastest(passes(network, x, dtype, options.compile), options.rounds)
        slowest = next(iter(times.values()))[1]
        for who, (wall, processor) in times.items():
            label = f"{who}, {str(dtype).removeprefix('torch.')}"
            each = [f"{1e3 * seconds / options.images:.1f}" for seconds in (wall, processor)]
            share = f"{100 * gflop / processor / most:.0f} %"
            print(f"| {' | '.join([f'{name}, {size}', label, *each, f'{slowest / processor:.2f}', share])} |")


def peak(dtype: torch.dtype) -> float:
    """Return the GFLOP of a product of large matrices in a second of processor time."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / 1e9 / fastest({"product": lambda: a @ b}, 3)["product"][1]


def passes(network: nn.Module, x: Tensor, dtype: torch.dtype, compiles: bool) -> dict[str, Pass]:
    """Return the contestants by name; the first is what the others are compared with."""
    folded = fold_batch_norm(network, x[:2])

    def call(module: nn.Module, images: Tensor) -> Pass:
        def run() -> None:
            is_cast = dtype is not x.dtype
            with torch.inference_mode(), torch.autocast("cpu", dtype) if is_cast else nullcontext():
                module(images)

        return run

    contestants = {
        "as timm's validate.py": call(
            deepcopy(network).to(memory_format=torch.contiguous_format), x.contiguous()
        ),
        "... --channels-last": call(network, x),
        "catdog_pl, BatchNorm folded": call(folded, x),
    }
    if compiles:
        contestants["torch.compile"] = call(torch.compile(network), x)  # type: ignore[arg-type]
    return contestants


def fastest(contestants: dict[str, Pass], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the least wall and processor seconds of each; the first round is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {who: [] for who in contestants}
    for _ in range(rounds + 1):
        for who, run in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            seconds[who].append((time.perf_counter() - wall, time.process_time() - processor))
    return {who: (min(w for w, _ in each[1:]), min(p for _, p in each[1:])) for who, each in seconds.items()}


if __name__ == "__main__":
    main()
