"""What a figure was measured on: the machine and the versions of the libraries."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("torch", "torchvision", "lightning", "pillow", "numpy")


def machine() -> dict[str, Any]:
    """The processor, its cores, its instructions that matter here, the system and the commit."""
    flags = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    words = set(info.split())
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "features": [flag for flag in flags if flag in words],
        "system": f"{platform.system()} {platform.machine()}",
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
        ).stdout.strip(),
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Python's version, and those of the packages."""
    try:
        return {"python": platform.python_version(), **{name: version(name) for name in packages}}
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed; run: pip install -e '.[bench]'")
