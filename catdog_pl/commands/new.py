"""``new``: a small project of the learner's own."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from catdog_pl.arguments import ArgumentParser, local_path
from catdog_pl.errors import CatDogError, one_line
from catdog_pl.io.files import atomic_write

TEMPLATES = Path(__file__).parent / "templates"
FILES = ("README.md", "config.yaml", "train.py", "data/README.md")


def parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = ArgumentParser(
        "new",
        description="Make a project of your own: a configuration, a folder for photographs, and a train.py "
        "of thirty lines, which runs at once, on drawn pictures.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=local_path, help="a new folder, or an empty one")
    return parser


def main(argv: Sequence[str]) -> int:
    """Write the project's files.

    Raises:
        CatDogError: the folder holds something, or cannot be written.
    """
    folder: Path = parser().parse_args(argv).folder
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CatDogError(f"{folder} exists already, and is no empty folder; give a new one")
    for name in FILES:
        with atomic_write(folder / name) as part:
            part.write_bytes((TEMPLATES / name).read_bytes())
    print(one_line(f"Made {folder}: {', '.join(FILES)}"))
    print(one_line(f"Next: cd {shlex.quote(str(folder))} && python train.py"))
    return 0
