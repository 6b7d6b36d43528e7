"""Feeds damaged files to everything that reads other people's; coverage tells the fuzzer what is new.

    pip install atheris
    python -m benchmarks.fuzz images            # decoding
    python -m benchmarks.fuzz pickles           # the pickle in a checkpoint whose checksums are right
    python -m benchmarks.fuzz checkpoints       # the whole file
    python -m benchmarks.fuzz configurations    # the model's JSON in a .keras archive
    python -m benchmarks.fuzz hdf5 --runs 300   # weights; each is read by a process of its own first

The answer to any bytes is a result or the project's own error of one line. Everything else is a finding:
another exception, a crash, more than 4 GB, more than 20 seconds. What is found lies in --findings and ends
the run; mended, it becomes a case of the tests.
"""

import argparse
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import atheris

with atheris.instrument_imports(include=["PIL"]):
    from PIL import Image

    Image.init()  # imports the readers of all formats

import lightning.pytorch  # noqa: F401  # here, or it would be instrumented, which takes minutes
import torch

with atheris.instrument_imports(include=["catdog_pl"]):
    from catdog_pl.data.images import IMAGE_FORMATS, decode, silence_pillow
    from catdog_pl.errors import CatDogError
    from catdog_pl.export.keras import export_keras
    from catdog_pl.keras import hdf5
    from catdog_pl.models import Basic
    from catdog_pl.models.checkpoint import load_checkpoint, save_checkpoint
    from catdog_pl.models.keras_import import import_file
    from catdog_pl.models.spec import DataSpec


class Target(NamedTuple):
    """What is fuzzed.

    Attributes:
        seeds: inputs to begin with, which can be read.
        read: reads one input; may raise nothing but ``CatDogError``.
    """

    seeds: list[bytes]
    read: Callable[[bytes], object]


def images(folder: Path) -> Target:
    """Decoding, from small pictures of every format and mode."""
    silence_pillow()
    seeds = []
    for form in IMAGE_FORMATS:
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"):
            stream = io.BytesIO()
            try:
                Image.linear_gradient("L").resize((9, 7)).convert(mode).save(stream, form)
            except (OSError, ValueError, KeyError):  # this format has no such mode
                continue
            seeds.append(stream.getvalue())
    return Target(seeds, lambda content: decode(content, "image"))


def checkpoints(folder: Path) -> Target:
    """A whole checkpoint."""
    return Target([checkpoint(folder)], in_file(folder / "x.ckpt", load_checkpoint))


def pickles(folder: Path) -> Target:
    """The pickle in a checkpoint: with right checksums it reaches torch's restricted unpickler."""
    entries = contents(checkpoint(folder))
    name = next(name for name in entries if name.endswith("data.pkl"))
    read = in_file(folder / "x.ckpt", load_checkpoint)
    return Target([entries[name]], lambda data: read(archive(entries | {name: data})))


def configurations(folder: Path) -> Target:
    """The configuration in a ``.keras`` archive; its weights stay sound."""
    hdf5.survey = lambda source, name: None
    entries = contents(keras_file(folder, ".keras"))
    read = in_file(folder / "x.keras", import_file)
    return Target([entries["config.json"]], lambda data: read(archive(entries | {"config.json": data})))


def weights(folder: Path) -> Target:
    """Whole models and weights alone in HDF5."""
    seeds = [keras_file(folder, ending) for ending in (".h5", ".weights.h5")]
    return Target(seeds, in_file(folder / "x.h5", lambda path: import_file(path, image_size=8)))


TARGETS: dict[str, Callable[[Path], Target]] = {
    "images": images,
    "checkpoints": checkpoints,
    "pickles": pickles,
    "configurations": configurations,
    "hdf5": weights,
}


def network() -> Basic:
    """The smallest model."""
    model = Basic(image_size=8, filters=(1,), dense_units=1)
    model.data_spec = DataSpec(image_size=8)
    return model


def checkpoint(folder: Path) -> bytes:
    """A checkpoint's bytes."""
    save_checkpoint(network(), folder / "seed.ckpt")
    return (folder / "seed.ckpt").read_bytes()


def keras_file(folder: Path, ending: str) -> bytes:
    """A Keras file's bytes."""
    path = folder / f"seed{ending}"
    export_keras(network(), {}, path)
    return path.read_bytes()


def contents(content: bytes) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def archive(entries: dict[str, bytes]) -> bytes:
    """An archive of the members, uncompressed, with right checksums."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def in_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of bytes from one of paths."""

    def reader(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return reader


def checked(read: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """The reader, which lets everything pass but an error of one line."""

    def once(content: bytes) -> None:
        try:
            read(content)
        except CatDogError as error:
            if not str(error).isprintable():
                raise ValueError("an error of more than one line") from error

    return once


def corpus(target: Target, folder: Path) -> Path:
    """The seeds as files in a folder."""
    place = folder / "corpus"
    place.mkdir()
    for number, seed in enumerate(target.seeds):
        (place / str(number)).write_bytes(seed)
    return place


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("target", choices=TARGETS)
    words.add_argument("--runs", type=int, default=20_000, help="inputs to try (default: 20000)")
    words.add_argument("--findings", type=Path, default=Path("findings"), help="where to put what is found")
    options = words.parse_args()
    torch.set_num_threads(1)
    options.findings.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    target = TARGETS[options.target](folder)
    for seed in target.seeds:
        target.read(seed)
    limits = [f"-runs={options.runs}", "-rss_limit_mb=4096", "-timeout=20", "-max_len=65536"]
    others = ["-reduce_inputs=0", f"-artifact_prefix={options.findings}/", str(corpus(target, folder))]
    atheris.Setup([sys.argv[0], *limits, *others], checked(target.read))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
