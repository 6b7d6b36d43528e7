"""The Oxford-IIIT Pet Dataset as a source: about 7,400 photographs of 37 breeds of cats and dogs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from catdog_pl.errors import ArchiveError

LICENCE = (
    "oxford-pets is the Oxford-IIIT Pet Dataset of O. M. Parkhi, A. Vedaldi, A. Zisserman and C. V. Jawahar,"
    " licensed CC BY-SA 4.0: whoever passes its photographs on names them and keeps the licence."
)

NEEDED_BYTES = 1_700 * 10**6
"""On the disk while it is unpacked: 0.8 GB of archives and as much of photographs."""

_SPECIES = {"1": "cat", "2": "dog"}


def download_pets(folder: Path) -> Path:
    """Download and unpack the data set with torchvision, which verifies the archives.

    Args:
        folder: where to put it; appears when it is complete.

    Returns:
        The folder.

    Raises:
        ArchiveError: it cannot be downloaded.
    """
    from torchvision.datasets import OxfordIIITPet  # brings torch, which no other source needs

    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # torchvision takes whatever folder it finds for a complete one
    try:
        OxfordIIITPet(part, download=True)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise ArchiveError(f"oxford-pets cannot be downloaded by torchvision: {error}") from error
    part.rename(folder)
    return folder


def pet_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Each photograph's class and path.

    The lists of both splits of the data set are read, as torchvision reads them: image, breed, species,
    number within the species.
    """
    base = folder / "oxford-iiit-pet"
    for split in ("trainval", "test"):
        for line in (base / "annotations" / f"{split}.txt").read_text(encoding="utf-8").splitlines():
            name, _, species, _ = line.split()
            yield _SPECIES[species], os.path.join(base, "images", f"{name}.jpg")
