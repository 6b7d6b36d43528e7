"""How long ``prepare`` takes beside decoding alone, how much memory, and how both grow.

    python -m benchmarks.prepare --photos FOLDER          # real photographs, repeated up to --count
    python -m benchmarks.prepare                          # drawn ones of the same size
    python -m benchmarks.prepare --tiny 10000 100000      # what is left when decoding costs nothing
    python -m benchmarks.prepare --records 1000000        # prepare without decoding: its memory

Decoding is timed in as many processes as ``prepare`` uses, without the time that they take to start; the
whole ``prepare`` is timed as a user sees it, from the start of Python to its end.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from benchmarks.speed.process import megabytes, run
from catdog_pl.data import images
from catdog_pl.data.prepare import pipeline
from catdog_pl.data.prepare.config import PrepareConfig
from catdog_pl.data.prepare.inspection import processors
from catdog_pl.data.prepare.photo import Inspection, Photo
from catdog_pl.data.prepare.photos import Photos

CHUNK = 32


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--photos", type=Path, help="a folder of JPEGs; drawn when not given")
    words.add_argument("--count", type=int, nargs="+", default=[1_000, 5_000, 25_000])
    words.add_argument("--tiny", type=int, nargs="+", help="numbers of tiny pictures instead")
    words.add_argument("--records", type=int, nargs="+", help="numbers of links instead, not decoded")
    words.add_argument("--jobs", type=int, default=processors())
    options = words.parse_args()
    if options.photos and not options.photos.is_dir():
        sys.exit(f"--photos {options.photos}: no such folder; give one with JPEGs")
    print(f"{options.jobs} processes, {processors()} processors")
    for count in options.records or ():
        with tempfile.TemporaryDirectory() as folder:
            measure_records(count, Path(folder))
    for count in () if options.records else options.tiny or options.count:
        with tempfile.TemporaryDirectory() as folder:
            files = tiny(count) if options.tiny else photographs(count, options.photos)
            write(Path(folder) / "photos", files)
            measure(Path(folder), count, options.jobs)


def photographs(count: int, folder: Path | None) -> Iterator[bytes]:
    """So many different JPEGs; where there are fewer, the same again with other bytes behind their end."""
    paths = sorted(folder.rglob("*.jpg")) if folder else []
    rng = np.random.default_rng(0)
    originals = [path.read_bytes() for path in paths[:count]] or [drawn(rng) for _ in range(500)]
    for number, data in enumerate(islice(cycle(originals), count)):
        yield data + number.to_bytes(4, "big")


def drawn(rng: np.random.Generator) -> bytes:
    """A JPEG of 500 x 375 pixels and some 25 kB, as the public photographs of cats and dogs are."""
    with tempfile.TemporaryFile() as file:
        patches = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((500, 375))
        grain = rng.normal(0, 6, (375, 500, 1))
        pixels = np.clip(np.asarray(patches) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=75)
        file.seek(0)
        return file.read()


def tiny(count: int) -> Iterator[bytes]:
    """Pictures of 8 x 8 pixels, all different, that cost next to nothing to decode."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield b"P5 8 8 255 " + rng.bytes(64)


def write(folder: Path, files: Iterator[bytes]) -> None:
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
    for number, data in enumerate(files):
        ending = "pgm" if data.startswith(b"P5") else "jpg"
        (folder / ("cat", "dog")[number % 2] / f"{number}.{ending}").write_bytes(data)


def measure(folder: Path, count: int, jobs: int) -> None:
    paths = [path for path in (folder / "photos").rglob("*") if path.is_file()]
    decoding, decoding_cpu = time_decoding(paths, jobs)
    words = ["-m", "catdog_pl", "prepare", str(folder / "photos"), "--root", str(folder / "data")]
    words += ["--fractions", "0.8", "0.1", "0.1", "--min-side", "1", "--jobs", str(jobs)]
    done = run(words, folder)
    print(
        f"{count:>9,} photographs: decoding {decoding:.1f} s ({decoding_cpu:.1f} s of processors),"
        f" prepare {done.seconds:.1f} s ({done.cpu:.1f} s), ratio {done.seconds / decoding:.2f}"
        f" ({done.cpu / decoding_cpu:.2f}),"
        f" largest process {done.megabytes:.0f} MB",
        flush=True,
    )


def time_decoding(paths: list[Path], jobs: int) -> tuple[float, float]:
    """Seconds, and seconds of processor time of all processes together."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(decode, [[paths[0]]] * 4 * jobs))  # waits until they have started
        start = time.perf_counter()
        cpu = sum(pool.map(decode, (paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK))))
        return time.perf_counter() - start, cpu


def decode(paths: list[Path]) -> float:
    start = time.process_time()
    for path in paths:
        images.decode(path.read_bytes(), str(path))
    return time.process_time() - start


def measure_records(count: int, folder: Path) -> None:
    """The whole ``prepare`` of links to tiny pictures, with made-up values instead of decoding."""
    link(count, folder / "photos")
    config = PrepareConfig(
        (str(folder / "photos"),), folder / "data", fractions=(0.8, 0.1, 0.1), min_side=1, link=True
    )
    start = time.perf_counter()
    with patch.object(pipeline, "inspect_photos", make_up), redirect_stdout(StringIO()):
        pipeline.prepare(config)
    seconds, largest = time.perf_counter() - start, megabytes(resource.getrusage(resource.RUSAGE_SELF))
    print(f"{count:>9,} records: {seconds:.1f} s, {largest:.0f} MB", flush=True)


def link(count: int, folder: Path) -> None:
    """So many links; a file has 25,000 here and as many when it is placed, of the 65,000 that ext4 allows."""
    originals = [folder / f".{number}" for number in range(count // 25_000 + 1)]
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
    for original, data in zip(originals, tiny(len(originals)), strict=True):
        original.write_bytes(data)
    for number in range(count):
        label = ("cat", "dog")[number // 100 % 2]
        (folder / label / f"{label}.{number}.pgm").hardlink_to(originals[number % len(originals)])


def make_up(photos: Photos, jobs: int) -> None:
    """Inspect photographs without looking at them; one in a hundred looks like the one before."""
    photos.save(made_up(photos.select()))


def made_up(photos: Iterator[Photo]) -> Iterator[Photo]:
    rng = np.random.default_rng(0)
    phash = rng.bytes(32)
    for number, photo in enumerate(photos):
        phash = rng.bytes(32) if number % 100 else phash
        found = Inspection(sha256=rng.bytes(32).hex(), size=25_000 + number % 9_000, width=500, height=375)
        photo.inspection = found._replace(mode="RGB", extension=".pgm", phash=phash)
        yield photo


if __name__ == "__main__":
    main()
