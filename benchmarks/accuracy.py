"""What the options that trade precision for speed do to accuracy, over several seeds.

    python -m benchmarks.accuracy basic --data data     # prepared photographs
    python -m benchmarks.accuracy vgg16 --data drawn    # made by: prepare sample --root drawn

VGG16 stands on torchvision's random weights here, which need no download: enough to tell the drawings apart
under mild augmentation, and so to see whether coarser features tell them apart less well.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torchvision.models import vgg16

MILD = "--data.rotation 10 --data.width_shift 0.05 --data.height_shift 0.05 --data.zoom 0.05"
FITS = {
    "basic": "--model basic --max_epochs 5",
    "vgg16": "--model vgg16 --weights random.pth --model.preprocessing imagenet --max_epochs 12 "
    f"--learning_rate 3e-4 {MILD}",
}
OPTIONS = {
    "basic": ("--precision 32-true", "--precision bf16-mixed"),
    "vgg16": (
        "--model.cached_views 3",
        "--model.bf16_backbone true",
        "--model.bf16_backbone true --model.cached_views 3",
        "--model.bf16_backbone true --model.cached_views 1",
    ),
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("model", choices=FITS)
    words.add_argument("--data", type=Path, default=Path("data"))
    words.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = words.parse_args()
    if not options.data.is_dir():
        sys.exit(f"--data {options.data}: no such folder; give one that prepare has made")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        torch.save(vgg16(weights=None).state_dict(), Path(folder) / "random.pth")
        for option in OPTIONS[options.model]:
            line = f"fit {FITS[options.model]} --patience 99 {option}"
            measured = [measure(line, options.data.resolve(), seed, Path(folder)) for seed in options.seeds]
            means = ", ".join(f"{statistics.mean(values):.4f}" for values in zip(*measured, strict=True))
            print(f"{option}: {means}  {measured}", flush=True)


def measure(line: str, data: Path, seed: int, folder: Path) -> tuple[float, float, float]:
    """val_loss and val_acc of the best epoch, and its accuracy on the test photographs."""
    fitted = command(f"{line} --seed {seed}", data, folder)
    best = re.search(r"Best epoch: \d+ \(val_loss ([\d.]+), val_acc ([\d.]+)\)", fitted)
    accuracy = re.search(r"Accuracy: ([\d.]+)", command("test", data, folder))
    assert best, fitted
    assert accuracy
    return float(best[1]), float(best[2]), float(accuracy[1])


def command(line: str, data: Path, folder: Path) -> str:
    """What a command of ours printed."""
    words = [sys.executable, "-m", "catdog_pl", *line.split(), "--root", str(data)]
    return subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
