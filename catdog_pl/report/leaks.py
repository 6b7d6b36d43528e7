"""Test photographs that the model was trained on."""

import filecmp
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from catdog_pl.io.files import walk


def leak_warnings(tested: Sequence[Path], folders: Iterable[Path]) -> Iterator[str]:
    """Yield one line for each training folder in which tested photographs lie, too."""
    for train in {folder.resolve(): folder for folder in folders}.values():
        if found := list(leaks(tested, train)):
            verb = "is" if len(found) == 1 else "are"
            yield (
                f"{len(found)} of {len(tested)} test photographs {verb} in {train}, too, the first as "
                f"{found[0]}; the accuracy is not that of unseen photographs"
            )


def leaks(tested: Sequence[Path], train: Path) -> Iterator[Path]:
    """Yield each tested photograph whose bytes a file below the training folder has; equal sizes are read."""
    trained: dict[int, list[Path]] = defaultdict(list)
    for folder, names in walk(train, on_error=lambda error: None):
        for path in (Path(folder, name) for name in names):
            with suppress(OSError):  # it was removed since, or is a broken link
                trained[path.stat().st_size].append(path)
    for path in tested:
        with suppress(OSError):
            if any(filecmp.cmp(path, other, shallow=False) for other in trained[path.stat().st_size]):
                yield path
