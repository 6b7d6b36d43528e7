"""A whole ``fit --config transfer``, from its start to its end, beside one pass over its photographs.

    python -m benchmarks.transfer --data data --backbone squeezenet1_1 --weights squeezenet1_1-b8a52dc0.pth

A pass is what any program has to do: read and decode the photographs, and have the network see each once.
Nothing that an earlier fit has kept is found. The rounds take turns; one line is printed for each.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.machine import machine, versions
from benchmarks.speed.process import run
from catdog_pl import Transfer
from catdog_pl.data.images import decode_pixels, resize_rule
from catdog_pl.errors import CatDogError
from catdog_pl.models.spec import DataSpec
from catdog_pl.prediction.predictor import WORKERS
from catdog_pl.process import keep_memory

BATCH = 50
"""Photographs that ``fit`` gives to the network at once."""


def main(argv: list[str] | None = None) -> int:
    """Print seconds and ratios of each round."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--data", type=Path, default=Path("data"), help="a folder that prepare has made")
    words.add_argument("--backbone", default="squeezenet1_1")
    words.add_argument("--weights", default="none", help="a file; default: random ones, which cost the same")
    words.add_argument("--rounds", type=int, default=3)
    options = words.parse_args(argv)
    photographs = [path for split in ("train", "validation") for path in (options.data / split).glob("*/*")]
    if not photographs:
        sys.exit(f"--data {options.data}: no photographs there; give a folder that prepare has made")
    keep_memory()
    try:
        model = Transfer(options.backbone, weights=options.weights).eval()
    except CatDogError as error:
        sys.exit(str(error))
    threads = f"{torch.get_num_threads()} threads"
    print(machine(), versions(), f"{threads}, {len(photographs):,} photographs", sep="\n")
    print("\n| reading, s | network, s | BatchNorm folded, s | fit, s | by the network | by both |")
    print("|---|---|---|---|---|---|")
    for _ in range(options.rounds):
        reading, network, folded = one_pass(model, photographs)
        fit = whole_fit(options.data.resolve(), options.backbone, options.weights)
        figures = [f"{seconds:.1f}" for seconds in (reading, network, folded, fit)]
        figures += [f"{fit / network:.2f}", f"{fit / (reading + network):.2f}"]
        print(f"| {' | '.join(figures)} |", flush=True)
    return 0


def one_pass(model: Transfer, photographs: list[Path]) -> tuple[float, float, float]:
    """Return the seconds of reading, of the network, and of the network with BatchNorm folded."""
    start = time.perf_counter()
    pixels = read(photographs, model.data_spec)
    reading = time.perf_counter() - start
    folded = model.frozen_backbone(pixels[:2])
    passes = [see(pixels, model.extract), see(pixels, lambda batch: model.extract(batch, folded))]
    return reading, passes[0], passes[1]


def read(photographs: list[Path], spec: DataSpec) -> Tensor:
    """Return the photographs as the model takes them, (N, 3, S, S), uint8."""
    rule = resize_rule(spec.resize)

    def decode(path: Path) -> npt.NDArray[np.uint8]:
        return decode_pixels(path.read_bytes(), str(path), spec.image_size, rule)

    with ThreadPool(WORKERS) as pool:
        return torch.from_numpy(np.stack(pool.map(decode, photographs))).permute(0, 3, 1, 2)


def see(pixels: Tensor, network: Callable[[Tensor], Tensor]) -> float:
    """Return the seconds in which the network sees each photograph once."""
    with torch.inference_mode():
        network(pixels[:BATCH])  # the first call asks the system for memory
        start = time.perf_counter()
        for batch in pixels.split(BATCH):
            network(batch)
        return time.perf_counter() - start


def whole_fit(data: Path, backbone: str, weights: str) -> float:
    """Return the seconds of a fit in a process that finds nothing of an earlier one."""
    file = weights if weights == "none" else str(Path(weights).resolve())
    words = ["--config", "transfer", "--backbone", backbone, "--weights", file, "--root", str(data)]
    with tempfile.TemporaryDirectory() as folder:
        return run(["-m", "catdog_pl", "fit", *words], Path(folder), TORCH_HOME=folder).seconds


if __name__ == "__main__":
    sys.exit(main())
