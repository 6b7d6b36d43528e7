"""What one GPU makes of the workshop, in minutes: ``python -m benchmarks.gpu --data data``.

    catdog prepare dogs-vs-cats.zip --sizes 4000 1200 1000
    python -m benchmarks.gpu --data data --weights-dir weights

Each line is a process of its own, as users start it; figures go to benchmarks/results/gpu.json as they come,
and what does not fit into ``--minutes`` is left out and named. ``weights-dir`` may hold vgg16-notop.h5 and
squeezenet1_1-imagenet.pth; without them, networks have random weights, which are as fast.
"""

import argparse
import csv
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.machine import REPOSITORY, machine, versions
from benchmarks.speed.limits import BATCH, fastest, kind, training_step
from benchmarks.speed.process import run
from benchmarks.speed.records import Records
from catdog_pl.devices import find_device
from catdog_pl.models import Basic

RESULTS = REPOSITORY / "benchmarks" / "results" / "gpu.json"

FLOAT32 = {"NVIDIA_TF32_OVERRIDE": "0"}
TF32 = {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
"""PyTorch computes convolutions by TF32 anyway, and other products where this is set."""


class Training(NamedTuple):
    """A training: its name, the options of ``fit``, the environment that decides the precision."""

    name: str
    words: str
    environment: dict[str, str]


TRAININGS = (
    Training("basic, TF32", "--model basic", TF32),
    Training("basic, bf16-mixed", "--model basic --precision bf16-mixed", TF32),
    Training("basic, float32", "--model basic", FLOAT32),
    Training("vgg16, bf16-mixed", "--model vgg16 --weights {vgg16} --precision bf16-mixed", TF32),
    Training("vgg16, TF32", "--model vgg16 --weights {vgg16}", TF32),
    Training("vgg16, TF32, 1 cached view", "--model vgg16 --weights {vgg16} --model.cached_views 1", TF32),
    Training("squeezenet1_1", "--config transfer --backbone squeezenet1_1 --weights {squeezenet}", TF32),
    Training("vgg16, float32", "--model vgg16 --weights {vgg16}", FLOAT32),
)
"""What matters most comes first."""

STEPS = 50
"""Steps of a training that are timed together, so that waiting for the device does not count."""


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the figures as they come."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--data", type=Path, required=True, help="a prepared folder")
    words.add_argument("--weights-dir", type=Path)
    words.add_argument("--accelerator", default="gpu", help="cpu tries the benchmark itself")
    words.add_argument("--epochs", type=int, default=25, help="of a training, as in the workshop")
    words.add_argument("--minutes", type=float, default=10)
    words.add_argument("--also", default="", help="options for every fit")
    words.add_argument("--output", type=Path, default=RESULTS)
    options = words.parse_args(argv)
    device = find_device(options.accelerator)
    about = {"machine": machine(device), "versions": versions()}
    records = Records(options.output, about, ("training", "parity", "predict", "steps"))
    print(about)
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        for training in TRAININGS:
            if time.monotonic() > end:
                print(f"{training.name}: left out, {options.minutes:g} minutes are over")
                continue
            measure_training(records, training, options, device, Path(folder))
        if time.monotonic() < end:
            measure_parity(records, options, Path(folder), options.accelerator)
            measure_prediction(records, options, Path(folder))
            if device.type == "cuda":
                measure_steps(records, device)
        if time.monotonic() < end and device.type != "cpu":  # whose epoch may take longest
            measure_parity(records, options, Path(folder), "cpu")


def fit(options: argparse.Namespace, words: str, accelerator: str) -> list[str]:
    """The words of a fit that is not stopped early."""
    files = {"vgg16": "vgg16-notop.h5", "squeezenet": "squeezenet1_1-imagenet.pth"}
    folder = (options.weights_dir or Path()).resolve()
    there = {name: folder / file if (folder / file).exists() else "none" for name, file in files.items()}
    given = words.format(**there)
    more = f"--accelerator {accelerator} --early_stopping.patience 1000 --seed 2018 {options.also}"
    return ["-m", "catdog_pl", "fit", "--root", str(options.data.resolve()), *given.split(), *more.split()]


def measure_training(
    records: Records, training: Training, options: argparse.Namespace, device: torch.device, folder: Path
) -> None:
    """A whole training: its start, its epochs, its end, and the memory of the device."""
    command = [*fit(options, training.words, options.accelerator), "--max_epochs", str(options.epochs)]
    with peak_memory(device) as peak, tempfile.TemporaryDirectory() as home:
        done = run(command, folder, TORCH_HOME=home, **training.environment)
    records.add("training", training.name, "start to end of first epoch, s", done.epochs[0])
    records.add("training", training.name, "later epochs, s", *done.later_epochs)
    per_epoch = sum(done.later_epochs) / len(done.later_epochs)
    records.add("training", training.name, f"{options.epochs} epochs, s", options.epochs * per_epoch)
    records.add("training", training.name, "whole process, s", done.seconds)
    records.add("training", training.name, "memory of the host, MB", done.megabytes)
    if peak:
        records.add("training", training.name, "memory of the device, MB", max(peak))


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """Give a list that grows by the device's memory in MB, used since the block began; none for a CPU."""
    taken: list[float] = []
    if device.type != "cuda":
        yield taken
        return
    free, _ = torch.cuda.mem_get_info()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            taken.append((free - torch.cuda.mem_get_info()[0]) / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()


def measure_parity(records: Records, options: argparse.Namespace, folder: Path, accelerator: str) -> None:
    """The losses of one epoch in float32, from the same seed on each accelerator."""
    place = folder / f"parity-{accelerator}"
    command = [*fit(options, "--model basic --max_epochs 1", accelerator), "--checkpoint.dirpath", str(place)]
    run(command, folder, **FLOAT32)
    with (place / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    for name in ("train_loss", "val_loss"):
        records.add("parity", f"basic, {accelerator}", name, float(row[name]))


def measure_prediction(records: Records, options: argparse.Namespace, folder: Path) -> None:
    """Pictures a second of ``predict``, from the difference between all test photographs and one."""
    photographs = sorted((options.data / "test").resolve().glob("*/*"))
    checkpoint = str(folder / f"parity-{options.accelerator}" / "best.ckpt")
    seconds = []
    for some in (photographs[:1], photographs):
        (folder / "names.txt").write_text("".join(f"{path}\n" for path in some))
        words = f"predict @names.txt --format csv --accelerator {options.accelerator} --batch_size 256"
        seconds.append(run(["-m", "catdog_pl", *words.split(), "--ckpt_path", checkpoint], folder).seconds)
    records.add("predict", "basic", "one picture, whole process, s", seconds[0])
    records.add("predict", "basic", "pictures a second", (len(photographs) - 1) / (seconds[1] - seconds[0]))


def measure_steps(records: Records, device: torch.device) -> None:
    """A step of the basic model without Lightning: what a compiler gains, and how busy the device is."""
    pixels = torch.randint(0, 256, (BATCH, 3, 150, 150), dtype=torch.uint8, device=device)
    for bf16 in (False, True):
        for is_compiled in (False, True):
            torch.manual_seed(0)
            model = Basic().to(device)
            if is_compiled:
                model.compile()
            step = training_step(model, pixels, bf16)
            steps = partial(timed, step, STEPS)
            name = f"basic, {kind(bf16)}, {'compiled' if is_compiled else 'eager'}"
            start = time.perf_counter()
            timed(step, 1)
            records.add("steps", name, "first step, s", time.perf_counter() - start)
            records.add("steps", name, "step, ms", 1e3 * fastest(steps) / STEPS)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                steps()
            kernels = profile.key_averages()
            milliseconds = sum(kernel.self_device_time_total for kernel in kernels) / 1e3
            records.add("steps", name, "of which the device computes, ms", milliseconds / STEPS)


def timed(step: Callable[[], None], count: int) -> None:
    """Do so many steps, and wait until the device has done them."""
    for _ in range(count):
        step()
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
