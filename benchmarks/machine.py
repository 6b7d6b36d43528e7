"""What a figure was measured on: the machine and the versions of the libraries."""

import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catdog_pl.devices import hardware

if TYPE_CHECKING:
    import torch

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("torch", "torchvision", "lightning", "pillow", "numpy")


def machine(device: "torch.device | None" = None) -> dict[str, Any]:
    """The processor, its cores, its instructions that matter here, the system, a GPU, and the commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return {**hardware(device), "commit": commit.stdout.strip()}


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Python's version, and those of the packages."""
    try:
        return {"python": platform.python_version(), **{name: version(name) for name in packages}}
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed; run: pip install -e '.[bench]'")
