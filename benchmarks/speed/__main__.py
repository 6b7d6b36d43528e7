"""``python -m benchmarks.speed --photos FOLDER``: measure everything, write JSON, print tables.

    pip install -e ".[bench]"
    python -m benchmarks.speed --photos dogs-vs-cats.zip                # all of it: most of an hour
    python -m benchmarks.speed --photos dogs-vs-cats.zip --only basic   # one section

Without --photos the drawn sample is used. The contestants run in turn, each as a process of its own on the
same files, and the whole round is repeated, so that a machine whose speed drifts is unfair to nobody.
"""

import argparse
import sys
import tempfile
from datetime import date
from pathlib import Path

from benchmarks.machine import PACKAGES, REPOSITORY, machine, versions
from benchmarks.speed import commands, training
from benchmarks.speed.process import LIMITS, figures, run
from benchmarks.speed.records import Records
from benchmarks.speed.report import tables

SECTIONS = ("commands", "limits", "levers", "basic", "vgg16", "growth")
OWN_SECTIONS = frozenset({"limits", "levers", "growth"})
"""Sections in which nobody but this package is measured; the others need the extra ``bench``."""

PEERS = ("keras", "tensorflow", "fastai")


def main() -> None:
    """Measure the sections that are asked for."""
    options = parse()
    packages = PACKAGES if OWN_SECTIONS.issuperset(options.only) else (*PACKAGES, *PEERS)
    about = {"date": date.today().isoformat(), "machine": machine(), "versions": versions(packages)}
    about["options"] = {"photos": options.photos.name if options.photos else "sample"}
    about["options"] |= {"count": options.count, "vgg16_count": options.vgg16_count}
    records = Records(options.output, about, options.only)
    with tempfile.TemporaryDirectory() as folder:
        for section in SECTIONS:
            if section in options.only:
                measure(section, records, options, Path(folder))
    print(f"\n{tables(records)}\n\nWritten to {options.output}")


def parse() -> argparse.Namespace:
    """The options of the command."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument(
        "--photos", type=Path, help="a folder or archive that prepare takes; default: the sample"
    )
    words.add_argument("--count", type=int, default=1200, help="training photographs of basic, default 1200")
    words.add_argument(
        "--vgg16_count", type=int, default=400, help="training photographs of vgg16, default 400"
    )
    words.add_argument("--repeats", type=int, default=3, help="rounds, default 3")
    words.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="the others are kept")
    words.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "results" / "speed.json")
    options = words.parse_args()
    if options.photos and not options.photos.exists():
        sys.exit(f"--photos {options.photos}: no such folder or archive; give one that prepare takes")
    return options


def measure(section: str, records: Records, options: argparse.Namespace, folder: Path) -> None:
    """One section in a folder of its own."""
    place = folder / section
    place.mkdir()
    if section == "vgg16":
        data = prepared(options.photos, options.vgg16_count, folder)
        training.measure(records, "vgg16", data, place, 5, options.repeats)  # the workshop's five epochs
    elif section == "growth":
        counts = [options.count // 4, options.count // 2, options.count]
        training.growth(records, {n: prepared(options.photos, n, folder) for n in counts}, place, 4)
    else:
        data = prepared(options.photos, options.count, folder)
        if section == "basic":
            training.measure(records, "basic", data, place, 5, options.repeats)
        elif section == "levers":
            training.levers(records, data, place, options.repeats)
        elif section == "commands":
            commands.measure(records, data, place, options.repeats)
        else:
            for _ in range(options.repeats):
                for figure in figures(["-m", LIMITS, str(data)], place):
                    records.add("limits", *figure)


def prepared(photos: Path | None, count: int, folder: Path) -> Path:
    """A data folder with so many training photographs, half as many for validation, and 200 for testing."""
    root = folder / f"data-{count}"
    if not root.exists():
        source = str(photos.resolve()) if photos else "sample"
        sizes = map(str, (count // 2, count // 4, 100))
        try:
            run(["-m", "catdog_pl", "prepare", source, "--root", str(root), "--sizes", *sizes], folder)
        except RuntimeError as error:
            sys.exit(str(error).splitlines()[-1])  # prepare's own line
    return root


if __name__ == "__main__":
    main()
